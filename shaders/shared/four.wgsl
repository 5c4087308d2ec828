// four: shared/one.wgsl for GPUs, where src/ops/fours.rs puts it in that one's place: four neighbouring numbers of rows at a time.

alias T = vec4<f32>;
alias Bits = vec4<u32>;
const WIDTH: u32 = 4u;

fn sum_of(v: T) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}
