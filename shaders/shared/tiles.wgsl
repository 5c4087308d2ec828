// tiles: where the TILE × TILE outputs of a Winograd tile lie, and what is stored for it. The including shader defines TILE and these members
// of P: tiles, tiles_of_picture, tiles_x.

// Picture, row and column at which a tile begins; the last one for numbers past it.
fn tile_at(number: u32) -> vec3<u32> {
    let tile = min(number, p.tiles - 1u);
    let rest = tile % p.tiles_of_picture;
    return vec3(tile / p.tiles_of_picture, rest / p.tiles_x * TILE, rest % p.tiles_x * TILE);
}

// The value to store for tile `number`; 0 past the last tile. The select also keeps LLVM from moving the
// arithmetic behind `value` into the store's loop over lanes, where it would be scalar.
fn stored(value: vec4<f32>, number: u32) -> vec4<f32> {
    return select(vec4(0.0), value, number < p.tiles);
}
