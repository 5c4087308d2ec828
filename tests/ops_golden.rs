//! The references against numbers from PyTorch (tests/golden, made by tools/golden.py); no adapter. This is the only
//! guard against one misunderstanding shared by an operation's reference, derivative and shader.
//! One test per operation: `cargo test --test ops_golden -- warp` reruns one.

use lineament::ops::*;
use lineament::tensor::{Shape, len, position};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// Largest |ours − theirs| / (1 + |theirs|); both are f64, theirs with nine digits.
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
        "conv3x3" => Arc::new(conv2d::Conv2d::same(3)),
        "conv_transpose2d" => Arc::new(conv_transpose2d::ConvTranspose2d {
            stride: pair(&a["stride"])?,
            padding: pair(&a["padding"])?,
            output_padding: pair(&a["output_padding"])?,
            dilation: pair(&a["dilation"])?,
            groups: integer(&a["groups"])?,
        }),
        "gate" => Arc::new(gate::Gate),
        "leaky_relu" => Arc::new(leaky_relu::LeakyRelu { slope: number(&a["slope"])? as f32 }),
        "linear" => Arc::new(linear::Linear),
        "max_pool2d" => Arc::new(max_pool2d::MaxPool2d { windows: windows_of(a)? }),
        "loss" => Arc::new(loss::Loss {
            penalty: match a["eps"].as_f64() {
                None => loss::Penalty::Square,
                Some(eps) => loss::Penalty::Charbonnier { eps: eps as f32 },
            },
            reduction: match a["reduction"].as_str() {
                Some("mean") => loss::Reduction::Mean,
                Some("sum") => loss::Reduction::Sum,
                _ => return Err(format!("unknown reduction {}", a["reduction"])),
            },
            weighted: flag(&a["weighted"])?,
        }),
        "pairwise_distance" => Arc::new(pairwise_distance::PairwiseDistance),
        "pixel_shuffle" => Arc::new(pixel_shuffle::PixelShuffle { factor: integer(&a["factor"])? }),
        "prelu" => Arc::new(prelu::Prelu),
        "relu" => Arc::new(relu::Relu),
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
        "sigmoid" => Arc::new(pointwise::Unary::named("sigmoid").ok_or("no row")?),
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
    let y = reference(&*op, &io, &x);
    compare("y", &y_shape, &y, &numbers(&case["y"]["data"])?)?;
    let dx = reference_grad(&*op, &io, &x, &y, &numbers(&case["dy"])?);
    for (k, input) in op.inputs().iter().enumerate() {
        let has_none = op.no_grad().iter().any(|(n, _)| n == input);
        match case["gradients"].get(input) {
            Some(wanted) => compare(&format!("d{input}"), &shapes[k], &dx[k], &numbers(wanted)?)?,
            None if has_none => {}
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
