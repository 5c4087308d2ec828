// pixel_shuffle/plain: y[n,c,i·r+u,j·r+v] = x[n,c·r²+u·r+v,i,j]. Twin: src/ops/pixel_shuffle.rs.
//
// entry     one thread moves                      reads
// forward   the r² values of one y block r × r    x
// backward  the r² values of one pixel's dx       dy
// A thread handles one (n,c,i,j): two divisions serve r² values, and neighbouring threads access neighbouring elements of x.

override WG: u32 = 64u;

// threads: N·C·H·W, with C of y, H and W of x. height, width: of x. factor: r.
struct P { threads: u32, height: u32, width: u32, factor: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

// Where a thread's first element lies in x and in y.
struct Block { x: u32, y: u32 }

fn block_of(thread: u32) -> Block {
    let row = thread / p.width;
    let j = thread - row * p.width;
    let plane = row / p.height;
    let i = row - plane * p.height;
    let r = p.factor;
    // A plane of y has r² times the pixels of one of x, and starts where r² planes of x start.
    return Block(
        (plane * r * r * p.height + i) * p.width + j,
        ((plane * p.height + i) * r * p.width + j) * r,
    );
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let block = block_of(thread);
    var at = block.x;
    for (var u = 0u; u < p.factor; u++) {
        let row = block.y + u * p.width * p.factor;
        for (var v = 0u; v < p.factor; v++) {
            y[row + v] = x[at];
            at += p.height * p.width;
        }
    }
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let thread = g.x + g.y * groups.x * WG;
    if thread >= p.threads { return; }
    let block = block_of(thread);
    var at = block.x;
    for (var u = 0u; u < p.factor; u++) {
        let row = block.y + u * p.width * p.factor;
        for (var v = 0u; v < p.factor; v++) {
            dx[at] = dy[row + v];
            at += p.height * p.width;
        }
    }
}
