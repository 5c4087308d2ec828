// relu/quads: relu on channel quads. Twin: src/ops/relu.rs.
//
// entry     one thread computes   reads   note
// forward   y of four channels    x
// backward  dx of four channels   y, dy   uses y, not x, as relu does

override WG: u32 = 64u;

struct P { len: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var y: texture_storage_2d<rgba32float, write>;
@group(0) @binding(3) var y_read: texture_storage_2d<rgba32float, read>;
@group(0) @binding(4) var dy: texture_storage_2d<rgba32float, read>;
@group(0) @binding(5) var dx: texture_storage_2d<rgba32float, write>;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    let at = vec2(i & 4095u, i >> 12u);
    let value = textureLoad(x, at);
    textureStore(y, at, select(value, vec4(0.0), value < vec4(0.0)));
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = g.x + g.y * groups.x * WG;
    if i >= p.len { return; }
    let at = vec2(i & 4095u, i >> 12u);
    textureStore(dx, at, select(textureLoad(dy, at), vec4(0.0), textureLoad(y_read, at) <= vec4(0.0)));
}
