//! Sums over pixels of products of two pictures in channel quads: the parameters of `shared/correlate.wgsl`.

use crate::layout::{Layout, MAX_TEXELS};
use crate::ops::{Call, Caps, Launch, Scalar, Work};

/// How `shared/correlate.wgsl` lays out a sum over pixels; its header explains the terms.
pub(in crate::ops) struct Correlation {
    a: [usize; 4],
    b: [usize; 4],
    taps: [usize; 2],
    pad: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    replicate: bool,
    a_quads: usize,
    b_quads: usize,
    /// Quads per block of A and of B, and taps side by side.
    block: [usize; 3],
    b_blocks: usize,
    units: usize,
    pixels: usize,
    walkers: usize,
    chunks: usize,
}

impl Correlation {
    /// Chunks of eight pixels per iteration.
    const UNROLL: usize = 2;
    /// Maximum pairs of quads and taps per block: their sums, 512 bytes each for eight lanes, stay in a first-level cache of 32 KiB.
    const MOST: usize = 16;

    /// Lays out the sums for pictures A and B `[N,C,H,W]`, with taps and padding in rows and columns; `bias` also sums A by itself.
    pub fn new(a: [usize; 4], b: [usize; 4], taps: [usize; 2], pad: [usize; 2], replicate: bool, bias: bool) -> Self {
        let (a_quads, b_quads) = (a[1].div_ceil(4), b[1].div_ceil(4));
        // Instructions for eight pixels; see the header.
        let cost = |[aq, bq, tw]: [usize; 3]| {
            let blocks = a_quads.div_ceil(aq) * b_quads.div_ceil(bq) * taps[1] / tw;
            blocks as f64 * (60.0 + 48.0 * (aq + bq * tw) as f64 + 2.2 * (16 * aq * bq * tw) as f64)
        };
        let sides = || (1..=7).flat_map(|aq| (1..=7).map(move |bq| [aq, bq]));
        let blocks = (1..=taps[1])
            .filter(|tw| taps[1].is_multiple_of(*tw))
            .flat_map(|tw| sides().map(move |[aq, bq]| [aq, bq, tw]));
        let blocks = blocks.filter(|block| block.iter().product::<usize>() <= Self::MOST);
        let block = blocks.min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or([1, 1, 1]);
        let b_blocks = b_quads.div_ceil(block[1]);
        let units = a_quads.div_ceil(block[0]) * (b_blocks * taps[0] * taps[1] / block[2] + usize::from(bias));
        let pixels = a[0] * a[2] * a[3];
        let all = pixels.div_ceil(8);
        // Enough walkers for the processor's threads, each with at least 32 chunks.
        let walkers = 128usize.div_ceil(units).min(all.div_ceil(32));
        let chunks = all.div_ceil(walkers).next_multiple_of(Self::UNROLL);
        let [stride, dilation] = [[1; 2]; 2];
        Self {
            a,
            b,
            taps,
            pad,
            stride,
            dilation,
            replicate,
            a_quads,
            b_quads,
            block,
            b_blocks,
            units,
            pixels,
            walkers,
            chunks,
        }
    }
    fn sums(&self) -> usize {
        4 * self.block.iter().product::<usize>()
    }
    /// Returns the number of workgroups of `correlate`.
    pub fn groups(&self) -> usize {
        (self.units * self.walkers).div_ceil(8)
    }
    /// Returns the number of threads of `product`.
    pub fn products(&self) -> usize {
        self.units * self.sums()
    }
    /// Returns the number of texels of `t1`.
    pub fn partials(&self) -> usize {
        self.units * self.walkers * self.sums() * 8
    }
    /// Serves the method backward_w of two passes, `correlate` and `product`, of a shader with these input and output channels.
    pub fn serve(&self, call: &Call, caps: &Caps, [c_in, c_out]: [usize; 2]) -> Option<Work> {
        let work = call.work(caps, |entry| {
            let groups = match entry {
                "backward_w_1" => self.groups(),
                "backward_w_2" => self.products().div_ceil(64),
                _ => return None,
            };
            let params = [("c_in", c_in.into()), ("c_out", c_out.into()), ("threads", self.products().into())];
            let groups = [u32::try_from(groups).ok().filter(|g| *g <= 65_535)?, 1, 1];
            self.fits().then(|| self.set(Launch::groups(groups, params.into_iter().chain(self.params()))))
        })?;
        Some(work.scratch(vec![("t1", self.partials())]).faster(6.0))
    }
    pub fn fits(&self) -> bool {
        let quads = |shape: &[usize; 4]| Layout::Quads.elements(&(*shape).into());
        [quads(&self.a), quads(&self.b), self.partials()].iter().all(|texels| *texels <= MAX_TEXELS)
    }
    pub fn params(&self) -> Vec<(&'static str, Scalar)> {
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
    /// Sets pixels of B from one pixel of A to the next, and from one tap to the next, in rows and columns.
    pub fn apart(self, stride: [usize; 2], dilation: [usize; 2]) -> Self {
        Self { stride, dilation, ..self }
    }
    /// Sets the block sizes of `launch`.
    pub fn set(&self, launch: Launch) -> Launch {
        let [aq, bq, tw] = self.block;
        let launch = launch.with("AQ", aq).with("BQ", bq).with("TW", tw).with("SUMS", self.sums());
        let launch = launch.with("UNROLL", Self::UNROLL);
        let launch = launch.with("STRIDE_H", self.stride[0]).with("STRIDE_W", self.stride[1]);
        let launch = launch.with("DILATION_H", self.dilation[0]).with("DILATION_W", self.dilation[1]);
        launch.with("LEFTS", Self::UNROLL * aq).with("RIGHTS", Self::UNROLL * bq * tw)
    }
}
