//! The pass that places values in slots according to their lives.

use super::{Binding, Hold, Options, Slot, Step, Value};
use crate::error::{Error, Result};
use crate::graph::{Graph, Kind};
use crate::layout::{Layout, MAX_TEXELS};

/// Assigns memory to every value: parameters and constants have their own slots, the others are placed by first fit in order of
/// decreasing size. Two values share a slot only if their lives do not overlap.
///
/// # Errors
/// A value or all values together exceed `options.caps`; the error gives the number.
pub(super) fn assign(graph: &Graph, values: &mut [Value], returned: &[usize], options: &Options) -> Result<Vec<Slot>> {
    let caps = &options.caps;
    let mut slots: Vec<Slot> = Vec::new();
    let mut tenants: Vec<Vec<(usize, usize)>> = Vec::new();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.retain(|&v| values[v].within.is_none());
    order.sort_by_key(|&v| (std::cmp::Reverse(values[v].bytes()), v));
    for v in order {
        let value = &mut values[v];
        let elements = value.layout.elements(&value.shape);
        let is_texture = value.layout != Layout::Rows;
        if is_texture && elements > MAX_TEXELS {
            return Err(Error::plan(format!(
                "{} takes {elements} texels, a texture has at most {MAX_TEXELS}; use a smaller input or batch",
                value.name
            )));
        }
        let bytes = value.slot_bytes();
        if !is_texture && bytes > caps.binding_bytes {
            return Err(Error::plan(format!(
                "{} {:?} takes {bytes} bytes, the adapter binds at most {}; use a smaller input or batch",
                value.name, value.shape, caps.binding_bytes
            )));
        }
        let is_kept = |n: &usize| matches!(graph.nodes()[*n].kind, Kind::Param { .. } | Kind::Constant(_));
        let kept = value.node.filter(|n| !is_texture && is_kept(n));
        let pack = value.node.map(|n| &graph.nodes()[n]).filter(|n| matches!(n.kind, Kind::Pack));
        let life = value.life;
        let free = |t: &Vec<(usize, usize)>| t.iter().all(|&(first, last)| last < life.0 || life.1 < first);
        let hold = match (kept, pack) {
            (Some(node), _) => Hold::Node(node),
            (_, Some(pack)) => Hold::Pack { is_kept: is_kept(&pack.inputs[0]) },
            _ if value.is_prepared => Hold::Prepared(value.layout),
            _ if is_texture => Hold::Texture(value.layout),
            _ => Hold::Reused,
        };
        let shared = (kept.is_none() && pack.is_none() && !value.is_prepared && !options.keep_all)
            .then(|| (0..slots.len()).find(|&s| slots[s].hold == hold && free(&tenants[s])))
            .flatten();
        value.slot = shared.unwrap_or_else(|| {
            slots.push(Slot { bytes, hold });
            tenants.push(Vec::new());
            slots.len() - 1
        });
        tenants[value.slot].push(life);
    }
    for v in 0..values.len() {
        let mut offset_bytes = 0;
        let mut whole = v;
        // A reshape may lie within a member of a pack; a member's offset is that in its pack.
        while let Some(next) = values[whole].within {
            offset_bytes = offset_bytes.max(values[whole].offset_bytes);
            whole = next;
        }
        (values[v].slot, values[v].offset_bytes) = (values[whole].slot, offset_bytes);
    }
    let read: u64 = returned.iter().map(|&v| values[v].readback_bytes()).sum();
    let total = slots.iter().map(|s| s.bytes).sum::<u64>() + read;
    if total > caps.memory_bytes {
        return Err(Error::plan(format!(
            "needs {total} bytes for tensors, the device allows {}; use a smaller input or batch",
            caps.memory_bytes
        )));
    }
    Ok(slots)
}

/// Rejects a dispatch that reads one member of a pack and writes another: within a dispatch, a buffer is either read or written.
/// The same holds for a parameter and its reshapes.
///
/// # Errors
/// There is such a dispatch; the error gives the names.
pub(super) fn check_packs(steps: &[Step], values: &[Value]) -> Result<()> {
    for step in steps {
        for b in step.bindings.iter().filter(|b| b.writable) {
            let memory = whole(values, b.value);
            let other = |o: &&Binding| !o.writable && whole(values, o.value) == memory;
            if let Some(read) = step.bindings.iter().find(other) {
                return Err(Error::plan(format!(
                    "{} reads {} and writes {}, which lie in one buffer; take one of them out of its pack, or copy it",
                    step.name, values[read.value].name, values[b.value].name
                )));
            }
        }
    }
    Ok(())
}

/// Returns the value in whose memory `value` lies, or itself.
pub(super) fn whole(values: &[Value], mut value: usize) -> usize {
    while let Some(next) = values[value].within {
        value = next;
    }
    value
}
