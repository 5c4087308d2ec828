// texels: shared by the shaders whose tensors lie in textures, as channel quads (src/layout.rs, `Layout::Quads`).

// Returns where texel k lies: 4,096 to a row.
fn texel(k: u32) -> vec2<u32> {
    return vec2(k & 4095u, k >> 12u);
}
