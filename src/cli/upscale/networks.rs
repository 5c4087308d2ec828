//! Chooses the networks for a scale, and describes the choice.

use crate::error::{Error, Result};
use crate::exec::Device;
use crate::ops::resize::Ratio;
use crate::vision::models::shipped;
use crate::vision::models::{SUPER_RESOLUTION, SuperResolution};
use crate::vision::tasks::upscale::{Chain, Enlarger, Upscaler, factors};
use crate::weights::Weights;
use clap::Args;
use std::path::{Path, PathBuf};

use super::super::network;
use super::super::out;

/// Allowed scales, in thousandths.
const THOUSANDTHS: std::ops::RangeInclusive<u32> = 1100..=16_000;

/// Scales that a network can have.
const SCALES: std::ops::RangeInclusive<usize> = 2..=4;

/// Networks by name and scale.
#[derive(Args, Clone)]
pub struct Wanted {
    /// Output pixels per input pixel, along each side: 1.1 to 16, such as 2.5. The default is the scale of --weights or of the network's
    /// file, or else the model's largest.
    #[arg(long, short, value_name = "SCALE", value_parser = parse_scale)]
    scale: Option<Ratio>,
    /// Name of the network, see `lineament models`, or a network of another program: an ONNX file, or the .param of an ncnn network with
    /// its .bin beside it. The default is the network of --weights, or else fsrcnn.
    #[arg(long, short = 'n', value_name = "NAME|FILE")]
    model: Option<String>,
    /// Weights file; without it, the weights that come with lineament.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

/// A sequence of networks for one scale.
#[derive(Debug)]
pub struct Networks {
    all: Vec<Enlarger>,
    pub scale: Ratio,
    /// The scales that were available.
    scales: Vec<usize>,
}

/// Parses a scale such as `3` or `2.5`, with at most three decimals.
fn parse_scale(text: &str) -> std::result::Result<Ratio, String> {
    let fail = || "expected a number from 1.1 to 16 with at most three decimals, such as 2, 4 or 2.5".to_owned();
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(part) {
        return Err(fail());
    }
    let thousandths = format!("{whole}{part:0<3}").parse::<u32>().map_err(|_| fail())?;
    if !THOUSANDTHS.contains(&thousandths) {
        return Err(fail());
    }
    let divisor = (1..=1000).rev().find(|d| thousandths % d == 0 && 1000 % d == 0).unwrap_or(1);
    Ok(Ratio { num: thousandths / divisor, den: 1000 / divisor })
}

/// Returns names and scales of the super-resolution networks whose weights come with lineament: `fsrcnn x2, fsrcnn x3, …`.
pub fn shipped() -> String {
    let all = SUPER_RESOLUTION.iter().flat_map(|m| SCALES.map(move |s| (m, s)));
    let shipped = all.filter(|(m, s)| shipped::open(m, *s).is_some());
    shipped.map(|(m, s)| format!("{m} x{s}")).collect::<Vec<_>>().join(", ")
}

/// Returns the error for a network without weights.
pub fn lacks(model: &str, scale: Option<&str>) -> Error {
    let for_scale = scale.map_or_else(String::new, |scale| format!(" for scale {scale}"));
    Error::Usage(format!(
        "no weights of {model}{for_scale} come with lineament (available: {}); train them or give --weights FILE",
        shipped()
    ))
}

impl Wanted {
    /// Chooses networks and reads their weights.
    ///
    /// # Errors
    /// There are no weights, or they belong to another kind of network or do not state their scale.
    pub fn choose(&self) -> Result<Networks> {
        if let Some(file) = self.model.as_deref().filter(|name| is_file(name)) {
            return self.imported(Path::new(file));
        }
        let Some(file) = &self.weights else {
            let model = self.model.as_deref().unwrap_or("fsrcnn");
            // Rejects an unknown name.
            SuperResolution::new(model, *SCALES.end())?;
            let scales: Vec<usize> = SCALES.filter(|&scale| shipped::open(model, scale).is_some()).collect();
            let Some(largest) = scales.last() else {
                return Err(lacks(model, self.scale.map(shown).as_deref()));
            };
            let scale = self.scale.unwrap_or(Ratio { num: *largest as u32, den: 1 });
            let open = |factor| shipped::open(model, factor).unwrap_or_else(|| Err(lacks(model, None)));
            return Networks::new(model, scale, scales, open);
        };
        let weights = Weights::open(file)?;
        let said = |key: &str| weights.manifest().get(key).map(String::as_str);
        if let (None, Some(kind)) = (&self.model, said("model").filter(|name| !SUPER_RESOLUTION.contains(name))) {
            let problem =
                format!("holds the network {kind}, expected one that enlarges pictures; give other --weights");
            return Err(Error::weights(weights.name(), problem));
        }
        let model = self.model.as_deref().or(said("model")).unwrap_or("fsrcnn");
        let asked = self.scale.filter(|scale| scale.den == 1).map(|scale| scale.num as usize);
        let own = said("scale").map_or(asked, |scale| scale.parse().ok()).filter(|scale| SCALES.contains(scale));
        let own = own.ok_or_else(|| {
            let problem = "does not state its scale; give the --scale it was trained for: 2, 3 or 4";
            Error::weights(weights.name(), problem)
        })?;
        let scale = self.scale.unwrap_or(Ratio { num: own as u32, den: 1 });
        Networks::new(model, scale, vec![own], |_| Ok(weights.clone()))
    }

    /// Reads a network of another program.
    fn imported(&self, file: &Path) -> Result<Networks> {
        let shown = out::shown(file);
        if let Some(weights) = &self.weights {
            let problem = format!("--weights {} is for the networks of lineament", weights.display());
            return Err(Error::Usage(format!("{problem}; {shown} has its own, so leave --weights out")));
        }
        let enlarger = Enlarger::imported(network::open(file)?, &file.display().to_string())?;
        let own = enlarger.traits().scale;
        let scale = self.scale.unwrap_or(Ratio { num: own as u32, den: 1 });
        let count = if own == 1 && self.scale.is_none() { 1 } else { factors(&[own], scale).len() };
        if count == 0 {
            let problem = format!("{shown} keeps a picture's size, so it cannot enlarge {} times", self::shown(scale));
            return Err(Error::Usage(format!("{problem}; leave --scale out")));
        }
        Ok(Networks { all: vec![enlarger; count], scale, scales: vec![own] })
    }
}

/// Returns whether the value of --model is a file and not the name of a network.
fn is_file(name: &str) -> bool {
    network::is_network(Path::new(name)) || (!SUPER_RESOLUTION.contains(&name) && Path::new(name).is_file())
}

impl Networks {
    fn new(model: &str, scale: Ratio, scales: Vec<usize>, open: impl Fn(usize) -> Result<Weights>) -> Result<Self> {
        let network = |factor| Enlarger::new(SuperResolution::new(model, factor)?, open(factor)?);
        let all = factors(&scales, scale).into_iter().map(network).collect::<Result<_>>()?;
        Ok(Self { all, scale, scales })
    }

    /// Opens the networks on `device`, in windows of `tile`, or within `bytes` of its memory.
    ///
    /// # Errors
    /// Those of [`Upscaler::new`] and [`Chain::within`].
    pub fn open(self, device: &Device, tile: Option<usize>, bytes: Option<u64>) -> Result<Chain> {
        let scales = self.scales.iter().map(|scale| format!("x{scale}")).collect::<Vec<_>>().join(", ");
        let scale = self.scale;
        let chain = match bytes {
            Some(bytes) => Chain::within(device, self.all, scale, bytes)?,
            None => {
                let open = |network| Upscaler::open(device.clone(), network, tile);
                Chain::new(self.all.into_iter().map(open).collect::<Result<_>>()?, scale)?
            }
        };
        log::info!(
            "networks: {}: the smallest product of available scales ({scales}) that is at least {}",
            described(&chain),
            shown(scale)
        );
        let why = match (bytes, tile) {
            (Some(bytes), _) => format!("the largest whose plan takes at most {bytes} bytes"),
            (_, Some(_)) => "as --tile requests".into(),
            _ => "the largest tried size that fits the adapter".into(),
        };
        for stage in chain.stages() {
            match stage.tile() {
                usize::MAX => log::info!("windows: every picture whole: {why}"),
                side => log::info!("windows of {} x{}: {side} pixels a side: {why}", stage.name(), stage.scale()),
            }
            log::debug!("{:?}", stage.traits());
        }
        Ok(chain)
    }
}

/// Formats a scale as a decimal number: `3`, `2.5`.
pub fn shown(scale: Ratio) -> String {
    scale.as_f64().to_string()
}

/// Describes a chain: `fsrcnn ×3`, `fsrcnn ×2 ×4, then bicubic to ×7`.
pub fn described(chain: &Chain) -> String {
    let mut text = out::shown(chain.first().name());
    for stage in chain.stages() {
        text += &format!(" ×{}", stage.scale());
    }
    if chain.rest().is_some() {
        text += &format!(", then bicubic to ×{}", shown(chain.scale()));
    }
    text
}

/// Says how the result depends on the windows, if it does.
pub fn caution(chain: &Chain) -> Option<String> {
    let traits = chain.first().traits();
    if traits.is_exact || chain.first().tile() == usize::MAX && traits.fixed.is_none() {
        return None;
    }
    let whole = if traits.fixed.is_some() { "" } else { "; --tile 0 processes pictures whole" };
    Some(format!(
        "{}: an output pixel depends on more than the {} pixels on each side by which windows overlap, so that a picture of several windows \
         differs slightly from the same processed whole{whole}",
        out::shown(&traits.name),
        traits.halo
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_exact_fractions_and_nonsense_is_refused() {
        for (text, num, den) in
            [("3", 3, 1), ("2.5", 5, 2), ("1.1", 11, 10), ("16", 16, 1), ("16.000", 16, 1), ("1.333", 1333, 1000)]
        {
            assert_eq!(parse_scale(text), Ok(Ratio { num, den }), "{text}");
            assert_eq!(shown(Ratio { num, den }), text.trim_end_matches(".000"));
        }
        for text in
            ["", "x", "1", "1.09", "16.001", "17", "-2", "2.", ".5", "2.3456", "1e1", "NaN", "2,5", "4294967298"]
        {
            let error = parse_scale(text).unwrap_err();
            assert!(error.contains("from 1.1 to 16"), "{text}: {error}");
        }
    }
}
