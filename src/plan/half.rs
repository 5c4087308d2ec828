//! The pass that determines which values are stored as f16.

use super::schedule::Scheduled;
use super::{Options, Precision, Step, memory};
use crate::error::{Error, Result};
use crate::graph::{Graph, Kind};
use crate::layout::Layout;
use crate::ops::is_scratch;
use crate::shader::reflect;
use crate::tensor::DType;
use std::collections::BTreeSet;

/// Marks the values that [`Options::precision`] stores as f16, and takes what they save off the traffic of the steps. Values that lie
/// in one another are stored alike.
///
/// # Errors
/// The plan learns; the adapter has no f16.
pub(super) fn store(graph: &Graph, scheduled: &mut Scheduled, options: &Options) -> Result<()> {
    if options.precision == Precision::F32 {
        return Ok(());
    }
    if !options.caps.has_f16 {
        return Err(Error::plan("this adapter has no f16; use --precision f32, or another --device"));
    }
    let nodes = graph.nodes();
    let Scheduled { steps, values, inputs, returned } = scheduled;
    let is_kept = |v: usize| values[v].node.is_some_and(|node| matches!(nodes[node].kind, Kind::Param { .. }));
    let learns = |step: &Step| !step.is_forward() && !step.is_repack();
    let updates = |step: &Step| step.bindings.iter().any(|b| b.written && is_kept(b.value));
    if steps.iter().any(|step| learns(step) || updates(step)) {
        return Err(Error::plan(
            "gradients may be too small for f16, so training needs --precision f32 (Precision::F32)",
        ));
    }
    let whole: Vec<usize> = (0..values.len()).map(|v| memory::whole(values, v)).collect();
    // Everything that lies in a value which must keep f32.
    let mut full: BTreeSet<usize> = BTreeSet::new();
    for (v, value) in values.iter().enumerate() {
        let is_full = match value.node {
            None => !value.is_prepared,
            Some(node) => nodes[node].is_exact || matches!(nodes[node].kind, Kind::Pack | Kind::Constant(_)),
        };
        if is_full || value.dtype != DType::F32 || value.layout != Layout::Rows {
            full.insert(whole[v]);
        }
    }
    if options.precision == Precision::F16 {
        full.extend(inputs.iter().map(|(_, v)| whole[*v]).chain(returned.iter().map(|&v| whole[v])));
    }
    for step in steps.iter() {
        // Textures are copied bit by bit.
        full.extend(step.copies.iter().map(|&(from, _)| whole[from]));
        let shader = reflect(&step.source)?;
        for b in &step.bindings {
            // Scratch may hold other types.
            if shader.variable(&b.variable).is_none_or(|v| v.dtype != DType::F32) {
                full.insert(whole[b.value]);
            }
        }
    }
    for (value, whole) in values.iter_mut().zip(&whole) {
        value.is_half = !full.contains(whole);
    }
    let mut first = 0;
    let mut saved: BTreeSet<usize> = BTreeSet::new();
    for i in 0..steps.len() {
        if steps[i].is_first_pass {
            first = i;
            saved.clear();
        }
        for k in 0..steps[i].bindings.len() {
            let v = steps[i].bindings[k].value;
            steps[i].bindings[k].is_half = values[v].is_half;
            // A method's cost, which its first pass has, counts every input and output once, and no scratch.
            if values[v].is_half && !is_scratch(&steps[i].bindings[k].variable) && saved.insert(v) {
                let cost = &mut steps[first].cost;
                cost.bytes = cost.bytes.saturating_sub(values[v].bytes());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Init, NodeId, grad};
    use crate::ops::conv2d::Conv2d;
    use crate::ops::loss::Reduction;
    use crate::plan::{Caps, Plan};
    use crate::tensor::Tensor;

    /// A convolution, a constant added, a reshape and a linear layer.
    fn network() -> (Graph, NodeId) {
        let mut g = Graph::new();
        let x = g.input("x", [1, 3, 8, 8]).unwrap();
        let w = g.param("w", [32, 3, 3, 3], Init::Constant(0.1)).unwrap();
        let b = g.param("b", [1, 32, 1, 1], Init::Constant(0.0)).unwrap();
        let y = g.conv2d(x, w, b, Conv2d::same(3)).unwrap();
        let shift = g.constant("shift", Tensor::filled([1, 32, 8, 8], 0.5)).unwrap();
        let y = g.plus(y, shift).unwrap();
        let y = g.sigmoid(y).unwrap();
        let row = g.reshape(y, [1, 2048, 1, 1]).unwrap();
        let v = g.param("v", [5, 2048, 1, 1], Init::Constant(0.1)).unwrap();
        let c = g.param("c", [1, 5, 1, 1], Init::Constant(0.0)).unwrap();
        let y = g.linear(row, v, c).unwrap();
        (g, y)
    }

    fn options(precision: Precision) -> Options<'static> {
        Options { caps: Caps { has_f16: true, ..Caps::hardware() }, precision, ..Options::default() }
    }

    #[test]
    fn all_but_the_ends_and_constants_is_stored_as_f16() {
        let (g, y) = network();
        let [full, half, all] = [Precision::F32, Precision::F16, Precision::AllF16]
            .map(|precision| Plan::new(&g, &[y], &options(precision)).unwrap());
        let halves =
            |plan: &Plan| -> Vec<String> { plan.values.iter().filter(|v| v.is_half).map(|v| v.name.clone()).collect() };
        assert_eq!(halves(&full), [""; 0]);
        for value in &half.values {
            let is_end = ["x", "shift"].contains(&value.name.as_str()) || value.node == Some(y.index);
            assert_eq!(value.is_half, !is_end, "{}", value.name);
        }
        assert_eq!(halves(&all).len(), half.values.len() - 1, "all but the constant: {:?}", halves(&all));
        // Weights, and two intermediate values of 2,048 elements, take half; so does what the steps read and write of them.
        let elements: u64 = 32 * 27 + 32 + 5 * 2048 + 5;
        assert!(full.peak_bytes() - half.peak_bytes() >= 2 * (elements + 2 * 2048) - 4, "{half}");
        let sum = |plan: &Plan| plan.steps.iter().find(|step| step.op == "add").unwrap().cost.bytes;
        assert_eq!((sum(&full), sum(&half)), (3 * 4 * 2048, 2 * 2048 + 4 * 2048 + 2 * 2048));
    }

    #[test]
    fn gradients_and_adapters_without_f16_are_refused() {
        let (mut g, y) = network();
        let without = Options { caps: Caps::hardware(), ..options(Precision::F16) };
        assert!(Plan::new(&g, &[y], &without).unwrap_err().to_string().contains("no f16"));
        let loss = g.mse(y, y, Reduction::Mean).unwrap();
        let w = g.find("w").unwrap();
        let dw = grad::backward(&mut g, loss, &[w]).unwrap()[0];
        let error = Plan::new(&g, &[dw], &options(Precision::F16)).unwrap_err().to_string();
        assert!(error.contains("--precision f32"), "{error}");
    }

    #[test]
    fn integers_keep_f32() {
        let (mut g, y) = network();
        let first = g.nodes().iter().position(|node| node.name.starts_with("sigmoid")).unwrap();
        g.keep_exact(first);
        let plan = Plan::new(&g, &[y], &options(Precision::F16)).unwrap();
        let of = |name: &str| plan.values.iter().find(|v| v.name.starts_with(name)).unwrap().is_half;
        assert_eq!([of("conv2d"), of("sigmoid"), of("v"), of("w")], [true, false, true, true]);
    }

    #[test]
    fn a_value_that_is_stored_in_one_way_and_read_in_another_is_found() {
        let (g, y) = network();
        let options = options(Precision::F16);
        let plan = Plan::new(&g, &[y], &options).unwrap();
        let mut wrong = plan.clone();
        wrong.steps[1].bindings[0].is_half ^= true;
        assert!(wrong.verify(&options.caps).unwrap_err().to_string().contains("is not stored as"));
        let mut wrong = plan;
        let at = wrong.values.iter().position(|v| v.is_half).unwrap();
        wrong.values[at].dtype = DType::U32;
        assert!(wrong.verify(&options.caps).is_err());
    }
}
