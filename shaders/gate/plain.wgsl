// gate/plain: y = (1 - g)·a + g·b; one plane of g serves `span` planes of a and b (C, or 1). Twin: src/ops/gate.rs.
//
// entry        one thread computes           reads      note
// forward      up to 8 y, channels apart     a, b, g    g is read once for all of them
// backward_ab  up to 8 da and 8 db likewise  g, dy
// backward_g   one dg                        a, b, dy   `span` terms, channels ascending
// All tensors are in units of T, as in shared/one.wgsl.
// Planes of a are numbered n·C + c, those of g n·(C/span) + c/span; pixels within a plane are neighbouring threads.

override WG: u32 = 64u;
const BLOCK = 8u;

// threads: of this entry. plane: H·W. span: planes of a per plane of g. blocks: ⌈span/8⌉.
struct P { threads: u32, plane: u32, span: u32, blocks: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> a: array<T>;
@group(0) @binding(2) var<storage, read> b: array<T>;
@group(0) @binding(3) var<storage, read> g: array<T>;
@group(0) @binding(4) var<storage, read_write> y: array<T>;
@group(0) @binding(5) var<storage, read> dy: array<T>;
@group(0) @binding(6) var<storage, read_write> da: array<T>;
@group(0) @binding(7) var<storage, read_write> db: array<T>;
@group(0) @binding(8) var<storage, read_write> dg: array<T>;

// The elements of a that one thread of forward and backward_ab handles, and their element of g.
struct Block { gate: u32, first: u32, count: u32 }

fn block_of(thread: u32) -> Block {
    let row = thread / p.plane;
    let pixel = thread - row * p.plane;
    let gate_plane = row / p.blocks;
    let skip = (row - gate_plane * p.blocks) * BLOCK;
    return Block(
        gate_plane * p.plane + pixel,
        (gate_plane * p.span + skip) * p.plane + pixel,
        min(BLOCK, p.span - skip),
    );
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = id.x + id.y * groups.x * WG;
    if thread >= p.threads { return; }
    let block = block_of(thread);
    let open = g[block.gate];
    let closed = T(1.0) - open;
    var i = block.first;
    for (var k = 0u; k < block.count; k++) {
        y[i] = closed * a[i] + open * b[i];
        i += p.plane;
    }
}

@compute @workgroup_size(WG)
fn backward_ab(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = id.x + id.y * groups.x * WG;
    if thread >= p.threads { return; }
    let block = block_of(thread);
    let open = g[block.gate];
    let closed = T(1.0) - open;
    var i = block.first;
    for (var k = 0u; k < block.count; k++) {
        let d = dy[i];
        da[i] = closed * d;
        db[i] = open * d;
        i += p.plane;
    }
}

@compute @workgroup_size(WG)
fn backward_g(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = id.x + id.y * groups.x * WG;
    if thread >= p.threads { return; }
    // Plane q of g begins at q·plane; the planes that it gates begin at q·span·plane.
    var i = thread + (thread / p.plane) * (p.span - 1u) * p.plane;
    var sum = T(0.0);
    for (var k = 0u; k < p.span; k++) {
        sum += dy[i] * (b[i] - a[i]);
        i += p.plane;
    }
    dg[thread] = sum;
}
