// log_sum: the logarithm of the sum of exp(x) over a line of p.len elements, p.stride apart, with shared/lines.wgsl and
// shared/exp_of.wgsl.

// The largest element, and the sum of exp(x - largest): the logarithm is top + log(sum).
struct LogSum { top: f32, sum: f32 }

// Every thread of the workgroup must call it; `first` is the line's first element.
fn log_sum(first: u32, lane: u32, local: u32) -> LogSum {
    var top = x[first];
    for (var k = lane; k < p.len; k += LANES) {
        top = max(top, x[first + k * p.stride]);
    }
    top = top_of(local, top);
    var sum = 0.0;
    var part = 0.0;
    var count = 0u;
    for (var k = lane; k < p.len; k += LANES) {
        part += exp_of(x[first + k * p.stride] - top);
        count += 1u;
        if count % PART == 0u {
            sum += part;
            part = 0.0;
        }
    }
    return LogSum(top, sum_of(local, sum + part));
}

// Returns the largest of what the lanes of a line pass. Every thread of the workgroup must call it.
fn top_of(local: u32, value: f32) -> f32 {
    workgroupBarrier();
    lanes[local] = value;
    workgroupBarrier();
    let first = local - local % LANES;
    var top = lanes[first];
    for (var k = 1u; k < LANES; k++) {
        top = max(top, lanes[first + k]);
    }
    return top;
}
