// bound: shared by the shaders with run-time loops over a count from `p`.

// Returns `count` in a form that lavapipe does not see through: a loop bounded by a member of a uniform struct makes it
// recompile the shader for each value, and a bound that it knows makes it unroll or flatten the loop.
fn bound(count: u32, thread: u32) -> u32 {
    return min(count, thread | 0x80000000u);
}
