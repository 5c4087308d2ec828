// pointwise/binary: y = f(a, b), element by element. Twin: src/ops/pointwise/binary.rs, whose rows define `apply(a, b)`,
// `slope_a(i, at)` and `slope_b(i, at)`.
//
// entry       one thread computes  reads                                            terms and their order
// forward     one y                a, b
// backward_a  one da               dy, and those of a, b, y that the slope names    the y that it takes part in, in parts of 64, ascending
// backward_b  one db               the same                                         the same

override WG: u32 = 64u;
alias T = f32;
alias Bits = u32;
// Terms that are added to each other before their sum is: fewer roundings than in one long sum.
const PART = 64u;

// shared/broadcast.wgsl and shared/terms.wgsl say what these are.
struct P {
    threads: u32, terms: u32, is_same: u32,
    s1: u32, s2: u32, s3: u32, s4: u32, s5: u32,
    a0: u32, a1: u32, a2: u32, a3: u32, a4: u32, a5: u32,
    b0: u32, b1: u32, b2: u32, b3: u32, b4: u32, b5: u32,
    k1: u32, k2: u32, k3: u32, k4: u32, k5: u32,
    r1: u32, r2: u32, r3: u32, r4: u32, r5: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> da: array<f32>;
@group(0) @binding(6) var<storage, read_write> db: array<f32>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let at = place(i);
    y[i] = apply(a[at.x], b[at.y]);
}

@compute @workgroup_size(WG)
fn backward_a(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let element = g.x + g.y * groups.x * WG;
    if element >= p.threads { return; }
    var sum = 0.0;
    var part = 0.0;
    for (var t = 0u; t < p.terms; t++) {
        if t % PART == 0u {
            sum += part;
            part = 0.0;
        }
        let i = term(element, t);
        part += dy[i] * slope_a(i, place(i));
    }
    da[element] = sum + part;
}

@compute @workgroup_size(WG)
fn backward_b(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let element = g.x + g.y * groups.x * WG;
    if element >= p.threads { return; }
    var sum = 0.0;
    var part = 0.0;
    for (var t = 0u; t < p.terms; t++) {
        if t % PART == 0u {
            sum += part;
            part = 0.0;
        }
        let i = term(element, t);
        part += dy[i] * slope_b(i, place(i));
    }
    db[element] = sum + part;
}

// Element of y that is term t of the gradient of element `element`.
fn term(element: u32, t: u32) -> u32 {
    if p.is_same == 1u { return element; }
    return term_of(element, t);
}
