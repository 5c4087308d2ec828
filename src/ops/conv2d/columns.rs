//! The gradients of conv2d for w and b if x has one or two channels, stride 1: a 1×1 filter over the values under all taps.

use super::Conv2d;
use super::correlation::Correlation;
use crate::layout::Layout;
use crate::ops::{Call, Caps, Launch, Work};

/// `shaders/conv2d/columns.wgsl`.
pub fn serve(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<Conv2d>()?, &call.io);
    let ([n, ci, h, w], [_, _, kh, kw], [_, co, ho, wo]) = (io.x[0].nchw(), io.x[1].nchw(), io.y.nchw());
    if !op.is_dense() || ci > 2 || kh * kw < 4 {
        return None;
    }
    let columns = [n, ci * kh * kw, ho, wo];
    let c = Correlation::new([n, co, ho, wo], columns, [1, 1], [0, 0], false, true);
    let texels = Layout::Quads.elements(&columns.into());
    let work = call.work(caps, |entry| {
        let threads = match entry {
            "backward_w_1" => texels,
            "backward_w_2" => 64 * c.groups(),
            "backward_w_3" => c.products(),
            _ => return None,
        };
        let params = [
            ("height", h.into()),
            ("width", w.into()),
            ("quads", ci.div_ceil(4).into()),
            ("values", columns[1].into()),
            ("area", (kh * kw).into()),
            ("kernel_w", kw.into()),
            ("x_pad_h", op.padding[0].into()),
            ("x_pad_w", op.padding[1].into()),
            ("x_replicate", u32::from(op.replicate).into()),
            ("c_out", io.y[1].into()),
            ("threads", threads.into()),
        ];
        let params = params.into_iter().chain(c.params());
        let launch = match entry {
            "backward_w_2" => Launch::groups([u32::try_from(c.groups()).ok().filter(|g| *g <= 65_535)?, 1, 1], params),
            _ => Launch::threads(threads, params),
        };
        c.fits().then(|| c.set(launch))
    })?;
    Some(work.scratch(vec![("t0", texels), ("t1", c.partials())]).faster(8.0))
}
