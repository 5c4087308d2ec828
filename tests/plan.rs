//! Plans: order, lifetimes, slots, limits. No adapter.

use expect_test::expect;
use lineament::graph::grad;
use lineament::graph::{Graph, Init, NodeId};
use lineament::lab::tune::{Candidate, Choice, Choices, Outcome, key};
use lineament::models::{SUPER_RESOLUTION, SuperResolution};
use lineament::ops::Family;
use lineament::ops::conv2d::{Conv2d, Fusion};
use lineament::ops::loss::Reduction;
use lineament::plan::fuse::fuse;
use lineament::plan::{Caps, MAX_DISPATCH_MS, Options, Plan};
use lineament::tasks::upscale::TILES;
use lineament::tensor::{Shape, len};
use lineament::train::{Optimizer, Rule};
use proptest::prelude::*;

/// Builds three layers and their gradients: forward values that backward reads stay, the others share slots.
fn small() -> (Graph, Vec<NodeId>) {
    let mut g = Graph::new();
    let x = g.input("x", [1, 2, 4, 4]).unwrap();
    let t = g.input("t", [1, 2, 4, 4]).unwrap();
    let w = g.param("w", [2, 2, 3, 3], Init::Constant(0.1)).unwrap();
    let b = g.param("b", [1, 2, 1, 1], Init::Constant(0.0)).unwrap();
    let y = g.add_named("conv", lineament::ops::conv2d::Conv2d::same(3), &[x, w, b]).unwrap();
    let y = g.relu(y).unwrap();
    let loss = g.mse(y, t, Reduction::Mean).unwrap();
    let dw = grad::backward(&mut g, loss, &[w]).unwrap();
    (g, vec![loss, dw[0]])
}

#[test]
fn the_table_shows_steps_slots_and_peak() {
    let (g, fetches) = small();
    let plan = Plan::new(&g, &fetches, &Options::default()).unwrap();
    expect![[r#"
        step  node             entry                                reads (variable:slot)  writes           MFLOP   kB
           0  conv             conv2d/plain.forward                 x:2 w:0 b:6            y:3 [1,2,4,4]     0.00  0.4
           1  relu             relu/fours.forward                   x:3                    y:4 [1,2,4,4]     0.00  0.3
           2  loss             loss/fours.forward_1                 a:4 b:1                t0:3 [1,1,1,1]    0.00  0.3
           3  loss             loss/fours.forward_2                 t0:3                   y:8 [1,1,1,1]     0.00  0.0
           4  loss.backward_a  loss/fours.backward_a                a:4 b:1 dy:7           da:3 [1,2,4,4]    0.00  0.4
           5  relu.backward    relu/fours.backward                  y:4 dy:3               dx:5 [1,2,4,4]    0.00  0.4
           6  conv.backward_w  conv2d/plane_gradients.backward_w_1  x:2 dy:5               t0:1 [1,1,1,36]   0.00  0.4
           7  conv.backward_w  conv2d/plane_gradients.backward_w_2  t0_read:1              dw:2 [2,2,3,3]    0.00  0.0
        total 8 steps, 0.00 MFLOP, 0.00 MB traffic, 9 slots, 0.00 MB peak (992 bytes)"#]]
    .assert_eq(&plan.to_string());
}

#[test]
fn equal_graphs_have_equal_plans() {
    let plan = || {
        let (g, fetches) = small();
        Plan::new(&g, &fetches, &Options::default()).unwrap()
    };
    assert_eq!(plan(), plan());
}

#[test]
fn what_does_not_fit_is_refused_with_its_number() {
    let (g, fetches) = small();
    let refuse = |caps: Caps| {
        let options = Options { caps, ..Options::default() };
        Plan::new(&g, &fetches, &options).unwrap_err().to_string()
    };
    let error = refuse(Caps { binding_bytes: 100, ..Caps::default() });
    assert!(error.contains("takes 144 bytes, the adapter binds at most 100; use a smaller input or batch"), "{error}");
    let error = refuse(Caps { memory_bytes: 300, ..Caps::default() });
    assert!(error.contains("bytes for tensors, the device allows 300; use a smaller input or batch"), "{error}");
    let error = refuse(Caps { flops_per_second: 1e3, ..Caps::default() });
    assert!(error.contains("a dispatch is limited to 250 ms; use a smaller input or batch"), "{error}");
}

/// A dispatch is bounded by what was measured of its layer, at another size in proportion, and by estimates elsewhere.
#[test]
fn measured_times_bound_dispatches() {
    let op = Conv2d { fusion: Some(Fusion::default()), ..Conv2d::same(3) };
    let mut g = Graph::new();
    let x = g.input("x", [1, 8, 64, 64]).unwrap();
    let w = g.param("w", [8, 8, 3, 3], Init::Constant(0.1)).unwrap();
    let [b, slopes] = ["b", "a"].map(|name| g.param(name, [1, 8, 1, 1], Init::Constant(0.0)).unwrap());
    let y = g.add(op.clone(), &[x, w, b, slopes]).unwrap();
    let longest = |side: usize, ms: f64, caps: Caps| {
        let shapes: Vec<Shape> =
            vec![[1, 8, side, side].into(), [8, 8, 3, 3].into(), [1, 8, 1, 1].into(), [1, 8, 1, 1].into()];
        let candidates = vec![Candidate { stem: "conv2d/fused".into(), outcome: Outcome::Ms(ms) }];
        let choice = Choice { stem: "conv2d/fused".into(), candidates };
        let layers = [(key(&op, None, &shapes), choice)].into();
        let choices = Choices { layers };
        let options = Options { caps, choices: Some(&choices), ..Options::default() };
        Plan::new(&g, &[y], &options).map(|plan| (plan.longest_dispatch_ms(), plan.notes))
    };
    let (ms, notes) = longest(64, 60.0, Caps::default()).unwrap();
    assert_eq!((ms, notes.len()), (60.0, 0));
    assert_eq!(longest(32, 60.0, Caps::default()).unwrap().0, 240.0);
    // The choice is given up with a note, since the estimates of other shaders are short.
    let (ms, notes) = longest(32, 63.0, Caps::default()).unwrap();
    assert!(ms < 10.0 && notes[0].contains("may take 252 ms"), "{ms} {notes:?}");
    // By estimates alone this adapter would be too slow.
    let slow = Caps { flops_per_second: 1e6, ..Caps::default() };
    assert_eq!(longest(64, 60.0, slow).unwrap().0, 60.0);
    let message = longest(16, 60.0, slow).unwrap_err().to_string();
    assert!(message.contains("a dispatch is limited to 250 ms"), "{message}");
    // Memory counts beside arithmetic.
    let narrow = Caps { bytes_per_second: 1e5, ..Caps::default() };
    let message = longest(16, 60.0, narrow).unwrap_err().to_string();
    assert!(message.contains("may take 1763 ms"), "{message}");
}

#[test]
fn models_keep_default_limits_and_short_dispatches_in_some_window() {
    for name in SUPER_RESOLUTION {
        for scale in 2..=4 {
            let model = SuperResolution::new(name, scale).unwrap();
            let fits = TILES.iter().any(|&side| {
                let mut g = Graph::new();
                let x = g.input("x", [1, 1, side, side]).unwrap();
                let y = model.build(&mut g, x).unwrap();
                Plan::new(&g, &[y], &Options::default()).is_ok_and(|p| p.longest_dispatch_ms() <= MAX_DISPATCH_MS)
            });
            assert!(fits, "{name} x{scale}");
        }
    }
}

/// Follows the plan and remembers which value each slot holds.
fn no_slot_is_overwritten_while_needed(plan: &Plan) {
    let mut holds: Vec<Option<usize>> = vec![None; plan.slots.len()];
    for &(_, value) in &plan.inputs {
        assert_eq!(holds[plan.values[value].slot], None, "two inputs share a slot");
        holds[plan.values[value].slot] = Some(value);
    }
    let kept = |value: usize| plan.slots[plan.values[value].slot].hold != lineament::plan::Hold::Reused;
    for step in &plan.steps {
        for b in step.bindings.iter().filter(|b| !b.written && !kept(b.value)) {
            assert_eq!(holds[plan.values[b.value].slot], Some(b.value), "{} reads {}", step.name, b.variable);
        }
        for b in step.bindings.iter().filter(|b| b.written) {
            let slot = plan.values[b.value].slot;
            for other in step.bindings.iter().filter(|o| o.value != b.value) {
                assert_ne!(slot, plan.values[other.value].slot, "{} aliases {}", step.name, b.variable);
            }
            holds[slot] = Some(b.value);
        }
    }
    for &value in plan.fetches.iter().filter(|&&v| !kept(v)) {
        assert_eq!(holds[plan.values[value].slot], Some(value));
    }
    for value in &plan.values {
        assert!(plan.slots[value.slot].bytes >= 4 * len(&value.shape) as u64);
    }
    assert_eq!(plan.peak_bytes(), plan.slots.iter().map(|s| s.bytes).sum::<u64>() + plan.readback_bytes());
}

#[test]
fn each_kind_of_adapter_gets_its_family_of_shaders() {
    let mut g = Graph::new();
    let x = g.input("x", [1, 16, 32, 32]).unwrap();
    let w = g.param("w", [16, 16, 3, 3], Init::Constant(0.1)).unwrap();
    let b = g.param("b", [1, 16, 1, 1], Init::Constant(0.0)).unwrap();
    let y = g.add(lineament::ops::conv2d::Conv2d::same(3), &[x, w, b]).unwrap();
    let loss = g.mse(y, x, Reduction::Mean).unwrap();
    let mut fetches = lineament::graph::grad::backward(&mut g, loss, &[w]).unwrap();
    fetches.push(loss);
    for caps in [Caps::default(), Caps::software()] {
        let options = Options { caps, ..Options::default() };
        let fused = lineament::plan::fuse::fuse(&g, &fetches, &options).unwrap();
        let plan = Plan::new(&fused, &fetches, &options).unwrap();
        let count = |stem: &str| plan.steps.iter().filter(|s| s.stem() == stem && s.is_first_pass).count();
        let texels = plan.steps.iter().flat_map(|s| &s.bindings).any(|b| b.layout != lineament::layout::Layout::Rows);
        let is_hardware = usize::from(caps.family == Family::Hardware);
        assert_eq!(["conv2d/conv3x3_tile", "conv2d/plane_gradients"].map(count), [is_hardware; 2], "{plan}");
        assert_eq!(texels, is_hardware == 0, "{plan}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_graphs_never_overwrite_what_is_needed(choices in prop::collection::vec((0..4usize, any::<u16>(), any::<u16>()), 1..24)) {
        let mut g = Graph::new();
        let shape = [1, 2, 3, 5];
        let mut nodes = vec![
            g.input("x", shape).unwrap(),
            g.input("t", shape).unwrap(),
            g.param("w", shape, Init::Constant(1.0)).unwrap(),
        ];
        for (kind, a, b) in choices {
            let (a, b) = (nodes[a as usize % nodes.len()], nodes[b as usize % nodes.len()]);
            nodes.push(match kind {
                0 => g.plus(a, b).unwrap(),
                1 => g.times(a, b).unwrap(),
                2 => g.relu(a).unwrap(),
                _ => g.sigmoid(a).unwrap(),
            });
        }
        let last = *nodes.last().unwrap();
        // The parameter enters the loss, so that it has a gradient whatever the random graph is.
        let y = g.plus(last, nodes[2]).unwrap();
        let loss = g.mse(y, nodes[1], Reduction::Sum).unwrap();
        let dw = grad::backward(&mut g, loss, &[nodes[2]]).unwrap();
        let plan = Plan::new(&g, &[loss, dw[0], y], &Options::default()).unwrap();
        no_slot_is_overwritten_while_needed(&plan);
    }
}

#[test]
fn training_plans_share_slots_safely() {
    let (g, fetches) = small();
    no_slot_is_overwritten_while_needed(&Plan::new(&g, &fetches, &Options::default()).unwrap());
}

#[test]
fn parameters_and_gradients_lie_at_the_same_places_and_one_step_updates_them() {
    let mut g = Graph::new();
    let x = g.input("x", [2, 1, 6, 7]).unwrap();
    let t = g.input("t", [2, 1, 12, 14]).unwrap();
    let y = SuperResolution::new("fsrcnn-s", 2).unwrap().build(&mut g, x).unwrap();
    let loss = g.mse(y, t, Reduction::Mean).unwrap();
    let step = Rule::from(Optimizer::adam()).minimize(&mut g, loss).unwrap();
    let plan = Plan::new(&g, &step.fetches, &Options::default()).unwrap();
    no_slot_is_overwritten_while_needed(&plan);
    let updates: Vec<_> = plan.steps.iter().filter(|s| s.op == "adam").collect();
    assert_eq!(updates.len(), 1, "{plan}");
    let bound = |name: &str| updates[0].bindings.iter().find(|b| b.variable == name).unwrap().value;
    let members = |pack: usize| -> Vec<(u64, u64)> {
        let inside = plan.values.iter().filter(|v| v.within == Some(pack));
        let mut places: Vec<_> = inside
            .map(|v| {
                assert_eq!(v.slot, plan.values[pack].slot, "{}", v.name);
                (v.offset_bytes, v.offset_bytes + v.bytes())
            })
            .collect();
        places.sort_unstable();
        places
    };
    let parameters = members(bound("w"));
    assert_eq!(parameters.len(), g.parameters().len());
    assert_eq!(parameters, members(bound("dw")));
    assert!(parameters.iter().all(|(begin, _)| begin % 256 == 0));
    assert!(parameters.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{parameters:?}");
    // No other value shares a slot whose gaps must stay zero.
    for pack in [bound("w"), bound("dw")] {
        let tenants = plan.values.iter().enumerate().filter(|(_, v)| v.slot == plan.values[pack].slot);
        assert!(tenants.into_iter().all(|(i, v)| i == pack || v.within == Some(pack)));
    }
}

/// A convolution that repeats its border has no fast gradient for its input; training drops the border.
#[test]
fn a_step_of_srcnn_takes_fast_shaders_only() {
    for name in ["srcnn", "srcnn-9-3-5", "srcnn-9-5-5"] {
        let model = SuperResolution::new(name, 3).unwrap();
        let mut g = Graph::new();
        let x = g.input("x", [16, 1, 33, 33]).unwrap();
        let y = model.build_for_training(&mut g, x).unwrap();
        let side = 33 - 2 * model.cut_px();
        assert_eq!(g.shape(y).unwrap(), [16, 1, side, side]);
        let t = g.input("t", [16, 1, side, side]).unwrap();
        let loss = g.mse(y, t, Reduction::Mean).unwrap();
        let step = Rule::from(Optimizer::adam()).minimize(&mut g, loss).unwrap();
        let caps = Caps::software();
        let options = Options { caps, ..Options::default() };
        let fused = fuse(&g, &step.fetches, &options).unwrap();
        let plan = Plan::new(&fused, &step.fetches, &options).unwrap();
        let plain = |s: &&lineament::plan::Step| s.stem().ends_with("/plain") && s.stem().starts_with("conv");
        assert_eq!(plan.steps.iter().find(plain), None, "{name}\n{plan}");
    }
}

#[test]
fn packs_refuse_what_does_not_belong_together() {
    let mut g = Graph::new();
    let x = g.input("x", [1, 1, 2, 2]).unwrap();
    let w = g.param("w", [1, 1, 2, 2], Init::Constant(0.0)).unwrap();
    let y = g.relu(w).unwrap();
    let error = |result: lineament::Result<NodeId>| result.unwrap_err().to_string();
    assert_eq!(error(g.pack("p", &[x])), "p: packs parameters or computed values; x is neither");
    assert_eq!(error(g.pack("p", &[w, w])), "p: w is packed already; memory lies in one place");
    assert!(error(g.pack("p", &[w, y])).contains("got 1 of 2 as parameters"));
    assert!(error(g.pack("p", &[])).contains("got 0 of 0"));
    let p = g.pack("p", &[w]).unwrap();
    assert!(error(g.pack("q", &[w])).contains("w is packed already"));
    assert_eq!(g.shape(p).unwrap(), [1, 1, 1, 64]);
    let zero = g.constant("zero", lineament::Tensor::zeros([1, 1, 1, 64])).unwrap();
    let loss = g.mse(p, zero, Reduction::Mean).unwrap();
    let error = grad::backward(&mut g, loss, &[w]).unwrap_err().to_string();
    assert_eq!(error, "p: a pack has no gradient; let the loss read its members");
    // A step cannot read one member and write another.
    let a = g.relu(x).unwrap();
    let b = g.relu(a).unwrap();
    let q = g.pack("q", &[a, b]).unwrap();
    let y = g.relu(q).unwrap();
    let error = Plan::new(&g, &[y], &Options::default()).unwrap_err().to_string();
    assert!(error.contains("which lie in one buffer; take one of them out of its pack"), "{error}");
}
