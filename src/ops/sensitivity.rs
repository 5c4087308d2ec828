//! The tolerance of operations that state none: how much the formula itself reacts to inputs that are off by a few units in the
//! last place.

use super::{EPS, Io, Op, Tolerance, Values};
use crate::rng::Rng;

/// Relative change of each input. A basic function of WGSL, such as a division or exp, errs by a few units in the last place.
const ULPS: f64 = 4.0;

/// How often the formula is evaluated on other changed inputs.
const DRAWS: u64 = 6;

/// Returns bounds on the error of `output`: four times the largest change that the formula shows when every input changes by at most
/// ±4·2⁻²³ of itself, and a few roundings of the result. If n terms contribute to each result, it allows √n further roundings,
/// which sums in parts keep.
///
/// It does not know the shader. Where the WGSL subtracts two large numbers that the formula does not subtract, or sums many terms one
/// by one, its error exceeds these bounds, as it should.
pub fn tolerance<O: Op + ?Sized>(op: &O, output: &str, io: &Io, at: &Values) -> Tolerance {
    let evaluate = |x: &[Vec<f64>], dy: &[f64]| -> Vec<f64> {
        let mut y = vec![0.0; io.y_len()];
        if !op.outputs().is_empty() {
            op.reference(io, x, &mut y);
        }
        if output == "y" {
            return y;
        }
        if let Some(k) = op.outputs().iter().position(|name| *name == output) {
            let mut more: Vec<Vec<f64>> =
                op.more_shapes(io.x, io.y).iter().map(|shape| vec![0.0; crate::tensor::len(shape)]).collect();
            op.reference_more(io, x, &y, &mut more);
            return more.swap_remove(k - 1);
        }
        if let Some(k) = op.inputs().iter().position(|name| *name == output) {
            let mut x = x.to_vec();
            op.reference_update(io, &mut x);
            return x.swap_remove(k);
        }
        let mut dx: Vec<Vec<f64>> = x.iter().map(|x| vec![0.0; x.len()]).collect();
        op.reference_grad(io, x, &y, dy, &mut dx);
        let k = op.inputs().iter().position(|name| output.strip_prefix('d') == Some(name));
        k.map_or_else(Vec::new, |k| dx.swap_remove(k))
    };
    let right = evaluate(at.x, at.dy);
    let terms = at.x.iter().map(Vec::len).max().unwrap_or(0).max(at.dy.len()).div_ceil(right.len().max(1)) as f64;
    let roundings = 4.0 + terms.sqrt();
    let mut bounds: Vec<f64> = right.iter().map(|v| roundings * EPS * v.abs()).collect();
    let mut largest = vec![0.0f64; right.len()];
    for draw in 0..DRAWS {
        let mut rng = Rng::new(draw);
        // The first two draws change everything in the same direction, for sums of terms of one sign.
        let mut changed = |v: &f64| {
            let share = match draw {
                0 => 1.0,
                1 => -1.0,
                _ => rng.uniform(-1.0, 1.0),
            };
            v * (1.0 + ULPS * EPS * share)
        };
        let x: Vec<Vec<f64>> = at.x.iter().map(|x| x.iter().map(&mut changed).collect()).collect();
        let dy: Vec<f64> = at.dy.iter().map(&mut changed).collect();
        for (largest, (changed, right)) in largest.iter_mut().zip(evaluate(&x, &dy).iter().zip(&right)) {
            let change = (changed - right).abs();
            *largest = if change.is_nan() { f64::NAN } else { largest.max(change) };
        }
    }
    for (bound, largest) in bounds.iter_mut().zip(largest) {
        *bound += 4.0 * largest;
    }
    Tolerance::Each(bounds)
}

#[cfg(test)]
mod tests {
    use super::super::softmax::Softmax;
    use super::*;

    /// The default is of the size of what is derived by hand, and rejects an error of a hundred units in the last place.
    #[test]
    fn the_default_is_neither_blind_nor_pedantic() {
        let op = Softmax { axis: 1, log: false };
        let io = Io { x: &[[3, 7].into()], y: [3, 7].into() };
        let mut rng = Rng::new(1);
        let x = vec![(0..21).map(|_| rng.uniform(-3.0, 3.0)).collect::<Vec<f64>>()];
        let mut y = vec![0.0; 21];
        op.reference(&io, &x, &mut y);
        let dy: Vec<f64> = (0..21).map(|_| rng.uniform(-1.0, 1.0)).collect();
        let at = Values { x: &x, y: &y, dy: &dy };
        let Tolerance::Each(bounds) = tolerance(&op, "y", &io, &at) else { panic!("bounds per element") };
        for (bound, y) in bounds.iter().zip(&y) {
            assert!(*bound > 4.0 * EPS * y && *bound < 100.0 * EPS * y, "{bound:e} for {y}");
        }
    }

    #[test]
    fn cancellation_widens_the_bounds() {
        let op = super::super::pointwise::binary::Binary::named("sub").expect("a row of the table");
        let io = Io { x: &[[1].into(), [1].into()], y: [1].into() };
        let x = [vec![1000.0], vec![999.0]];
        let at = Values { x: &x, y: &[1.0], dy: &[1.0] };
        let Tolerance::Each(bounds) = tolerance(&op, "y", &io, &at) else { panic!("bounds per element") };
        assert!(bounds[0] > 1000.0 * EPS && bounds[0] < 1e5 * EPS, "{:e}", bounds[0]);
    }
}
