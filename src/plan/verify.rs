//! Checks what must hold for every plan, from its steps alone: no intermediate conclusion of the planner is trusted.

use super::{Caps, Hold, MAX_DISPATCH_MS, Plan, Step, Value};
use crate::error::{Error, Result};
use crate::layout::{Layout, MAX_TEXELS};
use crate::shader::reflect;
use crate::tensor::DType;

/// Alignment of bindings in bytes, from WebGPU's default limits.
const ALIGNMENT: u64 = 256;

/// The first and last step that use a value. The first is −1 for a value that exists when a run begins, and the last is the number
/// of steps for one that must exist when it ends.
type Life = (isize, isize);

impl Plan {
    /// Checks the plan against `caps` and against itself: every value is written before it is read, and by only one operation;
    /// no memory is overwritten while it is needed, or both read and written by one dispatch; every binding matches the declaration
    /// in its shader; no limit is exceeded.
    ///
    /// # Errors
    /// The first violation, with the step and the value.
    pub fn verify(&self, caps: &Caps) -> Result<()> {
        let lives = self.lives()?;
        self.verify_memory(&lives, caps)?;
        self.steps.iter().try_for_each(|step| self.verify_step(step, caps))
    }

    /// Returns `v` and the values within whose memory it lies.
    fn wholes(&self, v: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(v), |&v| self.values[v].within)
    }

    /// Returns the life of every value; `None` if neither a step nor the host uses it.
    fn lives(&self) -> Result<Vec<Option<Life>>> {
        let end = self.steps.len() as isize;
        let mut lives: Vec<Option<Life>> = vec![None; self.values.len()];
        let mut writer: Vec<Option<usize>> = vec![None; self.values.len()];
        let members = |pack: usize| (0..self.values.len()).filter(move |&v| self.values[v].within == Some(pack));
        for (v, value) in self.values.iter().enumerate() {
            let hold = &self.slots.get(value.slot).ok_or_else(|| broken(value, "has no slot"))?.hold;
            // What steps that run once write must last until the next run, which does not write it again.
            let is_always = matches!(hold, Hold::Node(_) | Hold::Prepared(_) | Hold::Pack { is_kept: true });
            // The gaps of a pack hold zeros from the start.
            let is_pack = matches!(hold, Hold::Pack { .. }) && value.within.is_none();
            if is_always || is_pack {
                lives[v] = Some((-1, end));
            }
        }
        for &(_, input) in &self.inputs {
            lives[input] = Some((-1, -1));
        }
        let is_there_before = |v: usize| {
            let hold = &self.slots[self.values[v].slot].hold;
            matches!(hold, Hold::Node(_) | Hold::Pack { is_kept: true })
                || self.inputs.iter().any(|&(_, input)| input == v)
        };
        let mut group = 0;
        for (i, step) in self.steps.iter().enumerate() {
            if step.is_first_pass {
                group = i;
            }
            let now = i as isize;
            let touch = |lives: &mut Vec<Option<Life>>, v: usize| {
                for v in self.wholes(v) {
                    let life = lives[v].get_or_insert((now, now));
                    life.1 = life.1.max(now);
                }
            };
            let is_written = |writer: &Vec<Option<usize>>, v: usize| {
                let has_value = |v: usize| writer[v].is_some() || is_there_before(v);
                let is_whole = members(v).next().is_some() && members(v).all(has_value);
                // What lies within a value is written with it.
                self.wholes(v).any(has_value) || is_whole
            };
            let mut write = |lives: &mut Vec<Option<Life>>, v: usize| match writer[v] {
                Some(other) if other != group => Err(broken(
                    &self.values[v],
                    &format!("is written by {} and by {}", self.steps[other].name, step.name),
                )),
                _ => {
                    writer[v] = Some(group);
                    touch(lives, v);
                    Ok(())
                }
            };
            for &(from, to) in &step.copies {
                write(&mut lives, to)?;
                touch(&mut lives, from);
            }
            for b in step.bindings.iter().filter(|b| b.written) {
                write(&mut lives, b.value)?;
            }
            for v in step.bindings.iter().filter(|b| !b.written).map(|b| b.value).chain(step.copies.iter().map(|c| c.0))
            {
                // A pass may read what an earlier pass of its method wrote.
                if !is_written(&writer, v) {
                    return Err(broken(&self.values[v], &format!("is read by {} before it is written", step.name)));
                }
                touch(&mut lives, v);
            }
        }
        for &v in &self.fetches {
            if self.wholes(v).all(|v| lives[v].is_none()) {
                return Err(broken(&self.values[v], "is fetched, but no step writes it"));
            }
            for v in self.wholes(v) {
                lives[v].get_or_insert((end, end)).1 = end;
            }
        }
        Ok(lives)
    }

    /// Checks that values with overlapping lives have disjoint memory, and that all values lie within what is allocated.
    fn verify_memory(&self, lives: &[Option<Life>], caps: &Caps) -> Result<()> {
        let is_pack = |v: usize| {
            matches!(self.slots[self.values[v].slot].hold, Hold::Pack { .. }) && self.values[v].within.is_none()
        };
        for (v, value) in self.values.iter().enumerate() {
            let (begin, bytes) = (value.offset_bytes, value.bytes());
            let slot = &self.slots[value.slot];
            if begin + value.slot_bytes() > slot.bytes || slot.hold.layout() != value.layout {
                return Err(broken(value, &format!("does not lie within slot {}", value.slot)));
            }
            if begin % ALIGNMENT != 0 {
                return Err(broken(value, &format!("begins at byte {begin}, which is not a multiple of {ALIGNMENT}")));
            }
            match value.layout {
                Layout::Rows if bytes > caps.binding_bytes => {
                    return Err(broken(value, &format!("takes {bytes} bytes, more than a binding can have")));
                }
                Layout::Texels | Layout::Quads if value.layout.elements(&value.shape) > MAX_TEXELS => {
                    return Err(broken(value, "takes more texels than a texture can have"));
                }
                _ => {}
            }
            let Some(life) = lives[v] else { continue };
            for (w, other) in self.values.iter().enumerate().take(v).filter(|(_, o)| o.slot == value.slot) {
                let is_part = self.wholes(v).any(|whole| whole == w) || self.wholes(w).any(|whole| whole == v);
                // Reshapes of one value, which no step writes.
                let are_reshapes = value.within == other.within && value.within.is_some_and(|whole| !is_pack(whole));
                let Some(other_life) = lives[w].filter(|_| !is_part && !are_reshapes) else { continue };
                let meet = life.0 <= other_life.1 && other_life.0 <= life.1;
                let overlap = begin < other.offset_bytes + other.bytes() && other.offset_bytes < begin + bytes;
                if meet && overlap {
                    return Err(broken(value, &format!("lies where {} is still needed", other.name)));
                }
            }
        }
        let total = self.peak_bytes();
        if total > caps.memory_bytes {
            return Err(Error::plan(format!("takes {total} bytes, the device allows {}", caps.memory_bytes)));
        }
        Ok(())
    }

    fn verify_step(&self, step: &Step, caps: &Caps) -> Result<()> {
        let fail =
            |problem: String| Err(Error::plan(format!("{} ({}.{}): {problem}", step.name, step.stem(), step.entry)));
        let shader = reflect(&step.source)?;
        let Some(entry) = shader.entry(&step.entry) else { return fail("the shader has no such entry".into()) };
        for b in &step.bindings {
            let value = &self.values[b.value];
            let declared = shader.variable(&b.variable);
            if declared.is_none_or(|v| v.layout != b.layout || v.binding != b.binding || v.writable != b.writable) {
                return fail(format!("{} is not bound as the shader declares it", b.variable));
            }
            // The type of scratch is up to the kernel.
            if value.node.is_some() && declared.is_some_and(|v| v.dtype != value.dtype) {
                return fail(format!(
                    "{} is bound to {}, which has elements of {}",
                    b.variable, value.name, value.dtype
                ));
            }
            if value.is_half && (value.dtype != DType::F32 || value.layout != Layout::Rows) {
                return fail(format!("{} is stored as f16, which only rows of f32 can be", value.name));
            }
            if value.is_half != b.is_half || (value.is_half && declared.is_some_and(|v| v.dtype != DType::F32)) {
                return fail(format!("{} is not stored as {} reads it", value.name, b.variable));
            }
            if value.layout != b.layout {
                return fail(format!("{} is bound to {}, which has another layout", b.variable, value.name));
            }
            if b.written != entry.writes.contains(&b.variable) || (b.written && !b.writable) {
                return fail(format!("the plan and the shader disagree on whether {} is written", b.variable));
            }
            // Within a dispatch, a buffer is either read or written, and a texture is bound to one variable.
            let place = |v: &Value| (v.slot, v.offset_bytes, v.offset_bytes + v.bytes());
            let (slot, begin, end) = place(value);
            for other in step.bindings.iter().filter(|o| o.binding != b.binding && b.written) {
                let (other_slot, other_begin, other_end) = place(&self.values[other.value]);
                if slot == other_slot && begin < other_end && other_begin < end {
                    return fail(format!("{} and {} are the same memory", b.variable, other.variable));
                }
            }
        }
        let used = |v: &String| step.bindings.iter().any(|b| b.variable == *v);
        if let Some(missing) = entry.reads.iter().chain(&entry.writes).find(|v| !used(v)) {
            return fail(format!("{missing} is bound to nothing"));
        }
        let [buffers, textures] = counts(step.bindings.iter().map(|b| b.layout));
        for (what, count, most) in [
            ("storage buffers", buffers as u64, caps.storage_buffers as u64),
            ("storage textures", textures as u64, caps.storage_textures as u64),
            (
                "threads in a workgroup",
                shader.workgroup_size(&step.entry, &step.overrides)?.iter().map(|&n| u64::from(n)).product(),
                u64::from(caps.threads_per_workgroup),
            ),
            (
                "bytes of workgroup memory",
                u64::from(shader.workgroup_bytes(&step.entry, &step.overrides)?),
                u64::from(caps.workgroup_bytes),
            ),
            (
                "workgroups in a dimension",
                step.workgroups.iter().copied().map(u64::from).max().unwrap_or(0),
                u64::from(caps.workgroups_per_dimension),
            ),
        ] {
            if count > most {
                return fail(format!("{count} {what}, the adapter allows {most}"));
            }
        }
        if step.workgroups.contains(&0) {
            return fail("dispatches no workgroup".into());
        }
        if entry.uses_params && step.params.len() != shader.params_bytes as usize {
            return fail(format!("{} bytes of parameters, the shader has {}", step.params.len(), shader.params_bytes));
        }
        let ms = step.most_ms;
        if ms > MAX_DISPATCH_MS {
            return fail(format!("may take {ms:.0} ms, more than {MAX_DISPATCH_MS} ms"));
        }
        Ok(())
    }
}

/// Counts the storage buffers and storage textures among variables of these layouts.
pub(crate) fn counts(layouts: impl Iterator<Item = Layout>) -> [usize; 2] {
    layouts.fold([0; 2], |mut counts, layout| {
        counts[usize::from(layout != Layout::Rows)] += 1;
        counts
    })
}

fn broken(value: &Value, problem: &str) -> Error {
    Error::plan(format!("{} {problem}: this is a bug in the planner, please report it", value.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Init, Kind, NodeId};
    use crate::ops::conv2d::Conv2d;
    use crate::ops::dropout::Dropout;
    use crate::ops::loss::Reduction;
    use crate::ops::top_k::TopK;
    use crate::plan::fuse::fuse;
    use crate::plan::{Binding, Options};
    use crate::train::{Optimizer, Rule};
    use proptest::prelude::*;

    fn caps(is_software: bool) -> Caps {
        // The limits of real adapters of this kind.
        if is_software { Caps { storage_textures: 8, ..Caps::software() } } else { Caps::default() }
    }

    /// Builds a graph of the operations that `choices` select by number, over inputs and parameters of one shape.
    fn drawn(choices: &[(usize, u16, u16)]) -> (Graph, Vec<NodeId>) {
        let mut g = Graph::new();
        let shape = [2, 4, 6, 5];
        let mut nodes = vec![g.input("x", shape).unwrap(), g.input("t", shape).unwrap()];
        for (k, &(kind, a, b)) in choices.iter().enumerate() {
            let (a, b) = (nodes[a as usize % nodes.len()], nodes[b as usize % nodes.len()]);
            let mut filter = |side: usize| {
                let w = g.param(&format!("w{k}"), [4, 4, side, side], Init::Constant(0.1)).unwrap();
                (w, g.param(&format!("b{k}"), [1, 4, 1, 1], Init::Constant(0.0)).unwrap())
            };
            nodes.push(match kind {
                0 => g.plus(a, b).unwrap(),
                1 => g.times(a, b).unwrap(),
                2 => g.relu(a).unwrap(),
                3 => g.sigmoid(a).unwrap(),
                4 => {
                    let (w, b) = filter(1);
                    g.conv2d(a, w, b, Conv2d::default()).unwrap()
                }
                5 => {
                    let (w, b) = filter(5);
                    g.conv2d(a, w, b, Conv2d::same(5)).unwrap()
                }
                6 => {
                    let slope = g.param(&format!("a{k}"), [1, 4, 1, 1], Init::Constant(0.2)).unwrap();
                    g.prelu(a, slope).unwrap()
                }
                7 => g.dropout(a, Dropout { p: 0.5, seed: 1 }).unwrap(),
                8 => g.top_k(a, TopK { k: 5, axis: 3, largest: true }).unwrap().0,
                9 => {
                    let row = g.reshape(a, [240]).unwrap();
                    let row = if k % 2 == 0 { g.sigmoid(row).unwrap() } else { row };
                    let again = g.reshape(row, [5, 48]).unwrap();
                    g.reshape(again, shape).unwrap()
                }
                _ => {
                    let (w, b) = filter(3);
                    g.add(Conv2d::same(3), &[a, w, b]).unwrap()
                }
            });
        }
        (g, nodes)
    }

    fn plan(g: &Graph, fetches: &[NodeId], is_software: bool) -> Plan {
        let options = Options { caps: caps(is_software), ..Options::default() };
        Plan::new(&fuse(g, fetches, &options).unwrap(), fetches, &options).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn plans_of_random_graphs_hold(
            choices in prop::collection::vec((0..11usize, any::<u16>(), any::<u16>()), 1..20),
            is_software: bool,
            trains: bool,
        ) {
            let (mut g, nodes) = drawn(&choices);
            // The last layer has parameters regardless of what was drawn, and two losses share what precedes them.
            let w = g.param("w", [4, 4, 3, 3], Init::Constant(0.1)).unwrap();
            let b = g.param("b", [1, 4, 1, 1], Init::Constant(0.0)).unwrap();
            let last = g.add(Conv2d::same(3), &[*nodes.last().unwrap(), w, b]).unwrap();
            let one = g.mse(last, nodes[1], Reduction::Mean).unwrap();
            let other = g.mse(last, nodes[0], Reduction::Sum).unwrap();
            let mut fetches = vec![last, other];
            // Outputs after the first, which nothing else reads.
            let further = g.nodes().iter().filter(|node| matches!(node.kind, Kind::Output { .. }));
            fetches.extend(further.take(2).map(|node| g.find(&node.name).unwrap()));
            if trains {
                let sum = g.plus(one, other).unwrap();
                // Some parameters may not take part.
                let loss = if choices.len() % 2 == 0 { sum } else { one };
                let gradients = crate::graph::grad::backward(&mut g, other, &[w, b]).unwrap();
                fetches.extend(gradients);
                fetches.extend(crate::graph::grad::backward(&mut g, loss, &[w]).unwrap());
            }
            let plan = plan(&g, &fetches, is_software);
            plan.verify(&caps(is_software)).unwrap();
        }
    }

    /// Plans a training step, which has packs, updates, scratch and copies, and passes that run once on one of the families.
    fn training(is_software: bool) -> Plan {
        let (mut g, nodes) = drawn(&[(10, 0, 0), (2, 2, 0), (5, 3, 0), (0, 4, 2), (6, 5, 0), (4, 6, 0)]);
        let loss = g.mse(*nodes.last().unwrap(), nodes[1], Reduction::Mean).unwrap();
        let step = Rule::from(Optimizer::adam()).minimize(&mut g, loss).unwrap();
        plan(&g, &step.fetches, is_software)
    }

    fn refused(plan: &Plan, is_software: bool) -> String {
        plan.verify(&caps(is_software)).map_or_else(|e| e.to_string(), |()| String::new())
    }

    #[test]
    fn every_breach_is_refused() {
        for texels in [false, true] {
            let right = training(texels);
            assert_eq!(refused(&right, texels), "");
            let find = |what: &str, found: &dyn Fn(&Plan) -> Vec<Plan>, message: &str| {
                let plans = found(&right);
                assert!(!plans.is_empty(), "{what}: nothing to break in\n{right}");
                for plan in plans {
                    let said = refused(&plan, texels);
                    assert!(said.contains(message), "{what}: {said:?}");
                }
            };
            // Leaves out each step whose result another step reads.
            let read_later = |plan: &Plan, i: usize| {
                let written = |v: usize| plan.steps[i].bindings.iter().any(|b| b.written && b.value == v);
                let reads = |b: &Binding| !b.written && written(b.value);
                let is_input = |v: usize| matches!(plan.slots[plan.values[v].slot].hold, Hold::Node(_));
                plan.steps[i + 1..].iter().flat_map(|s| &s.bindings).any(|b| reads(b) && !is_input(b.value))
            };
            let without = |plan: &Plan| -> Vec<Plan> {
                let breaks = (0..plan.steps.len())
                    .filter(|&i| plan.steps[i].is_first_pass && plan.passes(i).len() == 1 && read_later(plan, i));
                breaks
                    .map(|i| {
                        let mut plan = plan.clone();
                        plan.steps.remove(i);
                        plan
                    })
                    .collect()
            };
            find("a step is missing", &without, "before it is written");
            let changed = |change: &dyn Fn(&mut Plan)| {
                let mut plan = right.clone();
                change(&mut plan);
                refused(&plan, texels)
            };
            let last = right.steps.len() - 1;
            let said = changed(&|plan| plan.steps.swap(0, last));
            assert!(!said.is_empty());
            // Puts two values that live at the same time into one slot.
            let merged = changed(&|plan| {
                let reads: Vec<usize> =
                    plan.steps[last].bindings.iter().filter(|b| b.layout == Layout::Rows).map(|b| b.value).collect();
                let (a, b) = (plan.values[reads[0]].slot, plan.values[reads[1]].slot);
                plan.slots[a].bytes = plan.slots[a].bytes.max(plan.slots[b].bytes);
                plan.slots[b].hold = plan.slots[a].hold.clone();
                plan.values.iter_mut().filter(|v| v.slot == b).for_each(|v| v.slot = a);
            });
            assert!(merged.contains("is still needed"), "{merged}");
            let said = changed(&|plan| plan.steps[0].bindings[0].binding += 1);
            assert!(said.contains("is not bound as the shader declares it"), "{said}");
            let said = changed(&|plan| drop(plan.steps[0].bindings.remove(0)));
            assert!(said.contains("is bound to nothing"), "{said}");
            let said = changed(&|plan| plan.steps[0].workgroups[0] = 0);
            assert!(said.contains("no workgroup"), "{said}");
            let said = changed(&|plan| plan.steps[0].workgroups[1] = 70_000);
            assert!(said.contains("70000 workgroups in a dimension, the adapter allows 65535"), "{said}");
            let said = changed(&|plan| {
                let first = plan.values[plan.steps[0].bindings[0].value].slot;
                plan.slots[first].bytes = 4;
            });
            assert!(said.contains("does not lie within slot"), "{said}");
            let said = changed(&|plan| plan.steps[1].most_ms = 251.0);
            assert!(said.contains("more than 250"), "{said}");
            let few = Caps { storage_buffers: 2, storage_textures: 1, ..caps(texels) };
            let said = right.verify(&few).unwrap_err().to_string();
            assert!(said.contains("the adapter allows"), "{said}");
        }
    }

    #[test]
    fn a_dispatch_that_writes_what_it_reads_is_refused() {
        let mut g = Graph::new();
        let x = g.input("x", [1, 4, 6, 5]).unwrap();
        let y = g.sigmoid(x).unwrap();
        let right = plan(&g, &[y], false);
        let mut wrong = right.clone();
        let step = &mut wrong.steps[0];
        let read = step.bindings.iter().find(|b| !b.written).unwrap().value;
        step.bindings.iter_mut().filter(|b| b.written).for_each(|b| b.value = read);
        wrong.fetches = vec![read];
        let said = refused(&wrong, false);
        assert!(said.contains("are the same memory"), "{said}");
    }
}
