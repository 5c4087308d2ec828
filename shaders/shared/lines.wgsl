// lines: shared by the shaders in which LANES neighbouring threads of a workgroup, a divisor of 64, take a line of elements together.
// Every lane takes every LANES-th element, and adds up PART of them before it adds these to its sum: fewer roundings than in one
// long sum.

override LANES: u32 = 64u;
const WG = 64u;
const PART = 64u;

var<workgroup> lanes: array<f32, WG>;

struct Lane { line: u32, lane: u32 }

// The line that a thread works on, which may be past the last, and its number in it.
fn lane_of(g: vec3<u32>, groups: vec3<u32>) -> Lane {
    let thread = g.x + g.y * groups.x * WG;
    return Lane(thread / LANES, thread % LANES);
}

// Returns the sum of what the lanes of a line pass, ascending. Every thread of the workgroup must call it.
fn sum_of(local: u32, value: f32) -> f32 {
    workgroupBarrier();
    lanes[local] = value;
    workgroupBarrier();
    let first = local - local % LANES;
    var sum = 0.0;
    for (var k = 0u; k < LANES; k++) {
        sum += lanes[first + k];
    }
    return sum;
}
