//! `lineament tune`, and what `LINEAMENT_TUNE` says of every other command.

use super::inspect::Size;
use super::out::{self, say, warning};
use super::upscale::Model;
use super::{Common, bench, interrupt};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::graph::{Graph, NodeId};
use crate::plan::write_table;
use crate::tune::store::{self, ENVIRONMENT, Fingerprint};
use crate::tune::{Choices, Choose, Outcome, keys, tune_more};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Side of the window that `tune upscale` measures without --size: the one that larger pictures are cut into.
const WINDOW: usize = crate::tasks::upscale::TILES[0];

#[derive(Args)]
#[command(
    after_help = "Examples:\n  lineament tune upscale --scale 3\n  lineament tune net.onnx --size 256x256\n  lineament tune net.onnx --train --batch 8 --size 32x32 --json\n  lineament tune --show\n  lineament tune --clear\n\nEach layer that several shaders serve is checked against the reference and timed; the fastest right one is remembered for\nthis adapter, driver and version in $XDG_CACHE_HOME/lineament/tune (else ~/.cache). Other commands follow the environment\nvariable LINEAMENT_TUNE: `cached` (the default) uses what is remembered, `full` also measures what is not, `off` takes the\nbuilt-in rule, the same on every run."
)]
pub struct Arguments {
    /// An ONNX file, or `upscale` with --scale.
    #[arg(value_name = "NET.onnx|upscale", required_unless_present_any = ["show", "clear"])]
    net: Option<PathBuf>,
    /// For upscale: the network, as in `lineament upscale`.
    #[arg(long, default_value = "fsrcnn")]
    model: String,
    /// For upscale: how many times as wide and high.
    #[arg(long)]
    scale: Option<usize>,
    /// For upscale: weights that do not come with lineament.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// For an ONNX file: also the gradients, as `lineament bench --train` computes them.
    #[arg(long)]
    train: bool,
    /// For an ONNX file: pictures a run, instead of the file's.
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Width and height of the network's input: instead of the file's, and of 160x160 for upscale.
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
    /// Measure for this long at most, up to the layer at hand; without it, all layers.
    #[arg(long, value_name = "SECONDS")]
    budget: Option<f64>,
    /// Only print what is remembered for this adapter.
    #[arg(long, conflicts_with_all = ["net", "clear"])]
    show: bool,
    /// Only forget what is remembered for this adapter.
    #[arg(long, conflicts_with = "net")]
    clear: bool,
    #[command(flatten)]
    common: Common,
}

/// What `LINEAMENT_TUNE` says.
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

/// Where programs of this user keep what can be made again; none where the environment does not say.
fn cache_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("XDG_CACHE_HOME").or_else(|| folder("LOCALAPPDATA")).or_else(|| Some(folder("HOME")?.join(".cache")))
}

/// What is known of one adapter, and its file.
#[derive(Debug)]
struct Remembered {
    fingerprint: Fingerprint,
    /// None where there is no cache folder.
    path: Option<PathBuf>,
    is_full: bool,
    known: Mutex<Arc<Choices>>,
}

impl Remembered {
    /// None for the references.
    fn of(device: &Device, is_full: bool) -> Option<Self> {
        let variables: Vec<(&str, String)> =
            ENVIRONMENT.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?))).collect();
        let fingerprint = Fingerprint::new(device, &variables)?;
        let path = cache_folder().map(|folder| fingerprint.path(&folder));
        let known = path.as_deref().and_then(|path| store::load(path, &fingerprint)).unwrap_or_default();
        Some(Self { fingerprint, path, is_full, known: Mutex::new(Arc::new(known)) })
    }

    fn known(&self) -> Arc<Choices> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds `found` to what is known and to what the file holds by now.
    fn remember(&self, found: Choices) -> Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = (**known).clone();
        if let Some(others) = self.path.as_deref().and_then(|path| store::load(path, &self.fingerprint)) {
            all.extend(others);
        }
        all.extend(found);
        *known = Arc::new(all);
        match &self.path {
            Some(path) => store::save(path, &self.fingerprint, &known),
            None => Err(Error::Usage("set XDG_CACHE_HOME or HOME to a folder to remember it in".into())),
        }
    }
}

impl Choose for Remembered {
    fn choices(&self, device: &Device, graph: &Graph, fetches: &[NodeId]) -> Result<Arc<Choices>> {
        if self.is_full {
            let found = tune_more(device, graph, fetches, &self.known(), None)?;
            if !found.layers.is_empty()
                && let Err(e) = self.remember(found)
            {
                warning!("what LINEAMENT_TUNE=full measured is not remembered: {e}");
            }
        }
        Ok(self.known())
    }
}

/// `device` with the choices that the environment asks for.
pub fn follow_environment(device: Device) -> Result<Device> {
    let mode = Mode::of_environment()?;
    if mode == Mode::Off {
        return Ok(device);
    }
    Ok(match Remembered::of(&device, mode == Mode::Full) {
        Some(remembered) => device.with_chooser(Arc::new(remembered)),
        None => device,
    })
}

pub fn run(arguments: &Arguments) -> Result<u8> {
    let budget = match arguments.budget.map(Duration::try_from_secs_f64) {
        Some(Err(_)) => return Err(Error::Usage("--budget must be a number of seconds such as 2".into())),
        Some(Ok(budget)) => Some(budget),
        None => None,
    };
    if arguments.batch == Some(0) {
        return Err(Error::Usage("--batch must be at least 1".into()));
    }
    // A file that cannot be read is reported before an adapter is opened.
    let network = match arguments.net.as_deref() {
        Some(net) if net != Path::new("upscale") => {
            Some(bench::network(net, arguments.batch, arguments.size, arguments.train)?)
        }
        _ => None,
    };
    let device = arguments.common.open()?;
    let Some(remembered) = Remembered::of(&device, false) else {
        return Err(Error::Usage("the references on the processor have no shaders to choose from".into()));
    };
    let file = remembered.path.as_ref().map_or_else(|| "no file".into(), |path| path.display().to_string());
    if arguments.clear {
        let was_there = remembered.path.as_deref().map_or(Ok(false), store::clear)?;
        say!("{} {file}", if was_there { "removed" } else { "there was no" });
        if arguments.common.json {
            out::json(&json!({ "file": remembered.path, "removed": was_there }));
        }
        return Ok(0);
    }
    let mut shown = (*remembered.known()).clone();
    if let Some(net) = &arguments.net {
        let (graph, fetches) = match network {
            Some(network) => network,
            None => upscale(arguments, &device)?,
        };
        let layers = keys(&device, &graph, &fetches)?;
        let found = tune_more(&device, &graph, &fetches, &Choices::default(), budget)?;
        if interrupt::is_requested() {
            return Err(Error::Interrupted);
        }
        say!("{}: {} layers to choose a shader for, {} measured", net.display(), layers.len(), found.layers.len());
        shown = found.clone();
        remembered.remember(found)?;
    }
    say!("{}", table(&shown)?);
    say!("{} on {}", file, device.describe());
    if arguments.common.json {
        say!("{}", json!({ "layers": store::to_json(&shown), "file": remembered.path, "device": device.describe() }));
    }
    Ok(0)
}

/// The graph of one window of an upscale.
fn upscale(arguments: &Arguments, device: &Device) -> Result<(Graph, Vec<NodeId>)> {
    let Some(scale) = arguments.scale else {
        return Err(Error::Usage("tune upscale needs --scale 2, 3 or 4".into()));
    };
    let model = Model { model: arguments.model.clone(), scale, weights: arguments.weights.clone() };
    let upscaler = model.open(device.clone(), None)?;
    let Size { width, height } = arguments.size.unwrap_or(Size { width: WINDOW, height: WINDOW });
    let (graph, y) = upscaler.network(height, width)?;
    Ok((graph, vec![y]))
}

/// A row a layer: what each candidate took, and which one is used.
fn table(choices: &Choices) -> Result<String> {
    let rows: Vec<[String; 3]> = choices
        .layers
        .iter()
        .map(|(key, choice)| {
            let candidates = choice.candidates.iter().map(|c| match &c.outcome {
                Outcome::Ms(ms) => format!("{} {ms:.3} ms", c.stem),
                Outcome::Banned(why) => format!("{} BANNED: {why}", c.stem),
            });
            [key.clone(), candidates.collect::<Vec<_>>().join(", "), choice.stem.clone()]
        })
        .collect();
    let mut text = String::new();
    write_table(&mut text, &["layer", "candidates", "chosen"].map(String::from), &rows, &[])
        .map_err(|e| Error::Usage(e.to_string()))?;
    Ok(text.trim_end().to_owned())
}
