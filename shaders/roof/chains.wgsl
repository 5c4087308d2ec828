// roof/chains: 14 chains v[k] ← v[k] · m + v[k + 1], as many multiply-adds as the adapter can do. Twin: src/lab/roof.rs.
//
// entry    one thread computes  reads  note
// forward  one y                x      the sum over `rounds` of 14 chains of 64 links, begun at x + round + 0 … 13
// A vector core is always busy with (latency of multiply + add) · (units) chains in flight: 12 on Zen 3 (3 + 3 cycles, 2
// units each), plus two for slack; with m they fill 15 of its 16 registers. If the chains do not read each other, LLVM (15)
// runs them one after the other, at a quarter of the rate. If they live from round to round, the rate halves: for each
// variable that a loop assigns, lavapipe keeps the old value next to the new one, to select by the mask of active lanes.
// So every round starts afresh, and adds to the sum. GFLOP/s of one thread at 3.24 GHz (Zen 3, 2026-11-24): this 84, with
// 12 chains 77, hand-written assembly 94, two units of each kind always busy 104.

override WG: u32 = 64u;

struct P { len: u32, rounds: u32, m: f32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

struct Chains { a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec2<f32> }

// The last chain reads the first one's new value, so that no register holds the old.
fn link(v: Chains, m: f32) -> Chains {
    let a = v.a * m + vec4(v.a.yzw, v.b.x);
    let b = v.b * m + vec4(v.b.yzw, v.c.x);
    let c = v.c * m + vec4(v.c.yzw, v.d.x);
    let d = v.d * m + vec2(v.d.y, a.x);
    return Chains(a, b, c, d);
}

fn link_4(v: Chains, m: f32) -> Chains {
    return link(link(link(link(v, m), m), m), m);
}

fn link_16(v: Chains, m: f32) -> Chains {
    return link_4(link_4(link_4(link_4(v, m), m), m), m);
}

fn link_32(v: Chains, m: f32) -> Chains {
    return link_16(link_16(v, m), m);
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    let m = p.m;
    let begin = x[i];
    var total = 0.0;
    let rounds = bound(p.rounds, i);
    for (var round = 0u; round < rounds; round++) {
        let a = begin + f32(round) + vec4(0.0, 1.0, 2.0, 3.0);
        let v = link_32(link_32(Chains(a, a + 4.0, a + 8.0, a.xy + 12.0), m), m);
        let sum = v.a + v.b + v.c;
        total += sum.x + sum.y + sum.z + sum.w + v.d.x + v.d.y;
    }
    y[i] = total;
}
