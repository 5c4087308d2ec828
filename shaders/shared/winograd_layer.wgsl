// winograd_layer: the entries of conv2d/winograd (N = 6 points per side) and conv2d/winograd8 (N = 8).
//
// Lavin and Gray 2016, section 4: y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A for tiles of TILE × TILE outputs from N×N inputs: N² matrix
// multiplications (output channels × input channels) · (input channels × tiles), one for each position in the tile. The
// picture is processed in blocks of tiles, whose V and M stay in the cache.
//
// entry      one thread computes                        reads     terms and their order
// forward_1  t2: U at N² positions for a channel c and   w, b, a   R taps per side; runs once if w is constant
//            four o; or four biases, or four slopes
// forward_2  t0: V at N² positions of a tile, four c     x         N rows, then N columns
// forward_3  t1: M of a tile at a position, OC o         t0, t2    all c, ascending
// forward_4  y: TILE × TILE pixels of four o                     t1, t2, z  N rows, then N columns; bias; activation; z
//
// Costs that it is designed for (ns for eight lanes; Zen 3 at 3.2 GHz, Mesa 22.3.6):
// a load of a texel of four values 4, a store of one 60 to 105, a word of workgroup memory at a constant address in
// straight-line code almost nothing, at a varying address 105; a multiply-add 0.16 while its code stays in the
// processor's cache of decoded instructions (1,000 of them), 0.37 once it leaves the first-level cache (2,000). So
// forward_3 copies the OC · K weights of a position to workgroup memory once for up to 256 tiles, then multiplies without
// a loop or branch: each texel of V feeds 4 · OC multiply-adds. Stores limit the rest: tiles lie eight to a row of texels,
// one for each lane, all channels of eight tiles together, so that a store touches two cache lines; and each position is
// shifted by eight texels so that the positions do not share a cache set.

struct P {
    c_in: u32, c_out: u32, height: u32, width: u32, out_height: u32, out_width: u32,
    pad: u32,
    adjoint: u32,            // w is [Ci,Co,R,R], and its taps are rotated by 180°.
    replicate: u32,          // Outside the picture lies its nearest pixel, not 0.
    tiles_x: u32, tiles: u32, tiles_of_picture: u32,
    block: u32, chunks: u32, // The current block; chunks of eight tiles per block.
    quads_in: u32, quads_out: u32, m_quads: u32,
    v_chunks: u32, m_chunks: u32,   // Chunks per row of texels of V and of M.
    groups_out: u32,         // Groups of OC channels.
    biases: u32,             // First texel of the biases in t2; the slopes follow.
    slope: f32,
    f0: f32, f1: f32,        // Of the activation.
    threads: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> a: array<f32>;
@group(0) @binding(5) var y: texture_storage_2d<rgba32float, write>;
@group(0) @binding(6) var t0: texture_storage_2d<rgba32float, write>;
@group(0) @binding(7) var t0_read: texture_storage_2d<rgba32float, read>;
@group(0) @binding(8) var t1: texture_storage_2d<rgba32float, write>;
@group(0) @binding(9) var t1_read: texture_storage_2d<rgba32float, read>;
@group(0) @binding(10) var t2: texture_storage_2d<rgba32float, write>;
@group(0) @binding(11) var t2_read: texture_storage_2d<rgba32float, read>;
@group(0) @binding(12) var z: texture_storage_2d<rgba32float, read>;

var<workgroup> weights: array<vec4<f32>, FILL>;

// w of four output channels for one input channel at a tap; 0 past the channels.
fn filters(c: u32, o: vec4<u32>, tap: u32) -> vec4<f32> {
    let is_real = (o < vec4(p.c_out)) & vec4(c < p.c_in);
    let oc = min(o, vec4(p.c_out - 1u));
    let cc = min(c, p.c_in - 1u);
    var k = (oc * p.c_in + cc) * (R * R) + tap;
    if p.adjoint != 0u { k = (cc * p.c_out + oc) * (R * R) + R * R - 1u - tap; }
    return select(vec4(0.0), vec4(w[k.x], w[k.y], w[k.z], w[k.w]), is_real);
}

@compute @workgroup_size(64)
fn forward_1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * 64u;
    if thread >= p.threads { return; }
    let all_quads = p.groups_out * (OC / 4u);
    let filter_threads = KQ * 4u * all_quads;
    if thread >= filter_threads {
        let k = thread - filter_threads;
        let o = k % all_quads * 4u + vec4(0u, 1u, 2u, 3u);
        let at = min(o, vec4(p.c_out - 1u));
        var value = vec4(b[at.x], b[at.y], b[at.z], b[at.w]);
        if k >= all_quads { value = vec4(a[at.x], a[at.y], a[at.z], a[at.w]); }
        textureStore(t2, texel(p.biases + k), select(vec4(0.0), value, o < vec4(p.c_out)));
        return;
    }
    let quad = thread % all_quads;
    let c = thread / all_quads;
    let o = quad * 4u + vec4(0u, 1u, 2u, 3u);
    var g_column: array<T, 5>;
    var e: array<array<T, N>, 5>;
    // unroll
    for (var s = 0u; s < R; s++) {
        // unroll
        for (var r = 0u; r < R; r++) { g_column[r] = filters(c, o, r * R + s); }
        e[s] = transform_filter(g_column);
    }
    let at = (quad / (OC / 4u) * (KQ * 4u) + c) * (OC / 4u) + quad % (OC / 4u);
    let stride = p.groups_out * KQ * OC;
    // unroll
    for (var r = 0u; r < N; r++) {
        let u = transform_filter(array(e[0][r], e[1][r], e[2][r], e[3][r], e[4][r]));
        // unroll
        for (var s = 0u; s < N; s++) {
            textureStore(t2, texel(at + (r * N + s) * stride), u[s]);
        }
    }
}

// Lanes: eight tiles, then quads of channels.
@compute @workgroup_size(64)
fn forward_2(@builtin(local_invocation_id) l: vec3<u32>, @builtin(workgroup_id) g: vec3<u32>) {
    let q = min(g.x * 8u + l.x / 8u, p.quads_in - 1u);
    let chunk = g.y;
    let number = (p.block * p.chunks + chunk) * 8u + l.x % 8u;
    let tile = tile_at(number);
    let top = i32(tile.y) - i32(p.pad);
    let left = i32(tile.z) - i32(p.pad);
    let plane = (tile.x * p.quads_in + q) * p.height * p.width;
    // Where rows of x begin, and whether x has them. Without `&&` and `||`, which would be branches, 64 times.
    var rows_of_x: array<u32, N>;
    var has_row: array<bool, N>;
    // unroll
    for (var r = 0u; r < N; r++) {
        let i = top + i32(r);
        rows_of_x[r] = plane + u32(clamp(i, 0, i32(p.height) - 1)) * p.width;
        has_row[r] = ((i >= 0) & (i < i32(p.height))) | (p.replicate != 0u);
    }
    var column: array<T, N>;
    var e: array<array<T, N>, N>;
    // unroll
    for (var s = 0u; s < N; s++) {
        let j = left + i32(s);
        let in_row = ((j >= 0) & (j < i32(p.width))) | (p.replicate != 0u);
        let at = u32(clamp(j, 0, i32(p.width) - 1));
        // unroll
        for (var r = 0u; r < N; r++) { column[r] = select(vec4(0.0), textureLoad(x, texel(rows_of_x[r] + at)), in_row & has_row[r]); }
        e[s] = transform_input(column);
    }
    let row = chunk / p.v_chunks;
    let at = vec2((chunk - row * p.v_chunks) * (KQ * 8u) + q * 8u + l.x % 8u, row);
    let rows = (p.chunks + p.v_chunks - 1u) / p.v_chunks;
    // unroll
    for (var r = 0u; r < N; r++) {
        // unroll
        for (var s = 0u; s < N; s++) { column[s] = e[s][r]; }
        let v = transform_input(column);
        // unroll
        for (var s = 0u; s < N; s++) {
            textureStore(t0, at + vec2((r * N + s) * 8u, (r * N + s) * rows), stored(v[s], number));
        }
    }
}

// Groups: output channels, position, LANES tiles.
@compute @workgroup_size(LANES)
fn forward_3(@builtin(local_invocation_id) l: vec3<u32>, @builtin(workgroup_id) g: vec3<u32>) {
    let first = (g.y * p.groups_out + g.x) * FILL;
    // unroll
    for (var k = 0u; k < COPIES; k++) {
        let at = l.x + k * LANES;
        if at < FILL { weights[at] = textureLoad(t2_read, texel(first + at)); }
    }
    workgroupBarrier();
    let chunk = (g.z * LANES + l.x) / 8u;
    let number = (p.block * p.chunks + chunk) * 8u + l.x % 8u;
    let v_row = chunk / p.v_chunks;
    let v_at = vec2((chunk - v_row * p.v_chunks) * (KQ * 8u) + g.y * 8u + l.x % 8u, v_row + g.y * ((p.chunks + p.v_chunks - 1u) / p.v_chunks));
    let m_row = chunk / p.m_chunks;
    let m_at = vec2((chunk - m_row * p.m_chunks) * (p.m_quads * 8u) + g.x * (OQ * 8u) + g.y * 8u + l.x % 8u, m_row + g.y * ((p.chunks + p.m_chunks - 1u) / p.m_chunks));
    var m: array<vec4<f32>, OQ>;
    // unroll
    for (var q = 0u; q < OQ; q++) { m[q] = vec4(0.0); }
    // unroll
    for (var k = 0u; k < KQ; k++) {
        let v = textureLoad(t0_read, v_at + vec2(k * 8u, 0u));
        // unroll
        for (var c = 0u; c < 4u; c++) {
            // unroll
            for (var q = 0u; q < OQ; q++) { m[q] += weights[(k * 4u + c) * OQ + q] * v[c]; }
        }
    }
    // unroll
    for (var q = 0u; q < OQ; q++) { textureStore(t1, m_at + vec2(q * 8u, 0u), stored(m[q], number)); }
}

// Lanes: eight tiles, then quads of channels.
@compute @workgroup_size(64)
fn forward_4(@builtin(local_invocation_id) l: vec3<u32>, @builtin(workgroup_id) g: vec3<u32>) {
    let quad = g.x * 8u + l.x / 8u;
    let q = min(quad, p.quads_out - 1u);
    let chunk = g.y;
    let number = (p.block * p.chunks + chunk) * 8u + l.x % 8u;
    let tile = tile_at(number);
    let bias = textureLoad(t2_read, texel(p.biases + q));
    let slope = textureLoad(t2_read, texel(p.biases + p.groups_out * OQ + q));
    let m_row = chunk / p.m_chunks;
    let at = vec2((chunk - m_row * p.m_chunks) * (p.m_quads * 8u) + q * 8u + l.x % 8u, m_row);
    let rows = (p.chunks + p.m_chunks - 1u) / p.m_chunks;
    var column: array<T, N>;
    var e: array<array<T, N - 2u>, N>;
    // unroll
    for (var s = 0u; s < N; s++) {
        // unroll
        for (var r = 0u; r < N; r++) { column[r] = textureLoad(t1_read, at + vec2((r * N + s) * 8u, (r * N + s) * rows)); }
        e[s] = transform_output(column);
    }
    let plane = (tile.x * p.quads_out + q) * p.out_height * p.out_width;
    let is_real = (number < p.tiles) & (quad < p.quads_out);
    // unroll
    for (var r = 0u; r < TILE; r++) {
        let in_picture = is_real & (tile.y + r < p.out_height);
        // unroll
        for (var s = 0u; s < N; s++) { column[s] = e[s][r]; }
        let row = transform_output(column);
        // unroll
        for (var s = 0u; s < TILE; s++) {
            let sum = row[s] + bias;
            let i = min(tile.y + r, p.out_height - 1u);
            let j = min(tile.z + s, p.out_width - 1u);
            let at = texel(plane + i * p.out_width + j);
            let value = combined(activated(sum, slope), at);
            if in_picture & (tile.z + s < p.out_width) { textureStore(y, at, stored(value, number)); }
        }
    }
}
