// loss/weighted: y = scale · sum of m · ρ(a, b) over all elements; scale is 1, or 1 / elements. Twin: src/ops/loss.rs.
// The entries are in shared/penalty.wgsl.

@group(0) @binding(8) var<storage, read> m: array<T>;

fn weight(k: u32) -> T {
    return m[k];
}
