//! select: y = a where c is not 0, else b, element by element, with NumPy's broadcasting.
//!
//! | name | shape                                            | meaning               |
//! |------|--------------------------------------------------|-----------------------|
//! | c    | any shape, u32                                   | condition, 0 is false |
//! | a    | agrees in every dimension where no other is 1    | value where c is true |
//! | b    | the same                                         | value where it is not |
//! | y    | the largest of the three in every dimension      | output                |
//!
//! Gradients: for a and b, dy where c chooses it, summed over what was broadcast. Backward reads c and dy.
//! Errors: a dimension is larger than 1 in two of them and differs.
//! Numerics: y is exact; sums are in a fixed order, in two passes.
//! Source: definition, as Where of ONNX.

use super::pointwise::broadcast::{broadcast, each, members, padded, strides, terms};
use super::{
    Call, Caps, Case, Cost, EPS, Fill, Io, Kernel, Launch, Op, Tolerance, Values, Work, parts_of, wgsl, with_nan,
};
use crate::error::ShapeError;
use crate::tensor::{DType, Shape, len};

/// The operation; it has no attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select;

impl Op for Select {
    fn name(&self) -> &'static str {
        "select"
    }
    fn inputs(&self) -> &'static [&'static str] {
        &["c", "a", "b"]
    }
    fn dtype(&self, name: &str) -> DType {
        if name == "c" { DType::U32 } else { DType::F32 }
    }
    fn kernels(&self) -> &'static [Kernel] {
        const KERNELS: &[Kernel] = &[Kernel::new(wgsl!("select/plain" + "terms"), plain)];
        KERNELS
    }
    fn takes_any_rank(&self) -> bool {
        true
    }
    fn shape(&self, x: &[Shape]) -> Result<Shape, ShapeError> {
        broadcast(self.inputs(), x)
    }
    fn cost(&self, _method: &str, io: &Io) -> Cost {
        Cost::new(io.y_len(), io.total_len())
    }
    fn reference(&self, io: &Io, x: &[Vec<f64>], y: &mut [f64]) {
        each(io, |i, [c, a, b]| y[i] = if x[0][c] == 0.0 { x[2][b] } else { x[1][a] });
    }
    fn reference_grad(&self, io: &Io, x: &[Vec<f64>], _y: &[f64], dy: &[f64], dx: &mut [Vec<f64>]) {
        each(io, |i, [c, a, b]| if x[0][c] == 0.0 { dx[2][b] += dy[i] } else { dx[1][a] += dy[i] });
    }
    fn no_grad(&self) -> &'static [(&'static str, &'static str)] {
        &[("c", "a truth value is not differentiable")]
    }
    fn tolerance(&self, output: &str, io: &Io, at: &Values) -> Tolerance {
        let k = match output {
            "y" => return Tolerance::Each(vec![0.0; io.y_len()]),
            "da" => 1,
            _ => 2,
        };
        let terms = io.y_len() / io.x_len(k);
        let parts = parts_of(terms, io.x_len(k));
        // The additions of a part and of the parts; a single term is exact.
        let additions = if terms == 1 { 0.0 } else { (terms.div_ceil(parts) + parts) as f64 };
        let (x, dy): (Vec<Vec<f64>>, Vec<f64>) = (at.x.to_vec(), at.dy.iter().map(|dy| dy.abs()).collect());
        let mut sums: Vec<Vec<f64>> = io.x.iter().map(|shape| vec![0.0; len(shape)]).collect();
        self.reference_grad(io, &x, &[], &dy, &mut sums);
        Tolerance::Each(sums[k].iter().map(|sum| EPS * additions * sum).collect())
    }
}

/// `shaders/select/plain.wgsl`.
fn plain(call: &Call, caps: &Caps) -> Option<Work> {
    let io = &call.io;
    let input = match call.method {
        "backward_a" => Some(1),
        "backward_b" => Some(2),
        _ => None,
    };
    let elements = input.map_or(io.y_len(), |k| io.x_len(k));
    let parts = parts_of(io.y_len() / elements, elements);
    let work = call.work(caps, |entry| {
        let threads = if entry.ends_with("_1") { elements * parts } else { elements };
        let of = |k: usize, prefix| members(prefix, strides(&io.x[k]));
        let mut params = [members('s', padded(&io.y)), of(0, 'c'), of(1, 'a'), of(2, 'b')].concat();
        params.extend(terms(input.map(|k| &io.x[k]), &io.y));
        params.extend([
            ("threads", threads.into()),
            ("terms", (io.y_len() / elements).into()),
            ("parts", parts.into()),
        ]);
        Some(Launch::threads(threads, params))
    })?;
    Some(if input.is_some() { work.scratch(vec![("t0", elements * parts)]) } else { work })
}

pub fn cases() -> Vec<Case> {
    let case = |c: &[usize], a: &[usize], b: &[usize]| {
        let shapes = [c, a, b].map(|sizes| Shape::new(sizes).expect("a case has one to six dimensions"));
        let few = Fill::With(|rng, x, k| (0..len(&x[k])).map(|_| rng.below(3) as f64).collect());
        Case::new(Select, &shapes).fill(0, few)
    };
    vec![
        case(&[1], &[1], &[1]),
        case(&[2, 3, 5, 7], &[2, 3, 5, 7], &[2, 3, 5, 7]),
        case(&[257], &[257], &[1]),
        case(&[13, 1], &[1, 17], &[13, 17]),
        case(&[2, 3, 4, 2, 3, 2], &[2, 1, 4, 1, 3, 1], &[1, 3, 1, 2, 1, 2]),
        case(&[1, 3, 1, 2, 1, 2], &[2, 3, 4, 2, 3, 2], &[2, 1, 4, 1, 3, 1]),
        case(&[2, 1, 4, 1, 3, 1], &[1, 3, 1, 2, 1, 2], &[2, 3, 4, 2, 3, 2]),
        case(&[70, 65], &[1], &[65]),
        case(&[3, 2, 17, 19], &[2, 1, 1], &[1, 1, 1, 1]),
        case(&[3, 50], &[3, 50], &[50]).fill(1, Fill::With(with_nan)).rough(),
        case(&[3, 50], &[3, 50], &[50]).fill(2, Fill::With(with_nan)).rough(),
        // Attention scores masked by a constant.
        case(&[1, 1, 128, 128], &[4, 8, 128, 128], &[1]).real(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_shapes_must_agree() {
        let shape =
            |c: &[usize], a: &[usize], b: &[usize]| Select.shape(&[c, a, b].map(|sizes| Shape::new(sizes).unwrap()));
        assert_eq!(shape(&[4, 1], &[1, 3], &[2, 1, 1]).unwrap(), [2, 4, 3]);
        let error = shape(&[4, 1], &[1, 3], &[2]).unwrap_err().to_string();
        assert_eq!(error, "b must be the others' shape [4, 3], or 1 where they differ, got [2]");
    }
}
