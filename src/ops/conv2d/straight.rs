//! A fused convolution with every tap written out, for small filters.

use super::fusion::Fusion;
use super::{Conv2d, PIXELS_AT_ONCE, fits};
use crate::ops::{Call, Caps, Io, Launch, Work};

/// How a layer is laid out.
struct Straight {
    /// Rows and columns of x that an output pixel reads; if x is spread or the outputs are pooled, that those of a cell read together.
    window: [usize; 2],
    /// Window rows and columns before a cell's first, and the rest of the padding: see the shader.
    before: [usize; 2],
    rest: [usize; 2],
    /// Quads of a filter's input channels.
    quads_in: usize,
    /// Real channels per quad.
    channels: usize,
    /// Side of the block of pixels that the output quads at an index go to: the stride if x is spread, else that of the shuffle.
    factor: usize,
    /// Side of a cell of outputs: the stride if x is spread, 2 if they are pooled, else 1.
    side: usize,
    /// Output quads per group, for every output of a cell.
    oq: usize,
    groups_out: usize,
    quads_out: usize,
    /// Groups of output quads that read the same quads of x.
    groups_in: usize,
    is_dot: bool,
    is_pooled: bool,
    /// Texels of weights per group.
    fill: usize,
    /// Rows and columns of cells, a thread each.
    grid: [usize; 2],
    pixels: usize,
    lanes: usize,
    /// Products of a texel of weights and a number that a thread adds up.
    products: usize,
}

impl Straight {
    /// Returns `None` if a pixel of four channels takes more multiply-adds than fit.
    fn new(op: &Conv2d, fusion: Fusion, io: &Io) -> Option<Self> {
        let ([_, ci, ..], [n, co, ho, wo], [_, _, kh, kw]) = (io.x[0].nchw(), op.sums(io).nchw(), io.x[1].nchw());
        let (kernel, spread) = ([kh, kw], op.spread());
        let (in_group, out_group) = (ci / op.groups, co / op.groups);
        let is_whole = in_group.is_multiple_of(4) && out_group.is_multiple_of(4);
        let is_plain = fusion.factor == 1 && !fusion.adjoint && !fusion.pooled;
        if op.dilation != [1, 1] || (op.groups > 1 && !(is_plain && is_whole)) {
            return None;
        }
        let is_spread = spread != [1, 1];
        if spread[0] != spread[1] || (is_spread && fusion.factor != 1) {
            return None;
        }
        // An output row i·s + a meets row i + r − before of x at its tap r·s + rest − a.
        let before = [0, 1].map(|d| op.padding[d] / spread[d]);
        let rest = [0, 1].map(|d| op.padding[d] % spread[d]);
        let more = if fusion.pooled { op.stride } else { [0, 0] };
        let window = [0, 1].map(|d| (kernel[d] + spread[d] - 2 - rest[d]) / spread[d] + 1 + more[d]);
        let factor = if is_spread { spread[0] } else { fusion.factor };
        let side = if fusion.pooled { 2 } else { spread[0] };
        let (square, has_places) = (factor * factor, side > 1);
        let quads_out = match (has_places, co == square) {
            (true, _) => side * side * co.div_ceil(4),
            (false, true) => co.div_ceil(4),
            (false, false) => square * (co / square).div_ceil(4),
        };
        let (quads_in, channels) = (in_group.div_ceil(4), in_group.min(4));
        let is_dot = co == 1 && ci >= 4 && !has_places;
        let of_tap = quads_in * if is_dot { 1 } else { channels };
        let texels = window[0] * window[1] * of_tap;
        // The places of a spread picture divide the taps among them.
        let products = kh * kw * of_tap * if fusion.pooled { 4 } else { 1 };
        // Workgroup memory holds 1,024 texels of weights (16 KiB). A group has every place of its channels. With one tap, where loads
        // are few, half of that is as fast (mobilefacenet, yunet and yolox_nano on a Zen 4), and compiles in half the time.
        let (places, most) = match kh * kw {
            _ if is_spread => (square, (576 / products).min(1024 / (texels * square))),
            _ if fusion.pooled => (4, fitting(products, 4).min(1024 / (4 * texels))),
            1 if products <= 512 => (1, 512 / products),
            _ => (1, fitting(products, 1)),
        };
        let most = if is_dot { most.min(1) } else { most.min(quads_out / places) };
        if most == 0 {
            return None;
        }
        let groups_out = match op.groups {
            1 => (quads_out / places).div_ceil(most),
            // No group of quads may reach into the next group of channels.
            groups => {
                groups
                    * (1..=out_group / 4).find(|parts| out_group / 4 % parts == 0 && out_group / 4 / parts <= most)?
            }
        };
        let channel_quads = (quads_out / places).div_ceil(groups_out);
        let oq = channel_quads * places;
        let grid = [ho.div_ceil(side), wo.div_ceil(side)];
        let pixels = n * grid[0] * grid[1];
        let lanes = if pixels >= 1024 { 256 } else { (pixels.div_ceil(2)).next_multiple_of(8).min(256) };
        let (fill, products) = (texels * oq, products * channel_quads);
        Some(Self {
            window,
            before,
            rest,
            quads_in,
            channels,
            factor,
            side,
            oq,
            groups_out,
            quads_out,
            groups_in: groups_out / op.groups,
            is_dot,
            is_pooled: fusion.pooled,
            fill,
            products,
            grid,
            pixels,
            lanes,
        })
    }

    fn scratch(&self) -> Vec<(&'static str, usize)> {
        vec![("t2", self.groups_out * (self.fill + 2 * self.oq))]
    }
    fn launch(&self, op: &Conv2d, fusion: Fusion, entry: &str, io: &Io) -> Option<Launch> {
        let ([_, ci, h, w], [_, _, kh, kw]) = (io.x[0].nchw(), io.x[1].nchw());
        let biases = self.groups_out * self.fill;
        let threads = biases + 2 * self.groups_out * self.oq;
        let groups: [u32; 3] = match entry {
            "forward_1" => [threads.div_ceil(64).try_into().ok()?, 1, 1],
            "forward_2" => [self.groups_out.try_into().ok()?, self.pixels.div_ceil(self.lanes).try_into().ok()?, 1],
            _ => return None,
        };
        let pool = if fusion.pooled { 2 } else { 1 };
        let stride = op.out_stride().map(|stride| stride * pool);
        let launch = Launch::groups(
            groups,
            [
                ("in_group", (ci / op.groups).into()),
                ("c_out", op.sums(io)[1].into()),
                ("height", h.into()),
                ("width", w.into()),
                ("grid_height", self.grid[0].into()),
                ("grid_width", self.grid[1].into()),
                ("out_height", io.y[2].into()),
                ("out_width", io.y[3].into()),
                ("stride_h", stride[0].into()),
                ("stride_w", stride[1].into()),
                ("pad_h", self.before[0].into()),
                ("pad_w", self.before[1].into()),
                ("adjoint", u32::from(fusion.adjoint).into()),
                ("replicate", u32::from(op.replicate).into()),
                ("quads_out", self.quads_out.into()),
                ("x_quads", ci.div_ceil(4).into()),
                ("y_quads", io.y[1].div_ceil(4).into()),
                ("pixels", self.pixels.into()),
                ("groups_out", self.groups_out.into()),
                ("groups_in", self.groups_in.into()),
                ("biases", biases.into()),
                ("slope", fusion.combine.code().1.into()),
                ("threads", threads.into()),
            ]
            .into_iter()
            .chain(fusion.parameters()),
        );
        let launch = launch
            .with("KH", self.window[0])
            .with("KW", self.window[1])
            .with("KQ", self.quads_in)
            .with("KC", self.channels);
        let launch = launch
            .with("OQ", self.oq)
            .with("DOT", usize::from(self.is_dot))
            .with("SPREAD", usize::from(!self.is_dot))
            .with("COMBINE", fusion.combine.code().0 as usize)
            .with("TAPS_H", kh)
            .with("TAPS_W", kw)
            .with("REST_H", self.rest[0])
            .with("REST_W", self.rest[1])
            .with("FACTOR", self.factor)
            .with("SPREAD_BY", op.spread()[0])
            .with("SIDE", self.side)
            .with("POOL", usize::from(fusion.pooled))
            .with("STEP_H", if fusion.pooled { op.stride[0] } else { 1 })
            .with("STEP_W", if fusion.pooled { op.stride[1] } else { 1 })
            .with("LONE", usize::from(fusion.factor > 1 && io.y[1] == 1))
            .with("LANES", self.lanes);
        Some(launch.with("FILL", self.fill).with_all(parts(
            self.window[0],
            self.oq,
            self.products,
            self.fill,
            self.lanes,
        )))
    }
    /// Returns the nanoseconds for eight pixels on a thread of a Zen 3 under Mesa 22.3.6.
    fn ns(&self) -> f64 {
        let loads = (self.window[0] * self.window[1] * self.quads_in * self.groups_out) as f64;
        let products = 4.0 * (self.products * self.groups_out) as f64;
        // Most texels of a pooled cell's window meet few of its places, whose products do not hide the load.
        let (load, stores) = if self.is_pooled { (12.0, self.quads_out / 4) } else { (6.0, self.quads_out) };
        load * loads + 0.25 * products + 75.0 * stores as f64 + 100.0
    }
}

/// Products in a part of a window, at most: a Zen 5 takes longer for a whole of 576 than for three parts, but not for one of 350.
const OF_PART: usize = 512;

/// Returns for how many channel quads a thread has room, each with `products` products and `places` output quads. Sums of more than 8
/// output quads must not live through a barrier, thus have one part: 14, in five parts, took ten times as long (Mesa 22.3.6).
fn fitting(products: usize, places: usize) -> usize {
    (1024 / products).min((OF_PART / products).max(8 / places))
}

/// Returns the constants by which `shaders/shared/straight.wgsl` divides a window of `rows` rows whose weights take `texels` texels, of
/// which a thread makes `products` products for `oq` output quads.
pub fn parts(rows: usize, oq: usize, products: usize, texels: usize, lanes: usize) -> [(&'static str, usize); 4] {
    let fits = |parts: &usize| rows.is_multiple_of(*parts) && (oq > 8 || products / parts <= OF_PART);
    let parts = (1..=rows).find(fits).unwrap_or(rows);
    let part = texels / parts;
    [("PARTS", parts), ("ROWS", rows / parts), ("PART", part), ("COPIES", part.div_ceil(lanes))]
}

/// `shaders/conv2d/straight.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Conv2d>()?, &call.io);
    let fusion = op.fusion?;
    let layout = Straight::new(op, fusion, io)?;
    let scratch = layout.scratch();
    let work = call.work(caps, |entry| layout.launch(op, fusion, entry, io).filter(|_| fits(&scratch, io)))?;
    let ns = layout.ns() * layout.pixels as f64 / PIXELS_AT_ONCE;
    Some(work.scratch(scratch).modelled(ns, caps))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::conv2d::cases;
    use std::collections::BTreeSet;

    #[test]
    fn parts_are_whole_rows_and_as_few_as_fit() {
        let of = |rows, texels| parts(rows, 8, texels, texels, 64).map(|(_, value)| value);
        assert_eq!(of(3, 513), [3, 1, 171, 3]);
        assert_eq!(of(3, 512 * 3), [3, 1, 512, 8]);
        assert_eq!(of(9, 9 * 100), [3, 3, 300, 5]);
        assert_eq!(of(3, 510), [1, 3, 510, 8]);
        // A row is not divided.
        assert_eq!(of(1, 1024), [1, 1, 1024, 16]);
        assert_eq!(of(2, 1024), [2, 1, 512, 8]);
        assert_eq!(parts(2, 9, 576, 576, 64)[0].1, 1);
    }

    #[test]
    fn more_than_eight_output_quads_have_one_part() {
        for (products, places) in (1..=1024).flat_map(|products| [(products, 1), (products, 4)]) {
            let most = fitting(products, places);
            assert!(most * products <= if most * places > 8 { OF_PART } else { 1024 }, "{products} {places}");
        }
    }

    /// Checks run the cases; a window in several parts that none of them takes would never be tried.
    #[test]
    fn the_cases_take_windows_of_one_part_and_of_several() {
        let mut taken = BTreeSet::new();
        for case in cases() {
            let y = case.op.shape(&case.x).unwrap();
            let call = Call::new(&*case.op, "forward", &["forward_1", "forward_2"], Io { x: &case.x, y });
            let Some(work) = serve(&call, &Caps::software()) else { continue };
            taken.insert(work.passes[1].overrides.iter().find(|o| o.0 == "PARTS").unwrap().1 as usize);
        }
        assert!(taken.len() >= 2, "{taken:?}");
    }
}
