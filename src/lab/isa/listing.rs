//! Reads the machine code of AMD's GPUs: what its hottest loop issues, and which part of the GPU limits that.

use std::collections::BTreeMap;

/// What a stretch of code issues per thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All instructions except hints (`s_delay_alu`, `s_clause`, `s_nop`).
    pub instructions: u32,
    /// Issue slots of the vector ALU. A dual or packed instruction takes one.
    pub vector: u32,
    /// Vector operations: two in a dual or packed instruction.
    pub operations: u32,
    /// Floating-point multiply-adds among [`Counts::operations`].
    pub multiply_adds: u32,
    /// Vector instructions at a quarter of the rate: 32-bit integer multiplications, roots, reciprocals, exponentials, logarithms.
    pub quarter_rate: u32,
    /// Bytes of workgroup memory read and written.
    pub workgroup_bytes: u32,
    /// Instructions that read or write workgroup memory.
    pub workgroup_accesses: u32,
    /// Bytes of buffers and textures loaded and stored by vector instructions.
    pub global_bytes: u32,
    /// Vector instructions that load from or store to buffers and textures.
    pub global_accesses: u32,
    /// Loads of values that all threads of a wave share.
    pub scalar_loads: u32,
    pub branches: u32,
    pub barriers: u32,
}

/// The loop in which a kernel is assumed to spend its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hot {
    /// One iteration, without the loops inside.
    pub counts: Counts,
    /// How deeply it is nested: 1 for a loop in no other, 0 if this is the code outside all loops.
    pub depth: usize,
}

/// Code outside loops counts as the hottest if it has more than this many times the multiply-adds of every loop: the compiler has
/// unrolled the arithmetic, and what still loops are copies.
const STRAIGHT: u32 = 8;

/// Instructions that hint at scheduling and pad code.
const HINTS: [&str; 4] = ["s_delay_alu", "s_clause", "s_nop", "s_code_end"];

const QUARTER_RATE: [&str; 10] =
    ["v_mul_lo_u32", "v_mul_hi", "v_mad_u64", "v_mad_i64", "v_rcp", "v_sqrt", "v_rsq", "v_exp", "v_log", "v_sin"];

/// Returns the bytes per thread that a memory instruction moves, from its name and the components that an image has.
fn bytes_of(name: &str, line: &str) -> u32 {
    if name.starts_with("image_") {
        let mask = line.split("dmask:0x").nth(1).and_then(|rest| rest.split_whitespace().next());
        return 4 * mask.and_then(|digits| u32::from_str_radix(digits, 16).ok()).map_or(4, u32::count_ones);
    }
    let widths = [
        ("b128", 16),
        ("x4", 16),
        ("xyzw", 16),
        ("b96", 12),
        ("x3", 12),
        ("xyz", 12),
        ("b64", 8),
        ("x2", 8),
        ("xy", 8),
    ];
    let small = [("b16", 2), ("u16", 2), ("i16", 2), ("short", 2), ("b8", 1), ("u8", 1), ("i8", 1), ("byte", 1)];
    let is_two = ["2addr", "read2", "write2"].iter().any(|pair| name.contains(pair));
    let one = widths.iter().chain(&small).find(|(part, _)| name.contains(part)).map_or(4, |(_, bytes)| *bytes);
    if is_two { 2 * one } else { one }
}

/// Returns the number of multiply-adds among the operations of a vector instruction; `line` is the whole of a dual one.
fn multiply_adds(name: &str, line: &str) -> u32 {
    let is_one = |name: &str| {
        ["v_fma", "v_dual_fma", "v_mac_f", "v_mad_f", "v_mad_mix", "v_pk_fma"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    if name.starts_with("v_dual") {
        line.split("::").filter_map(|half| half.split_whitespace().next()).filter(|half| is_one(half)).count() as u32
    } else if name.starts_with("v_pk_") {
        2 * u32::from(is_one(name))
    } else {
        u32::from(is_one(name))
    }
}

impl Counts {
    fn add(&mut self, line: &str) {
        let name = line.split_whitespace().next().unwrap_or_default();
        if HINTS.contains(&name) {
            return;
        }
        self.instructions += 1;
        let starts = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
        if starts(&["v_"]) {
            self.vector += 1;
            self.operations += if starts(&["v_dual_", "v_pk_"]) { 2 } else { 1 };
            self.multiply_adds += multiply_adds(name, line);
            self.quarter_rate += u32::from(starts(&QUARTER_RATE));
        } else if starts(&["s_cbranch", "s_branch"]) {
            self.branches += 1;
        } else if starts(&["s_barrier"]) {
            self.barriers += 1;
        } else if starts(&["s_load", "s_buffer_load"]) {
            self.scalar_loads += 1;
        } else if starts(&["ds_"]) {
            self.workgroup_accesses += 1;
            self.workgroup_bytes += bytes_of(name, line);
        } else if starts(&["buffer_load", "buffer_store", "global_", "flat_", "image_"]) {
            self.global_accesses += 1;
            self.global_bytes += bytes_of(name, line);
        }
    }

    /// Returns multiply-adds as a part of all vector operations, in 0..=1; `None` if there are no operations.
    pub fn multiply_add_share(&self) -> Option<f64> {
        (self.operations > 0).then(|| f64::from(self.multiply_adds) / f64::from(self.operations))
    }

    /// Returns the bytes of workgroup memory read and written per multiply-add; `None` if there are none.
    pub fn workgroup_bytes_per_multiply_add(&self) -> Option<f64> {
        (self.multiply_adds > 0).then(|| f64::from(self.workgroup_bytes) / f64::from(self.multiply_adds))
    }

    /// Returns the bytes of buffers and textures loaded and stored per multiply-add; `None` if there are none.
    pub fn global_bytes_per_multiply_add(&self) -> Option<f64> {
        (self.multiply_adds > 0).then(|| f64::from(self.global_bytes) / f64::from(self.multiply_adds))
    }
}

/// Returns the hottest loop: the one whose own body, without the loops inside, has the most multiply-adds, or else the most vector
/// instructions. If the code outside all loops has many times as many, or nothing loops, that code.
pub fn hottest(assembly: &str) -> Hot {
    let (lines, labels) = instructions(assembly);
    let loops = loops(&lines, &labels);
    let mut own = vec![Counts::default(); loops.len()];
    let mut straight = Counts::default();
    for (at, line) in lines.iter().enumerate() {
        let holds = |l: &&(usize, usize)| l.0 <= at && at <= l.1;
        let innermost = loops.iter().filter(holds).min_by_key(|l| l.1 - l.0);
        let counts = innermost.and_then(|inner| loops.iter().position(|l| l == inner));
        counts.map_or(&mut straight, |k| &mut own[k]).add(line);
    }
    let heat = |counts: &Counts| (counts.multiply_adds, counts.vector);
    let most = (0..loops.len()).rev().max_by_key(|&k| heat(&own[k]));
    match most {
        Some(k) if straight.multiply_adds <= STRAIGHT * own[k].multiply_adds => {
            let depth = loops.iter().filter(|l| l.0 <= loops[k].0 && loops[k].1 <= l.1).count();
            Hot { counts: own[k], depth }
        }
        _ => Hot { counts: straight, depth: 0 },
    }
}

/// Returns the instructions without comments, and the position of the first instruction after each label.
fn instructions(assembly: &str) -> (Vec<&str>, BTreeMap<&str, usize>) {
    let (mut lines, mut labels) = (Vec::new(), BTreeMap::new());
    for line in assembly.lines() {
        let line = line.split([';', '/']).next().unwrap_or_default().trim();
        if let Some(label) = line.strip_suffix(':') {
            labels.insert(label, lines.len());
        } else if !line.is_empty() {
            lines.push(line);
        }
    }
    (lines, labels)
}

/// Returns first and last instruction of every loop: from a label to the last branch back to it.
fn loops(lines: &[&str], labels: &BTreeMap<&str, usize>) -> Vec<(usize, usize)> {
    let mut ends: BTreeMap<usize, usize> = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        let mut words = line.split_whitespace();
        let is_branch = words.next().is_some_and(|name| name.starts_with("s_cbranch") || name.starts_with("s_branch"));
        if let Some(&to) = words.next().filter(|_| is_branch).and_then(|label| labels.get(label))
            && to <= at
        {
            ends.insert(to, at);
        }
    }
    let mut loops: Vec<(usize, usize)> = ends.into_iter().collect();
    // The compiler may place part of an outer loop's body behind an inner loop: loops that overlap are nested.
    for a in 0..loops.len() {
        for b in a + 1..loops.len() {
            if loops[b].0 <= loops[a].1 {
                loops[a].1 = loops[a].1.max(loops[b].1);
            }
        }
    }
    loops
}

/// The part of a GPU that limits a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roof {
    /// The vector ALU, which also executes what is not a multiply-add.
    Vector,
    /// Workgroup memory.
    Workgroup,
    /// The first-level cache, through which buffers and textures are read.
    Global,
}

impl Roof {
    /// Returns `vector`, `workgroup` or `global`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vector => "vector",
            Self::Workgroup => "workgroup",
            Self::Global => "global",
        }
    }
}

/// Bytes of workgroup memory per clock and compute unit, on RDNA 2 and 3 (AMD, "RDNA Architecture", 2019, and its successors).
const WORKGROUP_BYTES_PER_CLOCK: f64 = 128.0;
/// Bytes of the first-level cache per clock and compute unit.
const GLOBAL_BYTES_PER_CLOCK: f64 = 64.0;
/// Vector lanes per compute unit, and threads per wave.
const LANES: f64 = 64.0;

/// Returns what limits `counts` and an estimate of the multiply-adds that it allows, as a part of the peak of the GPU `family`; `None`
/// without multiply-adds.
///
/// The model counts clocks of a compute unit for one wave of 64 threads. A vector instruction takes one, four at a quarter of the rate;
/// from RDNA 3 on, multiply-adds issue in pairs and take half of one. The peak is multiply-adds and nothing else. Latency, bank
/// conflicts and cache misses are left out, so hardware reaches less.
pub fn roof(counts: &Counts, family: &str) -> Option<(Roof, f64)> {
    if counts.multiply_adds == 0 {
        return None;
    }
    let pairs = ["gfx11", "gfx12", "navi3", "navi4"].iter().any(|start| family.to_lowercase().starts_with(start));
    let ideal = f64::from(counts.multiply_adds) / if pairs { 2.0 } else { 1.0 };
    let others = f64::from(counts.operations - counts.multiply_adds) + 3.0 * f64::from(counts.quarter_rate);
    let clocks = [
        (Roof::Vector, ideal + others),
        (Roof::Workgroup, LANES * f64::from(counts.workgroup_bytes) / WORKGROUP_BYTES_PER_CLOCK),
        (Roof::Global, LANES * f64::from(counts.global_bytes) / GLOBAL_BYTES_PER_CLOCK),
    ];
    clocks.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(roof, clocks)| (roof, ideal / clocks))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two loops, the second in the first, as ACO prints them.
    const NESTED: &str = "\
BB0:
\ts_load_dwordx4 s[0:3], s[2:3], 0x0    ; f4080001 fa000000
\tv_mul_lo_u32 v0, v0, v1               ; d569
BB1:
\tglobal_load_b128 v[4:7], v2, s[0:1]   // 000000001234: DC560000
\tds_store_b128 v3, v[4:7] offset:16
\ts_barrier
BB2:
\tds_load_2addr_b64 v[8:11], v3 offset1:1
\tds_load_b128 v[12:15], v3
\ts_delay_alu instid0(VALU_DEP_1)
\tv_fmac_f32 v16, v8, v12
\tv_dual_fmac_f32 v17, v9, v13 :: v_dual_fmac_f32 v18, v10, v14
\tv_dual_fmac_f32 v19, v11, v15 :: v_dual_mov_b32 v20, v21
\tv_add_nc_u32 v3, 64, v3
\ts_cbranch_scc1 BB2
\tv_add_nc_u32 v2, 64, v2
\ts_cbranch_vccnz BB1
BB3:
\tglobal_store_b32 v2, v16, s[0:1]
\ts_endpgm
";

    #[test]
    fn the_loop_with_the_multiply_adds_is_counted_without_its_neighbours() {
        let Hot { counts, depth } = hottest(NESTED);
        assert_eq!(depth, 2);
        let expected = Counts {
            instructions: 7,
            vector: 4,
            operations: 6,
            multiply_adds: 4,
            workgroup_bytes: 32,
            workgroup_accesses: 2,
            branches: 1,
            ..Counts::default()
        };
        assert_eq!(counts, expected);
        assert_eq!(counts.workgroup_bytes_per_multiply_add(), Some(8.0));
        assert_eq!(counts.multiply_add_share(), Some(4.0 / 6.0));
    }

    #[test]
    fn a_part_of_an_outer_loop_behind_an_inner_one_does_not_split_them() {
        // The outer loop's own branch stands inside of what the inner loop spans.
        let text = "BB1:\nv_fma_f32 v0, v1, v2, v3\nBB2:\nds_read_b32 v4, v5\ns_cbranch_scc0 BB1\nv_mov_b32 v1, v2\ns_cbranch_scc1 BB2\n";
        let (lines, labels) = instructions(text);
        assert_eq!(loops(&lines, &labels), [(0, 4), (1, 4)]);
        assert_eq!(hottest(text).counts.instructions, 1);
    }

    #[test]
    fn code_outside_loops_is_hottest_if_nearly_all_arithmetic_is_there() {
        let looped = "BB1:\nv_fma_f32 v0, v1, v2, v3\ns_cbranch_scc1 BB1\n";
        let straight = |times: usize| format!("{looped}{}", "v_fmac_f32 v0, v1, v2\n".repeat(times));
        assert_eq!(hottest(&straight(8)).depth, 1);
        assert_eq!((hottest(&straight(9)).depth, hottest(&straight(9)).counts.multiply_adds), (0, 9));
        assert_eq!(hottest("s_endpgm\n").counts.instructions, 1);
        assert_eq!(hottest("").counts, Counts::default());
    }

    #[test]
    fn bytes_follow_from_names() {
        for (line, bytes) in [
            ("global_load_dwordx4 v[0:3], v4, s[0:1]", 16),
            ("buffer_load_dword v0, v1, s[0:3], 0 offen", 4),
            ("buffer_load_format_xyzw v[0:3], v4, s[0:3], 0 idxen", 16),
            ("buffer_store_b96 v[0:2], v4, s[0:3], 0 offen", 12),
            ("image_load v[0:3], v[4:5], s[0:7] dmask:0xf dim:SQ_RSRC_IMG_2D unorm", 16),
            ("image_store v0, v[4:5], s[0:7] dmask:0x1 dim:SQ_RSRC_IMG_2D unorm", 4),
            ("ds_read2_b32 v[0:1], v2 offset1:1", 8),
            ("ds_load_2addr_stride64_b32 v[0:1], v2 offset1:1", 8),
            ("ds_write_b64 v2, v[0:1]", 8),
            ("global_load_d16_b16 v0, v1, s[0:1]", 2),
            ("buffer_load_ubyte v0, v1, s[0:3], 0 offen", 1),
        ] {
            let mut counts = Counts::default();
            counts.add(line);
            assert_eq!(counts.global_bytes + counts.workgroup_bytes, bytes, "{line}");
        }
    }

    #[test]
    fn multiply_adds_are_floating_point() {
        for (line, multiply_adds, operations) in [
            ("v_fmac_f32_e32 v0, v1, v2", 1, 1),
            ("v_fmaak_f32 v0, v1, v2, 0x3f000000", 1, 1),
            ("v_pk_fma_f16 v0, v1, v2, v3", 2, 2),
            ("v_pk_mul_f16 v0, v1, v2", 0, 2),
            ("v_mad_u32_u24 v0, v1, v2, v3", 0, 1),
            ("v_dual_fmac_f32 v0, v1, v2 :: v_dual_mul_f32 v3, v4, v5", 1, 2),
            ("v_dual_mov_b32 v0, v1 :: v_dual_fmaak_f32 v3, v4, v5, 0x3f000000", 1, 2),
        ] {
            let mut counts = Counts::default();
            counts.add(line);
            assert_eq!(
                (counts.multiply_adds, counts.operations, counts.vector),
                (multiply_adds, operations, 1),
                "{line}"
            );
        }
    }

    #[test]
    fn the_slowest_part_is_the_roof() {
        let counts = Counts { operations: 100, multiply_adds: 100, workgroup_bytes: 50, ..Counts::default() };
        assert_eq!(roof(&counts, "navi21"), Some((Roof::Vector, 1.0)));
        // 2 bytes per multiply-add are the balance of RDNA 2, and twice that of RDNA 3.
        let shared = Counts { workgroup_bytes: 400, ..counts };
        assert_eq!(roof(&shared, "navi21"), Some((Roof::Workgroup, 0.5)));
        assert_eq!(roof(&shared, "gfx1100"), Some((Roof::Workgroup, 0.25)));
        assert_eq!(roof(&Counts { global_bytes: 400, ..counts }, "navi21"), Some((Roof::Global, 0.25)));
        let slow = Counts { operations: 125, quarter_rate: 25, ..counts };
        assert_eq!(roof(&slow, "navi21"), Some((Roof::Vector, 0.5)));
        assert_eq!(roof(&Counts::default(), "navi21"), None);
    }
}
