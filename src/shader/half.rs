//! Storage as f16: rewrites a shader so that some of its arrays of f32 hold f16.
//!
//! Every kernel is written once, for f32. naga says where it loads from an array and stores to it, and there the text gets a
//! conversion: `x[i]` becomes `f32(x[i])`, and `y[i] = v;` becomes `y[i] = f16(v);`. Arithmetic, workgroup memory and sums stay f32.

use naga::{Expression, Function, Handle, Span, Statement, TypeInner};
use std::collections::BTreeSet;

type Arrays = BTreeSet<Handle<naga::GlobalVariable>>;

/// Returns `text` with the arrays `names`, of f32 or of vec4 of f32, stored as f16.
///
/// # Errors
/// The WGSL is invalid; a name is not such an array; a statement reads and writes an array at once.
pub fn stored_as_half(text: &str, names: &[impl AsRef<str>]) -> Result<String, String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
    let mut arrays = Arrays::new();
    let mut edits: Vec<Edit> = Vec::new();
    for name in names.iter().map(AsRef::as_ref) {
        let found = module.global_variables.iter().find(|(_, v)| v.name.as_deref() == Some(name));
        let (handle, variable) = found.ok_or_else(|| format!("there is no array {name}"))?;
        let width = match &module.types[variable.ty].inner {
            TypeInner::Array { base, .. } => width_of(&module.types[*base].inner),
            _ => None,
        };
        let ty = format!("{}>", width.ok_or_else(|| format!("{name} is not an array of f32 or vec4<f32>"))?.array());
        let declared = declaration(text, name).ok_or_else(|| format!("the declaration of {name} was not found"))?;
        edits.push(Edit { at: declared.0, insert: ty, skip: declared.1 - declared.0 });
        arrays.insert(handle);
    }
    let functions = module.functions.iter().map(|(_, f)| f).chain(module.entry_points.iter().map(|e| &e.function));
    for function in functions {
        for (handle, expression) in function.expressions.iter() {
            if let Expression::Load { pointer } = *expression
                && let Some(width) = accessed(&module, function, pointer, &arrays)
            {
                let range = range(function.expressions.get_span(handle), text)?;
                edits.push(Edit { at: range.0, insert: format!("{}(", width.loaded()), skip: 0 });
                edits.push(Edit { at: range.1, insert: ")".into(), skip: 0 });
            }
        }
        stores(&function.body, &mut |pointer| {
            let Some(width) = accessed(&module, function, pointer, &arrays) else { return Ok(()) };
            let (_, end) = range(function.expressions.get_span(pointer), text)?;
            let line = text[end..].lines().next().unwrap_or_default();
            let value =
                text[end..].trim_start().strip_prefix('=').filter(|value| value.starts_with(char::is_whitespace));
            let value = value.ok_or_else(|| format!("expected an assignment, found {line:?}"))?;
            let value = value.trim_start();
            let begin = text.len() - value.len();
            let length = value.find(';').ok_or_else(|| format!("the assignment does not end: {line:?}"))?;
            edits.push(Edit { at: begin, insert: format!("{}(", width.stored()), skip: 0 });
            edits.push(Edit { at: begin + length, insert: ")".into(), skip: 0 });
            Ok(())
        })?;
    }
    // At one position, the parenthesis that closes comes first, and what is stored encloses what is loaded.
    edits.sort_by_key(|edit| (edit.at, edit.insert != ")", edit.insert.contains("f32")));
    let mut out = "enable f16;\n".to_owned();
    let mut at = 0;
    for edit in edits {
        out += &text[at..edit.at];
        out += &edit.insert;
        at = edit.at + edit.skip;
    }
    Ok(out + &text[at..])
}

/// Text to insert at a position, in place of what is skipped.
struct Edit {
    at: usize,
    insert: String,
    skip: usize,
}

/// Elements that are read or written together.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Width {
    One,
    Four,
}

impl Width {
    fn array(self) -> &'static str {
        match self {
            Self::One => "array<f16",
            Self::Four => "array<vec4<f16>",
        }
    }
    fn loaded(self) -> &'static str {
        match self {
            Self::One => "f32",
            Self::Four => "vec4<f32>",
        }
    }
    fn stored(self) -> &'static str {
        match self {
            Self::One => "f16",
            Self::Four => "vec4<f16>",
        }
    }
}

fn width_of(element: &TypeInner) -> Option<Width> {
    match element {
        TypeInner::Scalar(naga::Scalar::F32) => Some(Width::One),
        TypeInner::Vector { size: naga::VectorSize::Quad, scalar: naga::Scalar::F32 } => Some(Width::Four),
        _ => None,
    }
}

/// Returns how much of one of `arrays` `pointer` points to; `None` if it points elsewhere.
fn accessed(module: &naga::Module, function: &Function, pointer: Handle<Expression>, arrays: &Arrays) -> Option<Width> {
    let (mut at, mut depth) = (pointer, 0);
    loop {
        match function.expressions[at] {
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => (at, depth) = (base, depth + 1),
            Expression::GlobalVariable(global) if arrays.contains(&global) && depth > 0 => {
                let TypeInner::Array { base, .. } = module.types[module.global_variables[global].ty].inner else {
                    return None;
                };
                // A component of an element is one number.
                return if depth == 1 { width_of(&module.types[base].inner) } else { Some(Width::One) };
            }
            _ => return None,
        }
    }
}

/// Calls `found` with the pointer of every store, in blocks within blocks too.
fn stores(block: &naga::Block, found: &mut impl FnMut(Handle<Expression>) -> Result<(), String>) -> Result<(), String> {
    for statement in block.iter() {
        match statement {
            Statement::Store { pointer, .. } => found(*pointer)?,
            Statement::Block(block) => stores(block, found)?,
            Statement::If { accept, reject, .. } => {
                stores(accept, found)?;
                stores(reject, found)?;
            }
            Statement::Switch { cases, .. } => cases.iter().try_for_each(|case| stores(&case.body, found))?,
            Statement::Loop { body, continuing, .. } => {
                stores(body, found)?;
                stores(continuing, found)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn range(span: Span, text: &str) -> Result<(usize, usize), String> {
    let range = span.to_range().filter(|range| range.end <= text.len());
    range.map(|range| (range.start, range.end)).ok_or_else(|| "naga does not say where an array is used".to_owned())
}

/// Returns where the type of the storage variable `name` begins and ends.
fn declaration(text: &str, name: &str) -> Option<(usize, usize)> {
    let start = |line: &str| line.as_ptr() as usize - text.as_ptr() as usize;
    text.lines().filter(|line| line.contains("var<storage")).find_map(|line| {
        let at = line.find(&format!("> {name}: array<"))? + 4 + name.len();
        let end = at + line[at..].find(';')?;
        Some((start(line) + at, start(line) + end))
    })
}

#[cfg(test)]
mod tests {
    use super::stored_as_half;
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    const TEXT: &str = "alias T = vec4<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> z: array<T>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
fn at(i: u32) -> f32 {
    return (x[i] + 1.0) * x[u32(x[i + 1u])];
}
@compute @workgroup_size(1) fn forward(@builtin(global_invocation_id) id: vec3<u32>) {
    var sum = z[id.x].y + dot(z[id.x], z[id.x + 1u]);
    for (var k = 0u; k < 4u; k++) {
        if k > 2u {
            y[k] = (sum + at(k)) * 2.0;
        } else {
            y[k] =
                x[k] + 1.0;
        }
        sum += x[k] + z[k][k];
    }
}
";

    fn validate(text: &str) -> Result<(), String> {
        let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
        let all = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module);
        all.map(|_| ()).map_err(|e| e.emit_to_string(text))
    }

    #[test]
    fn every_load_and_store_is_converted() {
        let text = stored_as_half(TEXT, &["x", "y", "z"]).unwrap();
        validate(&text).unwrap();
        for line in [
            "enable f16;",
            "x: array<f16>;",
            "z: array<vec4<f16>>;",
            "return (f32(x[i]) + 1.0) * f32(x[u32(f32(x[i + 1u]))]);",
            "f32(z[id.x].y) + dot(vec4<f32>(z[id.x]), vec4<f32>(z[id.x + 1u]));",
            "y[k] = f16((sum + at(k)) * 2.0);",
            "f16(f32(x[k]) + 1.0);",
            "sum += f32(x[k]) + f32(z[k][k]);",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        // The others stay.
        let one = stored_as_half(TEXT, &["z"]).unwrap();
        validate(&one).unwrap();
        assert!(one.contains("x: array<f32>;") && one.contains("return (x[i] + 1.0)"), "{one}");
    }

    #[test]
    fn every_kernel_can_be_stored_as_f16() {
        let mut arrays = 0;
        for registered in crate::ops::registry() {
            for kernel in registered.kernels() {
                let shader = crate::shader::reflect(&kernel.source).unwrap();
                let is_float = |v: &&crate::shader::Variable| {
                    (v.layout, v.dtype) == (crate::layout::Layout::Rows, crate::tensor::DType::F32)
                };
                let names: Vec<&str> = shader.variables.iter().filter(is_float).map(|v| v.name.as_str()).collect();
                if !names.is_empty() {
                    let halved = stored_as_half(kernel.source.text, &names).and_then(|text| validate(&text));
                    halved.unwrap_or_else(|e| panic!("{}: {e}", kernel.stem()));
                    arrays += names.len();
                }
            }
        }
        assert!(arrays > 300, "{arrays}");
    }

    #[test]
    fn what_cannot_be_stored_as_f16_is_named() {
        let problem = |text: &str, name: &str| stored_as_half(text, &[name]).unwrap_err();
        assert!(problem(TEXT, "w").contains("no array w"));
        let integers = "@group(0) @binding(1) var<storage, read_write> x: array<u32>;
            @compute @workgroup_size(1) fn forward() { x[0] = 1u; }";
        assert!(problem(integers, "x").contains("x is not an array of f32"));
        assert!(problem(&TEXT.replace("y[k] = (", "y[k] += ("), "y").contains("expected an assignment"));
    }
}
