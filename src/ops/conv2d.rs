//! conv2d: convolution with stride, dilation, groups, and zero or replicate padding.
//!
//! `y[n,o,i,j] = b[o] + Σ_{c,u,v} w[o,c,u,v] · x[n, g·Ci/G + c, i·s₀ + u·d₀ − p₀, j·s₁ + v·d₁ − p₁]`
//!
//! with stride s, dilation d, padding p, G groups, and o in group g = ⌊o·G/Co⌋; outside of the picture x is 0, or with
//! `replicate` its nearest pixel.
//!
//! | name | shape             | meaning                                   |
//! |------|-------------------|-------------------------------------------|
//! | x    | `[N,Ci,H,W]`      | input                                     |
//! | w    | `[Co,Ci/G,Kh,Kw]` | filters                                   |
//! | b    | `[1,Co,1,1]`      | bias                                      |
//! | y    | `[N,Co,Ho,Wo]`    | output, Ho = ⌊(H+2p₀−(Kh−1)·d₀−1)/s₀⌋ + 1 |
//!
//! Gradients: for x, w and b. Backward reads x, w and dy. With `replicate` the gradient for x is the exact adjoint: a
//! border pixel collects every tap that was clamped to it.
//! Errors: a stride, dilation or number of groups of 0 or above 65,535; groups that do not divide Ci and Co; w or b
//! disagrees with x; the dilated filter is larger than the padded picture.
//! Numerics: f32 sums in an order that does not depend on the picture's size or the place in it, so tiles equal the
//! whole picture bit for bit. The gradients for w and b are sums of partial sums in a fixed order.
//! Source: definition as in torch.nn.functional.conv2d (cross-correlation: the filter is not flipped) and, for
//! `replicate`, torch.nn.Conv2d's padding_mode.

use super::{Case, Cost, Io, Launch, Op, Source, Tolerance, Values, shaders};
use crate::error::ShapeError;
use crate::layout::MAX_TEXELS;
use crate::tensor::{Shape, len};

/// The attributes: pairs are rows, then columns. The default is stride 1, dilation 1, no padding, one group.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv2d {
    /// Input pixels from one output to the next, 1 to 65,535.
    pub stride: [usize; 2],
    /// Input pixels from one tap to the next, 1 to 65,535.
    pub dilation: [usize; 2],
    /// Pixels added on both sides, 0 to 65,535.
    pub padding: [usize; 2],
    /// The added pixels repeat the nearest one of the picture instead of being 0.
    pub replicate: bool,
    /// Channels are cut into this many groups that do not see each other; the number of input channels for depthwise.
    pub groups: usize,
}

impl Default for Conv2d {
    fn default() -> Self {
        Self { stride: [1, 1], dilation: [1, 1], padding: [0, 0], replicate: false, groups: 1 }
    }
}

impl Conv2d {
    /// Zero padding that keeps the size of the picture under a filter of `kernel` × `kernel` taps, `kernel` odd.
    pub fn same(kernel: usize) -> Self {
        Self { padding: [kernel / 2; 2], ..Self::default() }
    }
}

/// Rows (taps in backward_w) of the block that a thread keeps in registers.
const ROWS: usize = 8;

/// Channels of a block: the width that needs the fewest loads for `channels` of a group, at eight rows.
fn block_channels(channels: usize) -> usize {
    [8, 4, 1].into_iter().min_by_key(|width| channels.div_ceil(*width) * (ROWS + width)).unwrap_or(1)
}

/// Into how many partial sums a reduction over `items` is cut where `blocks` independent ones run beside each other:
/// some 2,048 threads in all, at most 256 partial sums each, and equal shares where possible.
pub(super) fn walkers(items: usize, blocks: usize) -> usize {
    let most = (2048 / blocks).clamp(8, 256).next_multiple_of(8);
    items.div_ceil(items.div_ceil(most))
}

/// Work of a convolution; padding counts as work.
pub(super) fn cost(method: &str, io: &Io) -> Cost {
    let products = io.y_len() * len(&io.x[1]) / io.y[1];
    match method {
        "forward" => Cost::new(2 * products, io.total_len()),
        "backward_b" => Cost::new(io.y_len(), io.y_len() + io.x_len(2)),
        _ => Cost::new(2 * products, io.x_len(0) + io.x_len(1) + io.y_len()),
    }
}

impl Conv2d {
    /// Rows or columns of the output for `size` of the input and `kernel` taps along dimension `d`.
    fn out_size(&self, d: usize, size: usize, kernel: usize) -> Result<usize, ShapeError> {
        let limit = 1 << 30;
        let padded = size + 2 * self.padding[d];
        let reach = kernel.saturating_sub(1).saturating_mul(self.dilation[d]).saturating_add(1);
        if kernel == 0 || reach > padded {
            return Err(ShapeError::value(
                "w",
                format!("1 to {padded} pixels {} with dilation, as the padded x", ["high", "wide"][d]),
                format!("{kernel} taps at dilation {}", self.dilation[d]),
            ));
        }
        if padded >= limit {
            return Err(ShapeError::value("x", format!("below {limit} pixels a side with padding"), padded));
        }
        Ok((padded - reach) / self.stride[d] + 1)
    }

    fn walkers(&self, method: &str, io: &Io) -> usize {
        let [_, co, ho, wo] = io.y;
        let out_group = co / self.groups;
        let blocks = match method {
            "backward_w" => {
                let taps = io.x_len(1) / co;
                self.groups * out_group.div_ceil(block_channels(out_group)) * taps.div_ceil(ROWS)
            }
            _ => co,
        };
        walkers(ho * wo, blocks)
    }

    /// Calls `f` with the indices in y, x and w of every product w · x that the formula adds to y.
    fn each_product(&self, io: &Io, mut f: impl FnMut(usize, usize, usize)) {
        let ([n, ci, h, w], [co, in_group, kh, kw]) = (io.x[0], io.x[1]);
        let [_, _, ho, wo] = io.y;
        // The pixel of x that the padded index reads, if any.
        let pixel = |padded: usize, padding: usize, size: usize| {
            let at = padded as i64 - padding as i64;
            let nearest = at.clamp(0, size as i64 - 1);
            (self.replicate || nearest == at).then_some(nearest as usize)
        };
        for n in 0..n {
            for o in 0..co {
                let group = o / (co / self.groups);
                for i in 0..ho {
                    for j in 0..wo {
                        for c in 0..in_group {
                            for u in 0..kh {
                                for v in 0..kw {
                                    let r = pixel(i * self.stride[0] + u * self.dilation[0], self.padding[0], h);
                                    let s = pixel(j * self.stride[1] + v * self.dilation[1], self.padding[1], w);
                                    if let (Some(r), Some(s)) = (r, s) {
                                        f(
                                            ((n * co + o) * ho + i) * wo + j,
                                            ((n * ci + group * in_group + c) * h + r) * w + s,
                                            ((o * in_group + c) * kh + u) * kw + v,
                                        );
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A correlation in `conv2d_texels`, as forward, backward_x or backward_w see it.
struct Texels {
    /// Rows and columns before the picture; negative where it is cut.
    pad: [i64; 2],
    c_in: usize,
    c_out: usize,
    size: [usize; 2],
    out_size: [usize; 2],
    /// Written channels of a block.
    width: usize,
    /// Groups × blocks in a group.
    blocks: usize,
    /// Length of a filter.
    taps: usize,
    /// Quads of written channels in a group.
    quads: usize,
    /// Partial sums of backward_w.
    walkers: usize,
}

impl Conv2d {
    fn texels(&self, method: &str, io: &Io) -> Texels {
        let ([_, ci, h, w], [co, _, kh, kw], [_, _, ho, wo]) = (io.x[0], io.x[1], io.y);
        let is_x = method == "backward_x";
        let (c_in, c_out) = if is_x { (co, ci) } else { (ci, co) };
        let (size, out_size) = if is_x { ([ho, wo], [h, w]) } else { ([h, w], [ho, wo]) };
        let reach = [(kh - 1) * self.dilation[0], (kw - 1) * self.dilation[1]];
        let pad = [0, 1].map(|d| match is_x {
            true => reach[d] as i64 - self.padding[d] as i64,
            false => self.padding[d] as i64,
        });
        let out_group = c_out / self.groups;
        // Nanoseconds on lavapipe (Zen 3, Mesa 22.3.6): 7 a channel and 7 for its load in backward_w, where eight loads
        // of x serve all channels; elsewhere four channels share a load of 5, and one of x serves all.
        let cost = |width: usize| match method {
            "backward_w" => out_group.div_ceil(width) * (56 + 14 * width),
            _ => out_group.div_ceil(width) * (7 + 8 * width),
        };
        let width = if cost(8) < cost(4) { 8 } else { 4 };
        let blocks = self.groups * out_group.div_ceil(width);
        let taps = c_in / self.groups * kh * kw;
        // Two vectors of eight lanes, more where there are fewer than 16 blocks for the processor's threads.
        let most = 16 * 16usize.div_ceil(blocks * taps.div_ceil(ROWS));
        let pixels = out_size[0] * out_size[1];
        let walkers = pixels.div_ceil(pixels.div_ceil(most));
        Texels { pad, c_in, c_out, size, out_size, width, blocks, taps, quads: out_group.div_ceil(4), walkers }
    }

    pub(super) fn launch_texels(&self, entry: &str, io: &Io) -> Option<Launch> {
        let method = crate::ops::method_of(entry);
        let is_x = method == "backward_x";
        if is_x && (self.replicate || self.stride != [1, 1]) {
            return None;
        }
        let tensors = io.x.iter().chain([&io.y]).map(len);
        if tensors.chain(self.scratch_texels(method, io).iter().map(|s| s.1)).any(|texels| texels > MAX_TEXELS) {
            return None;
        }
        let t = self.texels(method, io);
        let ([n, ..], [co, _, kh, kw]) = (io.x[0], io.x[1]);
        let groups = self.groups;
        let row_blocks = t.out_size[0].div_ceil(ROWS);
        let tap_blocks = t.taps.div_ceil(ROWS);
        let threads = match entry {
            "forward_1" => groups * t.quads * (t.taps + 1),
            "backward_x_1" => groups * t.quads * t.taps,
            "forward_2" | "backward_x_2" => n * t.blocks * row_blocks * t.out_size[1],
            "backward_w_1" => t.blocks * tap_blocks * t.walkers,
            "backward_w_2" => io.x_len(1) + co,
            _ => return None,
        };
        u32::try_from(threads).ok()?;
        let launch = Launch::threads(
            threads,
            [
                ("batch", n.into()),
                ("c_in", t.c_in.into()),
                ("c_out", t.c_out.into()),
                ("height", t.size[0].into()),
                ("width", t.size[1].into()),
                ("out_height", t.out_size[0].into()),
                ("out_width", t.out_size[1].into()),
                ("kernel_h", kh.into()),
                ("kernel_w", kw.into()),
                ("stride_h", self.stride[0].into()),
                ("stride_w", self.stride[1].into()),
                ("dilation_h", self.dilation[0].into()),
                ("dilation_w", self.dilation[1].into()),
                ("pad_h", (t.pad[0] as u32).into()),
                ("pad_w", (t.pad[1] as u32).into()),
                ("replicate", u32::from(self.replicate).into()),
                ("in_group", (t.c_in / groups).into()),
                ("out_group", (t.c_out / groups).into()),
                ("row_blocks", row_blocks.into()),
                ("blocks", (t.blocks / groups).into()),
                ("taps", t.taps.into()),
                ("tap_blocks", tap_blocks.into()),
                ("quads", t.quads.into()),
                ("walkers", t.walkers.into()),
                ("threads", threads.into()),
            ],
        );
        let launch = launch.with("OC", t.width).with("SLIDING", usize::from(self.stride[0] == self.dilation[0]));
        // Few threads with much work each: small groups share them out evenly.
        Some(if entry == "backward_w_1" { launch.with("WG", 16) } else { launch })
    }

    pub(super) fn scratch_texels(&self, method: &str, io: &Io) -> Vec<(&'static str, usize)> {
        let t = self.texels(method, io);
        match method {
            "backward_w" => vec![("t0", t.walkers * (io.x_len(1) + io.y[1]))],
            _ => vec![("t1", self.groups * t.quads * (t.taps + 1))],
        }
    }
}

impl Conv2d {
    fn correlation(&self, io: &Io) -> Correlation {
        let ([n, ci, h, w], [_, _, kh, kw], [_, co, ho, wo]) = (io.x[0], io.x[1], io.y);
        let (a, b) = ([n, co, ho, wo], [n, ci, h, w]);
        Correlation::new(a, b, [kh, kw], self.padding, self.replicate, true)
    }

    pub(super) fn launch_quads(&self, entry: &str, io: &Io) -> Option<Launch> {
        if self.stride != [1, 1] || self.dilation != [1, 1] || self.groups != 1 {
            return None;
        }
        let c = self.correlation(io);
        let groups = match entry {
            "backward_w_1" => c.groups(),
            "backward_w_2" => c.products().div_ceil(64),
            _ => return None,
        };
        let params = [("c_in", io.x[0][1].into()), ("c_out", io.y[1].into()), ("threads", c.products().into())];
        let groups = [u32::try_from(groups).ok().filter(|g| *g <= 65_535)?, 1, 1];
        c.fits().then(|| c.set(Launch::groups(groups, params.into_iter().chain(c.params()))))
    }

    /// As a 1×1 filter over the values under all taps, `None` where that is no gain.
    fn columns(&self, io: &Io) -> Option<(Correlation, Shape)> {
        let ([n, ci, ..], [_, _, kh, kw], [_, co, ho, wo]) = (io.x[0], io.x[1], io.y);
        let is_plain = self.stride == [1, 1] && self.dilation == [1, 1] && self.groups == 1;
        let columns = [n, ci * kh * kw, ho, wo];
        (is_plain && ci <= 2 && kh * kw >= 4)
            .then(|| (Correlation::new([n, co, ho, wo], columns, [1, 1], [0, 0], false, true), columns))
    }

    fn launch_columns(&self, entry: &str, io: &Io) -> Option<Launch> {
        let (c, columns) = self.columns(io)?;
        let ([_, ci, h, w], [_, _, kh, kw]) = (io.x[0], io.x[1]);
        let threads = match entry {
            "backward_w_1" => crate::layout::Layout::Quads.elements(&columns),
            "backward_w_2" => 64 * c.groups(),
            "backward_w_3" => c.products(),
            _ => return None,
        };
        let params = [
            ("height", h.into()),
            ("width", w.into()),
            ("quads", ci.div_ceil(4).into()),
            ("values", columns[1].into()),
            ("area", (kh * kw).into()),
            ("kernel_w", kw.into()),
            ("x_pad_h", self.padding[0].into()),
            ("x_pad_w", self.padding[1].into()),
            ("x_replicate", u32::from(self.replicate).into()),
            ("c_out", io.y[1].into()),
            ("threads", threads.into()),
        ];
        let params = params.into_iter().chain(c.params());
        let launch = match entry {
            "backward_w_2" => Launch::groups([u32::try_from(c.groups()).ok().filter(|g| *g <= 65_535)?, 1, 1], params),
            _ => Launch::threads(threads, params),
        };
        c.fits().then(|| c.set(launch))
    }

    pub(super) fn scratch_quads(&self, io: &Io) -> Vec<(&'static str, usize)> {
        vec![("t1", self.correlation(io).partials())]
    }
}

/// How `shared/correlate.wgsl` lays out a sum over pixels; its header explains the words.
pub(super) struct Correlation {
    a: Shape,
    b: Shape,
    taps: [usize; 2],
    pad: [usize; 2],
    replicate: bool,
    a_quads: usize,
    b_quads: usize,
    /// Quads of a block of A and of B.
    block: [usize; 2],
    b_blocks: usize,
    units: usize,
    pixels: usize,
    walkers: usize,
    chunks: usize,
}

impl Correlation {
    /// Chunks of eight pixels in an iteration.
    const UNROLL: usize = 2;
    /// Pairs of quads of a block: their sums, 512 bytes each for eight lanes, stay in a first-level cache of 32 KiB.
    const MOST: usize = 16;

    /// For pictures A and B `[N,C,H,W]`, taps and padding in rows and columns; `bias` also sums A alone.
    pub fn new(a: Shape, b: Shape, taps: [usize; 2], pad: [usize; 2], replicate: bool, bias: bool) -> Self {
        let (a_quads, b_quads) = (a[1].div_ceil(4), b[1].div_ceil(4));
        // Instructions for eight pixels; see the header.
        let price = |[aq, bq]: [usize; 2]| {
            let blocks = a_quads.div_ceil(aq) * b_quads.div_ceil(bq);
            blocks as f64 * (60.0 + 48.0 * (aq + bq) as f64 + 2.2 * (16 * aq * bq) as f64)
        };
        let blocks = (1..=7).flat_map(|aq| (1..=7).map(move |bq| [aq, bq])).filter(|[aq, bq]| aq * bq <= Self::MOST);
        let block = blocks.min_by(|a, b| price(*a).total_cmp(&price(*b))).unwrap_or([1, 1]);
        let b_blocks = b_quads.div_ceil(block[1]);
        let units = a_quads.div_ceil(block[0]) * (b_blocks * taps[0] * taps[1] + usize::from(bias));
        let pixels = a[0] * a[2] * a[3];
        let all = pixels.div_ceil(8);
        // Enough walks for the processor's threads, each of 32 chunks at least.
        let walkers = 128usize.div_ceil(units).min(all.div_ceil(32));
        let chunks = all.div_ceil(walkers).next_multiple_of(Self::UNROLL);
        Self { a, b, taps, pad, replicate, a_quads, b_quads, block, b_blocks, units, pixels, walkers, chunks }
    }
    fn sums(&self) -> usize {
        4 * self.block[0] * self.block[1]
    }
    /// Workgroups of `correlate`.
    pub fn groups(&self) -> usize {
        (self.units * self.walkers).div_ceil(8)
    }
    /// Threads of `product`.
    pub fn products(&self) -> usize {
        self.units * self.sums()
    }
    /// Texels of `t1`.
    pub fn partials(&self) -> usize {
        self.units * self.walkers * self.sums() * 8
    }
    pub fn fits(&self) -> bool {
        let quads = |shape: &Shape| crate::layout::Layout::Quads.elements(shape);
        [quads(&self.a), quads(&self.b), self.partials()].iter().all(|texels| *texels <= MAX_TEXELS)
    }
    pub fn params(&self) -> Vec<(&'static str, super::Scalar)> {
        let [batch, _, height, width] = self.a;
        vec![
            ("a_height", height.into()),
            ("a_width", width.into()),
            ("b_height", self.b[2].into()),
            ("b_width", self.b[3].into()),
            ("a_quads", self.a_quads.into()),
            ("b_quads", self.b_quads.into()),
            ("pad_h", self.pad[0].into()),
            ("pad_w", self.pad[1].into()),
            ("replicate", u32::from(self.replicate).into()),
            ("taps", (self.taps[0] * self.taps[1]).into()),
            ("taps_w", self.taps[1].into()),
            ("b_blocks", self.b_blocks.into()),
            ("units", self.units.into()),
            ("pixels", self.pixels.into()),
            ("walkers", self.walkers.into()),
            ("chunks", self.chunks.into()),
            ("batch", batch.into()),
            ("step_n", (8 / (height * width)).into()),
            ("step_i", (8 / width % height).into()),
            ("step_j", (8 % width).into()),
        ]
    }
    /// Sets the sizes of blocks.
    pub fn set(&self, launch: Launch) -> Launch {
        let [aq, bq] = self.block;
        let launch = launch.with("AQ", aq).with("BQ", bq).with("SUMS", self.sums()).with("UNROLL", Self::UNROLL);
        launch.with("LEFTS", Self::UNROLL * aq).with("RIGHTS", Self::UNROLL * bq)
    }
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x", "w", "b"]
    }
    fn shaders(&self) -> &'static [Source] {
        shaders![
            "conv2d",
            "conv2d_columns" + "correlate" + "texels" + "bound",
            "conv2d_quads" + "correlate" + "texels" + "bound",
            "conv2d_texels" + "bound"
        ]
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let [n, ci, h, w] = x[0];
        let [co, in_group, kh, kw] = x[1];
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
        if in_group != ci / groups {
            return Err(ShapeError::shape("w", format!("[Co, Ci/groups={}, Kh, Kw]", ci / groups), x[1]));
        }
        if x[2] != [1, co, 1, 1] {
            return Err(ShapeError::shape("b", format!("[1, Co={co}, 1, 1]"), x[2]));
        }
        Ok([n, co, self.out_size(0, h, kh)?, self.out_size(1, w, kw)?])
    }
    fn launch(&self, stem: &str, entry: &str, io: &Io) -> Option<Launch> {
        if stem == "conv2d_quads" {
            return self.launch_quads(entry, io);
        }
        if stem == "conv2d_columns" {
            return self.launch_columns(entry, io);
        }
        if stem == "conv2d_texels" {
            return self.launch_texels(entry, io);
        }
        let ([n, ci, h, w], [co, in_group, kh, kw]) = (io.x[0], io.x[1]);
        let [_, _, ho, wo] = io.y;
        let groups = self.groups;
        let out_group = co / groups;
        // backward_x writes input channels, all others output channels.
        let (written, rows, columns) = if entry == "backward_x" { (in_group, h, w) } else { (out_group, ho, wo) };
        let width = block_channels(written);
        let blocks = written.div_ceil(width);
        let row_blocks = rows.div_ceil(ROWS);
        let taps = in_group * kh * kw;
        let tap_blocks = taps.div_ceil(ROWS);
        let block_threads = n * groups * blocks * row_blocks * columns;
        let border = match self.replicate {
            true => w * h.min(2) + w.min(2) * h.saturating_sub(2),
            false => 0,
        };
        let walkers = self.walkers(crate::ops::method_of(entry), io);
        let threads = match entry {
            "forward" => block_threads,
            "backward_x" => block_threads + n * ci * border,
            "backward_w_1" => groups * blocks * tap_blocks * walkers,
            "backward_w_2" => io.x_len(1),
            "backward_b_1" => co * walkers,
            "backward_b_2" => co,
            _ => return None,
        };
        u32::try_from(threads).ok()?;
        let launch = Launch::threads(
            threads,
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
                ("in_group", in_group.into()),
                ("out_group", out_group.into()),
                ("row_blocks", row_blocks.into()),
                ("blocks", blocks.into()),
                ("taps", taps.into()),
                ("tap_blocks", tap_blocks.into()),
                ("border", border.into()),
                ("block_threads", block_threads.into()),
                ("walkers", walkers.into()),
                ("threads", threads.into()),
            ],
        );
        Some(launch.with("OC", width))
    }
    fn scratch(&self, stem: &str, method: &str, io: &Io) -> Vec<(&'static str, usize)> {
        if stem == "conv2d_quads" {
            return self.scratch_quads(io);
        }
        if stem == "conv2d_columns" {
            return self.columns(io).map_or_else(Vec::new, |(c, columns)| {
                vec![("t0", crate::layout::Layout::Quads.elements(&columns)), ("t1", c.partials())]
            });
        }
        if stem == "conv2d_texels" {
            return self.scratch_texels(method, io);
        }
        match method {
            "backward_w" => vec![("t0", self.walkers(method, io) * io.x_len(1))],
            "backward_b" => vec![("t0", self.walkers(method, io) * io.y[1])],
            _ => Vec::new(),
        }
    }
    fn fusible(&self) -> Option<super::Fusible> {
        let is_plain = self.stride == [1, 1] && self.dilation == [1, 1] && self.groups == 1;
        is_plain.then_some(super::Fusible::Convolution { padding: self.padding, replicate: self.replicate })
    }
    fn speed(&self, stem: &str, _io: &Io) -> f64 {
        match stem {
            "conv2d_columns" => 8.0,
            "conv2d_quads" => 6.0,
            "conv2d_texels" => 3.0,
            _ => 1.0,
        }
    }
    fn cost(&self, method: &str, io: &Io) -> Cost {
        cost(method, io)
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let plane = io.y[2] * io.y[3];
        for (k, y) in y.iter_mut().enumerate() {
            *y = x[2][k / plane % io.y[1]];
        }
        self.each_product(io, |yi, xi, wi| y[yi] += x[1][wi] * x[0][xi]);
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        let plane = io.y[2] * io.y[3];
        for (k, dy) in dy.iter().enumerate() {
            dx[2][k / plane % io.y[1]] += dy;
        }
        self.each_product(io, |yi, xi, wi| {
            dx[0][xi] += x[1][wi] * dy[yi];
            dx[1][wi] += x[0][xi] * dy[yi];
        });
    }
    fn tolerance(&self, output: &str, io: &Io, _at: &Values) -> Tolerance {
        let [co, in_group, kh, kw] = io.x[1];
        // With replicate padding a border pixel stands for at most 2p + 1 rows (columns) of the padded picture.
        let copies = |d: usize| if self.replicate { 2 * self.padding[d] + 1 } else { 1 };
        Tolerance::Terms(match output {
            // A product and an addition each, and the bias.
            "y" => in_group * kh * kw + 2,
            "dx" => co / self.groups * kh * copies(0) * kw * copies(1) + 1,
            // At most one addition a pixel and one a walker, of whom there are no more than pixels.
            _ => 2 * io.y[0] * io.y[2] * io.y[3] + 1,
        })
    }
}

pub fn cases() -> Vec<Case> {
    let case = |op: Conv2d, x: Shape, w: Shape| Case::new(op, &[x, w, [1, w[0], 1, 1]]);
    vec![
        case(Conv2d::default(), [1, 1, 1, 1], [1, 1, 1, 1]),
        case(Conv2d::same(3), [2, 3, 5, 7], [4, 3, 3, 3]),
        // 1×1 over channels just past a block, more rows than a thread's block.
        case(Conv2d::default(), [2, 9, 9, 4], [10, 9, 1, 1]),
        // One more than a workgroup's lanes.
        case(Conv2d { padding: [0, 1], ..Conv2d::default() }, [1, 1, 2, 257], [2, 1, 2, 2]),
        // Strides, dilations and paddings that all differ; the last column of x is read by no tap.
        case(
            Conv2d { stride: [2, 3], dilation: [1, 2], padding: [2, 1], ..Conv2d::default() },
            [2, 2, 11, 9],
            [3, 2, 4, 3],
        ),
        // Rows where taps are as far apart as outputs, both more than one.
        case(
            Conv2d { stride: [2, 1], dilation: [2, 1], padding: [2, 0], ..Conv2d::default() },
            [1, 2, 19, 3],
            [2, 2, 3, 2],
        ),
        // Replicate padding wider than the picture is high.
        case(Conv2d { padding: [4, 2], replicate: true, ..Conv2d::default() }, [2, 2, 3, 6], [2, 2, 9, 5]),
        case(
            Conv2d { stride: [2, 3], dilation: [2, 1], padding: [3, 2], replicate: true, ..Conv2d::default() },
            [1, 2, 7, 10],
            [3, 2, 3, 4],
        ),
        case(Conv2d { padding: [1, 1], replicate: true, ..Conv2d::default() }, [1, 2, 1, 1], [2, 2, 3, 3]),
        // Two groups.
        case(Conv2d { groups: 2, ..Conv2d::same(3) }, [1, 4, 5, 6], [10, 2, 3, 3]),
        // Depthwise, with two outputs a channel and stride in the second.
        case(Conv2d { groups: 5, ..Conv2d::same(3) }, [2, 5, 4, 6], [5, 1, 3, 3]),
        case(Conv2d { groups: 3, stride: [2, 2], replicate: true, ..Conv2d::same(5) }, [1, 3, 6, 5], [6, 1, 5, 5]),
        // The largest filter.
        case(Conv2d::same(11), [1, 1, 6, 8], [1, 1, 11, 11]),
        // Layers of FSRCNN(56,12,4) in training: features, shrinking, expanding.
        case(Conv2d::same(5), [16, 1, 16, 16], [56, 1, 5, 5]).real(),
        case(Conv2d::default(), [16, 56, 16, 16], [12, 56, 1, 1]).real(),
        case(Conv2d::default(), [16, 12, 16, 16], [56, 12, 1, 1]).real(),
    ]
}
