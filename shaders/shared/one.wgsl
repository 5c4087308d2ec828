// one: what a kernel reads and writes at a time, by threads whose number does not count on it. shared/four.wgsl says the same of fours.

alias T = f32;
alias Bits = u32;
const WIDTH: u32 = 1u;

fn sum_of(v: T) -> f32 {
    return v;
}
