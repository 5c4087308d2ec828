//! How the kernels for GPUs see a fused convolution, and the tiles into which they divide it.

use super::{Conv2d, Fusion};
use crate::ops::{Call, Caps, Launch, Scalar, Work};

/// Threads of a workgroup.
const THREADS: usize = 256;

/// Chunks that make a part worth its sums.
const CHUNKS_EACH: usize = 4;

/// Vectors of workgroup memory: 16 KiB, which WebGPU guarantees.
const MAX_VECTORS: usize = 1024;

/// A fused convolution as `shaders/shared/layer.wgsl` computes it: of stride 1 with S² channels for each of y if the pixels of x lie S
/// apart.
pub(super) struct Layer {
    pub op: Conv2d,
    pub fusion: Fusion,
    n: usize,
    pub in_group: usize,
    pub out_group: usize,
    size: [usize; 2],
    out_size: [usize; 2],
    /// Rows and columns of the convolution's pixels.
    grid: [usize; 2],
    pub window: [usize; 2],
    pub stride: [usize; 2],
    padding: [usize; 2],
    taps: [usize; 2],
    rest: [usize; 2],
    is_spread: bool,
    factor: usize,
}

impl Layer {
    /// Returns `None` if the call is not for a fused convolution, or if it spreads rows and columns differently.
    pub fn new(call: &Call) -> Option<Self> {
        let (op, io) = (call.op::<Conv2d>()?, &call.io);
        let fusion = op.fusion?;
        let ([n, ci, h, w], [_, co, ho, wo], [_, _, kh, kw]) = (io.x[0].nchw(), op.sums(io).nchw(), io.x[1].nchw());
        let (taps, spread, is_spread) = ([kh, kw], op.spread(), op.spread() != [1, 1]);
        if spread[0] != spread[1] || fusion.pooled {
            return None;
        }
        // An output row i·s + a meets row i + u − padding / s of x at tap u·s + padding % s − a.
        let rest = [0, 1].map(|d| op.padding[d] % spread[d]);
        let factor = if is_spread { spread[0] } else { fusion.factor };
        let square = if is_spread { factor * factor } else { 1 };
        Some(Self {
            op: op.clone(),
            fusion,
            n,
            in_group: ci / op.groups,
            out_group: co / op.groups * square,
            size: [h, w],
            out_size: [io.y[2], io.y[3]],
            grid: if is_spread { [ho, wo].map(|size| size.div_ceil(factor)) } else { [ho, wo] },
            window: [0, 1].map(|d| (taps[d] + spread[d] - 2 - rest[d]) / spread[d] + 1),
            stride: op.out_stride(),
            padding: [0, 1].map(|d| op.padding[d] / spread[d]),
            taps,
            rest,
            is_spread,
            factor,
        })
    }

    /// Sees a picture whose pixels are independent of each other as one row, so that tiles need not end where its rows do.
    pub fn flat(self) -> Self {
        let is_flat = self.window == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0] && self.factor == 1;
        if !is_flat || self.size != self.out_size {
            return self;
        }
        let row = [1, self.size[0] * self.size[1]];
        Self { size: row, out_size: row, grid: row, ..self }
    }
}

/// What 256 threads compute, and what they copy to workgroup memory at a time.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Threads along rows and columns, and along pairs of quads of output channels.
    rows: usize,
    columns: usize,
    pairs: usize,
    /// Quads of pixels of a thread.
    quads: usize,
    /// Vectors that a thread and the tile meet in a row of x.
    pub reach: usize,
    pub wide: usize,
    /// Rows of filters, one for each input channel and row of the window, that are copied at a time.
    pub chunk: usize,
    /// Parts into which the chunks are divided, and chunks of a part.
    parts: usize,
    each: usize,
    /// Vectors of x and of filters.
    patch: usize,
    filters: usize,
    /// Multiply-adds of the layer for each vector instruction that a thread is estimated to take, at most 1.
    efficiency: f64,
}

impl Tile {
    /// Returns the tile that computes `layer` with the least work that is wasted, with at most `copies` vectors of x for each thread at a
    /// time. `planes` says how many rows of x a chunk of so many rows of filters meets, given the rows of the tile; `None` if it is not
    /// possible. With `split`, several groups each compute a part of the same sums.
    pub fn new(
        layer: &Layer,
        caps: &Caps,
        copies: usize,
        split: bool,
        planes: impl Fn(usize, usize) -> Option<usize>,
    ) -> Option<Self> {
        let mut best: Option<Self> = None;
        let products = layer.n * layer.grid[0] * layer.grid[1] * layer.op.groups * layer.out_group;
        let products = (products * layer.in_group * layer.window[0] * layer.window[1]) as f64;
        let reach = |pixels: usize| (pixels - 1) * layer.stride[1] + (layer.window[1] - 1) * layer.op.dilation[1] + 1;
        for (pairs, columns, quads) in [16, 8, 4, 2, 1]
            .into_iter()
            .flat_map(|pairs| [1, 2, 4, 8, 16, 32, 64].map(|columns| (pairs, columns)))
            .flat_map(|(pairs, columns)| [2, 1].map(|quads| (pairs, columns, quads)))
        {
            if !(THREADS / pairs).is_multiple_of(columns) {
                continue;
            }
            let (rows, out) = (THREADS / pairs / columns, pairs * 8);
            // Registers hold what a thread meets in a row of x.
            let (reach, wide) = (reach(quads * 4).div_ceil(4), reach(columns * quads * 4).div_ceil(4));
            if reach > 6 {
                continue;
            }
            let tiles = layer.n * layer.grid[0].div_ceil(rows) * layer.grid[1].div_ceil(columns * quads * 4);
            let groups = tiles * layer.op.groups * layer.out_group.div_ceil(out);
            for chunk in 1..=(18 / layer.window[1]).clamp(1, 16) {
                let Some(planes) = planes(rows, chunk) else { continue };
                let (patch, filters) = (planes * wide, chunk * layer.window[1] * pairs * 2);
                if patch + filters > MAX_VECTORS || patch > copies * THREADS {
                    continue;
                }
                // Sums, a row of x and eight filters; and of what is copied next, the values, where they lie and which are real.
                let next = 15 * patch.div_ceil(THREADS) + 7 * filters.div_ceil(THREADS);
                if !caps.holds(32 * quads + 3 * reach + 8 + next) {
                    continue;
                }
                // Vector instructions of a group: multiply-adds, about 12 for each vector that a thread copies, 40 for the barriers; and
                // what each vector of x takes of the memory's width.
                let multiplied = (chunk * layer.window[1] * 32 * quads) as f64;
                let copied = (12 * patch.div_ceil(THREADS) + 3 * filters.div_ceil(THREADS) + 40) as f64
                    + 8.0 * patch as f64 / THREADS as f64;
                let chunks = (layer.in_group * layer.window[0]).div_ceil(chunk);
                let most =
                    if split { caps.busy_workgroups.div_ceil(groups).min(chunks / CHUNKS_EACH).max(1) } else { 1 };
                let each = chunks.div_ceil(most);
                let parts = chunks.div_ceil(each);
                if split && parts == 1 {
                    continue;
                }
                // A thread's sums are written and read: 256 bytes for each quad of pixels, in the time of six multiply-adds each.
                let kept = if parts > 1 { (1500 * quads) as f64 } else { 0.0 };
                // Half the pixels for the same filters take twice the bytes of workgroup memory for each multiply-add.
                let bytes = if quads == 1 { 1.25 } else { 1.0 };
                // Fewer groups than keep the adapter busy take as long; but the more each does, the less is copied.
                let turns = (groups * parts).max(caps.busy_workgroups) as f64 + 0.25 * (groups * parts) as f64;
                let instructions = turns * (each as f64 * (multiplied * bytes + copied) + kept);
                let efficiency = products / (THREADS as f64 * instructions);
                if best.is_none_or(|best| best.efficiency < efficiency) {
                    best = Some(Self {
                        rows,
                        columns,
                        pairs,
                        quads,
                        reach,
                        wide,
                        chunk,
                        parts,
                        each,
                        patch,
                        filters,
                        efficiency,
                    });
                }
            }
        }
        best
    }

    /// Returns the work of a kernel on this tile; `more` are its own constants.
    pub fn serve(&self, layer: Layer, call: &Call, caps: &Caps, more: &[(&'static str, usize)]) -> Option<Work> {
        let groups = layer.op.groups;
        let blocks = layer.out_group.div_ceil(self.pairs * 8);
        let chunks = (layer.in_group * layer.window[0]).div_ceil(self.chunk);
        let tiles_x = layer.grid[1].div_ceil(self.columns * self.quads * 4);
        let tiles = layer.grid[0].div_ceil(self.rows) * tiles_x;
        let vectors = groups * blocks * chunks * self.filters;
        // Quads of channels at the convolution's pixels.
        let sums = layer.n * groups * blocks * self.pairs * 2 * layer.grid[0] * layer.grid[1];
        let (combine, slope) = layer.fusion.combine.code();
        let params: [(&'static str, Scalar); 32] = [
            ("c_in", (layer.in_group * groups).into()),
            ("c_out", (layer.out_group * groups).into()),
            ("in_group", layer.in_group.into()),
            ("out_group", layer.out_group.into()),
            ("height", layer.size[0].into()),
            ("width", layer.size[1].into()),
            ("out_height", layer.out_size[0].into()),
            ("out_width", layer.out_size[1].into()),
            ("grid_height", layer.grid[0].into()),
            ("grid_width", layer.grid[1].into()),
            ("stride_h", layer.stride[0].into()),
            ("dilation_h", layer.op.dilation[0].into()),
            ("pad_h", layer.padding[0].into()),
            ("pad_w", layer.padding[1].into()),
            ("taps_h", layer.taps[0].into()),
            ("taps_w", layer.taps[1].into()),
            ("rest_h", layer.rest[0].into()),
            ("rest_w", layer.rest[1].into()),
            ("adjoint", u32::from(layer.fusion.adjoint).into()),
            ("spread", u32::from(layer.is_spread).into()),
            ("batch", layer.n.into()),
            ("groups", groups.into()),
            ("parts", self.parts.into()),
            ("each", self.each.into()),
            ("chunks", chunks.into()),
            ("blocks", blocks.into()),
            ("tiles_x", tiles_x.into()),
            ("tiles", tiles.into()),
            ("slope", slope.into()),
            ("threads", vectors.into()),
            layer.fusion.parameters()[0],
            layer.fusion.parameters()[1],
        ];
        let constants = [
            ("CHUNK", self.chunk),
            ("OUT_PAIRS", self.pairs),
            ("ROWS", self.rows),
            ("COLUMNS", self.columns),
            ("QUADS", self.quads),
            ("PATCH_COPIES", self.patch.div_ceil(THREADS)),
            ("FILTER_COPIES", self.filters.div_ceil(THREADS)),
            ("COMBINE", combine as usize),
            ("FACTOR", layer.factor),
            ("REPLICATE", usize::from(layer.op.replicate)),
        ];
        let kept = if self.parts > 1 { self.parts * sums } else { 0 };
        u32::try_from(vectors.max(kept)).ok()?;
        let shape = caps.workgroups([layer.n * tiles, groups * blocks, self.parts])?;
        let work = call.work(caps, |entry| {
            let all = params.iter().copied();
            let launch = match entry {
                "forward_1" => Launch::threads(vectors, all),
                "forward_2" => Launch::groups(shape, all),
                "forward_3" => Launch::threads(sums, all),
                _ => return None,
            };
            Some(launch.with_all(constants.iter().chain(more).copied()))
        })?;
        // A guess, not measured: plain kernels reach a twentieth of the rate of these, which are worth their launch in the smallest layers.
        let mut scratch = vec![("t0", 4 * vectors)];
        scratch.extend((kept > 0).then_some(("t1", 4 * kept)));
        Some(work.scratch(scratch).faster((20.0 * self.efficiency).max(1.5)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Io;
    use crate::ops::Op;
    use crate::ops::conv2d::{cases, conv3x3_tile, gemm, gemm_parts, gradients};
    use crate::tensor::Shape;
    use std::collections::BTreeSet;

    #[test]
    fn few_registers_mean_small_blocks() {
        let op = Conv2d { fusion: Some(Fusion::default()), ..Conv2d::same(3) };
        let shapes: [Shape; 4] =
            [[8, 64, 128, 128].into(), [64, 64, 3, 3].into(), [1, 64, 1, 1].into(), [1, 64, 1, 1].into()];
        let constant = |op: &Conv2d, method: &str, passes: &[&str], inputs: usize, name: &str| {
            [256, 128].map(|registers| {
                let y = op.shape(&shapes[..inputs]).unwrap();
                let call = Call::new(op, method, passes, Io { x: &shapes[..inputs], y });
                let caps = Caps { registers, ..Caps::hardware() };
                let work = if method == "forward" {
                    conv3x3_tile::serve(&call, &caps)
                } else {
                    gradients::serve(&call, &caps)
                };
                work.unwrap().passes.iter().flat_map(|p| &p.overrides).find(|o| o.0 == name).unwrap().1
            })
        };
        assert_eq!(constant(&op, "forward", &["forward_1", "forward_2"], 4, "QUADS"), [2.0, 1.0]);
        let plain = Conv2d::same(3);
        assert_eq!(constant(&plain, "backward_w", &["backward_w_1", "backward_w_2"], 3, "OUT_EACH"), [8.0, 4.0]);
    }

    /// Checks run the cases; a tile that none of them takes would never be tried.
    #[test]
    fn the_cases_take_tiles_of_every_kind() {
        for serve in [conv3x3_tile::serve, gemm::serve, gemm_parts::serve] {
            let mut taken = ["QUADS", "OUT_PAIRS", "PATCH_COPIES", "FILTER_COPIES"].map(|name| (name, BTreeSet::new()));
            for case in cases() {
                let y = case.op.shape(&case.x).unwrap();
                let call =
                    Call::new(&*case.op, "forward", &["forward_1", "forward_2", "forward_3"], Io { x: &case.x, y });
                let Some(work) = serve(&call, &Caps::software()) else { continue };
                for (name, values) in &mut taken {
                    values.insert(work.passes[1].overrides.iter().find(|o| o.0 == *name).unwrap().1 as usize);
                }
            }
            assert!(taken.iter().all(|(_, values)| values.len() >= 2), "{taken:?}");
        }
    }
}
