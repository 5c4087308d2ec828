//! Changes numbers, names and connections of an ONNX network.

use crate::proto::{Attribute, Graph, Model, Node, Tensor, ValueInfo};
use lineament::rng::Rng;
use prost::Message;

/// Sizes, axes, counts, and where integers of 16, 31, 32 and 63 bits end.
const INTEGERS: [i64; 24] = [
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    16,
    100,
    255,
    256,
    4096,
    65_535,
    65_536,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    0x1_0000_0000,
    1 << 62,
    i64::MAX,
    -1,
    -2,
    i64::MIN,
];
const FLOATS: [f32; 12] =
    [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-30, 1e30, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];

/// Returns a network with one to three changes; `None` if the bytes are none.
pub fn network(bytes: &[u8], seed: u32) -> Option<Vec<u8>> {
    let mut model = Model::decode(bytes).ok()?;
    let mut rng = Rng::new(seed.into());
    for _ in 0..1 + rng.below(3) {
        let versions = &mut model.opset_import;
        if rng.below(20) == 0 && !versions.is_empty() {
            versions[0].version = 1 + rng.below(24) as i64;
        } else {
            graph(model.graph.as_mut()?, &mut rng);
        }
    }
    Some(model.encode_to_vec())
}

fn integer(old: i64, rng: &mut Rng) -> i64 {
    match rng.below(4) {
        0 => old.wrapping_add(1),
        1 => old.wrapping_sub(1),
        _ => INTEGERS[rng.below(INTEGERS.len())],
    }
}

fn one<'a, T>(all: &'a mut [T], rng: &mut Rng) -> Option<&'a mut T> {
    let at = rng.below(all.len().max(1));
    all.get_mut(at)
}

/// Changes one number of a list, its length, or the order.
fn list(values: &mut Vec<i64>, rng: &mut Rng) {
    match (rng.below(8), values.len()) {
        (0, _) => values.push(integer(1, rng)),
        (1, _) => drop(values.pop()),
        (2, len @ 2..) => values.swap(0, len - 1),
        (_, len @ 1..) => {
            let at = rng.below(len);
            values[at] = integer(values[at], rng);
        }
        _ => {}
    }
}

fn graph(graph: &mut Graph, rng: &mut Rng) {
    let names: Vec<String> = graph.node.iter().flat_map(|n| n.input.iter().chain(&n.output)).cloned().collect();
    match rng.below(10) {
        0 | 1 => {
            let ports = if rng.below(4) == 0 { &mut graph.output } else { &mut graph.input };
            one(ports, rng).map(|input| port(input, rng));
        }
        2 | 3 => {
            one(&mut graph.initializer, rng).map(|values| tensor(values, rng));
        }
        4 if graph.node.len() > 1 => {
            let operators: Vec<String> = graph.node.iter().map(|node| node.op_type.clone()).collect();
            let chosen = operators[rng.below(operators.len())].clone();
            one(&mut graph.node, rng).map(|node| node.op_type = chosen);
        }
        5 => {
            // The same again, on what it has made.
            let Some(mut last) = graph.node.last().cloned() else { return };
            let (Some(input), Some(output)) = (last.input.first_mut(), last.output.first_mut()) else { return };
            input.clone_from(output);
            output.push('\'');
            if let Some(port) = graph.output.first_mut() {
                port.name.clone_from(output);
            }
            graph.node.push(last);
        }
        _ => {
            one(&mut graph.node, rng).map(|own| node(own, &names, rng));
        }
    }
}

fn node(node: &mut Node, names: &[String], rng: &mut Rng) {
    match rng.below(8) {
        0 if !names.is_empty() => {
            let name = names[rng.below(names.len())].clone();
            if rng.below(4) == 0 {
                node.input.push(name)
            } else if let Some(input) = one(&mut node.input, rng) {
                *input = name
            }
        }
        1 => drop(node.input.pop()),
        2 if !node.attribute.is_empty() => drop(node.attribute.remove(rng.below(node.attribute.len()))),
        _ => {
            one(&mut node.attribute, rng).map(|own| attribute(own, rng));
        }
    }
}

fn attribute(attribute: &mut Attribute, rng: &mut Rng) {
    if let Some(i) = &mut attribute.i {
        *i = integer(*i, rng);
    } else if let Some(f) = &mut attribute.f {
        *f = FLOATS[rng.below(FLOATS.len())];
    } else if let Some(values) = &mut attribute.t {
        tensor(values, rng);
    } else if let Some(branch) = &mut attribute.g {
        graph(branch, rng);
    } else if let Some(f) = one(&mut attribute.floats, rng) {
        *f = FLOATS[rng.below(FLOATS.len())];
    } else {
        list(&mut attribute.ints, rng);
    }
}

fn port(port: &mut ValueInfo, rng: &mut Rng) {
    let Some(tensor) = port.r#type.as_mut().and_then(|own| own.tensor_type.as_mut()) else { return };
    let dims = tensor.shape.as_mut().map(|shape| &mut shape.dim).filter(|dims| !dims.is_empty());
    match (rng.below(8), dims) {
        (0, _) => tensor.elem_type = 1 + rng.below(16) as i32,
        (1, Some(dims)) => drop(dims.pop()),
        (2, Some(dims)) => dims.push(dims[0].clone()),
        (_, Some(dims)) => {
            let at = rng.below(dims.len());
            dims[at].dim_value = Some(integer(dims[at].dim_value.unwrap_or(1), rng));
        }
        _ => {}
    }
}

/// Changes the dimensions with as many elements, or one element.
fn tensor(tensor: &mut Tensor, rng: &mut Rng) {
    let raw = tensor.raw_data.as_mut().filter(|raw| !raw.is_empty());
    match (rng.below(6), tensor.data_type, raw) {
        (0, ..) => list(&mut tensor.dims, rng),
        (1, ..) => tensor.dims.push(1),
        (2, ..) if tensor.dims.len() > 1 => tensor.dims.swap(0, 1),
        (_, 7, Some(raw)) if raw.len() % 8 == 0 => {
            let at = 8 * rng.below(raw.len() / 8);
            let old = raw[at..at + 8].try_into().map_or(0, i64::from_le_bytes);
            raw[at..at + 8].copy_from_slice(&integer(old, rng).to_le_bytes());
        }
        (_, 1, Some(raw)) if raw.len() % 4 == 0 => {
            let at = 4 * rng.below(raw.len() / 4);
            raw[at..at + 4].copy_from_slice(&FLOATS[rng.below(FLOATS.len())].to_le_bytes());
        }
        (_, _, Some(raw)) => {
            let at = rng.below(raw.len());
            raw[at] = rng.below(256) as u8;
        }
        _ => list(&mut tensor.int64_data, rng),
    }
}
