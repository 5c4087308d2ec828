// exp_of: exp and log that pass NaN on, with shared/with_nan.wgsl.

alias T = f32;
alias Bits = u32;

fn exp_of(a: f32) -> f32 {
    return with_nan(exp(a), a);
}

fn log_of(a: f32) -> f32 {
    return with_nan(log(a), a);
}
