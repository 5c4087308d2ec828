//! `lineament convert`.

use super::inspect::Size;
use super::network;
use super::out::{self, say};
use crate::error::{Error, Result};
use crate::exec::{Device, Network, Params, Select};
use crate::files::{self, Existing};
use crate::graph::{Draft, Given, Graph, NodeId};
use crate::vision::models::cbn::cascade::{Cascade, Variant, weights_of};
use crate::vision::models::deepid2::SIZE;
use crate::vision::models::{SuperResolution, attributes as model, shipped};
use crate::vision::tasks::attributes;
use crate::weights::Weights;
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

/// Write a network with its weights as an ONNX file (opset 17), for other programs to run; or the weights of another program's network as
/// a safetensors file.
#[derive(Args)]
#[command(after_help = "Examples:
  lineament convert fsrcnn_x3 fsrcnn_x3.onnx
  lineament convert runs/mine/weights.safetensors mine.onnx
  lineament convert cbn-small cbn-small.onnx --batch 4
  lineament convert net.onnx net.safetensors
  lineament convert net.param net.safetensors

The manifest of the weights names the network; --model and --scale stand in for one that does not. Input x and output y are \
luminance in 0..1. Dimensions that the network does not fix stay open: the batch, and the size for an upscale. A face network reads the \
small face in the frame in which it was trained, and finds its features itself; its batch is fixed. The network of attributes reads red, \
green and blue of 55 × 47 pixels in −2..2, and y holds the scores.

Of an ONNX file, or of an ncnn network (its .param, with the .bin beside it), the weights are written to OUT.safetensors as float32, with \
the names and shapes of the file (in ncnn, the name of the layer and .weight, .bias or the like). Integers are left out. The manifest holds \
what the file says of itself.")]
pub struct Arguments {
    /// Weights file, or weights that come with lineament by name, such as fsrcnn_x3 (see `lineament models`); or an ONNX file, or the
    /// .param of an ncnn network.
    weights: PathBuf,
    /// The ONNX file to write; of a network of another program, the safetensors file.
    output: PathBuf,
    /// Network, if the manifest does not name it: fsrcnn, fsrcnn-s, srcnn, srcnn-9-3-5, srcnn-9-5-5.
    #[arg(long, requires = "scale")]
    model: Option<String>,
    /// Output pixels per input pixel along each side, if the manifest does not say.
    #[arg(long)]
    scale: Option<usize>,
    /// Pictures per run, where the network fixes their number.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Width and height of the input in pixels, where the network fixes them.
    #[arg(long, default_value = "64x64", value_name = "WxH")]
    size: Size,
    /// Replace an existing file.
    #[arg(long)]
    overwrite: bool,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

pub fn run(a: &Arguments) -> Result<u8> {
    let existing = Existing::overwrite(a.overwrite);
    files::check_output(&a.output, existing)?;
    if network::is_network(&a.weights) {
        return stored(a, existing);
    }
    let weights = open(a)?;
    let (network, given) = own(a, weights)?;
    let bytes = network.to_onnx(&[given])?;
    files::write_whole(&a.output, existing, |out| out.write_all(&bytes).map_err(|e| Error::io(&a.output, e)))?;
    say!("{}: {} bytes, input x, output y", a.output.display(), bytes.len());
    if a.json {
        out::json(&json!({ "file": a.output.display().to_string(), "bytes": bytes.len(), "opset": 17 }));
    }
    Ok(0)
}

/// Writes the weights of another program's network.
fn stored(a: &Arguments, existing: Existing) -> Result<u8> {
    let (net, output) = (out::shown(&a.weights), &a.output);
    if output.extension().is_none_or(|extension| extension != "safetensors") {
        let problem =
            "is another format than .safetensors, to which the weights of another program's network are written";
        return Err(Error::Usage(format!("{}: {problem}; name a file that ends in .safetensors", output.display())));
    }
    if a.model.is_some() {
        return Err(Error::Usage(format!("--model and --scale do not describe {net}; leave them out")));
    }
    let weights = network::weights(&a.weights)?;
    let bytes = weights.to_bytes()?;
    files::write_whole(output, existing, |out| out.write_all(&bytes).map_err(|e| Error::io(output, e)))?;
    let (count, values) = (weights.tensors().len(), weights.tensors().values().map(|t| t.data().len()).sum::<usize>());
    say!("{}: {} bytes, {count} tensors of {values} values", out::shown(output), bytes.len());
    if a.json {
        let object = json!({ "file": out::path(output), "bytes": bytes.len(), "tensors": count, "values": values });
        out::json(&object);
    }
    Ok(0)
}

/// Opens a file, or weights that come with lineament.
fn open(a: &Arguments) -> Result<Weights> {
    let name_of = |shipped: &shipped::Shipped| match shipped.model.starts_with("cbn") || shipped.scale == 1 {
        true => shipped.model.to_owned(),
        false => format!("{}_x{}", shipped.model, shipped.scale),
    };
    let known = shipped::all().iter().find(|shipped| a.weights.as_os_str() == name_of(shipped).as_str());
    match known {
        Some(shipped) => shipped.open(),
        None if a.weights.extension().is_none() && !a.weights.exists() => {
            let names: Vec<String> = shipped::all().iter().map(name_of).collect();
            let name = &a.weights;
            Err(Error::Usage(format!(
                "there is no file {name:?}, and no weights of this name; there are {}",
                names.join(", ")
            )))
        }
        None => Weights::open(&a.weights),
    }
}

fn own(a: &Arguments, weights: Weights) -> Result<(Network, Given)> {
    // The file needs no adapter.
    let device = Device::open(&Select::Cpu)?;
    let batch = usize::from(a.batch);
    if a.model.is_none() && weights.manifest().contains_key("preset") {
        let (cascade, weights) = Cascade::open(&weights)?;
        let side = cascade.config.side_before(0);
        let shape = [batch, 1, side, side];
        let build = move |graph: &mut Graph, x| {
            let stages = cascade.build(graph, x, Variant::Full, None)?;
            stages.last().map(|stage| stage.i).ok_or_else(|| Error::Usage("no level of the cascade is fitted".into()))
        };
        let mut graph = Graph::new();
        let x = graph.input("x", shape)?;
        build(&mut graph, x)?;
        let own = weights_of(&graph, &weights);
        return Ok((of(&device, own, build), Given::new("x", shape)));
    }
    let entry = |key: &str| weights.manifest().get(key).cloned();
    if a.model.is_none() && entry("model").as_deref() == Some("attributes") {
        let count = attributes::attributes(weights.name(), weights.manifest())?.len();
        let build = move |g: &Draft| g.output("y", model::logits(model::features(g.input("x")), count).sigmoid());
        return Ok((device.network(weights, build), Given::new("x", [batch, 3, SIZE[0], SIZE[1]])));
    }
    let scale = a.scale.or_else(|| entry("scale")?.parse().ok());
    let (Some(model), Some(scale)) = (a.model.clone().or_else(|| entry("model")), scale) else {
        let problem = "its manifest does not name the network and its scale; give --model and --scale";
        return Err(Error::weights(weights.name(), problem));
    };
    let model = SuperResolution::new(&model, scale)?;
    let given = Given::new("x", [batch, 1, a.size.height, a.size.width]);
    Ok((of(&device, weights, move |graph: &mut Graph, x| model.build(graph, x)), given))
}

/// Returns the network with input x and output y that `build` adds to a graph.
fn of(
    device: &Device,
    weights: impl Into<Params>,
    build: impl Fn(&mut Graph, NodeId) -> Result<NodeId> + Send + Sync + 'static,
) -> Network {
    device.network(weights, move |g: &Draft| {
        g.output("y", g.graph(&[g.input("x")], |graph, x| build(graph, x[0])));
    })
}
