// top_k/lines: as top_k/plain, with a workgroup for each line. Twin: src/ops/top_k.rs.
//
// entry    one workgroup computes        reads
// forward  the y and indices of a line   x
//
// The rank of the k-th element is found eight bits at a time, by counting how many elements have each value of them. Then every lane
// writes which elements of its part of the line are taken, and all sort these: the line is read six times, whatever k is.
// shared/rank.wgsl says which element comes first.

// At most 256.
override WG: u32 = 256u;

// A line has `len` elements, `stride` apart; `smallest` is 0 or 1.
struct P { lines: u32, len: u32, stride: u32, k: u32, smallest: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> indices: array<u32>;
// The elements taken of each line, [lines, k].
@group(0) @binding(4) var<storage, read_write> t0: array<u32>;

var<workgroup> bins: array<atomic<u32>, 256>;
// The bits found so far, and how many of the elements that have them are taken.
var<workgroup> last_rank: u32;
var<workgroup> taken: u32;
// Elements of each lane's part above the last rank, and with it.
var<workgroup> above: array<u32, 256>;
var<workgroup> equal: array<u32, 256>;

fn comes_before(from_x: u32, a: u32, b: u32) -> bool {
    let ranks = vec2(rank(x[from_x + a * p.stride]), rank(x[from_x + b * p.stride]));
    return ranks.x > ranks.y || (ranks.x == ranks.y && a < b);
}

@compute @workgroup_size(WG)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = group.x + group.y * groups.x;
    if line >= p.lines { return; }
    let from_x = line / p.stride * p.len * p.stride + line % p.stride;
    let to = line / p.stride * p.k * p.stride + line % p.stride;
    let first_taken = line * p.k;
    if lane == 0u {
        last_rank = 0u;
        taken = p.k;
    }
    for (var digit = 0u; digit < 4u; digit++) {
        let shift = 24u - 8u * digit;
        for (var bin = lane; bin < 256u; bin += WG) { atomicStore(&bins[bin], 0u); }
        workgroupBarrier();
        for (var i = lane; i < p.len; i += WG) {
            let own = rank(x[from_x + i * p.stride]);
            if digit == 0u || own >> (shift + 8u) == last_rank {
                atomicAdd(&bins[(own >> shift) & 255u], 1u);
            }
        }
        workgroupBarrier();
        if lane == 0u {
            var bin = 255u;
            var rest = taken;
            for (var count = atomicLoad(&bins[bin]); count < rest; count = atomicLoad(&bins[bin])) {
                rest -= count;
                bin -= 1u;
            }
            last_rank = (last_rank << 8u) | bin;
            taken = rest;
        }
        workgroupBarrier();
    }
    let part = (p.len + WG - 1u) / WG;
    let begin = min(lane * part, p.len);
    let end = min(begin + part, p.len);
    var counts = vec2(0u);
    for (var i = begin; i < end; i++) {
        let own = rank(x[from_x + i * p.stride]);
        counts += vec2(u32(own > last_rank), u32(own == last_rank));
    }
    above[lane] = counts.x;
    equal[lane] = counts.y;
    workgroupBarrier();
    var before = vec2(0u);
    for (var k = 0u; k < lane; k++) { before += vec2(above[k], equal[k]); }
    for (var i = begin; i < end; i++) {
        let own = rank(x[from_x + i * p.stride]);
        let is_above = own > last_rank;
        let is_equal = own == last_rank;
        if is_above || (is_equal && before.y < taken) {
            t0[first_taken + before.x + min(before.y, taken)] = i;
        }
        before += vec2(u32(is_above), u32(is_equal));
    }
    storageBarrier();
    // A bitonic sort. The first step of every size compares mirrored elements, so that all steps put the first of two elements first, and
    // those that a power of two would have past k need not exist.
    for (var size = 2u; size < 2u * p.k; size *= 2u) {
        for (var apart = size / 2u; apart > 0u; apart /= 2u) {
            let pairs = (p.k + 2u * apart - 1u) / (2u * apart) * apart;
            for (var pair = lane; pair < pairs; pair += WG) {
                let first = pair / apart * 2u * apart;
                let low = first + pair % apart;
                let high = select(low + apart, first + 2u * apart - 1u - pair % apart, 2u * apart == size);
                if high < p.k {
                    let a = t0[first_taken + low];
                    let b = t0[first_taken + high];
                    if comes_before(from_x, b, a) {
                        t0[first_taken + low] = b;
                        t0[first_taken + high] = a;
                    }
                }
            }
            storageBarrier();
        }
    }
    for (var j = lane; j < p.k; j += WG) {
        let i = t0[first_taken + j];
        y[to + j * p.stride] = x[from_x + i * p.stride];
        indices[to + j * p.stride] = i;
    }
}
