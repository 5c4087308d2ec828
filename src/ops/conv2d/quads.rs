//! The gradients of conv2d for w and b on channel quads, for any stride and dilation.

use super::Conv2d;
use super::correlation::Correlation;
use crate::ops::{Call, Caps, Launch, Work};

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
    let work = call.work(caps, |entry| {
        let groups = match entry {
            "backward_w_1" => c.groups(),
            "backward_w_2" => c.products().div_ceil(64),
            _ => return None,
        };
        let params = [("c_in", ci.into()), ("c_out", co.into()), ("threads", c.products().into())];
        let groups = [u32::try_from(groups).ok().filter(|g| *g <= 65_535)?, 1, 1];
        c.fits().then(|| c.set(Launch::groups(groups, params.into_iter().chain(c.params()))))
    })?;
    Some(work.scratch(vec![("t1", c.partials())]).faster(6.0))
}
