// is_nan: whether a value is none, by its bits, since a compiler may take every number to be one.

fn is_nan(value: T) -> bool {
    return (bitcast<u32>(value) & 0x7FFFFFFFu) > 0x7F800000u;
}
