// is_nan: tests for NaN by its bits, since a compiler may assume that there is none. The including shader defines `alias T = f32`.

fn is_nan(value: T) -> bool {
    return (bitcast<u32>(value) & 0x7FFFFFFFu) > 0x7F800000u;
}
