//! `lineament plan` and `lineament profile`.

use super::out::{self, say};
use super::upscale::Model;
use super::{Common, bench, dump};
use crate::error::{Error, Result};
use crate::exec::{Device, Session};
use crate::files::{self, Existing};
use crate::lab::profile::{Profile, Row};
use crate::plan::choices::Outcome;
use crate::plan::why::{Considered, Why};
use crate::plan::{Plan, Precision};
use crate::rng::Rng;
use crate::tensor::{Tensor, len};
use crate::vision::models::bands::Stage;
use crate::vision::tasks::detect::{AT_ONCE, Cascade, Faceness};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "Examples:
  lineament plan net.onnx --size 320x240
  lineament plan net.onnx --why net/conv1.conv2d
  lineament plan upscale --scale 3 --size 128x128"
)]
pub struct PlanCommand {
    #[command(subcommand)]
    task: Option<PlanTask>,
    /// A network that others trained: an ONNX file, or an ncnn .param.
    #[arg(value_name = "NET")]
    net: Option<PathBuf>,
    #[command(flatten)]
    given: Sizes,
    /// Also print which shaders could compute this node, with estimated and measured times, and why one was chosen.
    #[arg(long, value_name = "NODE", requires = "net")]
    why: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// The sizes of a network's inputs.
#[derive(Args)]
struct Sizes {
    /// Pictures per run, instead of the file's batch.
    #[arg(long, value_name = "N", requires = "net")]
    batch: Option<usize>,
    /// Width and height of the input, instead of the file's.
    #[arg(long, value_name = "WxH", requires = "net")]
    size: Option<Size>,
}

#[derive(Subcommand)]
enum PlanTask {
    /// Print the plan of one window of an upscale.
    Upscale(PlanArguments),
}

#[derive(Args)]
#[command(after_help = "Examples:
  lineament plan upscale --scale 3 --size 128x128
  lineament plan upscale --scale 3 --size 128x128 --why deconv
  lineament plan upscale --model srcnn --weights w.safetensors --scale 3 --size 255x255")]
pub struct PlanArguments {
    #[command(flatten)]
    window: WindowArguments,
    /// Also print which shaders could compute this node, with estimated and measured times, and why one was chosen.
    #[arg(long, value_name = "NODE")]
    why: Option<String>,
}

/// One window of an upscale.
#[derive(Args)]
struct WindowArguments {
    #[command(flatten)]
    model: Model,
    /// Width and height of the network's input in pixels; a larger input is cut into windows.
    #[arg(long, default_value = "128x128", value_name = "WxH")]
    size: Size,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "Examples:
  lineament profile net.onnx --size 320x240
  lineament profile upscale --scale 3 --size 128x128
  lineament profile upscale --scale 3 --trace steps.json  # for ui.perfetto.dev
  lineament profile --shader relu  # WGSL, SPIR-V, MSL, HLSL of every entry
  lineament profile --shader conv2d/conv3x3_tile.forward_2 --out dump/"
)]
pub struct ProfileCommand {
    #[command(subcommand)]
    task: Option<ProfileTask>,
    /// A network that others trained; its inputs get seeded values.
    #[arg(value_name = "NET", conflicts_with = "shader")]
    net: Option<PathBuf>,
    #[command(flatten)]
    given: Sizes,
    #[command(flatten)]
    runs: Runs,
    /// Adapter by name or index (see `lineament devices`).
    #[arg(long, short = 'g', value_name = "NAME|INDEX", value_parser = super::parse_device, requires = "net")]
    device: Option<crate::exec::Select>,
    /// Store weights and what lies between layers as f32, or as f16.
    #[arg(long, value_name = "f32|f16", default_value = "f32", hide_default_value = true, requires = "net")]
    precision: Precision,
    /// Print a shader's WGSL and its translations for Vulkan, Metal and DX12, without running it.
    #[arg(long, value_name = "NAME[.ENTRY]")]
    shader: Option<String>,
    /// Write these as files into this folder instead.
    #[arg(long, value_name = "DIR", requires = "shader")]
    out: Option<PathBuf>,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

/// How often to run, and where to write the trace.
#[derive(Args)]
struct Runs {
    /// Runs after one warm-up run; the table shows medians.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Also write the run with the median total in Chrome's trace format, for ui.perfetto.dev.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Overwrite files that exist.
    #[arg(long)]
    overwrite: bool,
}

#[derive(Subcommand)]
enum ProfileTask {
    /// Profile one window of an upscale.
    Upscale(ProfileArguments),
    /// Profile the networks of the cascade that finds faces.
    Detect(DetectArguments),
}

#[derive(Args)]
#[command(after_help = "Examples:
  lineament profile detect --size 640x480
  lineament profile detect --size 640x480 --plan pyramid --json

The networks that propose windows look at a picture of this size, large pictures in parts; those that judge look at 16 windows at a \
time.")]
struct DetectArguments {
    /// Weights of another cascade.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// How the networks find faces.
    #[arg(long, value_name = "PLAN", value_enum, default_value_t)]
    plan: super::detect::Plan,
    /// Weights of other networks of parts, for --plan parts.
    #[arg(long, value_name = "FILE")]
    parts: Option<PathBuf>,
    /// Width and height of the picture.
    #[arg(long, default_value = "640x480", value_name = "WxH")]
    size: Size,
    /// Runs after one warm-up run; the tables show medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
#[command(after_help = "Examples:
  lineament profile upscale --scale 3 --size 128x128
  lineament profile upscale --scale 3 --runs 20 --json
  lineament profile upscale --scale 3 --trace steps.json

The roof of a step is the rate that its FLOP/byte allows on this adapter, limited by multiply-adds or memory traffic, both measured \
first. A step whose data stay in a cache may exceed the memory roof. If four times the work does not take about four times as long \
by the timer, no time is shown.")]
struct ProfileArguments {
    #[command(flatten)]
    plan: WindowArguments,
    #[command(flatten)]
    runs: Runs,
}

/// `WxH`, at most [`MAX_SIDE`] each.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub width: usize,
    pub height: usize,
}

/// Longer than the side of any picture.
const MAX_SIDE: usize = 1 << 20;

impl std::str::FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parsed =
            text.split_once('x').and_then(|(w, h)| Some(Self { width: w.parse().ok()?, height: h.parse().ok()? }));
        let range = 1..=MAX_SIDE;
        parsed
            .filter(|s| range.contains(&s.width) && range.contains(&s.height))
            .ok_or_else(|| format!("expected WIDTHxHEIGHT such as 128x96, each 1 to {MAX_SIDE}"))
    }
}

pub fn plan(command: &PlanCommand) -> Result<u8> {
    match (&command.task, &command.net) {
        (Some(PlanTask::Upscale(arguments)), _) => {
            let WindowArguments { model, size: Size { width, height }, common } = &arguments.window;
            let device = common.open()?;
            let upscaler = model.open(device.clone(), None)?;
            let plan = upscaler.plan(*height, *width)?;
            let why = arguments.why.as_ref().map(|node| upscaler.why(*height, *width, node)).transpose()?;
            print_plan(&plan, &why.unwrap_or_default(), &device, common)
        }
        (None, Some(net)) => {
            let (graph, fetches) = bench::network(net, command.given.batch, command.given.size, false)?;
            let device = command.common.open()?;
            let plan = device.plan(&graph, &fetches)?;
            let why = command.why.as_ref().map(|node| device.why(&graph, &fetches, node)).transpose()?;
            print_plan(&plan, &why.unwrap_or_default(), &device, &command.common)
        }
        (None, None) => Err(Error::Usage("plan needs a network, or a task such as upscale".into())),
    }
}

fn print_plan(plan: &Plan, why: &[Why], device: &Device, common: &Common) -> Result<u8> {
    let longest_ms = plan.longest_dispatch_ms();
    say!("{plan:.width$}", width = out::width());
    if longest_ms.is_finite() && !device.is_cpu() {
        say!("longest dispatch: estimated at most {longest_ms:.0} ms on {}", device.describe());
    } else {
        say!("on {}", device.describe());
    }
    for why in why {
        say!("\n{why:.width$}", width = out::width());
    }
    if common.json {
        let steps: Vec<_> = plan
            .steps
            .iter()
            .map(|s| {
                json!({
                    "node": s.name, "entry": format!("{}.{}", s.stem(), s.entry), "workgroups": s.workgroups,
                    "flops": s.cost.flops, "bytes": s.cost.bytes,
                })
            })
            .collect();
        let object = json!({
            "steps": steps, "slots": plan.slots.len(), "peak_bytes": plan.peak_bytes(), "flops": plan.cost().flops,
            "bytes": plan.cost().bytes, "longest_dispatch_ms": longest_ms.is_finite().then_some(longest_ms), "device": device.describe(),
            "why": why.iter().map(because).collect::<Vec<_>>(),
        });
        out::json(&object);
    }
    Ok(0)
}

/// Returns a choice as JSON; unknown values are null.
fn because(why: &Why) -> Value {
    let considered = |c: &Considered| {
        let (ms, fault) = match &c.measured {
            Some(Outcome::Ms(ms)) => (Some(ms), None),
            Some(Outcome::Banned(fault)) => (None, Some(fault)),
            None => (None, None),
        };
        json!({
            "shader": c.stem, "result_in": c.layout_name(), "estimate_ms": c.estimate_ms.is_finite().then_some(c.estimate_ms),
            "measured_ms": ms, "fault": fault, "chosen": c.is_chosen,
        })
    };
    json!({
        "name": why.name, "reason": why.reason, "considered": why.considered.iter().map(considered).collect::<Vec<_>>(),
    })
}

pub fn profile(command: &ProfileCommand) -> Result<u8> {
    match (&command.task, &command.shader, &command.net) {
        (Some(ProfileTask::Upscale(arguments)), ..) => {
            arguments.runs.check()?;
            let device = arguments.plan.common.open()?;
            let upscaler = arguments.plan.model.open(device, None)?;
            let Size { width, height } = arguments.plan.size;
            print_profile(&upscaler.session(height, width)?, &arguments.runs, arguments.plan.common.json)
        }
        (Some(ProfileTask::Detect(arguments)), ..) => profile_detect(arguments),
        (None, Some(name), _) => {
            dump::run(name, command.out.as_deref(), Existing::overwrite(command.runs.overwrite), command.json)
        }
        (None, None, Some(net)) => {
            command.runs.check()?;
            let common = Common { device: command.device.clone(), precision: command.precision, json: command.json };
            let session = bench::session(net, command.given.batch, command.given.size, &common)?;
            print_profile(&session, &command.runs, command.json)
        }
        (None, None, None) => {
            Err(Error::Usage("profile needs a network, a task such as upscale, or --shader NAME".into()))
        }
    }
}

impl Runs {
    /// Checks what can be checked before the work begins.
    fn check(&self) -> Result<()> {
        if self.runs == 0 {
            return Err(Error::Usage("--runs must be at least 1".into()));
        }
        self.trace.as_ref().map_or(Ok(()), |path| files::check_output(path, Existing::overwrite(self.overwrite)))
    }
}

/// Profiles every network of a cascade.
fn profile_detect(a: &DetectArguments) -> Result<u8> {
    let (device, cascade) = (a.common.open()?, super::detect::weights(a.model.as_ref())?);
    let size = [a.size.height, a.size.width];
    let uses = match a.plan.of_cascade() {
        Some(plan) => Cascade::new(&device, &cascade, plan)?.uses(size)?,
        None => Faceness::new(&device, &super::detect::parts(a.parts.as_ref())?, &cascade)?.uses(size)?,
    };
    let (mut objects, mut total) = (Vec::new(), Some([0.0; 2]));
    for used in uses {
        let profile = measure(&used.session, a.runs.into())?;
        let is_judge = used.stage == Stage::Judge;
        let runs = if is_judge { format!("{AT_ONCE} windows") } else { out::count(used.runs, "run") };
        say!("{}, {runs}:\n{profile:.width$}\n", used.name, width = out::width());
        total = total.zip(profile.total_ms()).map(|(mut total, ms)| {
            total[usize::from(is_judge)] += ms * used.runs as f64;
            total
        });
        objects.push(json!({ "network": used.name, "runs": used.runs, "profile": object(&profile) }));
    }
    if let Some([propose, judge]) = total {
        say!("windows proposed in {propose:.1} ms; {AT_ONCE} of each band judged in {judge:.1} ms");
    }
    if a.common.json {
        out::json(&json!({ "networks": objects, "propose_ms": total.map(|t| t[0]), "judge_ms": total.map(|t| t[1]) }));
    }
    Ok(0)
}

/// Profiles a session on seeded inputs in 0..1.
fn measure(session: &Session, runs: usize) -> Result<Profile> {
    let mut rng = Rng::new(1);
    let mut inputs = Vec::new();
    for (name, value) in &session.plan().inputs {
        let shape = session.plan().values[*value].shape;
        inputs.push((name.as_str(), Tensor::new(shape, (0..len(&shape)).map(|_| rng.unit() as f32).collect())?));
    }
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
    session.profile_runs(&inputs, runs)
}

fn print_profile(session: &Session, runs: &Runs, json: bool) -> Result<u8> {
    let profile = measure(session, runs.runs)?;
    say!("{profile:.width$}", width = out::width());
    if let Some(path) = &runs.trace {
        files::write_whole(path, Existing::overwrite(runs.overwrite), |writer| {
            writeln!(writer, "{}", profile.trace()).map_err(|e| Error::io(path, e))
        })?;
        say!("trace: {}; open it in ui.perfetto.dev", out::shown(path));
    }
    if json {
        let mut object = object(&profile);
        object["trace"] = runs.trace.as_ref().map_or(Value::Null, out::path);
        out::json(&object);
    }
    Ok(0)
}

/// Returns everything in the table as JSON; unknown values are null.
fn object(profile: &Profile) -> Value {
    let row = |r: &Row| {
        let bound = profile.roofs.and_then(|roofs| r.bound(&roofs));
        json!({
            "node": r.name, "entry": r.entry, "calls": r.calls, "workgroups": r.workgroups, "ms": r.ms,
            "flops": r.cost.flops, "bytes": r.cost.bytes, "gflops": r.gflops(), "gbps": r.gbps(),
            "flop_per_byte": r.intensity(), "roof": bound.map(|(roof, _)| roof.name()),
            "of_roof": bound.map(|(_, part)| part), "share": profile.share(r),
        })
    };
    let roofs = profile.roofs.map(|roofs| {
        json!({
            "gflops": roofs.gflops, "gbps": roofs.gbps, "copied_by": roofs.copied_by, "ridge_flop_per_byte": roofs.ridge(),
        })
    });
    let host = profile
        .host
        .map(|host| json!({ "record_ms": host.record_ms, "submit_ms": host.submit_ms, "wait_ms": host.wait_ms }));
    json!({
        "rows": profile.passes().iter().map(row).collect::<Vec<_>>(), "total": row(&profile.total),
        "total_ms": profile.total_ms(), "longest_dispatch_ms": profile.longest_ms(), "roofs": roofs, "host": host,
        "unreliable": profile.unreliable, "runs": profile.runs, "clock": profile.clock.name(), "device": profile.device,
    })
}
