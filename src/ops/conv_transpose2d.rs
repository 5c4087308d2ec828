//! conv_transpose2d: transposed convolution, which makes a map `stride` times larger (also called deconvolution).
//!
//! `y[n,o,i,j] = b[o] + Σ_{c,u,v} w[c,o,u,v] · x[n,c,r,s] over the taps with r·stride + u·dilation − padding = i, likewise for j`
//!
//! with c from the group of o: of G groups, each has Ci/G input and Co/G output channels, and w has o's number in its group.
//!
//! | name | shape                           | meaning                                                                    |
//! |------|---------------------------------|----------------------------------------------------------------------------|
//! | x    | `[N,Ci,H,W]`                    | input                                                                      |
//! | w    | `[Ci,Co/G,Kh,Kw]`, Kh, Kw 1 to 11 | filters                                                                    |
//! | b    | `[1,Co,1,1]`                    | bias                                                                       |
//! | y    | `[N,Co,H',W']`                  | output, H' = (H − 1)·stride − 2·padding + (Kh − 1)·dilation + 1 + output_padding, W' likewise |
//!
//! Gradients: for x (a strided convolution of dy), w and b; backward reads x, w and dy.
//! Errors: w or b disagrees with x; a kernel outside 1 to 11; a stride or dilation of 0 or above 65,535;
//! groups that do not divide Ci; output_padding not below stride or dilation; no output left.
//! Numerics: f32 sums in a fixed order, the same for every output and every picture size; dw and db in two passes.
//! Source: definition as in torch.nn.functional.conv_transpose2d, whose layout of w it uses.

use super::conv2d::correlation::Correlation;
use super::conv2d::straight::parts;
use super::conv2d::{self, Conv2d};
use super::{Accuracy, Call, Caps, Case, Cost, Family, Io, Kernel, Launch, Op, Scalar, Tolerance, Values, Work, wgsl};
use crate::error::ShapeError;
use crate::layout::{Layout, MAX_TEXELS};
use crate::tensor::Shape;

/// Largest side of a filter.
const MAX_KERNEL: usize = 11;
/// Minimum pixels per partial sum of `dw` (whole rows), and maximum elements per partial sum of `db`.
const CHUNK: usize = 64;
const PART: usize = 256;
/// Maximum number of partial sums of `dw`; very large filters get coarser ones.
const MAX_PARTIALS: usize = 1 << 22;

/// Attributes, each for rows and columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvTranspose2d {
    /// Output pixels per input pixel, 1 to 65,535.
    pub stride: [usize; 2],
    /// Output pixels cut off at each edge.
    pub padding: [usize; 2],
    /// Output pixels added at the bottom and right edge; below `stride` or `dilation`.
    pub output_padding: [usize; 2],
    /// Output pixels from one tap to the next, 1 to 65,535.
    pub dilation: [usize; 2],
    /// Number of independent groups that the channels are split into.
    pub groups: usize,
}

impl Default for ConvTranspose2d {
    /// Stride 1, dilation 1, no padding, one group.
    fn default() -> Self {
        Self { stride: [1, 1], padding: [0, 0], output_padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

impl ConvTranspose2d {
    /// Returns the output size along `axis` (0 rows, 1 columns), or the error of an invalid attribute.
    fn size(&self, axis: usize, input: usize, kernel: usize) -> Result<usize, ShapeError> {
        let (stride, padding, more) = (self.stride[axis], self.padding[axis], self.output_padding[axis]);
        for (name, value) in [("stride", stride), ("dilation", self.dilation[axis])] {
            if !(1..=65_535).contains(&value) {
                return Err(ShapeError::value(name, "1 to 65535", value));
            }
        }
        let dilation = self.dilation[axis];
        if more >= stride.max(dilation) {
            let expected = format!("below the stride {stride} or the dilation {dilation}");
            return Err(ShapeError::value("output_padding", expected, more));
        }
        let reach = (kernel - 1).saturating_mul(dilation).saturating_add(more);
        let full = input
            .checked_sub(1)
            .and_then(|n| n.checked_mul(stride))
            .and_then(|n| n.checked_add(reach)?.checked_add(1))
            .filter(|&n| i32::try_from(n).is_ok())
            .ok_or_else(|| ShapeError::value("stride", format!("at most 2^31 output pixels for {input}"), stride))?;
        match padding.checked_mul(2) {
            Some(cut) if cut < full => Ok(full - cut),
            _ => Err(ShapeError::value("padding", format!("below half of the {full} output pixels"), padding)),
        }
    }
}

/// The taps of an output pixel are every `step`-th, and their input pixels `apart`.
struct Steps {
    /// The greatest common divisor of stride and dilation; `step` is the stride divided by it, and `apart` the dilation.
    common: usize,
    step: usize,
    apart: usize,
    /// inverse · apart is 1 modulo step.
    inverse: usize,
}

/// How `dw` and `db` are split into partial sums.
struct Cut {
    rows: usize,
    chunks: usize,
    part: usize,
    parts: usize,
}

fn cut(io: &Io) -> Cut {
    let [n, _, h, w] = io.x[0].nchw();
    let [_, _, oh, ow] = io.y.nchw();
    let rows = CHUNK.div_ceil(w).max((n * h).div_ceil((MAX_PARTIALS / io.x_len(1)).max(1)));
    let part = PART.min(oh * ow);
    Cut { rows, chunks: (n * h).div_ceil(rows), part, parts: (oh * ow).div_ceil(part) }
}

/// How `shaders/conv_transpose2d/phases.wgsl` lays out a layer; its header explains the terms.
struct Phases {
    stride: usize,
    taps: usize,
    quads_in: usize,
    first_run: usize,
    /// Phases per group, and groups.
    phases: usize,
    groups: usize,
    fill: usize,
    grid: [usize; 2],
    pixels: usize,
    lanes: usize,
}

impl ConvTranspose2d {
    /// Returns which taps an output pixel has along `axis`.
    fn steps(&self, axis: usize) -> Steps {
        let (stride, dilation) = (self.stride[axis], self.dilation[axis]);
        let (mut common, mut rest) = (stride, dilation);
        while rest > 0 {
            (common, rest) = (rest, common % rest);
        }
        let (step, apart) = (stride / common, dilation / common);
        let inverse = (0..step).find(|k| k * apart % step == 1 % step).unwrap_or(0);
        Steps { common, step, apart, inverse }
    }

    /// Returns whether every tap is next to another and there is one group.
    fn is_dense(&self) -> bool {
        self.dilation == [1, 1] && self.groups == 1
    }

    /// Returns stride and padding; `None` for several output channels, groups, dilation, unequal sides, or a stride above 16.
    fn square(&self, io: &Io) -> Option<(usize, usize)> {
        let [_, channels, kh, kw] = io.x[1].nchw();
        let [stride, padding] = [self.stride, self.padding];
        let is_square = kh == kw && stride[0] == stride[1] && padding[0] == padding[1];
        (self.is_dense() && channels == 1 && is_square && stride[0] <= 16).then_some((stride[0], padding[0]))
    }

    /// Returns `None` if [`ConvTranspose2d::square`] does, or for filters whose code would be too long.
    fn phases(&self, io: &Io) -> Option<Phases> {
        let ([n, ci, ..], [_, _, kh, _], [_, _, oh, ow]) = (io.x[0].nchw(), io.x[1].nchw(), io.y.nchw());
        let (stride, padding) = self.square(io)?;
        let (taps, quads_in) = (kh.div_ceil(stride), ci.div_ceil(4));
        let first_run = (stride - padding % stride) % stride;
        let runs = [first_run, stride - first_run];
        let sets = runs.map(|rows| runs.map(|columns| rows * columns)).concat();
        // At most 3,072 multiply-adds of straight-line code, four per texel of weights, of which workgroup memory holds
        // 1,024. The phases of the largest set form equal groups.
        let most = 768 / (taps * taps * quads_in);
        let largest = sets.iter().copied().max()?;
        let phases = largest.div_ceil(largest.div_ceil(most.max(1)));
        if most == 0 {
            return None;
        }
        let fill = taps * taps * quads_in * phases;
        let groups: usize = sets.iter().map(|set| set.div_ceil(phases)).sum();
        let grid = [oh.div_ceil(stride), ow.div_ceil(stride)];
        let pixels = n * grid[0] * grid[1];
        let lanes = if pixels >= 1024 { 256 } else { pixels.div_ceil(2).next_multiple_of(8).min(256) };
        let fits = groups * fill <= MAX_TEXELS && Layout::Quads.elements(&io.x[0]) <= MAX_TEXELS;
        fits.then_some(Phases { stride, taps, quads_in, first_run, phases, groups, fill, grid, pixels, lanes })
    }
}

impl Phases {
    fn launch(&self, op: &ConvTranspose2d, entry: &str, io: &Io) -> Option<Launch> {
        let ([_, ci, h, w], [_, _, kernel, _], [_, _, oh, ow]) = (io.x[0].nchw(), io.x[1].nchw(), io.y.nchw());
        let threads = self.groups * self.fill;
        let groups = match entry {
            "forward_1" => [threads.div_ceil(64).try_into().ok()?, 1, 1],
            "forward_2" => [self.groups.try_into().ok()?, self.pixels.div_ceil(self.lanes).try_into().ok()?, 1],
            _ => return None,
        };
        let launch = Launch::groups(
            groups,
            [
                ("c_in", ci.into()),
                ("height", h.into()),
                ("width", w.into()),
                ("out_height", oh.into()),
                ("out_width", ow.into()),
                ("kernel", kernel.into()),
                ("padding", op.padding[0].into()),
                ("first_run", self.first_run.into()),
                ("grid_height", self.grid[0].into()),
                ("grid_width", self.grid[1].into()),
                ("pixels", self.pixels.into()),
                ("threads", threads.into()),
            ],
        );
        let launch = launch.with("S", self.stride).with("TAPS", self.taps).with("KQ", self.quads_in);
        let launch = launch.with("PH", self.phases).with("LANES", self.lanes).with("FILL", self.fill);
        Some(launch.with("COPIES", self.fill.div_ceil(self.lanes)))
    }
}

/// How `shaders/conv_transpose2d/quads.wgsl` lays out the gradients; its header explains the terms.
struct Strides {
    stride: usize,
    /// Values of δ per side.
    taps: usize,
    /// Quads of phases, and real channels per quad.
    quads: usize,
    channels: usize,
    /// Quads of x per group, and groups.
    oq: usize,
    groups_out: usize,
    fill: usize,
    pixels: usize,
    lanes: usize,
    phases: [usize; 4],
    correlation: Correlation,
}

impl ConvTranspose2d {
    /// Returns `None` if [`ConvTranspose2d::square`] does, or for filters whose code would be too long.
    fn strides(&self, io: &Io) -> Option<Strides> {
        let (x, [_, _, kh, _], [n, _, oh, ow]) = (io.x[0].nchw(), io.x[1].nchw(), io.y.nchw());
        let (stride, padding) = self.square(io)?;
        let pad = padding.div_ceil(stride);
        let taps = (kh - 1 + pad * stride - padding) / stride + 1;
        let (quads_in, quads) = (x[1].div_ceil(4), (stride * stride).div_ceil(4));
        let channels = (stride * stride).min(4);
        // At most 2,048 multiply-adds per pixel and group, and 1,024 texels of weights.
        let texels = taps * taps * quads * channels;
        let most = (512 / texels).min(quads_in);
        if most == 0 {
            return None;
        }
        let groups_out = quads_in.div_ceil(most);
        let oq = quads_in.div_ceil(groups_out);
        let pixels = x[0] * x[2] * x[3];
        let lanes = if pixels >= 1024 { 256 } else { pixels.div_ceil(2).next_multiple_of(8).min(256) };
        let phases = [n, 4 * quads, oh.div_ceil(stride), ow.div_ceil(stride)];
        let correlation = Correlation::new(x, phases, [taps; 2], [pad; 2], false, false);
        let fill = texels * oq;
        let fits = correlation.fits() && groups_out * fill <= MAX_TEXELS;
        fits.then_some(Strides {
            stride,
            taps,
            quads,
            channels,
            oq,
            groups_out,
            fill,
            pixels,
            lanes,
            phases,
            correlation,
        })
    }
}

impl Strides {
    fn scratch(&self, method: &str) -> Vec<(&'static str, usize)> {
        let phases = ("t0", Layout::Quads.elements(&self.phases.into()));
        match method {
            "backward_x" => vec![phases, ("t2", self.groups_out * self.fill)],
            _ => vec![phases, ("t1", self.correlation.partials())],
        }
    }
    fn launch(&self, op: &ConvTranspose2d, entry: &str, io: &Io) -> Option<Launch> {
        let phases = Layout::Quads.elements(&self.phases.into());
        let (threads, groups) = match entry {
            "backward_x_1" | "backward_w_1" => (phases, None),
            "backward_x_2" => (self.groups_out * self.fill, None),
            "backward_x_3" => (self.pixels, Some([self.groups_out, self.pixels.div_ceil(self.lanes)])),
            "backward_w_2" => (0, Some([self.correlation.groups(), 1])),
            "backward_w_3" => (self.correlation.products(), None),
            _ => return None,
        };
        let params = [
            ("c_in", io.x[0][1].into()),
            ("out_height", io.y[2].into()),
            ("out_width", io.y[3].into()),
            ("kernel", io.x[1][2].into()),
            ("padding", op.padding[0].into()),
            ("threads", threads.into()),
        ];
        let params = params.into_iter().chain(self.correlation.params());
        let launch = match groups {
            None => Launch::threads(threads, params),
            Some(groups) => {
                let [x, y] = groups.map(|g| u32::try_from(g).ok().filter(|g| *g <= 65_535));
                Launch::groups([x?, y?, 1], params)
            }
        };
        let launch = launch.with("S", self.stride).with("KH", self.taps).with("KW", self.taps);
        let launch = launch.with("KQ", self.quads).with("KC", self.channels).with("OQ", self.oq);
        let launch = launch.with("LANES", self.lanes).with("FILL", self.fill);
        Some(self.correlation.set(launch.with_all(parts(self.taps, self.oq, self.fill, self.fill, self.lanes))))
    }
}

impl Op for ConvTranspose2d {
    fn name(&self) -> &'static str {
        "conv_transpose2d"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x", "w", "b"]
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[
            Kernel::new(wgsl!("conv_transpose2d/plain"), plain),
            Kernel::new(wgsl!("conv_transpose2d/gradients" + "filter_gradients" + "walkers" + "nearest"), gradients)
                .only(Family::Hardware),
            Kernel::new(wgsl!("conv_transpose2d/phases" + "texels"), phases).only(Family::Software),
            Kernel::new(wgsl!("conv_transpose2d/quads" + "straight" + "correlate" + "texels" + "bound"), strides)
                .only(Family::Software),
            Kernel::new(wgsl!("conv_transpose2d/filters" + "correlate" + "texels" + "bound"), filters)
                .only(Family::Software),
        ];
        KERNELS
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let [n, ci, h, w] = x[0].nchw();
        let [wi, out_group, kh, kw] = x[1].nchw();
        let groups = self.groups;
        if groups == 0 || ci % groups != 0 {
            return Err(ShapeError::value("groups", format!("a divisor of Ci={ci}"), groups));
        }
        let co = out_group * groups;
        if wi != ci || out_group == 0 || !(1..=MAX_KERNEL).contains(&kh) || !(1..=MAX_KERNEL).contains(&kw) {
            let channels = if groups == 1 { "Co" } else { "Co/groups" };
            let expected = format!("[Ci={ci}, {channels}, 1 to {MAX_KERNEL}, 1 to {MAX_KERNEL}]");
            return Err(ShapeError::shape("w", expected, x[1]));
        }
        if x[2] != [1, co, 1, 1] {
            return Err(ShapeError::shape("b", format!("[1, Co={co}, 1, 1]"), x[2]));
        }
        Ok([n, co, self.size(0, h, kh)?, self.size(1, w, kw)?].into())
    }
    fn fusible(&self) -> Option<super::Fusible> {
        let &Self { stride, dilation, padding, groups, .. } = self;
        Some(super::Fusible::Transposed { stride, dilation, padding, groups })
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        // Every input pixel meets every tap once, except at the edges.
        let products = 2 * io.x_len(0) * io.x_len(1) / io.x[0][1];
        let floats = io.x_len(0) + io.x_len(1) + io.y_len();
        match method {
            "forward" => Cost::new(products, floats + io.x_len(2)),
            "backward_b" => Cost::new(io.y_len(), io.y_len() + io.x_len(2)),
            _ => Cost::new(products, floats),
        }
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let plane = io.y[2] * io.y[3];
        for (k, y) in y.iter_mut().enumerate() {
            *y = x[2][k / plane % io.y[1]];
        }
        self.each_product(io, |x_at, w_at, y_at| y[y_at] += x[0][x_at] * x[1][w_at]);
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        let plane = io.y[2] * io.y[3];
        for (k, dy) in dy.iter().enumerate() {
            dx[2][k / plane % io.y[1]] += dy;
        }
        self.each_product(io, |x_at, w_at, y_at| {
            dx[0][x_at] += dy[y_at] * x[1][w_at];
            dx[1][w_at] += dy[y_at] * x[0][x_at];
        });
    }
    fn accuracy(&self, output: &str) -> Accuracy {
        // One sum per channel, of values of both signs. A network's last layer has one channel, whose sum may nearly cancel.
        if output == "db" { Accuracy { rms: 1e-5, ..Accuracy::DIRECT } } else { Accuracy::DIRECT }
    }
    fn tolerance(&self, output: &str, io: &Io, _at: &Values) -> Tolerance {
        let [n, ci, _, w] = io.x[0].nchw();
        let [_, co, kh, kw] = io.x[1].nchw();
        let Cut { rows, chunks, part, parts } = cut(io);
        // Each term has one rounding for its product and takes part in at most as many additions as there are terms; in
        // the two-pass sums, in at most those of its own chunk and those of the chunks.
        Tolerance::Terms(match output {
            "dx" => co * kh * kw + 1,
            "dw" => rows * w + chunks + 1,
            "db" => part + n * parts,
            _ => {
                let taps = kh.div_ceil(self.steps(0).step) * kw.div_ceil(self.steps(1).step);
                ci / self.groups * taps + 2
            }
        })
    }
}

/// `shaders/conv_transpose2d/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<ConvTranspose2d>()?, &call.io);
    let [n, ci, h, w] = io.x[0].nchw();
    let [_, _, kh, kw] = io.x[1].nchw();
    let [_, co, oh, ow] = io.y.nchw();
    let steps = [0, 1].map(|axis| op.steps(axis));
    let shape: [(&'static str, Scalar); 25] = [
        ("n", n.into()),
        ("ci", ci.into()),
        ("co", co.into()),
        ("in_group", (ci / op.groups).into()),
        ("out_group", (co / op.groups).into()),
        ("dilation_h", op.dilation[0].into()),
        ("dilation_w", op.dilation[1].into()),
        ("common_h", steps[0].common.into()),
        ("common_w", steps[1].common.into()),
        ("step_h", steps[0].step.into()),
        ("step_w", steps[1].step.into()),
        ("apart_h", steps[0].apart.into()),
        ("apart_w", steps[1].apart.into()),
        ("inverse_h", steps[0].inverse.into()),
        ("inverse_w", steps[1].inverse.into()),
        ("height", h.into()),
        ("width", w.into()),
        ("out_height", oh.into()),
        ("out_width", ow.into()),
        ("kernel_h", kh.into()),
        ("kernel_w", kw.into()),
        ("stride_h", op.stride[0].into()),
        ("stride_w", op.stride[1].into()),
        ("padding_h", op.padding[0].into()),
        ("padding_w", op.padding[1].into()),
    ];
    let Cut { rows, chunks, part, parts } = cut(io);
    let scratch = match call.method {
        "backward_w" => io.x_len(1) * chunks,
        _ => n * co * parts,
    };
    let work = call.work(caps, |entry| {
        let threads = match entry {
            "forward" => io.y_len(),
            "backward_x" => io.x_len(0),
            "backward_w_1" => io.x_len(1) * chunks,
            "backward_w_2" => io.x_len(1),
            "backward_b_1" => n * co * parts,
            "backward_b_2" => co,
            _ => return None,
        };
        let more = [("rows", rows.into()), ("chunks", chunks.into()), ("part", part.into()), ("parts", parts.into())];
        let loops: &[usize] = match entry {
            "forward" => &[ci / op.groups, kh, kw],
            "backward_x" => &[co / op.groups, kh, kw],
            "backward_w_1" => &[rows, w],
            "backward_w_2" => &[chunks],
            "backward_b_1" => &[part],
            _ => &[n, parts],
        };
        Some(Launch::threads(threads, shape.into_iter().chain(more)).loops(loops))
    })?;
    Some(work.scratch(vec![("t0", scratch)]))
}

/// `shaders/conv_transpose2d/gradients.wgsl`.
fn gradients(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<ConvTranspose2d>()?, &call.io);
    let [top, left] = op.padding;
    // The convolution of which this is the gradient for the input.
    let (padding, fusion) = ([top, left, top, left], None);
    let of = Conv2d { stride: op.stride, dilation: op.dilation, padding, replicate: false, groups: op.groups, fusion };
    conv2d::gradients::tiles(&of, &Io { x: &[io.y, io.x[1]], y: io.x[0] }, call, caps)
}

/// `shaders/conv_transpose2d/phases.wgsl`.
fn phases(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<ConvTranspose2d>()?, &call.io);
    let layout = op.phases(io)?;
    let work = call.work(caps, |entry| layout.launch(op, entry, io))?;
    Some(work.scratch(vec![("t2", layout.groups * layout.fill)]).faster(4.0))
}

/// `shaders/conv_transpose2d/quads.wgsl`.
fn strides(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<ConvTranspose2d>()?, &call.io);
    let layout = op.strides(io)?;
    let work = call.work(caps, |entry| layout.launch(op, entry, io))?;
    Some(work.scratch(layout.scratch(call.method)).faster(6.0))
}

impl ConvTranspose2d {
    /// Calls `f` with the elements of x, w and y in every product, as the definition scatters them.
    fn each_product(&self, io: &Io, mut f: impl FnMut(usize, usize, usize)) {
        let [n, ci, h, w] = io.x[0].nchw();
        let [_, out_group, kh, kw] = io.x[1].nchw();
        let [_, co, oh, ow] = io.y.nchw();
        for x_at in 0..n * ci * h * w {
            let [n, c, r, s] = crate::tensor::position(&io.x[0], x_at).nchw();
            for o in 0..out_group {
                let channel = c / (ci / self.groups) * out_group + o;
                for u in 0..kh {
                    let i = (r * self.stride[0] + u * self.dilation[0]).wrapping_sub(self.padding[0]);
                    if i >= oh {
                        continue;
                    }
                    for v in 0..kw {
                        let j = (s * self.stride[1] + v * self.dilation[1]).wrapping_sub(self.padding[1]);
                        if j < ow {
                            f(x_at, ((c * out_group + o) * kh + u) * kw + v, ((n * co + channel) * oh + i) * ow + j);
                        }
                    }
                }
            }
        }
    }
}

/// `shaders/conv_transpose2d/filters.wgsl`.
fn filters(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<ConvTranspose2d>()?, &call.io);
    let (x, [_, _, kh, kw], y) = (io.x[0].nchw(), io.x[1].nchw(), io.y.nchw());
    // One channel fills a quarter of its texels.
    if op.groups != 1 || y[1] == 1 {
        return None;
    }
    let c = Correlation::new(x, y, [kh, kw], op.padding, false, false).apart(op.stride, op.dilation);
    c.serve(call, caps, [x[1], y[1]])
}

pub fn cases() -> Vec<Case> {
    let case = |x: [usize; 4], co: usize, k: [usize; 2], stride, padding, output_padding| {
        let op = ConvTranspose2d { stride, padding, output_padding, ..ConvTranspose2d::default() };
        Case::new(op, &[x, [x[1], co, k[0], k[1]], [1, co, 1, 1]])
    };
    let grouped = |x: [usize; 4], w: [usize; 4], groups, stride, dilation, padding| {
        let op =
            ConvTranspose2d { stride, dilation, padding, groups, output_padding: [1, 0].map(|k| k.min(stride[0] - 1)) };
        Case::new(op, &[x, w, [1, w[1] * groups, 1, 1]])
    };
    vec![
        case([1, 1, 1, 1], 1, [1, 1], [1, 1], [0, 0], [0, 0]),
        case([2, 3, 5, 7], 2, [3, 4], [2, 3], [1, 2], [1, 0]),
        case([2, 1, 3, 4], 1, [9, 9], [3, 3], [3, 3], [0, 0]),
        case([2, 2, 4, 3], 1, [9, 9], [2, 2], [4, 4], [1, 1]),
        case([1, 2, 3, 5], 2, [9, 9], [4, 4], [3, 3], [1, 1]),
        // Some outputs that no tap reaches; a filter smaller than the padding; more threads than a workgroup.
        case([1, 2, 5, 4], 3, [2, 2], [3, 4], [0, 1], [2, 3]),
        case([1, 1, 4, 6], 1, [2, 2], [1, 1], [2, 2], [0, 0]),
        case([1, 3, 2, 129], 1, [1, 3], [1, 1], [0, 1], [0, 0]),
        case([1, 2, 3, 3], 2, [11, 11], [1, 1], [5, 5], [0, 0]),
        // Many channels and taps.
        case([1, 60, 2, 2], 3, [11, 11], [1, 1], [5, 5], [0, 0]),
        case([1, 60, 2, 3], 1, [6, 5], [2, 3], [1, 0], [0, 2]),
        case([2, 2, 13, 11], 1, [5, 7], [2, 1], [2, 3], [1, 0]),
        // Groups and dilation: taps that meet all, some and no phases of a stride, and such that reach past the picture.
        grouped([2, 6, 3, 5], [6, 2, 3, 4], 3, [1, 1], [2, 3], [2, 1]),
        grouped([1, 4, 5, 4], [4, 1, 3, 3], 4, [2, 3], [1, 1], [0, 2]),
        grouped([1, 3, 4, 3], [3, 2, 4, 5], 1, [4, 6], [6, 4], [3, 5]),
        grouped([2, 4, 3, 6], [4, 3, 5, 2], 2, [3, 2], [2, 4], [4, 0]),
        // Channels past a block on both sides.
        case([2, 9, 5, 4], 17, [3, 2], [2, 1], [1, 0], [1, 0]),
        // More pixels than a walker takes.
        case([1, 5, 24, 23], 2, [2, 3], [1, 2], [0, 1], [0, 0]),
        // A layer that doubles the picture.
        case([2, 32, 8, 8], 16, [4, 4], [2, 2], [1, 1], [0, 0]).real(),
        // FSRCNN's last layer at scale 3 in training (Dong et al. 2016, section 3.2).
        case([16, 56, 16, 16], 1, [9, 9], [3, 3], [3, 3], [0, 0]).real(),
    ]
}
