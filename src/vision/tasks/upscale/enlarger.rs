//! Networks that an upscaler runs: those of this project, and those of other programs, of which everything is read from the graph.

use super::super::windows::{Grid, Stretch, stretches};
use super::Window;
use super::reach::{Side, trace};
use crate::error::{Error, Result};
use crate::exec::{Device, Network, Params};
use crate::graph::{Given, Graph};
use crate::import::lower::{Value, clean};
use crate::import::model::{Dimension, Model, Output, Port};
use crate::tensor::{MAX_RANK, Shape};
use crate::vision::image::Rect;
use crate::vision::models::{Reads, SuperResolution};
use crate::weights::Weights;
use std::sync::Arc;

/// Largest halo, in pixels of the network's input, with which windows join without a trace. It is a quarter of the usual window: a network
/// that reaches further would compute most pixels more than twice.
pub const MAX_HALO_PX: usize = 72;

/// Halo of a network that reaches further or everywhere. What lies further away matters little in practice; realesrgan-ncnn-vulkan
/// takes 10.
const USUAL_HALO_PX: usize = 32;

/// Largest scale of a network.
const MAX_SCALE: usize = 16;

/// Largest distance of the grid on which windows lie: a network that halves a picture eight times.
const MAX_MULTIPLE: usize = 256;

/// Sides of the inputs for which a network is added to a graph to learn how it enlarges. The first one that it accepts serves; a smaller
/// one costs less where tables grow with the picture, and networks that reach far or lose many pixels need a larger one.
const PROBES_PX: [usize; 2] = [240, 480];

/// Sides beyond each of [`PROBES_PX`] that are tried, for networks that take only certain remainders.
const OFFSETS: usize = 8;

/// How a network enlarges: what it reads, and where its output lies.
#[derive(Debug, Clone, PartialEq)]
pub struct Traits {
    pub name: String,
    /// Pixels of the result per pixel of the picture, along each side.
    pub scale: usize,
    pub reads: Reads,
    /// 1 for luminance, 3 for red, green and blue.
    pub channels: usize,
    /// Input pixels to each side that an output pixel depends on, counted from the input pixel that contains it.
    pub halo: usize,
    /// Rows (and columns) of the enlarged input that the output lacks at the top (left) and at the bottom (right); negative if it has more.
    pub crop: [i64; 2],
    /// Windows start at multiples of this, in pixels of the input,
    pub multiple: usize,
    /// and their sides leave this remainder.
    pub remainder: usize,
    /// Height and width of the input, if the network takes no other.
    pub fixed: Option<[usize; 2]>,
    /// Whether windows give what the whole picture would, up to the order of rounding: the network reaches no further than `halo`.
    pub is_exact: bool,
}

impl Traits {
    fn built_in(model: &SuperResolution) -> Self {
        Self {
            name: model.name.clone(),
            scale: model.scale,
            reads: model.reads,
            channels: 1,
            halo: model.halo,
            crop: [0; 2],
            multiple: 1,
            remainder: 0,
            fixed: None,
            is_exact: true,
        }
    }

    /// Returns the output pixels per input pixel, along each side.
    pub fn ratio(&self) -> usize {
        if self.reads == Reads::Small { self.scale } else { 1 }
    }

    /// Returns the input pixels that are added before and behind a picture, because the output lacks them.
    pub(super) fn margins(&self) -> [usize; 2] {
        self.crop.map(|crop| usize::try_from(crop).unwrap_or(0).div_ceil(self.ratio()))
    }

    fn grid(&self, axis: usize) -> Grid {
        let fixed = self.fixed.map(|sides| sides[axis]);
        Grid { multiple: self.multiple, remainder: self.remainder, fixed }
    }

    /// Returns the side of the shortest window that keeps anything.
    pub(super) fn least(&self) -> usize {
        (0..2).map(|axis| self.grid(axis).least(self.halo)).max().unwrap_or(1)
    }

    /// Returns the stretches of rows (0) or columns (1) that cover `n` pixels of the input, in pixels of the input with its margins.
    pub(super) fn stretches(&self, n: usize, axis: usize, side: usize) -> Vec<Stretch> {
        let [before, behind] = self.margins();
        let grid = self.grid(axis);
        let mut all = stretches(grid.up(n + before + behind), side, self.halo, &grid);
        for stretch in &mut all {
            let keep = stretch.keep;
            stretch.keep = (keep.0.clamp(before, before + n), keep.1.clamp(before, before + n));
        }
        all.retain(|stretch| stretch.keep.0 < stretch.keep.1);
        all
    }

    /// Returns where the part `kept` of the result lies in the network's output for the whole.
    pub(super) fn placed(&self, kept: Rect) -> Rect {
        let shift = (self.margins()[0] * self.ratio()) as i64 - self.crop[0];
        let moved = |at: usize| usize::try_from(at as i64 + shift).unwrap_or(0);
        Rect { top: moved(kept.top), left: moved(kept.left), ..kept }
    }

    /// Returns windows of `side` that cover a network input of `height` × `width`, row by row.
    pub(super) fn cover(&self, height: usize, width: usize, side: usize) -> Vec<Window> {
        let rows = self.stretches(height, 0, side);
        let columns = self.stretches(width, 1, side);
        let (r, margin) = (self.ratio(), self.margins()[0]);
        // The network's first output pixel is this one of its enlarged input.
        let first = |start: usize| (start * r) as i64 + self.crop[0];
        let inside = |kept: usize, start: usize| usize::try_from((kept * r) as i64 - first(start)).unwrap_or(0);
        let window = |row: &Stretch, column: &Stretch| {
            let [height, width] = [row, column].map(|s| (s.keep.1 - s.keep.0) * r);
            let [top, left] = [row, column].map(|s| (s.keep.0 - margin) * r);
            let [row_in, column_in] = [row, column].map(|s| inside(s.keep.0, s.start));
            Window {
                read: Rect { top: row.start, left: column.start, height: row.len, width: column.len },
                kept: Rect { top, left, height, width },
                inside: Rect { top: row_in, left: column_in, height, width },
            }
        };
        rows.iter().flat_map(|row| columns.iter().map(move |column| window(row, column))).collect()
    }
}

/// A network that enlarges pictures, with its weights; not on a device yet.
#[derive(Debug, Clone)]
pub struct Enlarger {
    pub(super) traits: Traits,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    BuiltIn(SuperResolution, Params),
    Imported(Arc<Model>, Params, Port),
}

impl Enlarger {
    /// Returns a network of this project.
    ///
    /// # Errors
    /// The weights do not belong to `model`.
    pub fn new(model: SuperResolution, weights: Weights) -> Result<Self> {
        for (key, wanted) in [("model", model.name.clone()), ("scale", model.scale.to_string())] {
            if let Some(is) = weights.manifest().get(key)
                && *is != wanted
            {
                return Err(Error::weights(
                    weights.name(),
                    format!("holds {key} {is}, asked for {wanted}; give its --model and --scale, or other --weights"),
                ));
            }
        }
        let traits = Traits::built_in(&model);
        // Windows of all sizes share one copy of the weights on the device.
        Ok(Self { traits, source: Source::BuiltIn(model, Params::shared(weights)) })
    }

    /// Returns a network of another program that enlarges pictures: luminance if it has one channel, red, green and blue if it has three,
    /// in 0..1. Its scale, what it crops, how far it reaches and which sizes it takes are found from its graph. `name` is for messages.
    ///
    /// # Errors
    /// It has several inputs or outputs, other channels, channels last, or integers; it does not enlarge by a whole number up to 16; it
    /// cannot be run.
    pub fn imported(model: Model, name: &str) -> Result<Self> {
        let refused = |problem: String| Error::Import { file: name.to_owned(), problem };
        let (port, survey) = Survey::of(&model, &refused)?;
        let traits = survey.traits(name).map_err(refused)?;
        let weights = Params::shared(model.weights());
        Ok(Self { traits, source: Source::Imported(Arc::new(model), weights, port) })
    }

    pub fn traits(&self) -> &Traits {
        &self.traits
    }

    pub(super) fn weights(&self) -> &Params {
        match &self.source {
            Source::BuiltIn(_, weights) | Source::Imported(_, weights, _) => weights,
        }
    }

    pub(super) fn network(&self, device: &Device) -> Network {
        match &self.source {
            Source::BuiltIn(model, weights) => {
                let model = model.clone();
                device.network(weights.clone(), move |g| {
                    g.output("y", g.graph(&[g.input("x")], |graph, x| model.build(graph, x[0])));
                })
            }
            Source::Imported(model, ..) => model.network(device),
        }
    }

    /// Describes the network's input of `height` × `width`.
    pub(super) fn given(&self, height: usize, width: usize) -> Given {
        match &self.source {
            Source::BuiltIn(..) => Given::new("x", [1, self.traits.channels, height, width]),
            Source::Imported(_, _, port) => Given::new(
                &clean(&port.name),
                shaped(port.dims.as_ref().map_or(4, Vec::len), [self.traits.channels, height, width]),
            ),
        }
    }
}

fn shaped(rank: usize, [channels, height, width]: [usize; 3]) -> Shape {
    if rank == 3 { [channels, height, width].into() } else { [1, channels, height, width].into() }
}

/// Where the output pixels lie along the rows or the columns of the input.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Along {
    /// Pixels of the input from one to the next.
    step: f64,
    /// The middle of the input pixels on which the first one depends.
    centre: f64,
    /// Output pixels that depend on what lies before the first input pixel, and behind the last.
    lost: [i64; 2],
}

/// What a network makes of an input of one size.
#[derive(Debug, Clone)]
struct Probe {
    size: [usize; 2],
    /// Channels, height and width of the output.
    out: [usize; 3],
    along: Option<[Along; 2]>,
    is_global: bool,
    multiple: usize,
}

impl Probe {
    fn new(
        model: &Model,
        port: &Port,
        channels: usize,
        size: [usize; 2],
        refused: &dyn Fn(String) -> Error,
    ) -> Result<Self> {
        let rank = port.dims.as_ref().map_or(4, Vec::len);
        let mut graph = Graph::new();
        let added = model.add(&mut graph, &[shaped(rank, [channels, size[0], size[1]]).to_vec()])?;
        let (Some((_, _, input)), Some(Output { name, value: Value::Computed(output) })) =
            (added.inputs.first(), added.outputs.first())
        else {
            return Err(refused("makes an output that does not depend on its input".into()));
        };
        let out = match output.dims[..] {
            [1, c, h, w] if rank == 4 => [c, h, w],
            [c, h, w] if rank == 3 => [c, h, w],
            _ => {
                return Err(refused(format!(
                    "makes {name:?} {:?}; upscale serves pictures, [1, C, H, W]",
                    output.dims
                )));
            }
        };
        let traced = trace(&graph, *input, [rank - 2, rank - 1], output.id)
            .ok_or_else(|| refused("makes an output that does not depend on its input".into()))?;
        let axes = [output.dims.len() - 2, output.dims.len() - 1];
        let along = traced.reach.sides.and_then(|sides| {
            let [rows, columns] = [0, 1].map(|d| {
                let Side { mut steps, from, to } = sides[d];
                let step = std::mem::take(&mut steps[axes[d]]);
                let [first, last] = traced.reach.inside[axes[d]];
                let lost = [first, out[1 + d] as i64 - 1 - last];
                let along = Along { step, centre: f64::midpoint(from, to), lost };
                (step > 0.0 && steps == [0.0; MAX_RANK] && first <= last).then_some(along)
            });
            Some([rows?, columns?])
        });
        let is_global = traced.reach.is_global || along.is_none();
        Ok(Self { size, out, along, is_global, multiple: traced.multiple })
    }

    /// Returns how many times larger the output of a larger input is, if that is a whole number.
    fn scale(&self, larger: &Self) -> Option<usize> {
        let [rows, columns] = [0, 1].map(|d| {
            let (more, more_out) = (larger.size[d] - self.size[d], larger.out[1 + d].checked_sub(self.out[1 + d])?);
            (more_out > 0 && more_out.is_multiple_of(more)).then_some(more_out / more)
        });
        rows.filter(|rows| Some(*rows) == columns)
    }

    /// Returns where the output lies, if two sizes and the scale agree on it.
    fn agreed(&self, other: &Self, scale: usize) -> Option<[Along; 2]> {
        let (own, other) = (self.along?, other.along?);
        let is_near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        let is_same = |(a, b): (&Along, &Along)| {
            a.lost == b.lost
                && is_near(a.centre, b.centre)
                && [a, b].iter().all(|along| is_near(along.step * scale as f64, 1.0))
        };
        own.iter().zip(&other).all(is_same).then_some(own)
    }
}

/// What one or two sizes tell about a network.
#[derive(Debug)]
struct Survey {
    channels: usize,
    first: Probe,
    /// For a larger input; the same again if the network takes one size.
    second: Probe,
    scale: usize,
    is_fixed: bool,
}

impl Survey {
    fn of(model: &Model, refused: &dyn Fn(String) -> Error) -> Result<(Port, Self)> {
        let names = |ports: &[Port]| ports.iter().map(|port| port.name.clone()).collect::<Vec<_>>();
        let ([port], [_]) = (model.inputs(), model.outputs()) else {
            return Err(refused(format!(
                "has inputs {:?} and outputs {:?}; upscale serves networks with one of each, a picture",
                names(model.inputs()),
                names(model.outputs())
            )));
        };
        let described = port.describe();
        if !port.kind.is_float() {
            return Err(refused(format!("takes {described}; upscale serves networks of floats in 0..1")));
        }
        // ncnn's pictures have no batch.
        let is_ncnn = model.metadata().iter().any(|(key, value)| key == "format" && value == "ncnn");
        let unknown = || vec![Dimension::Any(String::new()); if is_ncnn { 3 } else { 4 }];
        let dims = port.dims.clone().unwrap_or_else(unknown);
        let port = Port { dims: Some(dims.clone()), ..port.clone() };
        let inner = match dims.len() {
            3 => &dims[..],
            4 => &dims[1..],
            _ => return Err(refused(format!("takes {described}; upscale serves pictures, [N, C, H, W]"))),
        };
        let is_picture = |dim: &Dimension| matches!(dim, Dimension::Fixed(1 | 3));
        let channels = match &inner[0] {
            Dimension::Fixed(channels @ (1 | 3)) => vec![*channels],
            _ if is_picture(&inner[2]) => {
                return Err(refused(format!("takes {described}, with channels last; export it with channels first")));
            }
            Dimension::Any(_) => vec![3, 1],
            Dimension::Fixed(channels) => {
                return Err(refused(format!(
                    "takes {channels} channels; upscale serves 1 (luminance) or 3 (red, green, blue)"
                )));
            }
        };
        let declared = match &inner[1..] {
            [Dimension::Fixed(height), Dimension::Fixed(width)] => Some([*height, *width]),
            _ => None,
        };
        let survey = Self::measured(model, &port, &channels, declared, refused)?;
        Ok((port, survey))
    }

    fn measured(
        model: &Model,
        port: &Port,
        channels: &[usize],
        declared: Option<[usize; 2]>,
        refused: &dyn Fn(String) -> Error,
    ) -> Result<Self> {
        let mut problem = None;
        for &channels in channels {
            let mut probe = |size| match Probe::new(model, port, channels, size, refused) {
                Ok(probe) => Some(probe),
                Err(error) => {
                    problem.get_or_insert(error);
                    None
                }
            };
            let fixed = declared.and_then(&mut probe);
            // A network takes the size that it declares.
            if declared.is_some() && fixed.is_none() {
                continue;
            }
            let mut sides = PROBES_PX.into_iter().flat_map(|side| (0..OFFSETS).map(move |k| side + k));
            if let Some(first) = sides.find_map(|side| probe([side; 2])) {
                let step = first.multiple * 48_usize.div_ceil(first.multiple);
                let side = first.size[0];
                let second = if first.multiple <= MAX_MULTIPLE { probe([side + step, side + 2 * step]) } else { None };
                if let Some((second, scale)) =
                    second.and_then(|second| first.scale(&second).map(|scale| (second, scale)))
                {
                    return Ok(Self { channels, first, second, scale, is_fixed: false });
                }
                if fixed.is_none() {
                    let ([h, w], [_, out_h, out_w]) = (first.size, first.out);
                    return Err(refused(format!(
                        "makes {out_w}x{out_h} pixels of {w}x{h}, and not a whole number of times more of more; upscale serves \
                         networks that enlarge pictures of any size, or of one, by a whole number"
                    )));
                }
            }
            if let Some(first) = fixed {
                let ([h, w], [_, out_h, out_w]) = (first.size, first.out);
                // What is cropped is less than a pixel's worth of the scale in most networks; the graph knows better.
                let scale = first.along.map_or(out_h as f64 / h as f64, |[rows, _]| 1.0 / rows.step).round();
                if scale < 1.0 {
                    return Err(refused(format!(
                        "makes {out_w}x{out_h} pixels of {w}x{h}; upscale serves networks that enlarge"
                    )));
                }
                return Ok(Self { channels, second: first.clone(), first, scale: scale as usize, is_fixed: true });
            }
        }
        Err(problem.unwrap_or_else(|| refused("takes no picture of any size that was tried".into())))
    }

    /// Returns how the network enlarges, or what upscale does not serve.
    fn traits(&self, name: &str) -> std::result::Result<Traits, String> {
        let Self { channels, first, second, scale, is_fixed } = self;
        let ([height, width], [out_channels, out_height, out_width]) = (first.size, first.out);
        if out_channels != *channels {
            return Err(format!(
                "makes {out_channels} channels of {channels}; upscale serves networks that keep 1 (luminance) or 3 (red, green, blue)"
            ));
        }
        if *scale > MAX_SCALE {
            return Err(format!("enlarges {scale} times; upscale serves scales from 1 to {MAX_SCALE}"));
        }
        if first.multiple > MAX_MULTIPLE {
            let multiple = first.multiple;
            return Err(format!(
                "halves pictures so often that windows lie {multiple} pixels apart; up to {MAX_MULTIPLE} are served"
            ));
        }
        let along = first.agreed(second, *scale);
        let ratio = *scale as f64;
        let lacks = [height, width].map(|n| (n * scale) as i64);
        let lacks = [lacks[0] - out_height as i64, lacks[1] - out_width as i64];
        if lacks.iter().any(|lacks| lacks.unsigned_abs() as usize >= height.min(width) * scale) {
            return Err(format!(
                "makes {out_width}x{out_height} pixels of {width}x{height}, not {scale} times as many"
            ));
        }
        let crops = [0, 1].map(|d| Self::crop(lacks[d], along.map(|along| along[d]), ratio));
        let crop = crops[0];
        if crops[1] != crop {
            return Err(format!(
                "lacks {crops:?} rows and columns of its output; upscale serves networks that lack equally many"
            ));
        }
        let margin = crop.map(|crop| (crop as f64 / ratio).ceil().max(0.0) as usize);
        let least = margin[0].max(margin[1]);
        // From pixel `start + halo` on, and up to the same distance from its end, the output of a window sees only the window.
        let halo = along.map(|along| {
            let lost = |along: &Along| (along.lost[0] + crop[0]).max(along.lost[1] + crop[1]);
            usize::try_from(along.iter().map(lost).fold(0, i64::max)).unwrap_or(0).div_ceil(*scale)
        });
        let is_local = !first.is_global && !second.is_global;
        let (mut halo, mut is_exact) = match halo {
            Some(halo) if is_local && halo <= MAX_HALO_PX.max(least) => (halo.max(least), true),
            Some(halo) => (halo.min(USUAL_HALO_PX).max(least), false),
            None => (USUAL_HALO_PX.max(least), false),
        };
        let (multiple, fixed) = (first.multiple, is_fixed.then_some(first.size));
        if let Some([height, width]) = fixed {
            let most = height.min(width).saturating_sub(multiple) / 2;
            if least > most {
                return Err(format!(
                    "takes {width}x{height} pixels alone and crops {least} of them at each side; too few are left"
                ));
            }
            if halo > most {
                (halo, is_exact) = ((most / 2).max(least), false);
            }
        }
        Ok(Traits {
            name: name.to_owned(),
            scale: *scale,
            reads: Reads::Small,
            channels: *channels,
            halo,
            crop,
            multiple,
            remainder: height % multiple,
            fixed,
            is_exact,
        })
    }

    /// Returns the rows of the enlarged input that an output lacks above and below, if it `lacks` so many in all.
    fn crop(lacks: i64, along: Option<Along>, ratio: f64) -> [i64; 2] {
        // If none are lacking, output and input begin together, whatever the filters: networks learn that. Otherwise as many are lacking on
        // either side, unless the filters' centres say that it is off by half a pixel of the input or more.
        let half = lacks.div_euclid(2);
        let centre = along.map(|along| ratio * (along.centre - (1.0 / ratio - 1.0) / 2.0));
        let first = match centre {
            Some(centre) if lacks != 0 && (centre - lacks as f64 / 2.0).abs() > ratio / 2.0 => centre.round() as i64,
            _ => half,
        };
        [first, lacks - first]
    }
}
