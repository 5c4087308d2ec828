// pointwise/binary_sums: gradients of f(a, b) for few elements, each of which is a sum of many terms. Twin: src/ops/pointwise/binary.rs.
//
// entry         one thread computes      reads                                          terms and their order
// backward_a_1  t0: a part of one da     dy, and those of a, b, y that the slope names  part, part + parts, …
// backward_a_2  one da                   t0                                             parts, ascending
// backward_b_1, backward_b_2: the same for db

override WG: u32 = 64u;
alias T = f32;
alias Bits = u32;

// shared/broadcast.wgsl and shared/terms.wgsl say what these are. parts: partial sums per element.
struct P {
    threads: u32, terms: u32, is_same: u32,
    s1: u32, s2: u32, s3: u32, s4: u32, s5: u32,
    a0: u32, a1: u32, a2: u32, a3: u32, a4: u32, a5: u32,
    b0: u32, b1: u32, b2: u32, b3: u32, b4: u32, b5: u32,
    k1: u32, k2: u32, k3: u32, k4: u32, k5: u32,
    r1: u32, r2: u32, r3: u32, r4: u32, r5: u32,
    parts: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> y: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> da: array<f32>;
@group(0) @binding(6) var<storage, read_write> db: array<f32>;
@group(0) @binding(7) var<storage, read_write> t0: array<f32>;

@compute @workgroup_size(WG)
fn backward_a_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    var sum = 0.0;
    for (var t = thread % p.parts; t < p.terms; t += p.parts) {
        let i = term(thread / p.parts, t);
        sum += dy[i] * slope_a(i, place(i));
    }
    t0[thread] = sum;
}

@compute @workgroup_size(WG)
fn backward_b_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    var sum = 0.0;
    for (var t = thread % p.parts; t < p.terms; t += p.parts) {
        let i = term(thread / p.parts, t);
        sum += dy[i] * slope_b(i, place(i));
    }
    t0[thread] = sum;
}

fn sum_of_parts(element: u32) -> f32 {
    var sum = 0.0;
    for (var k = 0u; k < p.parts; k++) {
        sum += t0[element * p.parts + k];
    }
    return sum;
}

@compute @workgroup_size(WG)
fn backward_a_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let element = g.x + g.y * groups.x * WG;
    if element >= p.threads { return; }
    da[element] = sum_of_parts(element);
}

@compute @workgroup_size(WG)
fn backward_b_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let element = g.x + g.y * groups.x * WG;
    if element >= p.threads { return; }
    db[element] = sum_of_parts(element);
}

// Element of y that is term t of the gradient of element `element`.
fn term(element: u32, t: u32) -> u32 {
    if p.is_same == 1u { return element; }
    return term_of(element, t);
}
