//! `lineament tune`, and the effect of `LINEAMENT_TUNE` on every other command.

use super::inspect::Size;
use super::out::{self, note, say, warning};
use super::upscale::Model;
use super::{Common, bench, interrupt};
use crate::error::{Error, Result};
use crate::exec::{Choose, Device};
use crate::graph::{Graph, NodeId};
use crate::lab::tune::store::{self, ENVIRONMENT, Fingerprint};
use crate::lab::tune::{Choices, Outcome, keys, tune_each};
use crate::plan::Precision;
use crate::table::{self, Column};
use clap::Args;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Args)]
#[command(after_help = "Examples:
  lineament tune upscale --scale 3
  lineament tune net.onnx --size 256x256
  lineament tune net.onnx --train --batch 8 --size 32x32 --json
  lineament tune --show
  lineament tune --clear

For each layer that several shaders can serve, every shader is checked against the reference and timed. The fastest correct one is \
stored for this adapter, driver and version in $XDG_CACHE_HOME/lineament/tune (or ~/.cache) as soon as it is measured. A layer of \
another size uses the result of the nearest layer whose height and width differ by at most a factor of 2.

Other commands follow the environment variable LINEAMENT_TUNE: `cached` (the default) uses stored results, `full` also measures \
missing ones, `off` uses the built-in rule, which is the same on every run.")]
pub struct Arguments {
    /// An ONNX file, or `upscale` with --scale.
    #[arg(value_name = "NET.onnx|upscale", required_unless_present_any = ["show", "clear"])]
    net: Option<PathBuf>,
    /// For upscale: the network, as in `lineament upscale`.
    #[arg(long, default_value = "fsrcnn")]
    model: String,
    /// For upscale: output pixels per input pixel, along each side.
    #[arg(long)]
    scale: Option<usize>,
    /// For upscale: weights that do not come with lineament.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// For an ONNX file: also the gradients, as `lineament bench --train` computes them.
    #[arg(long)]
    train: bool,
    /// For an ONNX file: pictures per run, instead of the file's batch.
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Width and height of the network's input. The default is an ONNX file's own size, and for upscale the largest and the
    /// smallest window that large pictures are cut into, 288x288 and 152x152 for fsrcnn x3.
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
    /// Start no further layer after this time; without it, measure all layers.
    #[arg(long, value_name = "SECONDS")]
    budget: Option<f64>,
    /// Only print the stored results for this adapter.
    #[arg(long, conflicts_with_all = ["net", "clear"])]
    show: bool,
    /// Only delete the stored results for this adapter.
    #[arg(long, conflicts_with = "net")]
    clear: bool,
    #[command(flatten)]
    common: Common,
}

/// The value of `LINEAMENT_TUNE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Cached,
    Full,
}

impl Mode {
    fn of_environment() -> Result<Self> {
        let Some(value) = std::env::var_os("LINEAMENT_TUNE") else { return Ok(Self::Cached) };
        match value.to_str() {
            Some("off") => Ok(Self::Off),
            Some("cached" | "") => Ok(Self::Cached),
            Some("full") => Ok(Self::Full),
            _ => Err(Error::Usage(format!("LINEAMENT_TUNE must be off, cached or full, got {value:?}"))),
        }
    }
}

/// Returns this user's cache folder, or `None` if the environment does not name one.
fn cache_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("XDG_CACHE_HOME").or_else(|| folder("LOCALAPPDATA")).or_else(|| Some(folder("HOME")?.join(".cache")))
}

/// The stored results for one adapter, and their file.
#[derive(Debug)]
struct Remembered {
    fingerprint: Fingerprint,
    /// `None` if there is no cache folder.
    path: Option<PathBuf>,
    is_full: bool,
    known: Mutex<Arc<Choices>>,
}

impl Remembered {
    /// Loads the stored results for `device`; `None` for the references.
    fn of(device: &Device, is_full: bool) -> Option<Self> {
        let variables: Vec<(&str, String)> =
            ENVIRONMENT.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?))).collect();
        let fingerprint = Fingerprint::new(device, &variables)?;
        let path = cache_folder().map(|folder| fingerprint.path(&folder));
        let loaded = match &path {
            Some(path) => store::load(path, &fingerprint),
            None => Err("neither XDG_CACHE_HOME nor HOME names a folder"),
        };
        let file = path.as_ref().map_or_else(|| "no file".into(), out::shown);
        match &loaded {
            Ok(choices) => {
                log::info!("shaders of {} as measured, from {file}", out::count(choices.layers.len(), "layer"))
            }
            Err(why) => log::info!("shaders by the built-in rule: {why} ({file}; `lineament tune` measures)"),
        }
        Some(Self { fingerprint, path, is_full, known: Mutex::new(Arc::new(loaded.unwrap_or_default())) })
    }

    fn known(&self) -> Arc<Choices> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the file after checking that it can be written.
    fn writable(&self) -> Result<&Path> {
        let path = self.path.as_deref();
        let path = path
            .ok_or_else(|| Error::Usage("there is no cache folder; set XDG_CACHE_HOME or HOME to a folder".into()))?;
        store::hold(path)?;
        Ok(path)
    }

    /// Adds `found` to the known results and to the current contents of the file.
    fn remember(&self, found: Choices) -> Result<()> {
        let path = self.writable()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Arc::new(store::add(path, &self.fingerprint, &known, found)?);
        Ok(())
    }

    /// Measures the layers of a graph that `known` lacks, and stores each as soon as it is measured.
    fn measure(
        &self,
        device: &Device,
        (graph, fetches): (&Graph, &[NodeId]),
        known: &Choices,
        budget: Option<Duration>,
    ) -> Result<Choices> {
        let each = &mut |layer: &Choices| {
            self.remember(layer.clone())?;
            Ok(!interrupt::is_requested())
        };
        tune_each(device, graph, fetches, known, budget, each)
    }
}

impl Choose for Remembered {
    fn choices(&self, device: &Device, graph: &Graph, fetches: &[NodeId]) -> Result<Arc<Choices>> {
        if self.is_full {
            match self.writable() {
                Ok(_) => self.measure(device, (graph, fetches), &self.known(), None).map(drop)?,
                // The results still help this process.
                Err(e) => {
                    warning!("the results of LINEAMENT_TUNE=full are not stored: {e}");
                    let found =
                        tune_each(
                            device,
                            graph,
                            fetches,
                            &self.known(),
                            None,
                            &mut |_| Ok(!interrupt::is_requested()),
                        )?;
                    let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                    let mut all = (**known).clone();
                    all.extend(found);
                    *known = Arc::new(all);
                }
            }
            interrupt::check()?;
        }
        Ok(self.known())
    }
}

/// Returns `device` with the choices that the environment requests.
pub fn follow_environment(device: Device) -> Result<Device> {
    let mode = Mode::of_environment()?;
    if mode == Mode::Off {
        log::info!("shaders by the built-in rule: LINEAMENT_TUNE is off");
        return Ok(device);
    }
    Ok(match Remembered::of(&device, mode == Mode::Full) {
        Some(remembered) => device.with_chooser(Arc::new(remembered)),
        None => device,
    })
}

pub fn run(arguments: &Arguments) -> Result<u8> {
    let started = Instant::now();
    let budget = match arguments.budget.map(Duration::try_from_secs_f64) {
        Some(Err(_)) => return Err(Error::Usage("--budget must be a number of seconds such as 2".into())),
        Some(Ok(budget)) => Some(budget),
        None => None,
    };
    if arguments.batch == Some(0) {
        return Err(Error::Usage("--batch must be at least 1".into()));
    }
    if arguments.common.precision != Precision::F32 {
        return Err(Error::Usage(
            "kernels are measured on f32; plans for --precision f16 follow the same choices".into(),
        ));
    }
    // Reports a file that cannot be read before opening an adapter.
    let network = match arguments.net.as_deref() {
        Some(net) if net != Path::new("upscale") => {
            Some(bench::network(net, arguments.batch, arguments.size, arguments.train)?)
        }
        _ => None,
    };
    let device = arguments.common.open()?;
    let Some(remembered) = Remembered::of(&device, false) else {
        return Err(Error::Usage("--device cpu has no shaders to choose from; choose an adapter with --device".into()));
    };
    let file = remembered.path.as_ref().map_or_else(|| "no file".into(), out::shown);
    let path = remembered.path.as_ref().map(out::path);
    if arguments.clear {
        let was_there = remembered.path.as_deref().map_or(Ok(false), store::clear)?;
        say!("{} {file}", if was_there { "removed" } else { "there was no" });
        if arguments.common.json {
            out::json(&json!({ "file": path, "removed": was_there }));
        }
        return Ok(0);
    }
    let mut shown = (*remembered.known()).clone();
    if let Some(net) = &arguments.net {
        let graphs = match network {
            Some(network) => vec![network],
            None => upscale(arguments, &device)?,
        };
        remembered.writable()?;
        let mut layers = BTreeSet::new();
        for (graph, fetches) in &graphs {
            layers.extend(keys(&device, graph, fetches)?);
        }
        shown = Choices::default();
        for (graph, fetches) in &graphs {
            let rest = budget.map(|budget| budget.saturating_sub(started.elapsed()));
            shown.extend(remembered.measure(&device, (graph, fetches), &shown, rest)?);
            if interrupt::is_requested() {
                note!("{} of {} measured and stored", shown.layers.len(), out::count(layers.len(), "layer"));
                return Err(Error::Interrupted);
            }
        }
        let measured = shown.layers.len();
        let layers = out::count(layers.len(), "layer");
        say!("{}: {layers} to choose a shader for, {measured} measured", out::shown(net));
    }
    if !shown.layers.is_empty() {
        say!("{}", table(&shown)?);
    } else if arguments.show {
        say!("no layer has been measured on this adapter");
    }
    say!("{file} on {}", device.describe());
    if arguments.common.json {
        out::json(&json!({ "layers": store::to_json(&shown), "file": path, "device": device.describe() }));
    }
    Ok(0)
}

/// Returns the graphs of the windows of an upscale: for pictures of the requested size, or else for pictures that are one window and
/// for slightly larger ones, which are cut into the smallest windows.
fn upscale(arguments: &Arguments, device: &Device) -> Result<Vec<(Graph, Vec<NodeId>)>> {
    let Some(scale) = arguments.scale else {
        return Err(Error::Usage("tune upscale needs --scale 2, 3 or 4".into()));
    };
    let model = Model { model: arguments.model.clone(), scale, weights: arguments.weights.clone() };
    let upscaler = model.open(device.clone(), None)?;
    let tile = upscaler.tile();
    let sizes = match arguments.size {
        Some(size) => vec![size],
        None => [tile, tile + 1].map(|side| Size { width: side, height: side }).to_vec(),
    };
    let graph = |Size { width, height }| upscaler.network(height, width).map(|(graph, y)| (graph, vec![y]));
    sizes.into_iter().map(graph).collect()
}

/// Formats a row per candidate of each layer: its time, and whether it is chosen.
fn table(choices: &Choices) -> Result<String> {
    let mut rows = Vec::new();
    for (key, choice) in &choices.layers {
        for (k, candidate) in choice.candidates.iter().enumerate() {
            let (ms, fault) = match &candidate.outcome {
                Outcome::Ms(ms) => (format!("{ms:.3}"), None),
                Outcome::Banned(why) => (String::new(), Some(format!("BANNED: {why}"))),
            };
            let chosen = if candidate.stem == choice.stem { "chosen" } else { "" };
            let layer = if k == 0 { key.clone() } else { String::new() };
            rows.push([layer, candidate.stem.clone(), ms, fault.unwrap_or_else(|| chosen.to_owned())]);
        }
    }
    let columns =
        [Column::words("layer", 0), Column::words("shader", 0), Column::numbers("ms", 0), Column::words("", 0)];
    let mut text = String::new();
    table::write(&mut text, &columns, &rows, out::width()).map_err(|e| Error::Usage(e.to_string()))?;
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Select;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn windows(more: &[&str], device: &Device) -> Vec<[usize; 2]> {
        let words = ["tune", "upscale", "--scale", "3"].iter().chain(more);
        let arguments = Command::try_parse_from(words).unwrap().arguments;
        let graphs = upscale(&arguments, device).unwrap();
        graphs.iter().map(|(graph, _)| [2, 3].map(|k| graph.nodes()[0].shape[k])).collect()
    }

    /// Every photograph's windows are near one of the measured windows, and the help names those.
    #[test]
    fn upscale_is_tuned_for_the_windows_of_real_photographs() {
        let device = Device::open(&Select::Cpu).unwrap();
        let measured = windows(&[], &device);
        let help = <Command as clap::CommandFactory>::command().render_long_help().to_string();
        for [height, width] in &measured {
            let named = format!("{width}x{height}");
            assert!(help.contains(&named), "the help does not name {named}");
        }
        let upscaler = Model::shipped("fsrcnn", 3).open(device.clone(), None).unwrap();
        let shape = |[height, width]: [usize; 2]| [[1, 1, height, width]];
        let choices = |key: String| Choices {
            layers: [(key, crate::lab::tune::Choice { stem: "measured".into(), candidates: vec![] })].into(),
        };
        let op = crate::ops::relu::Relu;
        for (width, height) in
            [(4000, 3000), (3000, 4000), (6000, 4000), (4032, 3024), (1920, 1080), (1024, 768), (640, 480), (300, 289)]
        {
            let (graph, _) = upscaler.network(height, width).unwrap();
            let own = [2, 3].map(|k| graph.nodes()[0].shape[k]);
            let is_covered = measured.iter().any(|&size| {
                choices(crate::lab::tune::key(&op, None, &shape(size).map(Into::into)))
                    .stem(&op, None, &shape(own).map(Into::into))
                    .is_some()
            });
            assert!(is_covered, "a picture of {width}x{height} has windows of {own:?}, measured are {measured:?}");
        }
        assert_eq!(windows(&["--size", "64x48"], &device), [[48, 64]]);
    }
}
