//! The operators of ONNX that stand for each operation.

use super::super::proto::Attribute;
use super::{FLOAT, INT64, Writer};
use crate::error::{Error, Result};
use crate::graph::Node;
use crate::ops::avg_pool2d::AvgPool2d;
use crate::ops::batch_norm::BatchNorm;
use crate::ops::cast::Cast;
use crate::ops::concat::Concat;
use crate::ops::conv_transpose2d::ConvTranspose2d;
use crate::ops::conv2d::Conv2d;
use crate::ops::cumulative_sum::CumulativeSum;
use crate::ops::extremum::Extremum;
use crate::ops::gather::Gather;
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::leaky_relu::LeakyRelu;
use crate::ops::local_conv2d::LocalConv2d;
use crate::ops::matmul::Matmul;
use crate::ops::max_pool2d::MaxPool2d;
use crate::ops::normalize::{Normalize, Over};
use crate::ops::one_hot::OneHot;
use crate::ops::pixel_shuffle::PixelShuffle;
use crate::ops::pointwise::Unary;
use crate::ops::reduce::{Kind as Reduction, Reduce};
use crate::ops::resample::Resample;
use crate::ops::resize::{Resize, taps};
use crate::ops::scatter_add::ScatterAdd;
use crate::ops::softmax::Softmax;
use crate::ops::top_k::TopK;
use crate::ops::view::{Border as Outside, View};
use crate::ops::warp::{Border, Warp};
use crate::ops::windows::{Sliding, Windows};
use crate::ops::{Io, Op};
use crate::tensor::{DType, Shape, len};
use std::any::Any;

/// onnx.proto's number for truth values.
const BOOL: i64 = 9;

/// Returns `op` as an operation of type T, if it is one.
fn of<T: Op>(op: &dyn Op) -> Option<&T> {
    (op as &dyn Any).downcast_ref()
}

fn int(name: &str, value: impl TryInto<i64>) -> Attribute {
    let i = Some(value.try_into().unwrap_or(i64::MAX));
    Attribute { name: name.into(), i, r#type: 2, ..Attribute::default() }
}

fn ints(name: &str, values: &[usize]) -> Attribute {
    let ints = values.iter().map(|&v| v as i64).collect();
    Attribute { name: name.into(), ints, r#type: 7, ..Attribute::default() }
}

fn float(name: &str, value: f32) -> Attribute {
    Attribute { name: name.into(), f: Some(value), r#type: 1, ..Attribute::default() }
}

fn text(name: &str, value: &str) -> Attribute {
    Attribute { name: name.into(), s: Some(value.as_bytes().to_vec()), r#type: 3, ..Attribute::default() }
}

impl Writer<'_> {
    /// Writes an operation, and returns whether it has a form in ONNX.
    pub(super) fn op(&mut self, index: usize, node: &Node, op: &dyn Op) -> Result<bool> {
        let shapes: Vec<Shape> = node.inputs.iter().map(|&input| self.shape(input)).collect();
        let io = Io { x: &shapes, y: node.shape };
        let y = node.name.as_str();
        if let Some(op) = of::<Conv2d>(op) {
            if op.fusion.is_some() {
                return Ok(false);
            }
            self.conv2d(node, op);
        } else if let Some(op) = of::<ConvTranspose2d>(op) {
            let (x, w) = (self.value(node.inputs[0]), self.value(node.inputs[1]));
            let b = self.shaped(node.inputs[2], &[node.shape[1]]);
            let pads = [op.padding[0], op.padding[1], op.padding[0], op.padding[1]];
            let attributes = vec![
                ints("kernel_shape", &shapes[1][2..]),
                ints("strides", &op.stride),
                ints("pads", &pads),
                ints("output_padding", &op.output_padding),
                ints("dilations", &op.dilation),
                int("group", op.groups),
            ];
            self.put("ConvTranspose", &[&x, &w, &b], attributes, y);
        } else if let Some(op) = of::<LocalConv2d>(op) {
            self.local_conv2d(node, op);
        } else if of::<Warp>(op).is_some() || op.name() == "field" || op.name() == "pairwise_distance" {
            return self.geometry(node, op);
        } else if let Some(op) = of::<Resize>(op) {
            self.resize(node, op, &io);
        } else if let Some(op) = of::<View>(op) {
            self.view(node, op);
        } else if let Some(op) = of::<Normalize>(op) {
            self.normalize(node, op);
        } else if let Some(op) = of::<Extremum>(op) {
            self.extremum(index, node, op);
        } else if of::<Unary>(op).is_some() || simple(op.name()).is_some() {
            self.pointwise(node, op);
        } else {
            return self.other(index, node, op);
        }
        Ok(true)
    }

    fn conv2d(&mut self, node: &Node, op: &Conv2d) {
        let kernel = self.shape(node.inputs[1])[2..].to_vec();
        let (mut x, w) = (self.value(node.inputs[0]), self.value(node.inputs[1]));
        let b = self.shaped(node.inputs[2], &[node.shape[1]]);
        let mut pads = op.padding;
        if op.replicate {
            let around = [0, 0, pads[0], pads[1], 0, 0, pads[2], pads[3]];
            let around = self.int64s("pads", &[8], around.iter().map(|&pad| pad as i64));
            x = self.then("Pad", &[&x, &around], vec![text("mode", "edge")]);
            pads = [0; 4];
        }
        let attributes = vec![
            ints("kernel_shape", &kernel),
            ints("strides", &op.stride),
            ints("dilations", &op.dilation),
            ints("pads", &pads),
            int("group", op.groups),
        ];
        self.put("Conv", &[&x, &w, &b], attributes, &node.name);
    }

    /// Writes a convolution for each cell, and joins their results.
    fn local_conv2d(&mut self, node: &Node, op: &LocalConv2d) {
        let [_, outputs, rows, columns] = node.shape.nchw();
        let kernel = self.shape(node.inputs[1])[2];
        let (down, across) = (rows / op.side, columns / op.side);
        let (x, w) = (self.value(node.inputs[0]), self.value(node.inputs[1]));
        let b = self.shaped(node.inputs[2], &[down * across * outputs]);
        let mut bands = Vec::new();
        for row in 0..down {
            let mut cells = Vec::new();
            for column in 0..across {
                let first = (row * across + column) * outputs;
                let [w, b] = [&w, &b].map(|all| self.sliced(all, &[0], &[first], outputs));
                let seen = self.sliced(&x, &[2, 3], &[row * op.side, column * op.side], op.side + kernel - 1);
                cells.push(self.then("Conv", &[&seen, &w, &b], vec![ints("kernel_shape", &[kernel; 2])]));
            }
            let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
            bands.push(self.then("Concat", &cells, vec![int("axis", 3)]));
        }
        let bands: Vec<&str> = bands.iter().map(String::as_str).collect();
        self.put("Concat", &bands, vec![int("axis", 2)], &node.name);
    }

    /// Returns the part of a value that begins at `first` and has the length `len` on each of these axes.
    fn sliced(&mut self, value: &str, axes: &[usize], first: &[usize], len: usize) -> String {
        let mut bounds = |values: Vec<usize>| self.int64s("bound", &[axes.len()], values.into_iter().map(|v| v as i64));
        let (begin, end) = (bounds(first.to_vec()), bounds(first.iter().map(|first| first + len).collect()));
        let axes = bounds(axes.to_vec());
        self.then("Slice", &[value, &begin, &end, &axes], vec![])
    }

    /// Writes functions of one or two values, comparisons and logic.
    fn pointwise(&mut self, node: &Node, op: &dyn Op) {
        let y = node.name.as_str();
        let inputs: Vec<String> = node.inputs.iter().map(|&input| self.value(input)).collect();
        let names: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let x = names[0];
        let scalar = |writer: &mut Self, value: f32| writer.floats("constant", &[], &[value]);
        let parameters = of::<Unary>(op).map_or([0.0; 2], Unary::values);
        match op.name() {
            "silu" => {
                let s = self.then("Sigmoid", &[x], vec![]);
                self.put("Mul", &[x, &s], vec![], y);
            }
            "mish" => {
                let s = self.then("Softplus", &[x], vec![]);
                let t = self.then("Tanh", &[&s], vec![]);
                self.put("Mul", &[x, &t], vec![], y);
            }
            "gelu" => {
                // x·(1 + erf(x/√2))/2
                let [root, one, half] = [std::f32::consts::FRAC_1_SQRT_2, 1.0, 0.5].map(|v| scalar(self, v));
                let a = self.then("Mul", &[x, &root], vec![]);
                let a = self.then("Erf", &[&a], vec![]);
                let a = self.then("Add", &[&a, &one], vec![]);
                let a = self.then("Mul", &[x, &a], vec![]);
                self.put("Mul", &[&a, &half], vec![], y);
            }
            "gelu_tanh" => {
                // x·sigmoid(√(8/π)·(x + 0.044715·x³)), which is x·(1 + tanh(…/2))/2.
                let [cube, root, three] =
                    [0.044_715, (8.0 / std::f32::consts::PI).sqrt(), 3.0].map(|v| scalar(self, v));
                let a = self.then("Pow", &[x, &three], vec![]);
                let a = self.then("Mul", &[&a, &cube], vec![]);
                let a = self.then("Add", &[x, &a], vec![]);
                let a = self.then("Mul", &[&a, &root], vec![]);
                let a = self.then("Sigmoid", &[&a], vec![]);
                self.put("Mul", &[x, &a], vec![], y);
            }
            "clamp" => {
                let [low, high] = parameters.map(|v| scalar(self, v));
                self.put("Clip", &[x, &low, &high], vec![], y);
            }
            "elu" => self.put("Elu", &[x], vec![float("alpha", parameters[0])], y),
            "hard_sigmoid" => {
                let attributes = vec![float("alpha", parameters[0]), float("beta", parameters[1])];
                self.put("HardSigmoid", &[x], attributes, y);
            }
            "and" | "or" | "xor" | "not" => {
                let bools: Vec<String> = names.iter().map(|x| self.then("Cast", &[x], vec![int("to", BOOL)])).collect();
                let bools: Vec<&str> = bools.iter().map(String::as_str).collect();
                let held = self.then(simple(op.name()).unwrap_or_default(), &bools, vec![]);
                self.put("Cast", &[&held], vec![int("to", INT64)], y);
            }
            "equal" | "greater" | "greater_or_equal" | "less" | "less_or_equal" => {
                let held = self.then(simple(op.name()).unwrap_or_default(), &names, vec![]);
                self.put("Cast", &[&held], vec![int("to", INT64)], y);
            }
            name => self.put(simple(name).unwrap_or_default(), &names, vec![], y),
        }
    }

    /// Writes warp, field and pairwise_distance. Returns whether it could.
    fn geometry(&mut self, node: &Node, op: &dyn Op) -> Result<bool> {
        let y = node.name.as_str();
        if let Some(op) = of::<Warp>(op) {
            let [_, _, h, w] = self.shape(node.inputs[0]).nchw();
            if h == 1 || w == 1 {
                let problem = "GridSample cannot sample pictures of one row or column; use larger ones";
                return Err(Error::graph(y, problem));
            }
            // GridSample counts positions from −1 to 1.
            let (x, f) = (self.value(node.inputs[0]), self.value(node.inputs[1]));
            let last = self.then("Transpose", &[&f], vec![ints("perm", &[0, 2, 3, 1])]);
            let scale = self.floats("scale", &[2], &[w, h].map(|size| (2.0 / (size - 1) as f64) as f32));
            let one = self.floats("one", &[], &[1.0]);
            let scaled = self.then("Mul", &[&last, &scale], vec![]);
            let grid = self.then("Sub", &[&scaled, &one], vec![]);
            let border = if op.border == Border::Zero { "zeros" } else { "border" };
            let attributes = vec![int("align_corners", 1), text("mode", "bilinear"), text("padding_mode", border)];
            self.put("GridSample", &[&x, &grid], attributes, y);
        } else if op.name() == "field" {
            // c [N,1,1,K] times b [2,K,H·W] is [N,2,1,H·W].
            let [n, _, h, w] = node.shape.nchw();
            let k = self.shape(node.inputs[2])[1];
            let z = self.value(node.inputs[0]);
            let b = self.shaped(node.inputs[1], &[2, k, h * w]);
            let c = self.shaped(node.inputs[2], &[n, 1, 1, k]);
            let moved = self.then("MatMul", &[&c, &b], vec![]);
            let moved = self.reshaped(&moved, &[n, 2, h, w]);
            self.put("Add", &[&z, &moved], vec![], y);
        } else {
            let [n, d, m] = [self.shape(node.inputs[0])[0], self.shape(node.inputs[0])[1], node.shape[1]];
            let a = self.shaped(node.inputs[0], &[n, 1, d, 1]);
            let b = self.shaped(node.inputs[1], &[1, m, d, 1]);
            let difference = self.then("Sub", &[&a, &b], vec![]);
            self.put("ReduceSumSquare", &[&difference], vec![ints("axes", &[2]), int("keepdims", 1)], y);
        }
        Ok(true)
    }

    /// Writes a resize as products with the matrices of its weights: no attribute of ONNX's Resize describes MATLAB's borders.
    fn resize(&mut self, node: &Node, op: &Resize, io: &Io) {
        let mut matrix = |axis: usize, is_transposed: bool| {
            let (inputs, outputs) = (io.x[0][2 + axis], io.y[2 + axis]);
            let taps = taps(op, axis, inputs, outputs);
            let mut all = vec![0.0f64; inputs * outputs];
            for o in 0..outputs {
                for (i, weight) in taps.of(o) {
                    all[if is_transposed { i * outputs + o } else { o * inputs + i }] += weight;
                }
            }
            let dims = if is_transposed { [inputs, outputs] } else { [outputs, inputs] };
            let all: Vec<f32> = all.iter().map(|&weight| weight as f32).collect();
            self.floats(["rows", "columns"][axis], &dims, &all)
        };
        let (rows, columns) = (matrix(0, false), matrix(1, true));
        let x = self.value(node.inputs[0]);
        let narrow = self.then("MatMul", &[&rows, &x], vec![]);
        self.put("MatMul", &[&narrow, &columns], vec![], &node.name);
    }

    /// Writes a view: what each axis of x takes, then the order of the axes, then repetition.
    fn view(&mut self, node: &Node, op: &View) {
        let shape = self.shape(node.inputs[0]);
        let mut x = self.value(node.inputs[0]);
        let walk = |axis: usize| op.axes.iter().find(|walked| walked.source == Some(axis));
        for axis in 0..shape.rank() {
            let (start, size) = (op.start[axis], shape[axis] as i64);
            // An axis that is not walked, or stays where it is, has one position.
            let (step, count) = match walk(axis) {
                Some(walked) if walked.step != 0 => (walked.step, walked.len as i64),
                _ => (1, 1),
            };
            let at = |k: i64| start + k * step;
            let is_inside = |k: &i64| (0..size).contains(&at(*k));
            let inside: Vec<i64> = (0..count).filter(is_inside).collect();
            if inside.len() as i64 == count && step == 1 && count == size {
                continue;
            }
            if matches!(op.border, Outside::None | Outside::Constant(_)) || inside.len() as i64 == count {
                // Positions inside are neighbours, because the step is the same everywhere.
                let (first, last) = (inside.first().copied().unwrap_or(0), inside.last().copied().unwrap_or(-1));
                if !(step == 1 && inside.len() as i64 == size) {
                    let (begin, end) = (at(first), at(last) + step.signum());
                    // Before the first position, ONNX counts from the end.
                    let end = if end < 0 { i64::MIN } else { end };
                    let empty = inside.is_empty();
                    let bounds = [if empty { 0 } else { begin }, if empty { 0 } else { end }, axis as i64, step];
                    let names = bounds.map(|bound| self.int64s("bound", &[1], [bound]));
                    x = self.then("Slice", &[&x, &names[0], &names[1], &names[2], &names[3]], vec![]);
                }
                if inside.len() as i64 != count {
                    let constant = if let Outside::Constant(value) = op.border { value } else { 0.0 };
                    let (before, after) = if inside.is_empty() { (count, 0) } else { (first, count - 1 - last) };
                    let mut pads = vec![0; 2 * shape.rank()];
                    (pads[axis], pads[shape.rank() + axis]) = (before, after);
                    let pads = self.int64s("pads", &[pads.len()], pads);
                    let constant = match op.dtype {
                        DType::F32 => self.floats("constant", &[], &[constant]),
                        DType::I32 | DType::U32 => self.int64s("constant", &[], [constant as i64]),
                    };
                    x = self.then("Pad", &[&x, &pads, &constant], vec![text("mode", "constant")]);
                }
            } else {
                let place = |k: i64| match op.border {
                    Outside::Reflect if at(k) < 0 => -at(k),
                    Outside::Reflect if at(k) >= size => 2 * (size - 1) - at(k),
                    _ => at(k).clamp(0, size - 1),
                };
                let places = self.int64s("places", &[count as usize], (0..count).map(place));
                x = self.then("Gather", &[&x, &places], vec![int("axis", axis)]);
            }
        }
        let walked: Vec<usize> = op.axes.iter().filter_map(|axis| axis.source).collect();
        let order: Vec<usize> =
            walked.iter().copied().chain((0..shape.rank()).filter(|axis| !walked.contains(axis))).collect();
        if !order.iter().copied().eq(0..order.len()) {
            x = self.then("Transpose", &[&x], vec![ints("perm", &order)]);
        }
        let is_repeated = |axis: &crate::ops::view::Axis| axis.source.is_none() || axis.step == 0;
        let once: Vec<usize> = op.axes.iter().map(|axis| if is_repeated(axis) { 1 } else { axis.len }).collect();
        if walked.len() == shape.rank() && once == node.shape[..] {
            return self.put("Identity", &[&x], vec![], &node.name);
        }
        if once == node.shape[..] {
            return self.put_reshaped(&x, &once, &node.name);
        }
        let x = self.reshaped(&x, &once);
        let to = self.int64s("shape", &[node.shape.rank()], node.shape.iter().map(|&d| d as i64));
        self.put("Expand", &[&x, &to], vec![], &node.name);
    }

    fn normalize(&mut self, node: &Node, op: &Normalize) {
        let y = node.name.as_str();
        let x = self.value(node.inputs[0]);
        match op.over {
            Over::AxesFrom(axis) => {
                let (w, b) = (self.value(node.inputs[1]), self.value(node.inputs[2]));
                let attributes = vec![int("axis", axis), float("epsilon", op.eps)];
                self.put("LayerNormalization", &[&x, &w, &b], attributes, y);
            }
            Over::Groups(groups) => {
                let (n, channels) = (node.shape[0], node.shape[1]);
                let lines = self.reshaped(&x, &[n, groups, len(&node.shape) / n / groups]);
                let one = self.floats("one", &[groups], &vec![1.0; groups]);
                let zero = self.floats("zero", &[groups], &vec![0.0; groups]);
                let attributes = vec![float("epsilon", op.eps)];
                let standard = self.then("InstanceNormalization", &[&lines, &one, &zero], attributes);
                let standard = self.reshaped(&standard, &node.shape);
                let mut dims = vec![1; node.shape.rank() - 1];
                dims[0] = channels;
                let (w, b) = (self.shaped(node.inputs[1], &dims), self.shaped(node.inputs[2], &dims));
                let scaled = self.then("Mul", &[&standard, &w], vec![]);
                self.put("Add", &[&scaled, &b], vec![], y);
            }
        }
    }

    /// Writes the maximum and its position: the axes are brought to the end and made one.
    fn extremum(&mut self, index: usize, node: &Node, op: &Extremum) {
        let shape = self.shape(node.inputs[0]);
        let mut x = self.value(node.inputs[0]);
        let mut axes = op.axes.axes.clone();
        axes.sort_unstable();
        let kept: Vec<usize> = (0..shape.rank()).filter(|axis| !axes.contains(axis)).collect();
        let order: Vec<usize> = kept.iter().chain(&axes).copied().collect();
        if !order.iter().copied().eq(0..shape.rank()) {
            x = self.then("Transpose", &[&x], vec![ints("perm", &order)]);
        }
        let terms: usize = axes.iter().map(|&axis| shape[axis]).product();
        let mut dims: Vec<usize> = kept.iter().map(|&axis| shape[axis]).collect();
        dims.push(terms);
        let lines = self.reshaped(&x, &dims);
        let (reduce, position) = if op.largest { ("ReduceMax", "ArgMax") } else { ("ReduceMin", "ArgMin") };
        let last = dims.len() - 1;
        let value = self.then(reduce, &[&lines], vec![ints("axes", &[last]), int("keepdims", 0)]);
        let at = self.then(position, &[&lines], vec![int("axis", last), int("keepdims", 0)]);
        self.put_reshaped(&value, &node.shape, &node.name);
        let indices = self.graph.nodes()[index + 1].name.clone();
        self.put_reshaped(&at, &node.shape, &indices);
    }

    /// Writes the other operations. Returns whether `op` is one of them.
    fn other(&mut self, index: usize, node: &Node, op: &dyn Op) -> Result<bool> {
        let y = node.name.as_str();
        if op.name() == "linear" || of::<BatchNorm>(op).is_some() {
            return self.layer(node, op);
        }
        let inputs: Vec<String> = node.inputs.iter().map(|&input| self.value(input)).collect();
        let x = inputs[0].as_str();
        if let Some(op) = of::<MaxPool2d>(op) {
            return Ok(self.pool(node, &op.windows, "Max", vec![]));
        } else if let Some(op) = of::<AvgPool2d>(op) {
            let counts = int("count_include_pad", i64::from(op.count_include_pad));
            return Ok(self.pool(node, &op.windows, "Average", vec![counts]));
        } else if let Some(op) = of::<LeakyRelu>(op) {
            self.put("LeakyRelu", &[x], vec![float("alpha", op.slope)], y);
        } else if let Some(op) = of::<L2Normalize>(op) {
            let eps = self.floats("eps", &[], &[op.eps * op.eps]);
            let squares = self.then("ReduceSumSquare", &[x], vec![ints("axes", &[1, 3]), int("keepdims", 1)]);
            let sum = self.then("Add", &[&squares, &eps], vec![]);
            let length = self.then("Sqrt", &[&sum], vec![]);
            self.put("Div", &[x, &length], vec![], y);
        } else if let Some(op) = of::<Matmul>(op) {
            let mut sides = [inputs[0].clone(), inputs[1].clone()];
            for (k, is_transposed) in [op.transpose_a, op.transpose_b].into_iter().enumerate() {
                if is_transposed {
                    let rank = self.shape(node.inputs[k]).rank();
                    let mut order: Vec<usize> = (0..rank).collect();
                    order.swap(rank - 2, rank - 1);
                    sides[k] = self.then("Transpose", &[&sides[k].clone()], vec![ints("perm", &order)]);
                }
            }
            self.put("MatMul", &[&sides[0], &sides[1]], vec![], y);
        } else if let Some(op) = of::<CumulativeSum>(op) {
            let axis = self.int64s("axis", &[], [op.axis as i64]);
            let attributes = vec![int("exclusive", i64::from(op.exclusive)), int("reverse", i64::from(op.reverse))];
            self.put("CumSum", &[x, &axis], attributes, y);
        } else if let Some(op) = of::<OneHot>(op) {
            let depth = self.int64s("classes", &[], [op.classes as i64]);
            let values = self.floats("values", &[2], &[0.0, 1.0]);
            self.put("OneHot", &[x, &depth, &values], vec![int("axis", op.axis)], y);
        } else if let Some(op) = of::<Cast>(op) {
            self.cast(x, op, y);
        } else if let Some(op) = of::<Concat>(op) {
            self.put("Concat", &[x, &inputs[1]], vec![int("axis", op.axis)], y);
        } else if let Some(op) = of::<Gather>(op) {
            let name = if op.elements { "GatherElements" } else { "Gather" };
            self.put(name, &[x, &inputs[1]], vec![int("axis", op.axis)], y);
        } else if let Some(op) = of::<Resample>(op) {
            self.resample(node, op);
        } else if let Some(op) = of::<ScatterAdd>(op) {
            self.scatter_add(node, op);
        } else if let Some(op) = of::<PixelShuffle>(op) {
            self.put("DepthToSpace", &[x], vec![int("blocksize", op.factor), text("mode", "CRD")], y);
        } else if let Some(op) = of::<Softmax>(op) {
            self.put(if op.log { "LogSoftmax" } else { "Softmax" }, &[x], vec![int("axis", op.axis)], y);
        } else if let Some(op) = of::<TopK>(op) {
            let k = self.int64s("k", &[1], [op.k as i64]);
            let indices = self.graph.nodes()[index + 1].name.clone();
            let attributes = vec![int("axis", op.axis), int("largest", i64::from(op.largest)), int("sorted", 1)];
            self.put_all("TopK", &[x, &k], attributes, &[y, &indices]);
        } else if let Some(op) = of::<Reduce>(op) {
            let keep = int("keepdims", i64::from(op.axes.keep));
            let value = match op.kind {
                Reduction::Sum => {
                    let axes = self.int64s("axes", &[op.axes.axes.len()], op.axes.axes.iter().map(|&axis| axis as i64));
                    self.then("ReduceSum", &[x, &axes], vec![keep])
                }
                kind => {
                    let name = match kind {
                        Reduction::Mean => "ReduceMean",
                        Reduction::Product => "ReduceProd",
                        _ => "ReduceL2",
                    };
                    self.then(name, &[x], vec![ints("axes", &op.axes.axes), keep])
                }
            };
            // Without any dimension, ours has one of size 1.
            self.put_reshaped(&value, &node.shape, y);
        } else {
            match op.name() {
                "gate" => {
                    let [a, b, g] = [0, 1, 2].map(|k| inputs[k].as_str());
                    let one = self.floats("one", &[], &[1.0]);
                    let rest = self.then("Sub", &[&one, g], vec![]);
                    let (a, b) = (self.then("Mul", &[&rest, a], vec![]), self.then("Mul", &[g, b], vec![]));
                    self.put("Add", &[&a, &b], vec![], y);
                }
                "select" => {
                    let c = self.then("Cast", &[x], vec![int("to", BOOL)]);
                    self.put("Where", &[&c, &inputs[1], &inputs[2]], vec![], y);
                }
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Writes the maxima or means of windows. Returns whether it could: ONNX has neither windows of different sizes nor, in this
    /// version, dilated means.
    fn pool(&mut self, node: &Node, windows: &Windows, kind: &str, mut more: Vec<Attribute>) -> bool {
        let mut x = self.value(node.inputs[0]);
        let [_, _, h, w] = self.shape(node.inputs[0]).nchw();
        let mut sliding = match windows {
            Windows::Adaptive([1, 1]) => {
                self.put(&format!("Global{kind}Pool"), &[&x], vec![], &node.name);
                return true;
            }
            Windows::Adaptive([rows, columns]) if h % rows == 0 && w % columns == 0 => {
                let sides = [h / rows, w / columns];
                Sliding { kernel: sides, stride: sides, ..Sliding::square(1, 1) }
            }
            Windows::Adaptive(_) => return false,
            Windows::Sliding(sliding) => sliding.clone(),
        };
        // Where ONNX rounds up, it also counts windows in the padding alone; so the padding becomes that which the windows reach.
        let reach = |d: usize| (sliding.kernel[d] - 1) * sliding.dilation[d] + 1;
        let needed = |d: usize| {
            let end = (node.shape[2 + d] - 1) * sliding.stride[d] + reach(d);
            end.saturating_sub([h, w][d] + sliding.padding[d])
        };
        let [below, right] = [needed(0), needed(1)];
        let is_within = below <= sliding.padding[2] && right <= sliding.padding[3];
        // A mean that counts the padding does not count what a window has beyond it.
        let counts_padding = more.iter().any(|a| a.name == "count_include_pad" && a.i == Some(1));
        if !counts_padding || is_within {
            (sliding.padding[2], sliding.padding[3], sliding.ceil) = (below, right, false);
        }
        if kind == "Max" {
            more.push(ints("dilations", &sliding.dilation));
            // ONNX Runtime refuses padding as large as the window's count of pixels.
            if (0..4).any(|k| sliding.padding[k] >= sliding.kernel[k % 2]) {
                let [top, left, below, right] = sliding.padding;
                let around = [0, 0, top, left, 0, 0, below, right];
                let around = self.int64s("pads", &[8], around.iter().map(|&pad| pad as i64));
                let least = self.floats("least", &[], &[f32::NEG_INFINITY]);
                x = self.then("Pad", &[&x, &around, &least], vec![text("mode", "constant")]);
                sliding.padding = [0; 4];
            }
        } else if sliding.dilation != [1, 1] {
            return false;
        }
        more.push(ints("kernel_shape", &sliding.kernel));
        more.push(ints("strides", &sliding.stride));
        more.push(ints("pads", &sliding.padding));
        more.push(int("ceil_mode", i64::from(sliding.ceil)));
        self.put(&format!("{kind}Pool"), &[&x], more, &node.name);
        true
    }

    /// Writes a conversion. Ours of f32 clamps, and integers are int64 there: what is too large becomes the largest float32 below 2³².
    fn cast(&mut self, x: &str, op: &Cast, y: &str) {
        if op.to == DType::F32 {
            return self.put("Cast", &[x], vec![int("to", FLOAT)], y);
        }
        let [least, most] = [0.0, 4_294_967_040.0].map(|v| self.floats("constant", &[], &[v]));
        let clamped = self.then("Clip", &[x, &least, &most], vec![]);
        self.put("Cast", &[&clamped], vec![int("to", INT64)], y);
    }

    /// Writes the taps of each output as an axis of their own, which is summed.
    fn resample(&mut self, node: &Node, op: &Resample) {
        let (x, indices) = (self.value(node.inputs[0]), self.value(node.inputs[1]));
        let mut dims = self.shape(node.inputs[1]).to_vec();
        dims.resize(self.shape(node.inputs[0]).rank() - op.axis + 1, 1);
        let w = self.shaped(node.inputs[2], &dims);
        let taps = self.then("Gather", &[&x, &indices], vec![int("axis", op.axis)]);
        let terms = self.then("Mul", &[&taps, &w], vec![]);
        let axis = self.int64s("axes", &[1], [op.axis as i64 + 1]);
        self.put("ReduceSum", &[&terms, &axis], vec![int("keepdims", 0)], &node.name);
    }

    /// Writes scatter_add: ScatterElements has an index for every update.
    fn scatter_add(&mut self, node: &Node, op: &ScatterAdd) {
        let [x, mut indices, mut updates] = [0, 1, 2].map(|k| self.value(node.inputs[k]));
        if !op.elements {
            let mut dims = self.shape(node.inputs[0]).to_vec();
            dims[op.axis] = len(&self.shape(node.inputs[1]));
            updates = self.reshaped(&updates, &dims);
            let line: Vec<usize> = (0..dims.len()).map(|axis| if axis == op.axis { dims[axis] } else { 1 }).collect();
            let once = self.reshaped(&indices, &line);
            let to = self.int64s("shape", &[dims.len()], dims.iter().map(|&d| d as i64));
            indices = self.then("Expand", &[&once, &to], vec![]);
        }
        let attributes = vec![int("axis", op.axis), text("reduction", "add")];
        self.put("ScatterElements", &[&x, &indices, &updates], attributes, &node.name);
    }

    /// Writes linear and batch_norm. Returns whether it could.
    fn layer(&mut self, node: &Node, op: &dyn Op) -> Result<bool> {
        let y = node.name.as_str();
        let x = self.value(node.inputs[0]);
        match of::<BatchNorm>(op) {
            Some(BatchNorm { training: true, .. }) => {
                let problem =
                    "batch_norm with the statistics of the batch is for training; export the network for inference";
                return Err(Error::graph(y, problem));
            }
            Some(op) => {
                let [w, b, mean, variance] = [1, 2, 3, 4].map(|k| self.value(node.inputs[k]));
                let attributes = vec![float("epsilon", op.eps)];
                self.put("BatchNormalization", &[&x, &w, &b, &mean, &variance], attributes, y);
            }
            None => {
                let shape = self.shape(node.inputs[0]);
                let [o, d] = [node.shape[1], len(&shape) / shape[0]];
                let flat = self.then("Flatten", &[&x], vec![int("axis", 1)]);
                let (w, b) = (self.shaped(node.inputs[1], &[o, d]), self.shaped(node.inputs[2], &[o]));
                let rows = self.then("Gemm", &[&flat, &w, &b], vec![int("transB", 1)]);
                let last = self.int64s("axes", &[2], [2, 3]);
                self.put("Unsqueeze", &[&rows, &last], vec![], y);
            }
        }
        Ok(true)
    }
}

/// Returns the ONNX operator without attributes that is the operation `name`.
fn simple(name: &str) -> Option<&'static str> {
    Some(match name {
        "abs" => "Abs",
        "add" => "Add",
        "and" => "And",
        "atan" => "Atan",
        "ceil" => "Ceil",
        "cos" => "Cos",
        "div" => "Div",
        "equal" => "Equal",
        "erf" => "Erf",
        "exp" => "Exp",
        "floor" => "Floor",
        "greater" => "Greater",
        "greater_or_equal" => "GreaterOrEqual",
        "hard_swish" => "HardSwish",
        "less" => "Less",
        "less_or_equal" => "LessOrEqual",
        "log" => "Log",
        "max" => "Max",
        "min" => "Min",
        "mul" => "Mul",
        "neg" => "Neg",
        "not" => "Not",
        "or" => "Or",
        "pow" => "Pow",
        "prelu" => "PRelu",
        "reciprocal" => "Reciprocal",
        "relu" => "Relu",
        "round" => "Round",
        "sigmoid" => "Sigmoid",
        "sign" => "Sign",
        "sin" => "Sin",
        "softplus" => "Softplus",
        "sqrt" => "Sqrt",
        "sub" => "Sub",
        "tanh" => "Tanh",
        "xor" => "Xor",
        _ => return None,
    })
}
