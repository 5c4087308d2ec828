//! The references against numbers from PyTorch (tests/golden, made by tools/golden.py); no adapter. This is the only
//! guard against one misunderstanding shared by an operation's reference, derivative and shader.
//! One test per operation: `cargo test --test ops_golden -- warp` reruns one.

use lineament::ops::*;
use lineament::tensor::{DType, Shape, len, position};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// Largest |ours − theirs| / (1 + |theirs|); both are f64, theirs with eight digits.
const LIMIT: f64 = 1e-6;

/// Returns the operation described by a file's name and a case's attributes.
fn operation(name: &str, a: &Value) -> Result<Arc<dyn Op>, String> {
    Ok(match name {
        "avg_pool2d" => Arc::new(avg_pool2d::AvgPool2d {
            windows: windows_of(a)?,
            count_include_pad: a["count_include_pad"].as_bool().unwrap_or(true),
        }),
        "conv2d" => Arc::new(conv2d::Conv2d {
            stride: pair(&a["stride"])?,
            dilation: pair(&a["dilation"])?,
            padding: four(&a["padding"])?,
            replicate: flag(&a["replicate"])?,
            groups: integer(&a["groups"])?,
            fusion: None,
        }),
        "batch_norm" => Arc::new(batch_norm::BatchNorm {
            training: flag(&a["training"])?,
            momentum: number(&a["momentum"])? as f32,
            eps: number(&a["eps"])? as f32,
        }),
        "conv3x3" => Arc::new(conv2d::Conv2d::same(3)),
        "conv_transpose2d" => Arc::new(conv_transpose2d::ConvTranspose2d {
            stride: pair(&a["stride"])?,
            padding: pair(&a["padding"])?,
            output_padding: pair(&a["output_padding"])?,
            dilation: pair(&a["dilation"])?,
            groups: integer(&a["groups"])?,
        }),
        "cross_entropy" => Arc::new(cross_entropy::CrossEntropy { reduction: reduction(&a["reduction"])? }),
        "cumulative_sum" => Arc::new(cumulative_sum::CumulativeSum {
            axis: integer(&a["axis"])?,
            exclusive: flag(&a["exclusive"])?,
            reverse: flag(&a["reverse"])?,
        }),
        "extremum" => Arc::new(extremum::Extremum { largest: flag(&a["largest"])?, axes: axes(a)? }),
        "gate" => Arc::new(gate::Gate),
        "gather" => Arc::new(gather::Gather { axis: integer(&a["axis"])?, elements: flag(&a["elements"])? }),
        "leaky_relu" => Arc::new(leaky_relu::LeakyRelu { slope: number(&a["slope"])? as f32 }),
        "linear" => Arc::new(linear::Linear),
        "local_conv2d" => Arc::new(local_conv2d::LocalConv2d { side: integer(&a["side"])? }),
        "max_pool2d" => Arc::new(max_pool2d::MaxPool2d { windows: windows_of(a)? }),
        "loss" => Arc::new(loss::Loss {
            penalty: match (a["penalty"].as_str(), a["eps"].as_f64()) {
                (Some("huber"), _) => loss::Penalty::Huber { delta: number(&a["delta"])? as f32 },
                (Some("hinge"), _) => loss::Penalty::Hinge,
                (Some("bce"), _) => loss::Penalty::BinaryCrossEntropy,
                (None, None) => loss::Penalty::Square,
                (None, Some(eps)) => loss::Penalty::Charbonnier { eps: eps as f32 },
                _ => return Err(format!("unknown penalty {}", a["penalty"])),
            },
            reduction: reduction(&a["reduction"])?,
            weighted: flag(&a["weighted"])?,
        }),
        "quintuplet" => {
            let margins: [f64; 3] = numbers(&a["margins"])?.try_into().map_err(|_| "three margins")?;
            Arc::new(quintuplet::Quintuplet {
                margins: margins.map(|g| g as f32),
                reduction: reduction(&a["reduction"])?,
            })
        }
        "matmul" => {
            Arc::new(matmul::Matmul { transpose_a: flag(&a["transpose_a"])?, transpose_b: flag(&a["transpose_b"])? })
        }
        "normalize" => Arc::new(normalize::Normalize {
            over: match a["groups"].as_u64() {
                Some(groups) => normalize::Over::Groups(groups as usize),
                None => normalize::Over::AxesFrom(integer(&a["axes_from"])?),
            },
            eps: number(&a["eps"])? as f32,
        }),
        "pairwise_distance" => Arc::new(pairwise_distance::PairwiseDistance),
        "pixel_shuffle" => Arc::new(pixel_shuffle::PixelShuffle { factor: integer(&a["factor"])? }),
        "pointwise" => {
            let name = a["function"].as_str().ok_or("no function")?;
            let parameters: Vec<f32> = numbers(&a["parameters"])?.into_iter().map(|v| v as f32).collect();
            if let Some(op) = pointwise::Unary::with(name, &parameters) {
                return Ok(Arc::new(op));
            }
            match pointwise::Binary::named(name) {
                Some(op) => Arc::new(op),
                None => Arc::new(pointwise::Compare::named(name).ok_or_else(|| format!("no function {name}"))?),
            }
        }
        "prelu" => Arc::new(prelu::Prelu),
        "reduce" => Arc::new(reduce::Reduce {
            kind: match a["kind"].as_str() {
                Some("sum") => reduce::Kind::Sum,
                Some("mean") => reduce::Kind::Mean,
                Some("l2") => reduce::Kind::L2,
                Some("product") => reduce::Kind::Product,
                _ => return Err(format!("unknown kind {}", a["kind"])),
            },
            axes: axes(a)?,
        }),
        "relu" => Arc::new(relu::Relu),
        "resample" => Arc::new(resample::Resample { axis: integer(&a["axis"])? }),
        "resize" => {
            let [a_num, a_den, b_num, b_den] = shape(&a["scale"])?.nchw().map(|v| v as u32);
            Arc::new(resize::Resize {
                kernel: match a["kernel"].as_str() {
                    Some("nearest") => resize::Kernel::Nearest,
                    Some("bilinear") => resize::Kernel::Bilinear,
                    Some("bicubic") => resize::Kernel::Bicubic,
                    _ => return Err(format!("unknown kernel {}", a["kernel"])),
                },
                antialias: flag(&a["antialias"])?,
                border: match a["border"].as_str() {
                    Some("clamp") => resize::Border::Clamp,
                    _ => return Err(format!("unknown border {}", a["border"])),
                },
                scale: [resize::Ratio { num: a_num, den: a_den }, resize::Ratio { num: b_num, den: b_den }],
                size: None,
            })
        }
        "scatter_add" => {
            Arc::new(scatter_add::ScatterAdd { axis: integer(&a["axis"])?, elements: flag(&a["elements"])? })
        }
        "select" => Arc::new(select::Select),
        "softmax" => Arc::new(softmax::Softmax { axis: integer(&a["axis"])?, log: flag(&a["log"])? }),
        "sigmoid" => Arc::new(pointwise::Unary::named("sigmoid").ok_or("no row")?),
        "top_k" => {
            Arc::new(top_k::TopK { k: integer(&a["k"])?, axis: integer(&a["axis"])?, largest: flag(&a["largest"])? })
        }
        "view" => Arc::new(view(a)?),
        "warp" => Arc::new(warp::Warp {
            border: match a["border"].as_str() {
                Some("zero") => warp::Border::Zero,
                Some("clamp") => warp::Border::Clamp,
                _ => return Err(format!("unknown border {}", a["border"])),
            },
        }),
        _ => return Err(format!("tests/ops_golden.rs does not know the operation {name}")),
    })
}

/// Returns the windows of a pool: those that adapt to a picture if the attributes have a size.
fn windows_of(a: &Value) -> Result<windows::Windows, String> {
    if a["size"].is_array() {
        return Ok(windows::Windows::Adaptive(pair(&a["size"])?));
    }
    Ok(windows::Windows::Sliding(windows::Sliding {
        kernel: pair(&a["kernel"])?,
        stride: pair(&a["stride"])?,
        dilation: pair(&a["dilation"])?,
        padding: four(&a["padding"])?,
        ceil: flag(&a["ceil"])?,
    }))
}

fn axes(a: &Value) -> Result<reduce::Axes, String> {
    Ok(reduce::Axes { axes: integers(&a["axes"])?, keep: flag(&a["keep"])? })
}

fn reduction(value: &Value) -> Result<loss::Reduction, String> {
    match value.as_str() {
        Some("mean") => Ok(loss::Reduction::Mean),
        Some("sum") => Ok(loss::Reduction::Sum),
        _ => Err(format!("unknown reduction {value}")),
    }
}

fn view(a: &Value) -> Result<view::View, String> {
    let axis = |axis: &Value| {
        let source = axis["source"].as_u64().map(|source| source as usize);
        Ok(view::Axis { source, step: number(&axis["step"])? as i64, len: integer(&axis["len"])? })
    };
    let axes: Result<Vec<view::Axis>, String> = a["axes"].as_array().ok_or("no axes")?.iter().map(axis).collect();
    Ok(view::View {
        start: numbers(&a["start"])?.into_iter().map(|v| v as i64).collect(),
        axes: axes?,
        border: match (&a["border"], a["border"].as_str()) {
            (Value::Null, _) => view::Border::None,
            (_, Some("reflect")) => view::Border::Reflect,
            (_, Some("edge")) => view::Border::Edge,
            (value, _) => view::Border::Constant(number(value)? as f32),
        },
        dtype: DType::F32,
    })
}

fn main() {
    let args = libtest_mimic::Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("tests/golden is in the repository")
        .map(|entry| entry.expect("tests/golden can be listed").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    let trials = files
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            libtest_mimic::Trial::test(name.clone(), move || check_file(&name, &path).map_err(Into::into))
        })
        .collect();
    libtest_mimic::run(&args, trials).exit();
}

fn check_file(name: &str, path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let file: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let cases = file["cases"].as_array().filter(|c| !c.is_empty()).ok_or("no cases")?;
    let mut failures = String::new();
    for (index, case) in cases.iter().enumerate() {
        if let Err(problem) = check_case(name, case) {
            failures += &format!(
                "\n{name} case {index} {}: {problem}; rerun: cargo test --test ops_golden -- {name}",
                case["attributes"]
            );
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

fn check_case(name: &str, case: &Value) -> Result<(), String> {
    let op = operation(name, &case["attributes"])?;
    let inputs = case["inputs"].as_object().ok_or("no inputs")?;
    if !inputs.keys().eq(op.inputs()) {
        return Err(format!("the file has inputs {:?}, the operation {:?}", inputs.keys(), op.inputs()));
    }
    let mut shapes = Vec::new();
    let mut x = Vec::new();
    for tensor in inputs.values() {
        shapes.push(shape(&tensor["shape"])?);
        x.push(numbers(&tensor["data"])?);
    }
    let y_shape = op.shape(&shapes).map_err(|e| e.to_string())?;
    let wanted_shape = shape(&case["y"]["shape"])?;
    if y_shape != wanted_shape {
        return Err(format!("y is {wanted_shape:?} there, {y_shape:?} here"));
    }
    let io = Io { x: &shapes, y: y_shape };
    let outputs = reference_outputs(&*op, &io, &x);
    let y = &outputs[0];
    compare("y", &y_shape, y, &numbers(&case["y"]["data"])?)?;
    // Further outputs, and what the operation updates.
    let mut updated = x.clone();
    op.reference_update(&io, &mut updated);
    for (name, wanted) in case["more"].as_object().into_iter().flatten() {
        let ours = match op.outputs().iter().position(|output| output == name) {
            Some(k) => &outputs[k],
            None => &updated[op.inputs().iter().position(|input| input == name).ok_or("no such output")?],
        };
        let shape = Shape::new(&[ours.len()]).ok_or("no shape")?;
        compare(name, &shape, ours, &numbers(wanted)?)?;
    }
    let dx = reference_grad(&*op, &io, &x, y, &numbers(&case["dy"])?);
    for (k, input) in op.inputs().iter().enumerate() {
        let has_none = op.no_grad().iter().any(|(n, _)| n == input);
        match case["gradients"].get(input) {
            Some(wanted) => compare(&format!("d{input}"), &shapes[k], &dx[k], &numbers(wanted)?)?,
            // The derivative of a power for its exponent is NaN in PyTorch where the base is negative.
            None if has_none || op.name() == "pow" => {}
            None => return Err(format!("the file has no gradient for {input}")),
        }
    }
    Ok(())
}

fn compare(what: &str, shape: &Shape, ours: &[f64], theirs: &[f64]) -> Result<(), String> {
    if ours.len() != theirs.len() || ours.len() != len(shape) {
        return Err(format!("{what} has {} elements there, {} here", theirs.len(), ours.len()));
    }
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let error = (a - b).abs() / (1.0 + b.abs());
        // A NaN must not pass as small.
        if error.is_nan() || error > LIMIT {
            return Err(format!("{what} at {:?} is {b} there, {a} here", position(shape, i)));
        }
    }
    Ok(())
}

fn number(value: &Value) -> Result<f64, String> {
    value.as_f64().ok_or_else(|| format!("{value} is no number"))
}

fn numbers(value: &Value) -> Result<Vec<f64>, String> {
    value.as_array().ok_or("a list of numbers is missing")?.iter().map(number).collect()
}

fn flag(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("{value} is neither true nor false"))
}

fn integer(value: &Value) -> Result<usize, String> {
    value.as_u64().map(|v| v as usize).ok_or_else(|| format!("{value} is no integer"))
}

fn integers(value: &Value) -> Result<Vec<usize>, String> {
    Ok(numbers(value)?.into_iter().map(|v| v as usize).collect())
}

fn shape(value: &Value) -> Result<Shape, String> {
    Shape::new(&integers(value)?).ok_or_else(|| format!("{value} is no shape"))
}

fn four(value: &Value) -> Result<[usize; 4], String> {
    integers(value)?.try_into().map_err(|_| format!("{value} does not have four numbers"))
}

fn pair(value: &Value) -> Result<[usize; 2], String> {
    integers(value)?.try_into().map_err(|_| format!("{value} is no pair"))
}
