// conv3x3: y[n,o,i,j] = b[o] + Σ_{c,u,v} w[o,c,u,v] · x[n,c,i+u−1,j+v−1]; zero outside. Twin: src/ops/conv3x3.rs.
//
// entry         one thread computes                        reads     terms and their order
// forward       y: 8 rows of a column × 4 channels         x, w, b   bias, then 9·Ci by c, v, u
// backward_x    dx: 8 rows of a column × 4 channels        dy, w     9·Co by o, v, u
// backward_w_1  t0: 4 o × 4 c × 3 u of one v, one walker   x, dy     the walker's columns (n, j), each from i = 0 on
// backward_w_2  one dw                                     t0        the walkers in order
// backward_b_1  t0: one o, one walker                      dy        by n, then every `walkers`-th pixel
// backward_b_2  one db                                     t0        the walkers in order
//
// A load costs far more than a multiplication, so a thread keeps a block of results in registers: the ten rows around
// its eight serve all three taps of a filter column, and each weight serves eight rows. Lanes run along j.
// Taps outside of the picture add w·0, so an output's bits do not depend on where a tile cuts the picture.

override WG: u32 = 64u;

struct P {
    batch: u32, c_in: u32, c_out: u32, height: u32, width: u32,
    row_blocks: u32,   // ⌈height / 8⌉
    in_blocks: u32,    // ⌈c_in / 4⌉
    out_blocks: u32,   // ⌈c_out / 4⌉
    walkers: u32,      // Partial sums of a weight's or bias's gradient.
    threads: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;
@group(0) @binding(7) var<storage, read_write> dw: array<f32>;
@group(0) @binding(8) var<storage, read_write> db: array<f32>;
@group(0) @binding(9) var<storage, read_write> t0: array<f32>;

const LANE = vec4<u32>(0u, 1u, 2u, 3u);

// Eight rows of a column, four channels each.
struct Block {
    r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32>,
    r4: vec4<f32>, r5: vec4<f32>, r6: vec4<f32>, r7: vec4<f32>,
}

fn filled(v: vec4<f32>) -> Block {
    return Block(v, v, v, v, v, v, v, v);
}

// Adds the three taps u of one filter column; r holds the rows i − 1 … i + 8.
fn add_taps(a: ptr<function, Block>, r: array<f32, 10>, w0: vec4<f32>, w1: vec4<f32>, w2: vec4<f32>) {
    (*a).r0 = fma(vec4(r[2]), w2, fma(vec4(r[1]), w1, fma(vec4(r[0]), w0, (*a).r0)));
    (*a).r1 = fma(vec4(r[3]), w2, fma(vec4(r[2]), w1, fma(vec4(r[1]), w0, (*a).r1)));
    (*a).r2 = fma(vec4(r[4]), w2, fma(vec4(r[3]), w1, fma(vec4(r[2]), w0, (*a).r2)));
    (*a).r3 = fma(vec4(r[5]), w2, fma(vec4(r[4]), w1, fma(vec4(r[3]), w0, (*a).r3)));
    (*a).r4 = fma(vec4(r[6]), w2, fma(vec4(r[5]), w1, fma(vec4(r[4]), w0, (*a).r4)));
    (*a).r5 = fma(vec4(r[7]), w2, fma(vec4(r[6]), w1, fma(vec4(r[5]), w0, (*a).r5)));
    (*a).r6 = fma(vec4(r[8]), w2, fma(vec4(r[7]), w1, fma(vec4(r[6]), w0, (*a).r6)));
    (*a).r7 = fma(vec4(r[9]), w2, fma(vec4(r[8]), w1, fma(vec4(r[7]), w0, (*a).r7)));
}

// The rows i − 1 … i + 8 of a plane: where each begins, and whether the picture has it.
struct Rows { at: array<u32, 10>, inside: array<bool, 10> }

fn rows_around(i: u32) -> Rows {
    var rows: Rows;
    for (var k = 0u; k < 10u; k++) {
        // i + k − 1 wraps below zero to a huge number, so one comparison covers both edges.
        let row = i + k - 1u;
        rows.at[k] = min(row, p.height - 1u) * p.width;
        rows.inside[k] = row < p.height;
    }
    return rows;
}

// What a thread of forward and backward_x works on.
struct Place { n: u32, block: u32, i: u32, j: u32 }

fn place(thread: u32, blocks: u32) -> Place {
    let rest = thread / p.width;
    let above = rest / p.row_blocks;
    return Place(above / blocks, above % blocks, rest % p.row_blocks * 8u, thread % p.width);
}

fn y_row(a: vec4<f32>, n: u32, o: u32, i: u32, j: u32) {
    if i >= p.height { return; }
    let plane = p.height * p.width;
    let at = (n * p.c_out + o) * plane + i * p.width + j;
    y[at] = a.x;
    if o + 1u < p.c_out { y[at + plane] = a.y; }
    if o + 2u < p.c_out { y[at + 2u * plane] = a.z; }
    if o + 3u < p.c_out { y[at + 3u * plane] = a.w; }
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let at = place(thread, p.out_blocks);
    let o = at.block * 4u;
    let channel = min(o + LANE, vec4(p.c_out - 1u));
    let filters = channel * (p.c_in * 9u);
    let rows = rows_around(at.i);
    var a = filled(vec4(b[channel.x], b[channel.y], b[channel.z], b[channel.w]));
    for (var c = 0u; c < p.c_in; c++) {
        for (var v = 0u; v < 3u; v++) {
            let s = at.j + v - 1u;
            let inside = s < p.width;
            let base = (at.n * p.c_in + c) * p.height * p.width + min(s, p.width - 1u);
            let r = array<f32, 10>(
                select(0.0, x[base + rows.at[0]], inside && rows.inside[0]),
                select(0.0, x[base + rows.at[1]], inside && rows.inside[1]),
                select(0.0, x[base + rows.at[2]], inside && rows.inside[2]),
                select(0.0, x[base + rows.at[3]], inside && rows.inside[3]),
                select(0.0, x[base + rows.at[4]], inside && rows.inside[4]),
                select(0.0, x[base + rows.at[5]], inside && rows.inside[5]),
                select(0.0, x[base + rows.at[6]], inside && rows.inside[6]),
                select(0.0, x[base + rows.at[7]], inside && rows.inside[7]),
                select(0.0, x[base + rows.at[8]], inside && rows.inside[8]),
                select(0.0, x[base + rows.at[9]], inside && rows.inside[9]),
            );
            let k = filters + vec4(c * 9u + v);
            add_taps(&a, r,
                vec4(w[k.x], w[k.y], w[k.z], w[k.w]),
                vec4(w[k.x + 3u], w[k.y + 3u], w[k.z + 3u], w[k.w + 3u]),
                vec4(w[k.x + 6u], w[k.y + 6u], w[k.z + 6u], w[k.w + 6u]));
        }
    }
    y_row(a.r0, at.n, o, at.i, at.j);
    y_row(a.r1, at.n, o, at.i + 1u, at.j);
    y_row(a.r2, at.n, o, at.i + 2u, at.j);
    y_row(a.r3, at.n, o, at.i + 3u, at.j);
    y_row(a.r4, at.n, o, at.i + 4u, at.j);
    y_row(a.r5, at.n, o, at.i + 5u, at.j);
    y_row(a.r6, at.n, o, at.i + 6u, at.j);
    y_row(a.r7, at.n, o, at.i + 7u, at.j);
}

fn dx_row(a: vec4<f32>, n: u32, c: u32, i: u32, j: u32) {
    if i >= p.height { return; }
    let plane = p.height * p.width;
    let at = (n * p.c_in + c) * plane + i * p.width + j;
    dx[at] = a.x;
    if c + 1u < p.c_in { dx[at + plane] = a.y; }
    if c + 2u < p.c_in { dx[at + 2u * plane] = a.z; }
    if c + 3u < p.c_in { dx[at + 3u * plane] = a.w; }
}

// dx[n,c,i,j] = Σ_{o,u,v} w[o,c,2−u,2−v] · dy[n,o,i+u−1,j+v−1]: forward with the filters turned by 180°.
@compute @workgroup_size(WG)
fn backward_x(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let at = place(thread, p.in_blocks);
    let c = at.block * 4u;
    let filters = min(c + LANE, vec4(p.c_in - 1u)) * 9u;
    let rows = rows_around(at.i);
    var a = filled(vec4(0.0));
    for (var o = 0u; o < p.c_out; o++) {
        for (var v = 0u; v < 3u; v++) {
            let s = at.j + v - 1u;
            let inside = s < p.width;
            let base = (at.n * p.c_out + o) * p.height * p.width + min(s, p.width - 1u);
            let r = array<f32, 10>(
                select(0.0, dy[base + rows.at[0]], inside && rows.inside[0]),
                select(0.0, dy[base + rows.at[1]], inside && rows.inside[1]),
                select(0.0, dy[base + rows.at[2]], inside && rows.inside[2]),
                select(0.0, dy[base + rows.at[3]], inside && rows.inside[3]),
                select(0.0, dy[base + rows.at[4]], inside && rows.inside[4]),
                select(0.0, dy[base + rows.at[5]], inside && rows.inside[5]),
                select(0.0, dy[base + rows.at[6]], inside && rows.inside[6]),
                select(0.0, dy[base + rows.at[7]], inside && rows.inside[7]),
                select(0.0, dy[base + rows.at[8]], inside && rows.inside[8]),
                select(0.0, dy[base + rows.at[9]], inside && rows.inside[9]),
            );
            let k = filters + vec4(o * p.c_in * 9u + 2u - v);
            add_taps(&a, r,
                vec4(w[k.x + 6u], w[k.y + 6u], w[k.z + 6u], w[k.w + 6u]),
                vec4(w[k.x + 3u], w[k.y + 3u], w[k.z + 3u], w[k.w + 3u]),
                vec4(w[k.x], w[k.y], w[k.z], w[k.w]));
        }
    }
    dx_row(a.r0, at.n, c, at.i, at.j);
    dx_row(a.r1, at.n, c, at.i + 1u, at.j);
    dx_row(a.r2, at.n, c, at.i + 2u, at.j);
    dx_row(a.r3, at.n, c, at.i + 3u, at.j);
    dx_row(a.r4, at.n, c, at.i + 4u, at.j);
    dx_row(a.r5, at.n, c, at.i + 5u, at.j);
    dx_row(a.r6, at.n, c, at.i + 6u, at.j);
    dx_row(a.r7, at.n, c, at.i + 7u, at.j);
}

// Sums for four input channels; the lanes are four output channels.
struct Outer { c0: vec4<f32>, c1: vec4<f32>, c2: vec4<f32>, c3: vec4<f32> }

fn add_outer(a: ptr<function, Outer>, d: vec4<f32>, v: vec4<f32>) {
    (*a).c0 = fma(vec4(v.x), d, (*a).c0);
    (*a).c1 = fma(vec4(v.y), d, (*a).c1);
    (*a).c2 = fma(vec4(v.z), d, (*a).c2);
    (*a).c3 = fma(vec4(v.w), d, (*a).c3);
}

fn t0_channel(a: vec4<f32>, o: u32, c: u32, at: u32) {
    if c >= p.c_in { return; }
    let length = p.c_in * 9u;
    t0[at] = a.x;
    if o + 1u < p.c_out { t0[at + length] = a.y; }
    if o + 2u < p.c_out { t0[at + 2u * length] = a.z; }
    if o + 3u < p.c_out { t0[at + 3u * length] = a.w; }
}

fn t0_tap(a: Outer, o: u32, c: u32, at: u32) {
    t0_channel(a.c0, o, c, at);
    t0_channel(a.c1, o, c + 1u, at + 9u);
    t0_channel(a.c2, o, c + 2u, at + 18u);
    t0_channel(a.c3, o, c + 3u, at + 27u);
}

@compute @workgroup_size(WG)
fn backward_w_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let walker = thread % p.walkers;
    let block = thread / p.walkers;
    let v = block % 3u;
    let c = block / 3u % p.in_blocks * 4u;
    let o = block / 3u / p.in_blocks * 4u;
    let plane = p.height * p.width;
    let c_at = min(c + LANE, vec4(p.c_in - 1u)) * plane;
    let o_at = min(o + LANE, vec4(p.c_out - 1u)) * plane;
    let zero = vec4(0.0);
    var tap0 = Outer(zero, zero, zero, zero);
    var tap1 = Outer(zero, zero, zero, zero);
    var tap2 = Outer(zero, zero, zero, zero);
    for (var column = walker; column < p.batch * p.width; column += p.walkers) {
        let n = column / p.width;
        let j = column % p.width;
        let s = j + v - 1u;
        let inside = s < p.width;
        var xs = c_at + vec4(n * p.c_in * plane + min(s, p.width - 1u));
        var ds = o_at + vec4(n * p.c_out * plane + j);
        // The rows i − 1, i and i + 1 of x move down with i, so that each is loaded once.
        var above = zero;
        var here = select(zero, vec4(x[xs.x], x[xs.y], x[xs.z], x[xs.w]), vec4(inside));
        for (var i = 1u; i <= p.height; i++) {
            xs += vec4(select(0u, p.width, i < p.height));
            let below = select(zero, vec4(x[xs.x], x[xs.y], x[xs.z], x[xs.w]), vec4(inside && i < p.height));
            let d = vec4(dy[ds.x], dy[ds.y], dy[ds.z], dy[ds.w]);
            add_outer(&tap0, d, above);
            add_outer(&tap1, d, here);
            add_outer(&tap2, d, below);
            above = here;
            here = below;
            ds += vec4(p.width);
        }
    }
    let at = walker * p.c_out * p.c_in * 9u + (o * p.c_in + c) * 9u + v;
    t0_tap(tap0, o, c, at);
    t0_tap(tap1, o, c, at + 3u);
    t0_tap(tap2, o, c, at + 6u);
}

@compute @workgroup_size(WG)
fn backward_w_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let k = g.x + g.y * groups.x * WG;
    if k >= p.threads { return; }
    var sum = 0.0;
    for (var walker = 0u; walker < p.walkers; walker++) {
        sum += t0[walker * p.threads + k];
    }
    dw[k] = sum;
}

@compute @workgroup_size(WG)
fn backward_b_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let walker = thread % p.walkers;
    let o = thread / p.walkers;
    let plane = p.height * p.width;
    var sum = 0.0;
    for (var n = 0u; n < p.batch; n++) {
        let base = (n * p.c_out + o) * plane;
        for (var pixel = walker; pixel < plane; pixel += p.walkers) {
            sum += dy[base + pixel];
        }
    }
    t0[walker * p.c_out + o] = sum;
}

@compute @workgroup_size(WG)
fn backward_b_2(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let o = g.x + g.y * groups.x * WG;
    if o >= p.threads { return; }
    var sum = 0.0;
    for (var walker = 0u; walker < p.walkers; walker++) {
        sum += t0[walker * p.c_out + o];
    }
    db[o] = sum;
}
