//! Reads with naga what a WGSL file declares: entries, variables by name, layouts, members of `p`, limits.
//!
//! Nothing that a shader declares is repeated in Rust.

use super::half::stored_as_half;
use super::unroll;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::ops::{Launch, Op, Scalar, Source, is_scratch, method_of, scratch_of};
use crate::tensor::DType;
use naga::valid::{Capabilities, GlobalUse, ValidationFlags, Validator};
use naga::{AddressSpace, ScalarKind, TypeInner};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A storage variable of a shader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub binding: u32,
    pub layout: Layout,
    pub dtype: DType,
    /// Declared `read_write`.
    pub writable: bool,
}

/// A member of the uniform struct `p`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub offset_bytes: u32,
    /// Declared `f32`, otherwise `u32`.
    pub is_float: bool,
}

/// An entry point and what it uses, including through the functions that it calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    /// Names of the variables that it reads, in order of declaration.
    pub reads: Vec<String>,
    /// Names of the variables that it writes.
    pub writes: Vec<String>,
    pub uses_params: bool,
    /// Bytes of `var<workgroup>` memory at the default overrides.
    pub workgroup_bytes: u32,
}

impl Entry {
    /// Returns the entry's name without its pass: `backward_w` for `backward_w_2`.
    pub fn method(&self) -> &str {
        method_of(&self.name)
    }
}

/// Names and values of constants.
type Constants = Vec<(String, u64)>;

/// A reflected WGSL file.
pub struct Shader {
    pub stem: &'static str,
    pub variables: Vec<Variable>,
    pub members: Vec<Member>,
    /// Bytes of `p`, a multiple of 16; 0 if the shader has no `p`.
    pub params_bytes: u32,
    pub entries: Vec<Entry>,
    pub overrides: Vec<String>,
    /// Names of the `const`s that a launch may set.
    constants: Vec<String>,
    text: &'static str,
    /// Variants of this shader with other constants, by their names and values.
    with_constants: Mutex<HashMap<Constants, Arc<Shader>>>,
    module: naga::Module,
    info: naga::valid::ModuleInfo,
}

impl std::fmt::Debug for Shader {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Shader").field("stem", &self.stem).field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl Shader {
    /// Parses, validates and reflects a WGSL file.
    ///
    /// # Errors
    /// The WGSL is invalid (the error gives line and column), or uses names, types or bindings outside the contract of [`Op`].
    pub fn new(source: &Source) -> Result<Self> {
        Self::parse(source.stem, source.text, source.text)
    }

    /// Reflects `text`, which is `original` with other constants.
    fn parse(stem: &'static str, original: &'static str, text: &str) -> Result<Self> {
        let fail = |problem: String| Error::Shader { file: stem.to_owned(), entry: String::new(), problem };
        let module = naga::front::wgsl::parse_str(text)
            .map_err(|e| fail(e.emit_to_string_with_path(text, &format!("shaders/{stem}.wgsl"))))?;
        let info = Validator::new(ValidationFlags::all(), Capabilities::default())
            .validate(&module)
            .map_err(|e| fail(e.emit_to_string_with_path(text, &format!("shaders/{stem}.wgsl"))))?;

        let mut variables = Vec::new();
        let mut members = Vec::new();
        let mut params_bytes = 0;
        let mut params = None;
        for (handle, variable) in module.global_variables.iter() {
            let name = variable.name.clone().unwrap_or_default();
            match variable.space {
                AddressSpace::Uniform => {
                    let TypeInner::Struct { members: fields, span } = &module.types[variable.ty].inner else {
                        return Err(fail(format!("uniform {name} must be a struct of u32 and f32")));
                    };
                    if name != "p" || params.is_some() {
                        return Err(fail(format!("the only uniform must be called p, found {name}")));
                    }
                    check_binding(variable, 0, &name).map_err(&fail)?;
                    params = Some(handle);
                    params_bytes = span.next_multiple_of(16);
                    for field in fields {
                        let field_name = field.name.clone().unwrap_or_default();
                        let is_float = match &module.types[field.ty].inner {
                            TypeInner::Scalar(s) if s.width == 4 && s.kind == ScalarKind::Float => true,
                            TypeInner::Scalar(s) if s.width == 4 && s.kind == ScalarKind::Uint => false,
                            _ => return Err(fail(format!("member {field_name} of p must be u32 or f32"))),
                        };
                        members.push(Member { name: field_name, offset_bytes: field.offset, is_float });
                    }
                }
                AddressSpace::Storage { access } => {
                    let element = match &module.types[variable.ty].inner {
                        TypeInner::Array { base, .. } => match &module.types[*base].inner {
                            TypeInner::Scalar(s) if s.width == 4 => Some(s.kind),
                            TypeInner::Atomic(s) if s.width == 4 && is_scratch(&name) => Some(s.kind),
                            // Rows by fours; the kernel sees to it that their number is a multiple of four.
                            TypeInner::Vector { size: naga::VectorSize::Quad, scalar: s } if s.width == 4 => {
                                Some(s.kind)
                            }
                            _ => None,
                        },
                        _ => None,
                    };
                    let dtype = match element {
                        Some(ScalarKind::Float) => DType::F32,
                        Some(ScalarKind::Sint) => DType::I32,
                        Some(ScalarKind::Uint) => DType::U32,
                        _ => {
                            return Err(fail(format!(
                                "variable {name} must be an array of f32, i32 or u32, or of vec4 of these; no plan can lay out its type"
                            )));
                        }
                    };
                    let Some(binding) = variable.binding.as_ref().filter(|b| b.group == 0) else {
                        return Err(fail(format!("variable {name} must be in @group(0)")));
                    };
                    variables.push(Variable {
                        name,
                        binding: binding.binding,
                        layout: Layout::Rows,
                        dtype,
                        writable: access.contains(naga::StorageAccess::STORE),
                    });
                }
                AddressSpace::Handle => {
                    let both = naga::StorageAccess::LOAD | naga::StorageAccess::STORE;
                    let texture = match module.types[variable.ty].inner {
                        TypeInner::Image {
                            dim: naga::ImageDimension::D2,
                            arrayed: false,
                            class: naga::ImageClass::Storage { format, access },
                        } => Some((format, access)),
                        _ => None,
                    };
                    let is_scratch = is_scratch(&name);
                    let (layout, writable) = match texture {
                        Some((naga::StorageFormat::R32Float, access))
                            if access == if is_scratch { both } else { naga::StorageAccess::LOAD } =>
                        {
                            (Layout::Texels, is_scratch)
                        }
                        Some((naga::StorageFormat::Rgba32Float, access)) if access != both => {
                            (Layout::Quads, access == naga::StorageAccess::STORE)
                        }
                        _ => {
                            return Err(fail(format!(
                                "texture {name} must be a texture_storage_2d of r32float (read; scratch read_write) or of rgba32float (read or write)"
                            )));
                        }
                    };
                    if is_scratch && layout == Layout::Quads && name.ends_with("_read") == writable {
                        return Err(fail(format!(
                            "quads are written as t0 or t1 and read as t0_read or t1_read: {name}"
                        )));
                    }
                    let Some(binding) = variable.binding.as_ref().filter(|b| b.group == 0) else {
                        return Err(fail(format!("variable {name} must be in @group(0)")));
                    };
                    variables.push(Variable { name, binding: binding.binding, layout, dtype: DType::F32, writable });
                }
                AddressSpace::WorkGroup | AddressSpace::Private => {}
                other => {
                    return Err(fail(format!("variable {name} is in {other:?}; use uniform, storage or workgroup")));
                }
            }
        }

        let mut entries = Vec::new();
        for (index, entry) in module.entry_points.iter().enumerate() {
            let uses = info.get_entry_point(index);
            let (mut reads, mut writes, mut uses_params, mut workgroup_bytes) = (Vec::new(), Vec::new(), false, 0);
            for (handle, variable) in module.global_variables.iter() {
                let global = uses[handle];
                if global.is_empty() {
                    continue;
                }
                let name = variable.name.clone().unwrap_or_default();
                match variable.space {
                    AddressSpace::Storage { .. } | AddressSpace::Handle => {
                        if global.intersects(GlobalUse::READ | GlobalUse::ATOMIC | GlobalUse::QUERY) {
                            reads.push(name.clone());
                        }
                        if global.intersects(GlobalUse::WRITE | GlobalUse::ATOMIC) {
                            writes.push(name);
                        }
                    }
                    AddressSpace::Uniform => uses_params = true,
                    AddressSpace::WorkGroup => workgroup_bytes += module.types[variable.ty].inner.size(module.to_ctx()),
                    _ => {}
                }
            }
            entries.push(Entry { name: entry.name.clone(), reads, writes, uses_params, workgroup_bytes });
        }
        let overrides = module.overrides.iter().filter_map(|(_, o)| o.name.clone()).collect();
        let constant = |line: &str| Some(line.strip_prefix("const ")?.split_once(": u32 = ")?.0.to_owned());
        let constants = original.lines().filter_map(constant).collect();
        Ok(Self {
            stem,
            variables,
            members,
            params_bytes,
            entries,
            overrides,
            constants,
            text: original,
            with_constants: Mutex::default(),
            module,
            info,
        })
    }

    /// Returns this shader with the constants among `values` set and its loops unchanged; `None` if it has none of these constants.
    fn under(&self, values: &[(&'static str, f64)]) -> Result<Option<Arc<Shader>>> {
        let key: Constants = values
            .iter()
            .filter(|(name, _)| self.constants.iter().any(|c| c == name))
            .map(|(name, value)| ((*name).to_owned(), *value as u64))
            .collect();
        if key.is_empty() {
            return Ok(None);
        }
        let mut known = self.with_constants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shader) = known.get(&key) {
            return Ok(Some(shader.clone()));
        }
        let shader = Arc::new(Self::parse(self.stem, self.text, &unroll::set_constants(self.text, values).0)?);
        known.insert(key, shader.clone());
        Ok(Some(shader))
    }

    /// Returns the bytes of workgroup memory of `entry` with these constants.
    ///
    /// # Errors
    /// The WGSL is invalid with these constants.
    pub fn workgroup_bytes(&self, entry: &str, values: &[(&'static str, f64)]) -> Result<u32> {
        let under = self.under(values)?;
        Ok(under.as_deref().unwrap_or(self).entry(entry).map_or(0, |e| e.workgroup_bytes))
    }

    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.name == name)
    }

    pub fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|v| v.name == name)
    }

    /// Returns whether a variable is a texture. This suits adapters that load a texel much faster than an element of a buffer.
    pub fn uses_texels(&self) -> bool {
        self.variables.iter().any(|v| v.layout != Layout::Rows)
    }

    /// Returns the passes of `method` in order.
    pub fn passes(&self, method: &str) -> Vec<&Entry> {
        let mut passes: Vec<&Entry> = self.entries.iter().filter(|e| e.method() == method).collect();
        passes.sort_by_key(|e| pass_of(&e.name));
        passes
    }

    /// Returns the names of the methods in order of declaration: `forward`, `backward_x`, ….
    pub fn methods(&self) -> Vec<&str> {
        let mut methods: Vec<&str> = Vec::new();
        for entry in &self.entries {
            if !methods.contains(&entry.method()) {
                methods.push(entry.method());
            }
        }
        methods
    }

    /// Returns the method that writes the gradient for `input`.
    pub fn gradient_method(&self, input: &str) -> Option<&str> {
        let wanted = format!("d{input}");
        self.entries.iter().find(|e| e.name.starts_with("backward") && e.writes.contains(&wanted)).map(Entry::method)
    }

    /// Returns the bytes of the uniform block for a launch.
    ///
    /// # Errors
    /// The launch lacks a member, gives a name that the shader does not have, or gives a value of another type.
    pub fn pack_params(&self, entry: &str, launch: &Launch) -> Result<Vec<u8>> {
        let fail =
            |problem: String| Err(Error::Shader { file: self.stem.to_owned(), entry: entry.to_owned(), problem });
        for (name, _) in &launch.params {
            if !self.members.iter().any(|m| m.name == *name) {
                let members: Vec<&str> = self.members.iter().map(|m| m.name.as_str()).collect();
                return fail(format!("the launch gives {name:?}, struct P has {members:?}"));
            }
        }
        for (name, _) in &launch.overrides {
            if !self.overrides.iter().chain(&self.constants).any(|o| o == name) {
                return fail(format!(
                    "the launch overrides {name:?}, the shader has overrides {:?} and constants {:?}",
                    self.overrides, self.constants
                ));
            }
        }
        let mut bytes = vec![0; self.params_bytes as usize];
        for member in &self.members {
            let Some((_, value)) = launch.params.iter().find(|(name, _)| *name == member.name) else {
                return fail(format!("struct P has member {:?}, which the launch does not give", member.name));
            };
            let word = match (value, member.is_float) {
                (Scalar::U32(v), false) => v.to_le_bytes(),
                (Scalar::F32(v), true) => v.to_le_bytes(),
                _ => return fail(format!("member {:?} of P has another type than {value:?}", member.name)),
            };
            bytes[member.offset_bytes as usize..][..4].copy_from_slice(&word);
        }
        Ok(bytes)
    }

    /// Returns the workgroup size of `entry` with these overrides.
    ///
    /// # Errors
    /// There is no such entry; naga cannot evaluate an override.
    pub fn workgroup_size(&self, entry: &str, overrides: &[(&'static str, f64)]) -> Result<[u32; 3]> {
        if let Some(under) = self.under(overrides)? {
            let rest: Vec<_> =
                overrides.iter().filter(|(n, _)| !self.constants.iter().any(|c| c == n)).copied().collect();
            return under.workgroup_size(entry, &rest);
        }
        let (module, _) = self.specialize(entry, overrides)?;
        let found = module.entry_points.iter().find(|e| e.name == entry);
        found.map(|e| e.workgroup_size).ok_or_else(|| Error::Shader {
            file: self.stem.to_owned(),
            entry: entry.to_owned(),
            problem: "no such entry".into(),
        })
    }

    fn specialize(
        &self,
        entry: &str,
        overrides: &[(&'static str, f64)],
    ) -> Result<(std::borrow::Cow<'_, naga::Module>, std::borrow::Cow<'_, naga::valid::ModuleInfo>)> {
        let constants = overrides.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        naga::back::pipeline_constants::process_overrides(
            &self.module,
            &self.info,
            Some((naga::ShaderStage::Compute, entry)),
            &constants,
        )
        .map_err(|e| Error::Shader {
            file: self.stem.to_owned(),
            entry: entry.to_owned(),
            problem: e.to_string(),
        })
    }

    /// Translates `entry` to the language of every back end: `spirv` (as words in hexadecimal), `msl`, `hlsl`, `glsl`, `wgsl`.
    ///
    /// # Errors
    /// One of naga's writers rejects the shader; the error gives the reason.
    pub fn translate(&self, entry: &str, overrides: &[(&'static str, f64)]) -> Result<BTreeMap<&'static str, String>> {
        if let Some((text, rest)) = specialized(self.stem, self.text, overrides)? {
            let shader = Self::parse(self.stem, NO_CONSTANTS, &text)?;
            return shader.translate(entry, &rest);
        }
        let (module, info) = self.specialize(entry, overrides)?;
        let fail = |language: &str, e: &dyn std::fmt::Display| Error::Shader {
            file: self.stem.to_owned(),
            entry: entry.to_owned(),
            problem: format!("{language}: {e}"),
        };
        let stage = naga::ShaderStage::Compute;
        let mut out = BTreeMap::new();

        use naga::back::{glsl, hlsl, msl, spv, wgsl};
        let options = spv::PipelineOptions { shader_stage: stage, entry_point: entry.to_owned() };
        let words =
            spv::write_vec(&module, &info, &spv::Options::default(), Some(&options)).map_err(|e| fail("SPIR-V", &e))?;
        out.insert("spirv", words.iter().map(|w| format!("{w:08x}\n")).collect());

        let options = msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
        let pipeline = msl::PipelineOptions { entry_point: Some((stage, entry.to_owned())), ..Default::default() };
        let (text, _) = msl::write_string(&module, &info, &options, &pipeline).map_err(|e| fail("MSL", &e))?;
        out.insert("msl", text);

        let mut text = String::new();
        let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_0, ..Default::default() };
        let pipeline = hlsl::PipelineOptions { entry_point: Some((stage, entry.to_owned())) };
        hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None).map_err(|e| fail("HLSL", &e))?;
        out.insert("hlsl", text);

        let mut text = String::new();
        let options = glsl::Options { version: glsl::Version::new_gles(310), ..Default::default() };
        let pipeline = glsl::PipelineOptions { shader_stage: stage, entry_point: entry.to_owned(), multiview: None };
        glsl::Writer::new(&mut text, &module, &info, &options, &pipeline, Default::default())
            .and_then(|mut writer| writer.write())
            .map_err(|e| fail("GLSL", &e))?;
        out.insert("glsl", text);

        let text = wgsl::write_string(&module, &info, wgsl::WriterFlags::empty()).map_err(|e| fail("WGSL", &e))?;
        out.insert("wgsl", text);
        Ok(out)
    }

    /// Checks that the shader uses only the names that the contract gives to the inputs and outputs of `op`, with the types that `op`
    /// declares, and that entries read and write what their names promise.
    ///
    /// # Errors
    /// The first violation.
    pub fn check_contract(&self, op: &dyn Op) -> Result<()> {
        let fail = |entry: &str, problem: String| {
            Err(Error::Shader { file: self.stem.to_owned(), entry: entry.to_owned(), problem })
        };
        let gradients: Vec<String> = op.inputs().iter().map(|i| format!("d{i}")).collect();
        for variable in &self.variables {
            let name = variable.name.as_str();
            let known = op.outputs().contains(&scratch_of(name))
                || name == "dy"
                || is_scratch(name)
                || op.inputs().contains(&name)
                || op.absent().contains(&name)
                || gradients.iter().any(|g| g == name);
            if !known {
                return fail(
                    "",
                    format!(
                        "variable {name:?} is not one of p, dy, t0 to t3, {:?}, {:?}, {gradients:?}",
                        op.outputs(),
                        op.inputs()
                    ),
                );
            }
            let is_gradient = name == "dy" || gradients.iter().any(|g| g == name);
            let expected = if is_gradient { DType::F32 } else { op.dtype(scratch_of(name)) };
            if !is_scratch(name) && variable.dtype != expected {
                return fail("", format!("variable {name:?} has elements of {}, expected {expected}", variable.dtype));
            }
        }
        for entry in &self.entries {
            let forward = entry.name.starts_with("forward");
            if !forward && !entry.name.starts_with("backward") {
                return fail(&entry.name, "entries begin with forward or backward".into());
            }
            for name in &entry.writes {
                let is_update = op.updates().contains(&name.as_str());
                let allowed = is_scratch(name)
                    || (forward && (is_update || op.outputs().contains(&name.as_str())))
                    || (!forward && gradients.contains(name));
                if !allowed {
                    return fail(&entry.name, format!("must not write {name}"));
                }
                if entry.reads.contains(name) && !is_scratch(name) && !is_update {
                    return fail(&entry.name, format!("reads {name}, which it writes; outputs are assigned once"));
                }
            }
            if forward && entry.reads.iter().any(|r| r == "dy") {
                return fail(&entry.name, "a forward entry must not read dy".into());
            }
            if let Some(name) = entry.reads.iter().find(|r| !forward && op.updates().contains(&r.as_str())) {
                return fail(&entry.name, format!("must not read {name}, which forward has overwritten by then"));
            }
        }
        if self.passes("forward").is_empty() && op.kernels().first().is_some_and(|plain| plain.stem() == self.stem) {
            return fail("forward", "no entry begins with forward".into());
        }
        Ok(())
    }
}

/// The text of a module that is already specialized.
const NO_CONSTANTS: &str = "";

/// Returns the text that the driver is given for a shader with a launch's values, with constants set and marked loops unrolled, and
/// the values that are `override`s; `None` if the text does not change.
///
/// # Errors
/// A marked loop cannot be unrolled.
pub fn specialized<'v>(
    stem: &str,
    text: &str,
    values: &[(&'v str, f64)],
) -> Result<Option<(String, unroll::Values<'v>)>> {
    if !text.contains(unroll::MARK) {
        return Ok(None);
    }
    unroll::specialize(text, values).map(Some).map_err(|problem| Error::Shader {
        file: stem.to_owned(),
        entry: String::new(),
        problem,
    })
}

/// Returns `text` with the arrays `names` stored as f16.
///
/// # Errors
/// One of them cannot be.
pub fn with_half(stem: &str, text: &str, names: &[impl AsRef<str>]) -> Result<String> {
    stored_as_half(text, names).map_err(|problem| Error::Shader {
        file: stem.to_owned(),
        entry: String::new(),
        problem: format!("f16: {problem}"),
    })
}

/// Reflected shaders by their text.
static CACHE: OnceLock<Mutex<HashMap<&'static str, Arc<Shader>>>> = OnceLock::new();

/// Drops what [`reflect`] keeps of the shader `text`.
pub fn forget(text: &'static str) {
    CACHE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner).remove(text);
}

/// Returns the reflection of `source`, which is made once per process.
///
/// # Errors
/// The WGSL breaks the contract; see [`Shader::new`].
pub fn reflect(source: &Source) -> Result<Arc<Shader>> {
    let mut cache = CACHE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(shader) = cache.get(source.text) {
        return Ok(shader.clone());
    }
    let shader = Arc::new(Shader::new(source)?);
    cache.insert(source.text, shader.clone());
    Ok(shader)
}

fn pass_of(entry: &str) -> u32 {
    entry.rsplit_once('_').and_then(|(_, pass)| pass.parse().ok()).unwrap_or(0)
}

fn check_binding(variable: &naga::GlobalVariable, binding: u32, name: &str) -> std::result::Result<(), String> {
    match &variable.binding {
        Some(b) if b.group == 0 && b.binding == binding => Ok(()),
        _ => Err(format!("{name} must be @group(0) @binding({binding})")),
    }
}
