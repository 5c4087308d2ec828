//! top_k: the k largest or smallest elements along an axis, in order, and their positions.
//!
//! `y[…, j, …] = x[…, indices[…, j, …], …]`, the j-th largest of its line.
//!
//! | name    | shape                   | meaning                                                      |
//! |---------|-------------------------|--------------------------------------------------------------|
//! | x       | any shape               | input                                                        |
//! | y       | as x, but k on the axis | the largest elements, descending, or the smallest, ascending |
//! | indices | as y, u32               | their positions on the axis                                  |
//!
//! Among equal elements, the one with the smaller index comes first. NaN counts as larger than every number, as in PyTorch.
//! Gradient: for x; backward reads indices and dy. `indices` has none.
//! Errors: the axis does not exist; k is 0 or larger than the size of the axis.
//! Numerics: exact.
//! Source: definition, as TopK of ONNX with sorted = 1.

use super::{
    Call, Caps, Case, Cost, Family, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, wgsl, with_nan, with_zeros,
};
use crate::error::ShapeError;
use crate::tensor::{DType, Shape};

/// The operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopK {
    pub k: usize,
    pub axis: usize,
    /// Selects the largest elements; otherwise the smallest.
    pub largest: bool,
}

impl TopK {
    /// Returns the number of elements on the axis and the distance between neighbours there.
    fn line(&self, x: Shape) -> (usize, usize) {
        (x[self.axis], x[self.axis + 1..].iter().product())
    }

    /// Calls `found` for every line along the axis with the index of the line's first element in x, the same in y, and the positions
    /// of the k elements.
    fn select(&self, io: &Io, x: &[f64], mut found: impl FnMut(usize, usize, &[usize])) {
        let (len, stride) = self.line(io.x[0]);
        for line in 0..io.x_len(0) / len {
            let (outer, inner) = (line / stride, line % stride);
            let first = outer * len * stride + inner;
            let mut positions: Vec<usize> = (0..len).collect();
            let order = |i: &usize, j: &usize| {
                let (a, b) = (x[first + i * stride], x[first + j * stride]);
                let ascending = a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()));
                if self.largest { ascending.reverse() } else { ascending }
            };
            // Stable, so that equal elements keep their order.
            positions.sort_by(order);
            found(first, outer * self.k * stride + inner, &positions[..self.k]);
        }
    }
}

impl Op for TopK {
    fn name(&self) -> &'static str {
        "top_k"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }
    fn outputs(&self) -> &'static [&'static str] {
        &["y", "indices"]
    }
    fn dtype(&self, name: &str) -> DType {
        if name == "indices" { DType::U32 } else { DType::F32 }
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] =
            &[Kernel::new(wgsl!("top_k/plain" + "rank"), plain), Kernel::new(wgsl!("top_k/lines" + "rank"), lines)];
        KERNELS
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        let mut sizes = x[0].to_vec();
        let Some(size) = sizes.get_mut(self.axis) else {
            return Err(ShapeError::value("axis", format!("0 to {}", x[0].rank() - 1), self.axis));
        };
        if self.k == 0 || self.k > *size {
            return Err(ShapeError::value("k", format!("1 to {size}, the axis's size"), self.k));
        }
        *size = self.k;
        Ok(Shape::new(&sizes).unwrap_or(x[0]))
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(self.k * io.x_len(0), io.x_len(0) + 2 * io.y_len())
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        let (_, stride) = self.line(io.x[0]);
        self.select(io, &x[0], |from, to, positions| {
            positions.iter().enumerate().for_each(|(j, i)| y[to + j * stride] = x[0][from + i * stride]);
        });
    }
    fn reference_more(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], more: &mut [Vec<f64>]) {
        let (_, stride) = self.line(io.x[0]);
        self.select(io, &x[0], |_, to, positions| {
            positions.iter().enumerate().for_each(|(j, i)| more[0][to + j * stride] = *i as f64);
        });
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        let (_, stride) = self.line(io.x[0]);
        self.select(io, &x[0], |from, to, positions| {
            positions.iter().enumerate().for_each(|(j, i)| dx[0][from + i * stride] = dy[to + j * stride]);
        });
    }
    fn tolerance(&self, output: &str, io: &Io, _at: &Values) -> Tolerance {
        Tolerance::Each(vec![0.0; if output == "dx" { io.x_len(0) } else { io.y_len() }])
    }
}

/// `shaders/top_k/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<TopK>()?, &call.io);
    let (len, stride) = op.line(io.x[0]);
    call.work(caps, |entry| {
        let threads = if entry == "forward" { io.x_len(0) / len } else { io.x_len(0) };
        let params = [
            ("threads", threads.into()),
            ("len", len.into()),
            ("stride", stride.into()),
            ("k", op.k.into()),
            ("smallest", u32::from(!op.largest).into()),
        ];
        let loops = if entry == "forward" { &[op.k, len][..] } else { &[op.k] };
        Some(Launch::threads(threads, params).loops(loops))
    })
}

/// `shaders/top_k/lines.wgsl`: a workgroup per line.
fn lines(call: &Call, caps: &Caps) -> Option<Work> {
    let (op, io) = (call.op::<TopK>()?, &call.io);
    let (len, stride) = op.line(io.x[0]);
    let lines = io.x_len(0) / len;
    // Steps of the sort.
    let digits = op.k.next_power_of_two().ilog2() as usize;
    let steps = digits * (digits + 1) / 2;
    // Lavapipe runs eight threads at once; barriers between more take longer than what they do for short lines.
    let lanes = if caps.family == Family::Hardware {
        256
    } else if len <= 1 << 15 {
        8
    } else {
        64
    };
    let work = call.work(caps, |_| {
        let params = [
            ("lines", lines.into()),
            ("len", len.into()),
            ("stride", stride.into()),
            ("k", op.k.into()),
            ("smallest", u32::from(!op.largest).into()),
        ];
        let launch = Launch::threads(lanes * lines, params).with("WG", lanes);
        let launch = launch.loops(&[6, len.div_ceil(lanes)]).loops(&[9, 256]);
        Some(launch.loops(&[steps, op.k.div_ceil(2 * lanes) + 1]))
    })?;
    // In reads of the plain kernel, a line of which is read in 1.3 ns per element on two cores under lavapipe if eight lines keep each busy;
    // there, counting in workgroup memory takes each lane for itself.
    let (plain, own) = match caps.family {
        Family::Hardware => (op.k * len, 6 * len + 2 * steps * op.k + 4096),
        _ => (op.k * len * 16usize.div_ceil(lines), 26 * len + 4 * steps * op.k + 5000),
    };
    Some(work.scratch(vec![("t0", lines * op.k)]).faster(plain as f64 / own as f64))
}

pub fn cases() -> Vec<Case> {
    let case = |k, axis, largest, x: &[usize]| {
        let shape = Shape::new(x).expect("a case has one to six dimensions");
        Case::new(TopK { k, axis, largest }, &[shape])
    };
    vec![
        case(1, 0, true, &[1]),
        case(3, 1, true, &[5, 7]),
        case(7, 0, false, &[7]),
        case(2, 1, false, &[2, 5, 3, 4]),
        case(4, 4, true, &[1, 2, 3, 1, 9, 2]),
        // Equal elements, and NaN.
        case(4, 1, true, &[3, 23]).fill(0, Fill::With(with_zeros)).rough(),
        case(9, 1, false, &[3, 23]).fill(0, Fill::With(with_zeros)).rough(),
        case(6, 1, true, &[3, 23]).fill(0, Fill::With(with_nan)).rough(),
        case(21, 1, false, &[3, 23]).fill(0, Fill::With(with_nan)).rough(),
        // More than the lanes of a workgroup; on an axis within; a whole line; and one whose ranks differ in their last bits only.
        case(300, 1, true, &[2, 700]).rough(),
        case(70, 1, false, &[2, 530, 3]).rough(),
        case(259, 0, true, &[259]).rough(),
        case(5, 0, false, &[600]).fill(0, Fill::Uniform { low: 1.0, high: 1.00001, gap: 0.0 }).rough(),
        // A line for which lavapipe takes more lanes than it runs at once.
        case(3, 0, true, &[33_000]).rough(),
        // The nearest 20 of 500 centroids for 1,024 embeddings, and the candidates of a detector.
        case(20, 1, false, &[1024, 500]).real(),
        case(300, 1, true, &[1, 8400]).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_by_value_then_index_and_nan_is_largest() {
        let x = [vec![2.0, f64::NAN, 3.0, 2.0, -0.0, 0.0]];
        let io = Io { x: &[[6].into()], y: [6].into() };
        for (largest, expected) in [(true, [1.0, 2.0, 0.0, 3.0, 4.0, 5.0]), (false, [4.0, 5.0, 0.0, 3.0, 2.0, 1.0])] {
            let mut indices = [vec![0.0; 6]];
            TopK { k: 6, axis: 0, largest }.reference_more(&io, &x, &[], &mut indices);
            assert_eq!(indices[0], expected);
        }
    }

    #[test]
    fn more_than_there_are_is_refused() {
        let shape = |k, axis| TopK { k, axis, largest: true }.shape(&[[2, 5].into()]);
        assert_eq!(shape(3, 1).unwrap(), [2, 3]);
        for (k, axis) in [(0, 1), (6, 1), (3, 0), (1, 2)] {
            assert!(shape(k, axis).is_err());
        }
    }
}
