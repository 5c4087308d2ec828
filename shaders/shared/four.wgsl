// four: what the sibling of a plain kernel reads and writes at a time, instead of shared/one.wgsl: four neighbouring numbers.

alias T = vec4<f32>;
alias Bits = vec4<u32>;
const WIDTH: u32 = 4u;

fn sum_of(v: T) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}
