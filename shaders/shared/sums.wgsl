// sums: shared by the shaders of `reduce`. The including shader defines `value(v)`, the term of an element v, `result(sum)`, and
// `slope(i, element)`, the derivative of this sum's result for element i.
//
// entry       one thread computes             reads                       terms and their order
// forward_1   t0: a part of one sum           x                           part, part + parts, …
// forward_2   one y                           t0                          parts, ascending
// backward_x  one dx                          dy, and what `slope` names

override WG: u32 = 64u;

// shared/terms.wgsl says what s1 to r5 are, of x. elements: of y. terms: per element. parts: partial sums per element.
struct P {
    threads: u32, elements: u32, terms: u32, parts: u32, scale: f32,
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

@compute @workgroup_size(WG)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    var sum = 0.0;
    for (var t = thread % p.parts; t < p.terms; t += p.parts) {
        sum += value(x[term_of(thread / p.parts, t)]);
    }
    t0[thread] = sum;
}

@compute @workgroup_size(WG)
fn forward_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let element = g.x + g.y * groups.x * WG;
    if element >= p.threads { return; }
    var sum = 0.0;
    for (var k = 0u; k < p.parts; k++) {
        sum += t0[element * p.parts + k];
    }
    y[element] = result(sum);
}

@compute @workgroup_size(WG)
fn backward_x(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let element = home_of(i).element;
    dx[i] = dy[element] * slope(i, element);
}
