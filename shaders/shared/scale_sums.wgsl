// scale_sums: the gradients of a scale w and a shift b that apply to many elements: every element of x whose parameter is
// i / p.inner % p.params. The including shader defines `standard(i, index)`, what the scale multiplies in
// element i with the parameter `index`, and binds dy, dw, db and t0. P has
// terms, the elements per parameter, and parts, the partial sums per parameter, too.
//
// entry         one thread computes   reads                            terms and their order
// backward_w_1  t0: a part of one dw  dy, and what `standard` reads    part, part + parts, …
// backward_w_2  one dw                t0                               parts, ascending
// backward_b_1, backward_b_2: the same for db, which reads only dy

override GROUP: u32 = 64u;

fn parameter(i: u32) -> u32 {
    return i / p.inner % p.params;
}

// Term t of the sum of a parameter: element i, at place `inner` of its run of elements with that parameter.
struct Use { t: u32, i: u32, inner: u32 }

fn use_of(index: u32, t: u32) -> Use {
    let inner = t % p.inner;
    return Use(t, (t / p.inner * p.params + index) * p.inner + inner, inner);
}

// Moves p.parts terms on, which are `whole` runs and `rest` elements.
fn follow(at: ptr<function, Use>, whole: u32, rest: u32) {
    (*at).t += p.parts;
    (*at).inner += rest;
    (*at).i += whole * p.params * p.inner + rest;
    if (*at).inner >= p.inner {
        (*at).inner -= p.inner;
        (*at).i += (p.params - 1u) * p.inner;
    }
}

fn sum_of_parts(index: u32) -> f32 {
    var sum = 0.0;
    for (var k = 0u; k < p.parts; k++) {
        sum += t0[index * p.parts + k];
    }
    return sum;
}

@compute @workgroup_size(GROUP)
fn backward_w_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * GROUP;
    if thread >= p.threads { return; }
    let whole = p.parts / p.inner;
    let rest = p.parts % p.inner;
    let index = thread / p.parts;
    var sum = 0.0;
    for (var q = use_of(index, thread % p.parts); q.t < p.terms; follow(&q, whole, rest)) {
        sum += dy[q.i] * standard(q.i, index);
    }
    t0[thread] = sum;
}

@compute @workgroup_size(GROUP)
fn backward_w_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * GROUP;
    if index >= p.threads { return; }
    dw[index] = sum_of_parts(index);
}

@compute @workgroup_size(GROUP)
fn backward_b_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * GROUP;
    if thread >= p.threads { return; }
    let whole = p.parts / p.inner;
    let rest = p.parts % p.inner;
    var sum = 0.0;
    for (var q = use_of(thread / p.parts, thread % p.parts); q.t < p.terms; follow(&q, whole, rest)) {
        sum += dy[q.i];
    }
    t0[thread] = sum;
}

@compute @workgroup_size(GROUP)
fn backward_b_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = g.x + g.y * groups.x * GROUP;
    if index >= p.threads { return; }
    db[index] = sum_of_parts(index);
}
