//! The product A · Bᵀ by tiles in workgroup memory, which several operations use on GPUs: `shaders/shared/product.wgsl`.

use super::{Call, Caps, Launch, Scalar, Work};

/// Threads of a workgroup, 16 by 16.
const THREADS: usize = 256;

/// Fewest chunks of terms that make a part worth its own sums.
const CHUNKS_EACH: usize = 8;

/// The matrices of a product: A has `rows_a` rows and B `rows_b` rows of `terms` terms.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// Number of matrices of A, of B and of the result.
    pub matrices: [usize; 3],
    pub rows_a: usize,
    pub rows_b: usize,
    pub terms: usize,
    /// Distances between rows and between terms of A.
    pub a: [usize; 2],
    /// The same of B.
    pub b: [usize; 2],
    /// Distances in the result between rows of A and between rows of B.
    pub y: [usize; 2],
}

/// How a product is divided.
#[derive(Debug, Clone, Copy)]
struct Tiles {
    /// Quads of rows that a thread takes of A and of B.
    quads: [usize; 2],
    /// Terms copied at a time.
    terms: usize,
    blocks: [usize; 2],
    chunks: usize,
    parts: usize,
    each: usize,
    /// Multiply-adds for each vector instruction that a thread is estimated to take, at most 1.
    efficiency: f64,
}

impl Product {
    fn tiles(&self, caps: &Caps) -> Tiles {
        let enough = caps.busy_workgroups;
        let of = |[qa, qb]: [usize; 2]| {
            let blocks = [self.rows_a.div_ceil(64 * qa), self.rows_b.div_ceil(64 * qb)];
            let terms = 16 / qa.max(qb);
            let chunks = self.terms.div_ceil(terms);
            let groups = self.matrices[2] * blocks[0] * blocks[1];
            let most = enough.div_ceil(groups).min(chunks.div_ceil(CHUNKS_EACH));
            let each = chunks.div_ceil(most);
            let parts = chunks.div_ceil(each);
            // Fewer groups than keep the adapter busy take as long.
            let turns = (groups * parts).max(enough) as f64;
            // Multiply-adds, copies, and the sums that are written and read.
            let chunk = (16 * qa * qb * terms) as f64 + 10.0 * (qa + qb) as f64 + 20.0;
            let all = turns * (each as f64 * chunk + 24.0 * (qa * qb) as f64);
            let efficiency = self.products() / (THREADS as f64 * all);
            Tiles { quads: [qa, qb], terms, blocks, chunks, parts, each, efficiency }
        };
        // Sums, a quad of A with those of B, and a vector of each to copy next.
        let fits = |[qa, qb]: &[usize; 2]| caps.holds(16 * qa * qb + 4 * (1 + qb) + 8);
        let all = [[2, 2], [1, 2], [2, 1], [1, 1]].into_iter().filter(fits).map(of);
        all.max_by(|a, b| a.efficiency.total_cmp(&b.efficiency)).unwrap_or_else(|| of([1, 1]))
    }

    fn products(&self) -> f64 {
        (self.matrices[2] * self.rows_a * self.rows_b * self.terms) as f64
    }

    /// Estimates the vector instructions, of all threads together, in which the products are computed.
    pub fn instructions(&self, caps: &Caps) -> f64 {
        self.products() / self.tiles(caps).efficiency
    }

    /// Returns the work of a method whose passes copy A, copy B, multiply, and add up parts; `more` are further members of P.
    pub fn serve(&self, call: &Call, caps: &Caps, more: &[(&'static str, Scalar)]) -> Option<Work> {
        let work = self.serve_by(call, caps, more, &[], |vectors| vectors)?;
        // A guess, not measured: plain kernels reach a twentieth of the rate of this one.
        Some(work.faster(20.0 * self.tiles(caps).efficiency))
    }

    /// As [`Product::serve`], with further constants, where `threads` compute so many vectors of A, B or the result. Their time is yet to be
    /// estimated.
    pub fn serve_by(
        &self,
        call: &Call,
        caps: &Caps,
        more: &[(&'static str, Scalar)],
        more_constants: &[(&'static str, usize)],
        threads: impl Fn(usize) -> usize,
    ) -> Option<Work> {
        let Tiles { quads, terms, blocks, chunks, parts, each, .. } = self.tiles(caps);
        let chunk = quads.map(|q| 16 * q * terms);
        let copies = [0, 1].map(|k| self.matrices[k] * blocks[k] * chunks * chunk[k]);
        let pairs = blocks[0] * blocks[1];
        let results = self.matrices[2] * pairs * 1024 * quads[0] * quads[1];
        let sums = results.checked_mul(parts)?;
        for vectors in [copies[0], copies[1], sums] {
            u32::try_from(vectors).ok()?;
        }
        let shape = caps.workgroups([pairs, parts, self.matrices[2]])?;
        let work = call.work(caps, |entry| {
            let threads = match entry.rsplit_once('_')?.1 {
                "1" => threads(copies[0]),
                "2" => threads(copies[1]),
                "3" => 0,
                _ => threads(results),
            };
            let params = [
                ("threads", threads.into()),
                ("rows_a", self.rows_a.into()),
                ("rows_b", self.rows_b.into()),
                ("terms", self.terms.into()),
                ("a_row", self.a[0].into()),
                ("a_step", self.a[1].into()),
                ("b_row", self.b[0].into()),
                ("b_step", self.b[1].into()),
                ("y_row", self.y[0].into()),
                ("y_step", self.y[1].into()),
                ("blocks_a", blocks[0].into()),
                ("blocks_b", blocks[1].into()),
                ("chunks", chunks.into()),
                ("parts", parts.into()),
                ("each", each.into()),
            ];
            let params = params.into_iter().chain(more.iter().copied());
            let launch = if threads == 0 { Launch::groups(shape, params) } else { Launch::threads(threads, params) };
            let constants = [
                ("QUADS_A", quads[0]),
                ("QUADS_B", quads[1]),
                ("TERMS", terms),
                ("COPIES_A", chunk[0].div_ceil(THREADS)),
                ("COPIES_B", chunk[1].div_ceil(THREADS)),
            ];
            Some(launch.with_all(constants).with_all(more_constants.iter().copied()))
        })?;
        Some(work.scratch(vec![("t0", 4 * copies[0]), ("t1", 4 * copies[1]), ("t2", 4 * sums)]))
    }
}
