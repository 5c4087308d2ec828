// reduce/product: y = product of x over some dimensions. Twin: src/ops/reduce.rs.
//
// entry         one thread computes      reads      factors and their order
// forward_1     t0: a part of one y      x          part, part + parts, …
// forward_2     one y                    t0         parts, ascending
// backward_x_1  as forward_1
// backward_x_2  one dx                   x, t0, dy  dy, the other parts, and the others of its own part, ascending

override WG: u32 = 64u;

// shared/terms.wgsl says what s1 to r5 are, of x. elements: of y. terms: per element. parts: partial products per element.
struct P {
    threads: u32, elements: u32, terms: u32, parts: u32,
    s1: u32, s2: u32, s3: u32, s4: u32, s5: u32,
    k1: u32, k2: u32, k3: u32, k4: u32, k5: u32,
    r1: u32, r2: u32, r3: u32, r4: u32, r5: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;
@group(0) @binding(5) var<storage, read_write> t0: array<f32>;

fn part(thread: u32) {
    var product = 1.0;
    for (var t = thread % p.parts; t < p.terms; t += p.parts) {
        product *= x[term_of(thread / p.parts, t)];
    }
    t0[thread] = product;
}

@compute @workgroup_size(WG)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    part(thread);
}

@compute @workgroup_size(WG)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let element = g.x + g.y * groups.x * WG;
    if element >= p.threads { return; }
    var product = 1.0;
    for (var k = element * p.parts; k < element * p.parts + p.parts; k++) {
        product *= t0[k];
    }
    y[element] = product;
}

@compute @workgroup_size(WG)
fn backward_x_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    part(thread);
}

@compute @workgroup_size(WG)
fn backward_x_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let home = home_of(i);
    let own = home.term % p.parts;
    var product = dy[home.element];
    for (var k = 0u; k < p.parts; k++) {
        if k != own { product *= t0[home.element * p.parts + k]; }
    }
    for (var t = own; t < p.terms; t += p.parts) {
        if t != home.term { product *= x[term_of(home.element, t)]; }
    }
    dx[i] = product;
}
