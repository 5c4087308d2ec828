//! Makes ONNX files in memory with the reader's own message types.
#![allow(dead_code)]

#[path = "../../src/import/onnx/proto.rs"]
pub mod proto;

use lineament::rng::Rng;
use prost::Message;
use proto::{Attribute, Dimension, Dimensions, Graph, Model, Node, OperatorSet, Tensor, TensorType, Type, ValueInfo};

pub fn ints(name: &str, values: &[i64]) -> Attribute {
    Attribute { name: name.into(), ints: values.to_vec(), ..Default::default() }
}

pub fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.into(), i: Some(value), ..Default::default() }
}

pub fn float(name: &str, value: f32) -> Attribute {
    Attribute { name: name.into(), f: Some(value), ..Default::default() }
}

pub fn node(operator: &str, name: &str, inputs: &[&str], output: &str, attribute: Vec<Attribute>) -> Node {
    Node {
        op_type: operator.into(),
        name: name.into(),
        input: inputs.iter().map(|i| (*i).to_owned()).collect(),
        output: vec![output.into()],
        attribute,
        ..Default::default()
    }
}

/// Returns a tensor of random values in ±0.5, stored as raw bytes.
pub fn tensor(rng: &mut Rng, name: &str, dims: &[i64]) -> Tensor {
    let len: i64 = dims.iter().product();
    let raw = (0..len).flat_map(|_| (rng.uniform(-0.5, 0.5) as f32).to_le_bytes()).collect();
    Tensor { dims: dims.to_vec(), data_type: 1, name: name.into(), raw_data: Some(raw), ..Default::default() }
}

/// Returns a float32 tensor of these dimensions; 0 stands for a symbolic one.
pub fn value(name: &str, dims: &[i64]) -> ValueInfo {
    let dim = |&d: &i64| match d {
        0 => Dimension { dim_param: Some("any".into()), ..Default::default() },
        _ => Dimension { dim_value: Some(d), ..Default::default() },
    };
    let shape = Some(Dimensions { dim: dims.iter().map(dim).collect() });
    ValueInfo { name: name.into(), r#type: Some(Type { tensor_type: Some(TensorType { elem_type: 1, shape }) }) }
}

pub fn model(node: Vec<Node>, initializer: Vec<Tensor>, input: ValueInfo, output: ValueInfo) -> Model {
    let graph = Graph { node, name: "net".into(), initializer, input: vec![input], output: vec![output] };
    let opset_import = vec![OperatorSet { domain: String::new(), version: 13 }];
    Model { ir_version: 8, graph: Some(graph), opset_import, ..Default::default() }
}

pub fn bytes(model: &Model) -> Vec<u8> {
    model.encode_to_vec()
}

/// Returns a network like those of the peers: 3×3 convolutions of `channels` on an input of `side`², with ReLUs between them.
pub fn chain(channels: &[i64], side: i64) -> Model {
    let mut rng = Rng::new(5);
    let (mut nodes, mut tensors, mut x) = (Vec::new(), Vec::new(), "x".to_owned());
    for (i, pair) in channels.windows(2).enumerate() {
        let (w, b) = (format!("w{i}"), format!("b{i}"));
        tensors.push(tensor(&mut rng, &w, &[pair[1], pair[0], 3, 3]));
        tensors.push(tensor(&mut rng, &b, &[pair[1]]));
        let is_last = i + 2 == channels.len();
        let y = if is_last { "y".to_owned() } else { format!("c{i}") };
        let attributes = vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1; 4])];
        nodes.push(node("Conv", "", &[&x, &w, &b], &y, attributes));
        x = y;
        if !is_last {
            nodes.push(node("Relu", "", &[&x], &format!("r{i}"), vec![]));
            x = format!("r{i}");
        }
    }
    let last = channels[channels.len() - 1];
    model(nodes, tensors, value("x", &[1, channels[0], side, side]), value("y", &[1, last, side, side]))
}

/// Returns a network with the outputs of a YuNet, for pictures of any size: a face is a cell of 8 × 8 pixels that is white, its box is the
/// cell, and its landmarks are the cell's corner, the centre, and three more corners.
pub fn face_finder() -> Model {
    let floats = |name: &str, dims: &[i64], values: &[f32]| Tensor {
        dims: dims.to_vec(),
        data_type: 1,
        name: name.into(),
        raw_data: Some(values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        ..Default::default()
    };
    let (mut nodes, mut tensors, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
    for stride in [8i64, 16, 32] {
        for (part, each) in [("cls", 1i64), ("obj", 1), ("bbox", 4), ("kps", 10)] {
            let name = |kind: &str| format!("{kind}_{part}_{stride}");
            let output = format!("{part}_{stride}");
            let is_score = each == 1;
            // The mean of the samples, 0 to 255, becomes a logit of -10 to 10.
            let weight = if is_score && stride == 8 { 20.0 / (255.0 * 3.0 * 64.0) } else { 0.0 };
            let bias: &[f32] = match part {
                "bbox" => &[0.5, 0.5, 0.0, 0.0],
                "kps" => &[0.0, 0.0, 0.5, 0.5, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0],
                _ => &[-10.0],
            };
            let dims = [each, 3, stride, stride];
            let values = vec![weight; dims.iter().product::<i64>() as usize];
            tensors.push(floats(&name("w"), &dims, &values));
            tensors.push(floats(&name("b"), &[each], bias));
            tensors.push(Tensor {
                dims: vec![3],
                data_type: 7,
                name: name("shape"),
                raw_data: Some([1, -1, each].iter().flat_map(|v| v.to_le_bytes()).collect()),
                ..Default::default()
            });
            let strides = || vec![ints("kernel_shape", &[stride; 2]), ints("strides", &[stride; 2])];
            nodes.push(node("Conv", &name("conv"), &["input", &name("w"), &name("b")], &name("maps"), strides()));
            let order = vec![ints("perm", &[0, 2, 3, 1])];
            nodes.push(node("Transpose", &name("t"), &[&name("maps")], &name("cells"), order));
            let list = if is_score { name("list") } else { output.clone() };
            nodes.push(node("Reshape", &name("r"), &[&name("cells"), &name("shape")], &list, vec![]));
            if is_score {
                nodes.push(node("Sigmoid", &name("s"), &[&list], &output, vec![]));
            }
            outputs.push(value(&output, &[1, 0, each]));
        }
    }
    let mut net = model(nodes, tensors, value("input", &[1, 3, 0, 0]), outputs.remove(0));
    if let Some(graph) = &mut net.graph {
        graph.output.extend(outputs);
    }
    net
}
