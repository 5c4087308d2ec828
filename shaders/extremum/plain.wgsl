// extremum/plain: the largest or smallest x over some dimensions, and which it is. Twin: src/ops/extremum.rs.
//
// entry       one thread computes                  reads        steps and their order
// forward_1   t0: the best term of a part          x            part, part + parts, …
// forward_2   one y and its index                  x, t0        parts, ascending
// backward_x  one dx                               indices, dy
// Elements are compared as integers, which a compiler that takes every number to be finite orders all the same.

override WG: u32 = 64u;

// shared/terms.wgsl says what s1 to r5 are, of x. elements: of y. terms: per element. parts: per element. smallest: 0 or 1.
struct P {
    threads: u32, elements: u32, terms: u32, parts: u32, smallest: u32,
    s1: u32, s2: u32, s3: u32, s4: u32, s5: u32,
    k1: u32, k2: u32, k3: u32, k4: u32, k5: u32,
    r1: u32, r2: u32, r3: u32, r4: u32, r5: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> indices: array<u32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;
@group(0) @binding(6) var<storage, read_write> t0: array<u32>;

// A number that is the larger the better the element: -0 equals 0, and NaN is best.
fn key(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let size = bits & 0x7FFFFFFFu;
    if size > 0x7F800000u { return 0xFFFFFFFFu; }
    if size == 0u { return 0x80000000u; }
    let key = select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
    return select(key, ~key, p.smallest == 1u);
}

@compute @workgroup_size(WG)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let element = thread / p.parts;
    var best = thread % p.parts;
    var best_key = key(x[term_of(element, best)]);
    for (var t = best + p.parts; t < p.terms; t += p.parts) {
        let own = key(x[term_of(element, t)]);
        if own > best_key {
            best = t;
            best_key = own;
        }
    }
    t0[thread] = best;
}

@compute @workgroup_size(WG)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let element = g.x + g.y * groups.x * WG;
    if element >= p.threads { return; }
    var best = t0[element * p.parts];
    var best_key = key(x[term_of(element, best)]);
    for (var k = 1u; k < p.parts; k++) {
        let t = t0[element * p.parts + k];
        let own = key(x[term_of(element, t)]);
        if own > best_key || (own == best_key && t < best) {
            best = t;
            best_key = own;
        }
    }
    y[element] = x[term_of(element, best)];
    indices[element] = best;
}

@compute @workgroup_size(WG)
fn backward_x(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let home = home_of(i);
    dx[i] = select(0.0, dy[home.element], indices[home.element] == home.term);
}
