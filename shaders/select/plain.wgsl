// select/plain: y = a where c is not 0, else b, with broadcasting. Twin: src/ops/select.rs.
//
// entry         one thread computes   reads  terms and their order
// forward       one y                 c, a, b
// backward_a_1  t0: a part of one da  c, dy  part, part + parts, …
// backward_a_2  one da                t0     parts, ascending
// backward_b_1, backward_b_2: the same for db

override WG: u32 = 64u;

// shared/terms.wgsl says what s1 to r5 are; c0 to b5: strides of c, a and b for the dimensions of y, 0 where they are broadcast.
// terms: per element of the gradient. parts: partial sums per element.
struct P {
    threads: u32, terms: u32, parts: u32,
    s1: u32, s2: u32, s3: u32, s4: u32, s5: u32,
    c0: u32, c1: u32, c2: u32, c3: u32, c4: u32, c5: u32,
    a0: u32, a1: u32, a2: u32, a3: u32, a4: u32, a5: u32,
    b0: u32, b1: u32, b2: u32, b3: u32, b4: u32, b5: u32,
    k1: u32, k2: u32, k3: u32, k4: u32, k5: u32,
    r1: u32, r2: u32, r3: u32, r4: u32, r5: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> c: array<u32>;
@group(0) @binding(2) var<storage, read> a: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> da: array<f32>;
@group(0) @binding(7) var<storage, read_write> db: array<f32>;
@group(0) @binding(8) var<storage, read_write> t0: array<f32>;

// Where c, a and b lie that belong to element i of y.
fn place(i: u32) -> vec3<u32> {
    let i4 = i / p.s5;
    let i3 = i4 / p.s4;
    let i2 = i3 / p.s3;
    let i1 = i2 / p.s2;
    let i0 = i1 / p.s1;
    return i0 * vec3(p.c0, p.a0, p.b0) + (i1 - i0 * p.s1) * vec3(p.c1, p.a1, p.b1)
        + (i2 - i1 * p.s2) * vec3(p.c2, p.a2, p.b2) + (i3 - i2 * p.s3) * vec3(p.c3, p.a3, p.b3)
        + (i4 - i3 * p.s4) * vec3(p.c4, p.a4, p.b4) + (i - i4 * p.s5) * vec3(p.c5, p.a5, p.b5);
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let at = place(i);
    y[i] = select(b[at.z], a[at.y], c[at.x] != 0u);
}

// The sum of a part of the dy of one element, those where c chooses a or those where it does not.
fn part(thread: u32, is_a: bool) -> f32 {
    var sum = 0.0;
    for (var t = thread % p.parts; t < p.terms; t += p.parts) {
        let i = term_of(thread / p.parts, t);
        if (c[place(i).x] != 0u) == is_a { sum += dy[i]; }
    }
    return sum;
}

fn sum_of_parts(element: u32) -> f32 {
    var sum = 0.0;
    for (var k = 0u; k < p.parts; k++) {
        sum += t0[element * p.parts + k];
    }
    return sum;
}

@compute @workgroup_size(WG)
fn backward_a_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    t0[thread] = part(thread, true);
}

@compute @workgroup_size(WG)
fn backward_a_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let element = g.x + g.y * groups.x * WG;
    if element >= p.threads { return; }
    da[element] = sum_of_parts(element);
}

@compute @workgroup_size(WG)
fn backward_b_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    t0[thread] = part(thread, false);
}

@compute @workgroup_size(WG)
fn backward_b_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let element = g.x + g.y * groups.x * WG;
    if element >= p.threads { return; }
    db[element] = sum_of_parts(element);
}
