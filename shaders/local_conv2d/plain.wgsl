// local_conv2d/plain: a convolution whose filters differ between cells of the output. Twin: src/ops/local_conv2d.rs.
//
// entry       one thread computes  reads    terms and their order
// forward     one y                x, w, b  channels, then taps row by row; then b
// backward_x  one dx               w, dy    taps row by row, then outputs
// backward_w  one dw               x, dy    pictures, then the positions of the cell row by row
// backward_b  one db               dy       the same

override WG: u32 = 64u;

// rows, columns: of y; across: cells in a row of cells; outputs: channels of y; side: of a cell.
struct P {
    threads: u32, batch: u32, channels: u32, height: u32, width: u32, outputs: u32, rows: u32, columns: u32,
    kernel: u32, side: u32, across: u32,
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

fn cell_of(row: u32, column: u32) -> u32 {
    return row / p.side * p.across + column / p.side;
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let column = i % p.columns;
    let row = i / p.columns % p.rows;
    let o = i / (p.columns * p.rows) % p.outputs;
    let n = i / (p.columns * p.rows * p.outputs);
    let filters = cell_of(row, column) * p.outputs + o;
    var from_w = filters * p.channels * p.kernel * p.kernel;
    var sum = 0.0;
    for (var c = 0u; c < p.channels; c++) {
        for (var ky = 0u; ky < p.kernel; ky++) {
            let from_x = ((n * p.channels + c) * p.height + row + ky) * p.width + column;
            for (var kx = 0u; kx < p.kernel; kx++) {
                sum += x[from_x + kx] * w[from_w];
                from_w += 1u;
            }
        }
    }
    y[i] = sum + b[filters];
}

@compute @workgroup_size(WG)
fn backward_x(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let column = i % p.width;
    let row = i / p.width % p.height;
    let c = i / (p.width * p.height) % p.channels;
    let n = i / (p.width * p.height * p.channels);
    let taps = p.kernel * p.kernel;
    var sum = 0.0;
    for (var ky = 0u; ky < p.kernel; ky++) {
        for (var kx = 0u; kx < p.kernel; kx++) {
            if row < ky || column < kx || row - ky >= p.rows || column - kx >= p.columns { continue; }
            let cell = cell_of(row - ky, column - kx);
            for (var o = 0u; o < p.outputs; o++) {
                let from_dy = ((n * p.outputs + o) * p.rows + row - ky) * p.columns + column - kx;
                sum += dy[from_dy] * w[((cell * p.outputs + o) * p.channels + c) * taps + ky * p.kernel + kx];
            }
        }
    }
    dx[i] = sum;
}

@compute @workgroup_size(WG)
fn backward_w(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let kx = i % p.kernel;
    let ky = i / p.kernel % p.kernel;
    let c = i / (p.kernel * p.kernel) % p.channels;
    let filters = i / (p.kernel * p.kernel * p.channels);
    let cell = filters / p.outputs;
    let o = filters % p.outputs;
    var sum = 0.0;
    for (var n = 0u; n < p.batch; n++) {
        for (var position = 0u; position < p.side * p.side; position++) {
            let row = cell / p.across * p.side + position / p.side;
            let column = cell % p.across * p.side + position % p.side;
            sum += dy[((n * p.outputs + o) * p.rows + row) * p.columns + column]
                * x[((n * p.channels + c) * p.height + row + ky) * p.width + column + kx];
        }
    }
    dw[i] = sum;
}

@compute @workgroup_size(WG)
fn backward_b(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.threads { return; }
    let cell = i / p.outputs;
    let o = i % p.outputs;
    var sum = 0.0;
    for (var n = 0u; n < p.batch; n++) {
        for (var position = 0u; position < p.side * p.side; position++) {
            let row = cell / p.across * p.side + position / p.side;
            let column = cell % p.across * p.side + position % p.side;
            sum += dy[((n * p.outputs + o) * p.rows + row) * p.columns + column];
        }
    }
    db[i] = sum;
}
