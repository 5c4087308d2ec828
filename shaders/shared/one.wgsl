// one: what a plain kernel reads and writes at a time: one number. src/ops/fours.rs puts shared/four.wgsl in its place for GPUs.

alias T = f32;
alias Bits = u32;
const WIDTH: u32 = 1u;

fn sum_of(v: T) -> f32 {
    return v;
}
