//! The gradients of conv2d for w and b on channel quads, for any stride and dilation.

use super::Conv2d;
use super::correlation::Correlation;
use crate::ops::{Call, Caps, Work};

/// `shaders/conv2d/quads.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Conv2d>()?, &call.io);
    if op.groups != 1 {
        return None;
    }
    let ([n, ci, h, w], [_, _, kh, kw], [_, co, ho, wo]) = (io.x[0].nchw(), io.x[1].nchw(), io.y.nchw());
    let c =
        Correlation::new([n, co, ho, wo], [n, ci, h, w], [kh, kw], [op.padding[0], op.padding[1]], op.replicate, true)
            .apart(op.stride, op.dilation);
    c.serve(call, caps, [ci, co])
}
