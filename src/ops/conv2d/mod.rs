//! conv2d: convolution with stride, dilation, groups, and zero or replicate padding.
//!
//! `y[n,o,i,j] = b[o] + Σ_{c,u,v} w[o,c,u,v] · x[n, g·Ci/G + c, i·s₀ + u·d₀ − p₀, j·s₁ + v·d₁ − p₁]`
//!
//! with stride s, dilation d, padding p (above, left, below, right), G groups, and o in group g = ⌊o·G/Co⌋; outside the picture x is 0 or, with
//! `replicate`, its nearest pixel.
//!
//! | name | shape             | meaning                                   |
//! |------|-------------------|-------------------------------------------|
//! | x    | `[N,Ci,H,W]`      | input                                     |
//! | w    | `[Co,Ci/G,Kh,Kw]` | filters                                   |
//! | b    | `[1,Co,1,1]`      | bias                                      |
//! | y    | `[N,Co,Ho,Wo]`    | output, Ho = ⌊(H+p₀+p₂−(Kh−1)·d₀−1)/s₀⌋ + 1 |
//!
//! With a [`Fusion`] it also takes slopes a `[1,Co,1,1]` and, if it combines, z of y's shape. Then `y = h(f_o(…), z)`, where
//! `f_o(s) = s` for s > 0, else `a[o]·s`, or, with an activation f, `f_o(s) = a[o]·f(s)`, and `h(s, z)` is s, s + z, s·z or (s where z > 0, else a slope times s), as [`Combine`] says.
//! If it is `adjoint`, w is `[Ci,Co/G,Kh,Kw]` and rotated by 180°, and x lies on a grid of distance s in a picture that is 0 elsewhere,
//! which is convolved with stride 1. With a `factor` r, `f_o` lies at channel o / r², row i·r + (o % r²) / r, column j·r + o % r of y and
//! z, as after pixel_shuffle.
//!
//! Gradients: for x, w and b, without a fusion. Backward reads x, w and dy. With `replicate`, the gradient for x is the exact
//! adjoint: a border pixel collects every tap that was clamped to it.
//! Errors: a stride, dilation or number of groups of 0 or above 65,535; groups that do not divide Ci and Co; w or b
//! disagrees with x; the dilated filter is larger than the padded picture.
//! Numerics: f32 sums in an order that does not depend on the picture's size or the place in it, so tiles equal the
//! whole picture bit for bit. The gradients for w and b are sums of partial sums in a fixed order. Winograd tiles
//! (`conv3x3_winograd`, and `winograd` with a fusion) round differently depending on their place in the picture; their errors exceed
//! those of a direct sum and were measured at about 1e-6 of the output's RMS per layer.
//! Source: definition as in torch.nn.functional.conv2d (cross-correlation: the filter is not flipped) and, for
//! `replicate`, torch.nn.Conv2d's padding_mode.

mod columns;
mod conv3x3_tile;
mod conv3x3_winograd;
pub(super) mod correlation;
mod depthwise;
mod depthwise_fours;
mod depthwise_rows;
mod fusion;
mod gemm;
mod gemm_parts;
pub(super) mod gradients;
mod layer;
mod plain;
mod plane_gradients;
mod quads;
pub mod straight;
mod strided;
mod texels;
mod winograd;
mod winograd_matmul;

pub use fusion::{Combine, Fusion};

use super::pointwise::Unary;
use super::{Case, Cost, EPS, Family, Fill, Io, Kernel, Op, Scalar, Tolerance, Values, wgsl, with_zeros};
use crate::error::ShapeError;
use crate::layout::{Layout, MAX_TEXELS};
use crate::tensor::{Shape, len, position};

/// The attributes: pairs are rows, then columns. The default is stride 1, dilation 1, no padding, one group.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv2d {
    /// Input pixels from one output to the next, 1 to 65,535.
    pub stride: [usize; 2],
    /// Input pixels from one tap to the next, 1 to 65,535.
    pub dilation: [usize; 2],
    /// Pixels added above, to the left, below and to the right, 0 to 65,535.
    pub padding: [usize; 4],
    /// The added pixels repeat the nearest one of the picture instead of being 0.
    pub replicate: bool,
    /// Number of independent groups that the channels are split into; the number of input channels for a depthwise filter.
    pub groups: usize,
    /// What the planner computes together with it; `None` in a network.
    pub fusion: Option<Fusion>,
}

impl Default for Conv2d {
    fn default() -> Self {
        Self { stride: [1, 1], dilation: [1, 1], padding: [0; 4], replicate: false, groups: 1, fusion: None }
    }
}

impl Conv2d {
    /// Creates a convolution whose zero padding keeps the picture's size for a filter of `kernel` × `kernel` taps, `kernel` odd.
    pub fn same(kernel: usize) -> Self {
        Self { padding: [kernel / 2; 4], ..Self::default() }
    }

    /// Returns whether stride and dilation are 1 and there is one group.
    fn is_dense(&self) -> bool {
        self.stride == [1, 1] && self.dilation == [1, 1] && self.groups == 1
    }

    /// Returns whether this is a dense 3×3 filter with zero padding of one pixel.
    fn is_same_3x3(&self, io: &Io) -> bool {
        *self == Self::same(3) && io.x[1][2..] == [3, 3]
    }
}

/// Rows (taps in backward_w) of the block that a thread of `shared/direct.wgsl` keeps in registers.
const ROWS: usize = 8;

/// Eight lanes on each of two threads, which the estimates of the fused kernels assume.
const PIXELS_AT_ONCE: f64 = 16.0;

/// Returns whether all textures are small enough.
fn fits(scratch: &[(&str, usize)], io: &Io) -> bool {
    let tensors = [&io.x[0], &io.y].map(|s| Layout::Quads.elements(s));
    scratch.iter().map(|s| s.1).chain(tensors).all(|texels| texels <= MAX_TEXELS)
}

impl Conv2d {
    /// Returns how many pixels of its padded input lie from one output to the next.
    fn out_stride(&self) -> [usize; 2] {
        if self.fusion.is_some_and(|fusion| fusion.adjoint) { [1, 1] } else { self.stride }
    }

    /// Returns how many pixels of its padded input lie from one pixel of x to the next; all between them are 0.
    fn spread(&self) -> [usize; 2] {
        if self.fusion.is_some_and(|fusion| fusion.adjoint) { self.stride } else { [1, 1] }
    }

    /// Returns the rows or columns of the output for `size` of the input and `kernel` taps along dimension `d`.
    fn out_size(&self, d: usize, size: usize, kernel: usize) -> Result<usize, ShapeError> {
        let limit = 1 << 30;
        let spread = size.saturating_sub(1).saturating_mul(self.spread()[d]).saturating_add(size.min(1));
        let padded = spread.saturating_add(self.padding[d] + self.padding[2 + d]);
        let reach = kernel.saturating_sub(1).saturating_mul(self.dilation[d]).saturating_add(1);
        if kernel == 0 || reach > padded {
            return Err(ShapeError::value(
                "w",
                format!("1 to {padded} pixels {} with dilation, the size of the padded x", ["high", "wide"][d]),
                format!("{kernel} taps at dilation {}", self.dilation[d]),
            ));
        }
        if padded >= limit {
            return Err(ShapeError::value("x", format!("below {limit} pixels per side with padding"), padded));
        }
        Ok((padded - reach) / self.out_stride()[d] + 1)
    }

    /// Returns the members of `p` that describe the layer in the shaders that serve strides, dilations and groups.
    fn geometry(&self, io: &Io) -> [(&'static str, Scalar); 18] {
        let ([n, ci, h, w], [_, co, ho, wo], [_, _, kh, kw]) = (io.x[0].nchw(), io.y.nchw(), io.x[1].nchw());
        [
            ("batch", n.into()),
            ("c_in", ci.into()),
            ("c_out", co.into()),
            ("height", h.into()),
            ("width", w.into()),
            ("out_height", ho.into()),
            ("out_width", wo.into()),
            ("kernel_h", kh.into()),
            ("kernel_w", kw.into()),
            ("stride_h", self.stride[0].into()),
            ("stride_w", self.stride[1].into()),
            ("dilation_h", self.dilation[0].into()),
            ("dilation_w", self.dilation[1].into()),
            ("pad_h", self.padding[0].into()),
            ("pad_w", self.padding[1].into()),
            ("replicate", u32::from(self.replicate).into()),
            ("in_group", (ci / self.groups).into()),
            ("out_group", (co / self.groups).into()),
        ]
    }

    /// Returns the shape of the sums, before pixels are shuffled or pooled; of these, without those that no window has.
    fn sums(&self, io: &Io) -> Shape {
        let ([n, c, h, w], r) = (io.y.nchw(), self.fusion.map_or(1, |fusion| fusion.factor));
        if self.fusion.is_some_and(|fusion| fusion.pooled) {
            return [n, c, 2 * h, 2 * w].into();
        }
        [n, c * r * r, h / r, w / r].into()
    }

    /// Returns the sums of products and the bias.
    fn exact_sums(&self, io: &Io, x: &[Vec<f64>]) -> Vec<f64> {
        let shape = self.sums(io);
        let [_, co, ho, wo] = shape.nchw();
        let mut sums: Vec<f64> = (0..len(&shape)).map(|k| x[2][k / (ho * wo) % co]).collect();
        self.each_product(io, |yi, xi, wi| sums[yi] += x[1][wi] * x[0][xi]);
        sums
    }

    /// Calls `f` with the indices in the sums, x and w of every product w · x that the formula adds up.
    fn each_product(&self, io: &Io, mut f: impl FnMut(usize, usize, usize)) {
        let ([n, ci, h, w], [_, co, ho, wo], [_, _, kh, kw]) = (io.x[0].nchw(), self.sums(io).nchw(), io.x[1].nchw());
        let (in_group, out_group) = (ci / self.groups, co / self.groups);
        let is_adjoint = self.fusion.is_some_and(|fusion| fusion.adjoint);
        let (stride, spread) = (self.out_stride(), self.spread());
        // For each tap, the output rows or columns that meet x there, and the row or column of x.
        let meetings = |d: usize, taps: usize, outputs: usize, size: usize| -> Vec<Vec<(usize, usize)>> {
            let read = |k: usize, tap: usize| {
                let at = (k * stride[d] + tap * self.dilation[d]) as i64 - self.padding[d] as i64;
                let nearest = (at / spread[d] as i64).clamp(0, size as i64 - 1);
                (self.replicate || nearest * spread[d] as i64 == at).then_some((k, nearest as usize))
            };
            (0..taps).map(|tap| (0..outputs).filter_map(|k| read(k, tap)).collect()).collect()
        };
        let (rows, columns) = (meetings(0, kh, ho, h), meetings(1, kw, wo, w));
        for (n, o) in (0..n).flat_map(|n| (0..co).map(move |o| (n, o))) {
            let (group, to) = (o / out_group, (n * co + o) * ho * wo);
            for (c, tap) in (0..in_group).flat_map(|c| (0..kh * kw).map(move |tap| (c, tap))) {
                let (u, v) = (tap / kw, tap % kw);
                let from = (n * ci + group * in_group + c) * h * w;
                let filter = match is_adjoint {
                    true => ((group * in_group + c) * out_group + o % out_group) * kh * kw + kh * kw - 1 - tap,
                    false => (o * in_group + c) * kh * kw + tap,
                };
                for &(i, r) in &rows[u] {
                    for &(j, s) in &columns[v] {
                        f(to + i * wo + j, from + r * w + s, filter);
                    }
                }
            }
        }
    }
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }
    fn inputs(&self) -> &'static [&'static str] {
        match self.fusion.map(|fusion| fusion.combine) {
            None => &["x", "w", "b"],
            Some(Combine::Nothing) => &["x", "w", "b", "a"],
            Some(_) => &["x", "w", "b", "a", "z"],
        }
    }
    fn absent(&self) -> &'static [&'static str] {
        if self.inputs().len() == 4 { &["z"] } else { &[] }
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[
            Kernel::new(wgsl!("conv2d/plain" + "direct" + "outer"), plain::serve),
            Kernel::new(wgsl!("conv2d/gradients" + "filter_gradients" + "walkers" + "nearest"), gradients::serve)
                .only(Family::Hardware),
            Kernel::new(wgsl!("conv2d/plane_gradients" + "four_rows" + "walkers"), plane_gradients::serve)
                .only(Family::Hardware),
            Kernel::new(
                wgsl!("conv2d/conv3x3_winograd" + "texels" + "bound" + "tiles" + "winograd6"),
                conv3x3_winograd::serve,
            )
            .only(Family::Software),
            Kernel::new(wgsl!("conv2d/columns" + "correlate" + "texels" + "bound"), columns::serve)
                .only(Family::Software),
            Kernel::new(wgsl!("conv2d/quads" + "correlate" + "texels" + "bound"), quads::serve).only(Family::Software),
            Kernel::new(wgsl!("conv2d/texels" + "direct" + "outer" + "bound"), texels::serve).only(Family::Software),
            Kernel::new(wgsl!("conv2d/strided" + "outer" + "texels" + "bound"), strided::serve).only(Family::Software),
        ];
        const FUSED: &[Kernel] = &[
            Kernel::new(wgsl!("conv2d/fused" + "slopes" + "is_nan"), fusion::serve),
            Kernel::new(wgsl!("conv2d/conv3x3_tile" + "layer" + "put" + "nearest" + "slopes"), conv3x3_tile::serve)
                .only(Family::Hardware),
            Kernel::new(wgsl!("conv2d/gemm" + "gemm" + "layer" + "put" + "nearest" + "slopes"), gemm::serve)
                .only(Family::Hardware),
            Kernel::new(
                wgsl!("conv2d/winograd_matmul" + "winograd6" + "tiles" + "product" + "put" + "slopes"),
                winograd_matmul::serve,
            )
            .only(Family::Hardware),
            Kernel::new(
                wgsl!("conv2d/gemm_parts" + "gemm" + "layer" + "put" + "nearest" + "slopes"),
                gemm_parts::serve,
            )
            .only(Family::Hardware),
            Kernel::new(wgsl!("conv2d/depthwise_rows" + "put" + "nearest" + "slopes"), depthwise_rows::serve)
                .only(Family::Hardware),
            Kernel::new(wgsl!("conv2d/depthwise_fours" + "four_rows" + "put" + "slopes"), depthwise_fours::serve)
                .only(Family::Hardware),
            Kernel::new(
                wgsl!("conv2d/winograd" + "winograd_layer" + "tiles" + "winograd6" + "combine" + "texels" + "slopes"),
                |call, caps| winograd::serve(call, caps, 6),
            )
            .only(Family::Software),
            Kernel::new(
                wgsl!("conv2d/winograd8" + "winograd_layer" + "tiles" + "winograd8" + "combine" + "texels" + "slopes"),
                |call, caps| winograd::serve(call, caps, 8),
            )
            .only(Family::Software),
            Kernel::new(
                wgsl!("conv2d/straight" + "straight" + "combine" + "texels" + "quotient" + "slopes"),
                straight::serve,
            )
            .only(Family::Software),
            Kernel::new(wgsl!("conv2d/depthwise" + "combine" + "texels" + "quotient" + "slopes"), depthwise::serve)
                .only(Family::Software),
        ];
        match self.fusion {
            None => KERNELS,
            Some(Fusion { activation: None, .. }) => FUSED,
            Some(Fusion { activation: Some(f), .. }) => fusion::kernels(FUSED, f),
        }
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let [n, ci, h, w] = x[0].nchw();
        let is_adjoint = self.fusion.is_some_and(|fusion| fusion.adjoint);
        let [first, second, kh, kw] = x[1].nchw();
        let co = if is_adjoint { second.saturating_mul(self.groups) } else { first };
        let range = 1..=65_535;
        for (name, values) in
            [("stride", &self.stride[..]), ("dilation", &self.dilation), ("groups", std::slice::from_ref(&self.groups))]
        {
            if let Some(value) = values.iter().find(|v| !range.contains(*v)) {
                return Err(ShapeError::value(name, "1 to 65535", value));
            }
        }
        if let Some(value) = self.padding.iter().find(|v| **v > 65_535) {
            return Err(ShapeError::value("padding", "0 to 65535", value));
        }
        let groups = self.groups;
        if ci % groups != 0 || co % groups != 0 || co == 0 {
            let expected = format!("a divisor of Ci={ci} and Co={co}");
            return Err(ShapeError::value("groups", expected, groups));
        }
        if is_adjoint && first != ci {
            return Err(ShapeError::shape("w", format!("[Ci={ci}, Co/groups, Kh, Kw]"), x[1]));
        }
        if !is_adjoint && second != ci / groups {
            let channels = if groups == 1 { "Ci" } else { "Ci/groups" };
            return Err(ShapeError::shape("w", format!("[Co, {channels}={}, Kh, Kw]", ci / groups), x[1]));
        }
        if x[2] != [1, co, 1, 1] {
            return Err(ShapeError::shape("b", format!("[1, Co={co}, 1, 1]"), x[2]));
        }
        let sums = Shape::from([n, co, self.out_size(0, h, kh)?, self.out_size(1, w, kw)?]);
        let Some(fusion) = self.fusion else { return Ok(sums) };
        let is_spread = self.spread() != [1, 1];
        let is_grouped = self.groups != 1 && fusion.factor != 1;
        if is_grouped || (is_spread && (self.replicate || fusion.factor != 1 || self.dilation != [1, 1])) {
            let expected =
                "with groups none that shuffles, and no adjoint one with a stride that replicates, shuffles or dilates";
            return Err(ShapeError::value("fusion", expected, format!("{fusion:?}")));
        }
        if x[3] != [1, co, 1, 1] {
            return Err(ShapeError::shape("a", format!("[1, Co={co}, 1, 1]"), x[3]));
        }
        let is_alone = fusion.combine == Combine::Nothing && fusion.factor == 1 && !fusion.adjoint;
        if fusion.pooled && (!is_alone || sums[2] < 2 || sums[3] < 2) {
            let expected = "to pool 2 × 2 pixels or more, of sums that are not adjoint, combined or shuffled";
            return Err(ShapeError::value("fusion", expected, format!("{fusion:?} of {sums:?}")));
        }
        let y = match fusion.pooled {
            true => Shape::from([n, co, sums[2] / 2, sums[3] / 2]),
            false => super::pixel_shuffle::PixelShuffle { factor: fusion.factor }.shape(&[sums])?,
        };
        match x.get(4).filter(|z| **z != y) {
            Some(z) => Err(ShapeError::shape("z", format!("y's shape {y:?}"), *z)),
            None => Ok(y),
        }
    }
    fn fusible(&self) -> Option<super::Fusible> {
        let &Self { stride, dilation, padding, replicate, groups, .. } = self;
        self.fusion.is_none().then_some(super::Fusible::Convolution { stride, dilation, padding, replicate, groups })
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        // Padding counts as work, the zeros of a spread input do not.
        let sums = self.sums(io);
        let products = len(&sums) * len(&io.x[1]) / sums[1] / self.spread().iter().product::<usize>();
        match method {
            "forward" => Cost::new(2 * products, io.total_len()),
            "backward_b" => Cost::new(io.y_len(), io.y_len() + io.x_len(2)),
            _ => Cost::new(2 * products, io.x_len(0) + io.x_len(1) + io.y_len()),
        }
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let shape = self.sums(io);
        let sums = self.exact_sums(io, x);
        let Some(fusion) = self.fusion else { return y.copy_from_slice(&sums) };
        y.fill(f64::NEG_INFINITY);
        for (k, sum) in sums.into_iter().enumerate() {
            let place = position(&shape, k);
            let at = fusion.place(shape.nchw(), place.nchw());
            let value = fusion.combine.of(fusion.activated(sum, x, place[1]), x.get(4).map_or(0.0, |z| z[at]));
            if !fusion.pooled || value > y[at] || value.is_nan() {
                y[at] = value;
            }
        }
    }
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        const WHY: &str = "fused by the planner; gradients are those of the operations that it replaces";
        const FUSED: &[(&str, &str)] = &[("x", WHY), ("w", WHY), ("b", WHY), ("a", WHY), ("z", WHY)];
        &FUSED[..if self.fusion.is_some() { self.inputs().len() } else { 0 }]
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        if self.fusion.is_some() {
            return;
        }
        let plane = io.y[2] * io.y[3];
        for (k, dy) in dy.iter().enumerate() {
            dx[2][k / plane % io.y[1]] += dy;
        }
        self.each_product(io, |yi, xi, wi| {
            dx[0][xi] += x[1][wi] * dy[yi];
            dx[1][wi] += x[0][xi] * dy[yi];
        });
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        let [co, in_group, kh, kw] = io.x[1].nchw();
        if let Some(fusion) = self.fusion {
            // One product and one addition per term, the bias and the slope, on the terms' absolute values.
            let absolute = |v: &[f64]| v.iter().map(|v| v.abs()).collect::<Vec<_>>();
            let shape = self.sums(io);
            let [_, co, ho, wo] = shape.nchw();
            let mut sums: Vec<f64> = (0..len(&shape)).map(|k| at.x[2][k / (ho * wo) % co].abs()).collect();
            let (x, w) = (absolute(&at.x[0]), absolute(&at.x[1]));
            self.each_product(io, |yi, xi, wi| sums[yi] += w[wi] * x[xi]);
            let [rows, columns] = self.spread();
            let terms = io.x[0][1] / self.groups * kh.div_ceil(rows) * kw.div_ceil(columns) + 3;
            let errors = sums.into_iter().map(|sum| terms as f64 * EPS * sum).collect();
            return fusion.bounds(errors, self, io, at);
        }
        // With replicate padding a border pixel stands for itself and the rows (columns) of the padding.
        let copies = |d: usize| if self.replicate { self.padding[d] + self.padding[2 + d] + 1 } else { 1 };
        Tolerance::Terms(match output {
            // One product and one addition per term, and the bias.
            "y" => in_group * kh * kw + 2,
            "dx" => co / self.groups * kh * copies(0) * kw * copies(1) + 1,
            // At most one addition per pixel and one per walker; there are no more walkers than pixels.
            _ => 2 * io.y[0] * io.y[2] * io.y[3] + 1,
        })
    }
}

pub fn cases() -> Vec<Case> {
    let mut all = plain_cases();
    all.extend(fused_cases());
    all
}

fn plain_cases() -> Vec<Case> {
    let case = |op: Conv2d, x: [usize; 4], w: [usize; 4]| Case::new(op, &[x, w, [1, w[0], 1, 1]]);
    vec![
        case(Conv2d::default(), [1, 1, 1, 1], [1, 1, 1, 1]),
        case(Conv2d::same(3), [2, 3, 5, 7], [4, 3, 3, 3]),
        // 1×1 over channels just past a block, more rows than a thread's block.
        case(Conv2d::default(), [2, 9, 9, 4], [10, 9, 1, 1]),
        // One more than a workgroup's lanes.
        case(Conv2d { padding: [0, 1, 0, 1], ..Conv2d::default() }, [1, 1, 2, 257], [2, 1, 2, 2]),
        // Strides, dilations and paddings that all differ; the last column of x is read by no tap.
        case(
            Conv2d { stride: [2, 3], dilation: [1, 2], padding: [2, 1, 2, 1], ..Conv2d::default() },
            [2, 2, 11, 9],
            [3, 2, 4, 3],
        ),
        // Phases of a stride: more rows than a block, channels past a block, taps of some phases only, groups.
        case(Conv2d { stride: [2, 3], padding: [1, 2, 1, 2], ..Conv2d::default() }, [2, 5, 21, 10], [3, 5, 3, 4]),
        case(Conv2d { stride: [3, 2], ..Conv2d::default() }, [1, 9, 8, 9], [2, 9, 2, 1]),
        case(Conv2d { stride: [2, 2], groups: 2, ..Conv2d::same(3) }, [1, 12, 18, 7], [4, 6, 3, 3]),
        // Rows where taps are as far apart as outputs, both more than one.
        case(
            Conv2d { stride: [2, 1], dilation: [2, 1], padding: [2, 0, 2, 0], ..Conv2d::default() },
            [1, 2, 19, 3],
            [2, 2, 3, 2],
        ),
        // Rows of taps further apart than rows of outputs.
        case(Conv2d { dilation: [2, 2], padding: [2, 2, 2, 2], ..Conv2d::default() }, [1, 3, 19, 6], [4, 3, 3, 3]),
        // Replicate padding wider than the picture is high.
        case(Conv2d { padding: [4, 2, 4, 2], replicate: true, ..Conv2d::default() }, [2, 2, 3, 6], [2, 2, 9, 5]),
        case(
            Conv2d { stride: [2, 3], dilation: [2, 1], padding: [3, 2, 3, 2], replicate: true, ..Conv2d::default() },
            [1, 2, 7, 10],
            [3, 2, 3, 4],
        ),
        case(Conv2d { padding: [1, 1, 1, 1], replicate: true, ..Conv2d::default() }, [1, 2, 1, 1], [2, 2, 3, 3]),
        // Four different pads.
        case(Conv2d { padding: [1, 0, 2, 3], ..Conv2d::default() }, [2, 3, 5, 7], [5, 3, 3, 3]),
        case(Conv2d { padding: [0, 2, 3, 1], replicate: true, ..Conv2d::default() }, [1, 2, 4, 6], [3, 2, 3, 2]),
        case(
            Conv2d { stride: [2, 3], dilation: [1, 2], padding: [3, 0, 1, 2], ..Conv2d::default() },
            [1, 5, 11, 9],
            [6, 5, 4, 3],
        ),
        case(Conv2d { stride: [2, 2], padding: [0, 0, 1, 1], ..Conv2d::default() }, [2, 4, 9, 11], [3, 4, 3, 3]),
        // Two groups.
        case(Conv2d { groups: 2, ..Conv2d::same(3) }, [1, 4, 5, 6], [10, 2, 3, 3]),
        // Depthwise; the second one with two outputs per channel and a stride.
        case(Conv2d { groups: 5, ..Conv2d::same(3) }, [2, 5, 4, 6], [5, 1, 3, 3]),
        case(Conv2d { groups: 3, stride: [2, 2], replicate: true, ..Conv2d::same(5) }, [1, 3, 6, 5], [6, 1, 5, 5]),
        // Two outputs per channel, rows that are no multiple of a block; a stride, and taps that lie apart, with uneven padding.
        case(
            Conv2d { groups: 3, stride: [2, 2], padding: [1, 1, 1, 0], ..Conv2d::default() },
            [2, 3, 9, 16],
            [6, 1, 3, 3],
        ),
        case(
            Conv2d { groups: 2, dilation: [1, 2], padding: [0, 3, 1, 1], ..Conv2d::default() },
            [1, 2, 7, 12],
            [4, 1, 3, 3],
        ),
        // The largest filter.
        case(Conv2d::same(11), [1, 1, 6, 8], [1, 1, 11, 11]),
        // One more than a workgroup's lanes, and more rows than a thread's block.
        case(Conv2d::same(3), [1, 2, 2, 65], [1, 2, 3, 3]),
        case(Conv2d::same(3), [1, 1, 17, 4], [6, 1, 3, 3]),
        // Channels just past the blocks of both sides.
        case(Conv2d::same(3), [3, 5, 9, 2], [9, 5, 3, 3]),
        // More than one iteration over tiles, channels past a block of eight on both sides.
        case(Conv2d::same(3), [3, 9, 13, 18], [17, 9, 3, 3]),
        // A layer that halves the picture.
        case(Conv2d { stride: [2, 2], ..Conv2d::same(3) }, [8, 16, 32, 32], [32, 16, 3, 3]).real(),
        // Layers of FSRCNN(56,12,4) in training: mapping, features, shrinking, expanding.
        case(Conv2d::same(3), [16, 12, 16, 16], [12, 12, 3, 3]).real(),
        case(Conv2d::same(5), [16, 1, 16, 16], [56, 1, 5, 5]).real(),
        case(Conv2d::default(), [16, 56, 16, 16], [12, 56, 1, 1]).real(),
        case(Conv2d::default(), [16, 12, 16, 16], [56, 12, 1, 1]).real(),
    ]
}

fn fused_cases() -> Vec<Case> {
    let case = |fusion: Fusion, padding: usize, replicate: bool, x: [usize; 4], co: usize, k: usize| {
        let op = Conv2d { padding: [padding; 4], replicate, fusion: Some(fusion), ..Conv2d::default() };
        let w = if fusion.adjoint { [x[1], co, k, k] } else { [co, x[1], k, k] };
        let mut shapes = vec![x, w, [1, co, 1, 1], [1, co, 1, 1]];
        if fusion.combine != Combine::Nothing {
            let r = fusion.factor;
            let side = |size: usize| (size + 2 * padding + 1 - k) * r;
            shapes.push([x[0], co / (r * r), side(x[2]), side(x[3])]);
        }
        Case::new(op, &shapes)
    };
    let bordered = |replicate, padding, adjoint, x, co, k| {
        case(Fusion { adjoint, ..Fusion::default() }, padding, replicate, x, co, k)
    };
    let fused = |padding, adjoint, x, co, k| bordered(false, padding, adjoint, x, co, k);
    let combined = |combine, adjoint, x, co, k: usize| {
        case(Fusion { adjoint, combine, ..Fusion::default() }, k / 2, false, x, co, k)
    };
    let shuffled = |combine, factor: usize, x, c: usize| {
        case(Fusion { combine, factor, ..Fusion::default() }, 1, true, x, c * factor * factor, 3)
    };
    let uneven = |padding, adjoint, x: [usize; 4], co, k: usize| {
        let fusion = Fusion { adjoint, ..Fusion::default() };
        let w = if adjoint { [x[1], co, k, k] } else { [co, x[1], k, k] };
        let op = Conv2d { padding, fusion: Some(fusion), ..Conv2d::default() };
        Case::new(op, &[x, w, [1, co, 1, 1], [1, co, 1, 1]])
    };
    let strided = |combine, stride, replicate, x: [usize; 4], co, k: usize| {
        let fusion = Fusion { combine, ..Fusion::default() };
        let op = Conv2d { stride, replicate, fusion: Some(fusion), ..Conv2d::same(k) };
        let mut shapes = vec![x, [co, x[1], k, k], [1, co, 1, 1], [1, co, 1, 1]];
        if combine != Combine::Nothing {
            let side = |d: usize| (x[2 + d] - 1) / stride[d] + 1;
            shapes.push([x[0], co, side(0), side(1)]);
        }
        Case::new(op, &shapes)
    };
    let grouped = |combine, groups: usize, stride: usize, x: [usize; 4], co: usize, k: usize| {
        let fusion = Fusion { combine, ..Fusion::default() };
        let op = Conv2d { stride: [stride; 2], groups, fusion: Some(fusion), ..Conv2d::same(k) };
        let mut shapes = vec![x, [co, x[1] / groups, k, k], [1, co, 1, 1], [1, co, 1, 1]];
        if combine != Combine::Nothing {
            shapes.push([x[0], co, (x[2] - 1) / stride + 1, (x[3] - 1) / stride + 1]);
        }
        Case::new(op, &shapes)
    };
    let dilated = |groups: usize, dilation: [usize; 2], replicate, x: [usize; 4], co, k: usize| {
        let [down, along] = dilation.map(|dilation| dilation * (k / 2));
        let padding = [down, along, down, along];
        let op = Conv2d { dilation, padding, replicate, groups, fusion: Some(Fusion::default()), ..Conv2d::default() };
        Case::new(op, &[x, [co, x[1] / groups, k, k], [1, co, 1, 1], [1, co, 1, 1]])
    };
    // The gradient for x `[N,Co,…]` of a convolution from `to`, padded to the size of its picture by zeros.
    let turned = |groups: usize, stride: usize, dilation: usize, x: [usize; 4], to: [usize; 4], k: usize| {
        let begin = dilation * (k / 2);
        let end = [0, 1].map(|d| to[2 + d] + (k - 1) * dilation - (x[2 + d] - 1) * stride - 1 - begin);
        let fusion = Some(Fusion { adjoint: true, ..Fusion::default() });
        let padding = [begin, begin, end[0], end[1]];
        let op = Conv2d { stride: [stride; 2], dilation: [dilation; 2], padding, groups, fusion, ..Conv2d::default() };
        Case::new(op, &[x, [x[1], to[1] / groups, k, k], [1, to[1], 1, 1], [1, to[1], 1, 1]])
    };
    let activated = |name, parameters: &[f32], combine, x, co, k: usize| {
        let activation = Unary::with(name, parameters);
        case(Fusion { activation, combine, ..Fusion::default() }, k / 2, false, x, co, k)
    };
    // A filter of k × k for every channel; slopes if no activation has the name.
    let depthwise = |name, parameters: &[f32], x: [usize; 4], k: usize, stride: usize, replicate: bool| {
        let fusion = Fusion { activation: Unary::with(name, parameters), ..Fusion::default() };
        let op = Conv2d { stride: [stride; 2], groups: x[1], replicate, fusion: Some(fusion), ..Conv2d::same(k) };
        Case::new(op, &[x, [x[1], 1, k, k], [1, x[1], 1, 1], [1, x[1], 1, 1]])
    };
    // The gradient for x `[N,Co,…]` of a convolution of `stride` from `to` with `padding`.
    let spread = |combine, stride: [usize; 2], padding: [usize; 4], x: [usize; 4], to: [usize; 4], k: [usize; 2]| {
        let begin = [0, 1].map(|d| k[d] - 1 - padding[d]);
        let end = [0, 1].map(|d| to[2 + d] + k[d] - 2 - (x[2 + d] - 1) * stride[d] - begin[d]);
        let fusion = Fusion { adjoint: true, combine, ..Fusion::default() };
        let padding = [begin[0], begin[1], end[0], end[1]];
        let op = Conv2d { stride, padding, fusion: Some(fusion), ..Conv2d::default() };
        let mut shapes = vec![x, [x[1], to[1], k[0], k[1]], [1, to[1], 1, 1], [1, to[1], 1, 1]];
        if combine != Combine::Nothing {
            shapes.push(to);
        }
        Case::new(op, &shapes)
    };
    // The largest of every 2 × 2 pixels; slopes if no activation has the name.
    let pooled = |name, stride: [usize; 2], replicate, x: [usize; 4], co: usize, k: usize| {
        let fusion = Fusion { activation: Unary::with(name, &[]), pooled: true, ..Fusion::default() };
        let op = Conv2d { stride, replicate, fusion: Some(fusion), ..Conv2d::same(k) };
        Case::new(op, &[x, [co, x[1], k, k], [1, co, 1, 1], [1, co, 1, 1]])
    };
    let halved = |combine, x, to| spread(combine, [2, 2], [1; 4], x, to, [3, 3]);
    vec![
        // Strides: an even and an odd picture, one pixel that no tap reads, phases without a tap, oblong strides.
        halved(Combine::Nothing, [2, 5, 4, 3], [2, 3, 8, 5]),
        halved(Combine::Mask(0.25), [1, 4, 3, 5], [1, 6, 5, 10]),
        halved(Combine::Mask(0.0), [2, 9, 4, 4], [2, 17, 8, 8]),
        spread(Combine::Nothing, [3, 3], [0; 4], [1, 3, 3, 2], [1, 5, 9, 6], [2, 2]),
        spread(Combine::Add, [2, 2], [2; 4], [1, 2, 3, 4], [1, 4, 5, 8], [5, 5]),
        spread(Combine::Nothing, [4, 4], [1, 2, 2, 1], [1, 6, 3, 2], [1, 2, 10, 8], [3, 5]),
        spread(Combine::Nothing, [2, 1], [1; 4], [1, 3, 4, 5], [1, 4, 7, 5], [3, 3]),
        halved(Combine::Nothing, [1, 8, 5, 130], [1, 4, 10, 259]),
        // The last layer of FSRCNN.
        spread(Combine::Nothing, [3, 3], [4; 4], [1, 6, 4, 5], [1, 1, 12, 15], [9, 9]),
        halved(Combine::Nothing, [2, 32, 16, 16], [2, 16, 32, 32]).real(),
        strided(Combine::Nothing, [2, 2], false, [2, 3, 9, 8], 5, 3),
        strided(Combine::Add, [3, 1], true, [1, 6, 8, 7], 4, 5),
        strided(Combine::Nothing, [1, 2], false, [1, 4, 5, 67], 1, 3),
        strided(Combine::Nothing, [2, 2], false, [2, 16, 32, 32], 32, 3).real(),
        // Pooled: pictures with and without a row and column too many, strides, several groups of channels, one channel from many.
        pooled("", [1, 1], false, [2, 3, 9, 8], 5, 3),
        pooled("", [1, 1], true, [1, 5, 6, 67], 9, 5),
        pooled("", [2, 1], false, [1, 4, 11, 7], 6, 3),
        pooled("", [1, 1], false, [1, 16, 6, 5], 20, 3),
        pooled("", [1, 1], false, [1, 9, 5, 4], 1, 3),
        pooled("silu", [1, 1], false, [2, 2, 3, 2], 3, 1),
        pooled("", [1, 1], false, [4, 3, 64, 64], 16, 3).real(),
        // Depthwise; groups of whole quads, whose outputs take one and three groups of quads; other groups.
        grouped(Combine::Nothing, 5, 1, [2, 5, 7, 6], 5, 3),
        grouped(Combine::Add, 12, 2, [1, 12, 9, 8], 12, 5),
        grouped(Combine::Mask(0.25), 7, 1, [1, 7, 3, 67], 7, 1),
        grouped(Combine::Nothing, 2, 1, [2, 8, 5, 6], 16, 3),
        grouped(Combine::Nothing, 3, 2, [1, 144, 5, 4], 36, 3),
        grouped(Combine::Add, 3, 1, [1, 9, 4, 5], 6, 3),
        grouped(Combine::Nothing, 64, 1, [1, 64, 40, 40], 64, 3).real(),
        // Taps that lie apart, for all channels and for each its own.
        dilated(1, [2, 3], false, [2, 3, 11, 13], 9, 3),
        dilated(1, [2, 2], true, [1, 8, 20, 37], 70, 3),
        dilated(5, [2, 1], false, [1, 5, 11, 9], 5, 3),
        dilated(6, [1, 2], true, [1, 6, 9, 10], 12, 5),
        // Gradients of groups, of strides in groups, of depthwise filters, two for each channel, and of taps that lie apart.
        turned(2, 1, 1, [2, 8, 5, 6], [2, 12, 5, 6], 3),
        turned(3, 2, 1, [1, 24, 4, 5], [1, 48, 8, 9], 3),
        turned(6, 1, 1, [1, 6, 19, 5], [1, 6, 19, 5], 3),
        turned(4, 1, 2, [1, 4, 9, 11], [1, 8, 9, 11], 3),
        turned(5, 2, 1, [1, 5, 5, 4], [1, 5, 9, 8], 5),
        turned(1, 1, 2, [1, 5, 9, 8], [1, 6, 9, 8], 3),
        // Depthwise by fours of columns: with pads of several quads, a row that ends in the last thread's block, strides, taps apart.
        depthwise("", &[], [2, 4, 9, 12], 3, 1, false),
        depthwise("silu", &[], [1, 3, 8, 8], 5, 1, false),
        depthwise("", &[], [1, 2, 11, 16], 11, 1, false),
        depthwise("sigmoid", &[], [1, 6, 19, 4], 3, 1, false),
        depthwise("hard_sigmoid", &[0.3, 0.4], [1, 3, 13, 8], 3, 2, false),
        depthwise("clamp", &[-0.25, 0.5], [1, 5, 11, 64], 3, 1, false),
        depthwise("elu", &[1.5], [1, 2, 9, 8], 7, 1, false),
        grouped(Combine::Add, 4, 2, [1, 4, 9, 16], 4, 3),
        grouped(Combine::Mask(0.25), 3, 1, [1, 3, 17, 20], 6, 3).fill(4, Fill::With(with_zeros)).rough(),
        dilated(5, [2, 2], false, [1, 5, 10, 12], 5, 3),
        turned(6, 1, 1, [1, 6, 16, 8], [1, 12, 16, 8], 5),
        // Depthwise, by blocks of every height that is chosen, with rows that no block fills, and more blocks than lanes.
        depthwise("", &[], [1, 6, 19, 5], 5, 1, true),
        grouped(Combine::Mask(0.25), 6, 1, [1, 6, 19, 5], 6, 3).fill(4, Fill::With(with_zeros)).rough(),
        depthwise("sigmoid", &[], [1, 6, 19, 3], 3, 1, false),
        depthwise("silu", &[], [2, 4, 17, 5], 5, 2, false),
        depthwise("hard_sigmoid", &[0.3, 0.4], [1, 3, 13, 4], 3, 2, true),
        depthwise("clamp", &[-0.25, 0.5], [1, 5, 11, 170], 3, 1, true),
        depthwise("elu", &[1.5], [1, 2, 9, 6], 7, 1, false),
        // Activations, of which some are not 0 at 0, with channels that do not fill a quad; by tiles of both sizes.
        activated("sigmoid", &[], Combine::Nothing, [2, 3, 5, 7], 5, 1),
        activated("sigmoid", &[], Combine::Add, [1, 4, 13, 12], 6, 3),
        activated("silu", &[], Combine::Multiply, [1, 4, 6, 6], 5, 5),
        activated("silu", &[], Combine::Nothing, [1, 5, 6, 7], 9, 3),
        activated("hard_sigmoid", &[0.3, 0.4], Combine::Nothing, [2, 9, 4, 7], 1, 3),
        activated("clamp", &[-0.25, 0.5], Combine::Add, [2, 6, 13, 7], 7, 3),
        activated("elu", &[1.5], Combine::Mask(0.25), [1, 6, 9, 5], 3, 3),
        uneven([1, 1, 0, 2], false, [2, 5, 7, 6], 6, 3),
        uneven([2, 0, 1, 1], true, [1, 4, 6, 9], 5, 3),
        uneven([2, 2, 3, 1], false, [1, 3, 8, 9], 5, 5),
        fused(0, false, [1, 1, 1, 1], 1, 1),
        fused(1, false, [2, 3, 5, 7], 4, 3),
        fused(1, true, [2, 5, 9, 6], 3, 3),
        // No padding, and more than the filter needs.
        fused(0, false, [1, 4, 6, 11], 5, 3),
        fused(2, true, [1, 2, 3, 8], 17, 3),
        // One tile more than a group's lanes, and two groups of channels.
        fused(1, false, [1, 8, 5, 257], 20, 3),
        // Taps as in srcnn, and one channel to many.
        fused(2, false, [1, 4, 10, 9], 3, 5),
        fused(1, true, [2, 6, 7, 12], 9, 5),
        fused(4, false, [2, 1, 6, 13], 9, 9),
        fused(0, true, [1, 9, 4, 5], 6, 1),
        // Replicated borders, wider than the picture is high.
        bordered(true, 1, false, [2, 5, 6, 9], 7, 3),
        bordered(true, 2, false, [1, 4, 1, 11], 9, 5),
        bordered(true, 4, false, [1, 1, 3, 6], 6, 9),
        // One channel out of many.
        fused(1, false, [2, 10, 7, 5], 1, 3),
        // What may follow a convolution, with 8 points, 6 points and every tap written out.
        combined(Combine::Add, false, [2, 5, 13, 7], 6, 3),
        combined(Combine::Multiply, false, [1, 3, 5, 9], 9, 5),
        combined(Combine::Mask(0.0), true, [2, 4, 6, 5], 5, 3),
        combined(Combine::Mask(0.25), true, [1, 6, 5, 5], 3, 1),
        combined(Combine::Mask(0.25), true, [1, 6, 9, 5], 5, 3).fill(4, Fill::With(with_zeros)).rough(),
        combined(Combine::Mask(0.25), false, [1, 5, 6, 7], 4, 5).fill(4, Fill::With(with_zeros)).rough(),
        combined(Combine::Add, false, [2, 9, 4, 7], 1, 3),
        shuffled(Combine::Nothing, 3, [2, 5, 4, 7], 1),
        shuffled(Combine::Add, 2, [2, 3, 5, 6], 1),
        shuffled(Combine::Multiply, 2, [1, 6, 3, 5], 6),
        shuffled(Combine::Nothing, 3, [1, 2, 4, 3], 3),
        // Slopes that a mask must keep, by tiles of both sizes.
        combined(Combine::Mask(0.25), true, [1, 8, 12, 12], 8, 3),
        combined(Combine::Mask(0.25), false, [1, 5, 6, 7], 4, 5),
        // So many tiles of 4 × 4 pixels that a position takes several rows of texels, or that there are two blocks.
        fused(1, false, [1, 2, 250, 250], 3, 3).real(),
        fused(1, false, [1, 4, 268, 264], 4, 3).real(),
        // Enough pixels and channels for the largest tiles, and past their ends.
        fused(1, false, [1, 5, 37, 41], 70, 3),
        combined(Combine::Add, false, [1, 3, 37, 41], 70, 5),
        fused(0, false, [2, 17, 25, 41], 68, 1),
        strided(Combine::Nothing, [2, 2], true, [1, 3, 75, 81], 70, 3),
        // Layers of cbn, small.
        fused(1, false, [1, 64, 16, 12], 64, 3).real(),
        fused(1, false, [1, 128, 8, 8], 128, 3).real(),
    ]
}
