//! SPIR-V and HLSL for one entry, as wgpu 30 gives them to a driver.

use super::specialized;
use super::unroll::{self, Values};
use crate::error::{Error, Result};
use crate::ops::Source;
use naga::back::{hlsl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, ShaderStage, TypeInner};

/// What a binding refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// A uniform block.
    Uniform,
    /// A storage buffer.
    Buffer,
    /// A storage texture.
    Texture,
}

/// One entry with its constants set, in SPIR-V 1.6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spirv {
    pub entry: String,
    pub words: Vec<u32>,
    /// Bindings of group 0 that the entry uses, in order of declaration.
    pub bindings: Vec<(u32, Resource)>,
    /// Invocations per workgroup.
    pub threads: u32,
}

/// One entry in the languages of two back ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    pub spirv: Spirv,
    /// Why it has none is not an error until somebody wants it.
    pub hlsl: std::result::Result<String, String>,
}

/// Translates `entry` of `source` for a launch's values.
///
/// # Errors
/// A marked loop cannot be unrolled, the WGSL is invalid, there is no such entry, or a value names no override.
pub fn translate(source: &Source, entry: &str, values: &[(&'static str, f64)]) -> Result<Translated> {
    let shader = Prepared { stem: source.stem, is_trusted: source.trusted };
    match specialized(source.stem, source.text, values)? {
        Some((text, rest)) => shader.translate(&text, entry, &rest),
        None => shader.translate(source.text, entry, values),
    }
}

/// Translates every entry of `text`, a shader that is not part of the house and need not follow its contract, as a built-in shader.
/// Each of `values` sets an `override` or a line `const NAME: u32 = …;`.
///
/// # Errors
/// As [`translate`]; the message calls the shader `stem`.
pub fn translate_text(stem: &str, text: &str, values: &Values) -> Result<Vec<Translated>> {
    let shader = Prepared { stem, is_trusted: true };
    let (text, rest) = unroll::specialize(text, values).map_err(|problem| shader.error("", problem))?;
    let module = shader.parse(&text)?;
    module.entry_points.iter().map(|entry| shader.translate(&text, &entry.name, &rest)).collect()
}

/// A shader whose loops are unrolled.
struct Prepared<'a> {
    stem: &'a str,
    is_trusted: bool,
}

impl Prepared<'_> {
    fn error(&self, entry: &str, problem: impl std::fmt::Display) -> Error {
        Error::Shader { file: self.stem.to_owned(), entry: entry.to_owned(), problem: problem.to_string() }
    }

    fn parse(&self, text: &str) -> Result<naga::Module> {
        let path = format!("{}.wgsl", self.stem);
        naga::front::wgsl::parse_str(text).map_err(|e| self.error("", e.emit_to_string_with_path(text, &path)))
    }

    fn translate(&self, text: &str, entry: &str, values: &[(&str, f64)]) -> Result<Translated> {
        let fail = |problem: String| self.error(entry, problem);
        let module = self.parse(text)?;
        let info = Validator::new(ValidationFlags::all(), Capabilities::all())
            .validate(&module)
            .map_err(|e| fail(e.emit_to_string_with_path(text, &format!("{}.wgsl", self.stem))))?;
        let stage = ShaderStage::Compute;
        let constants = values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let wanted = Some((stage, entry));
        let (module, info) = naga::back::pipeline_constants::process_overrides(&module, &info, wanted, &constants)
            .map_err(|e| fail(e.to_string()))?;
        let index = module.entry_points.iter().position(|e| e.name == entry && e.stage == stage);
        let index = index.ok_or_else(|| fail("is not a compute entry".into()))?;
        let uses = info.get_entry_point(index);
        let mut bindings = Vec::new();
        for (handle, variable) in module.global_variables.iter() {
            let Some(binding) = variable.binding.as_ref().filter(|_| !uses[handle].is_empty()) else { continue };
            let resource = match (variable.space, &module.types[variable.ty].inner) {
                (AddressSpace::Uniform, _) => Resource::Uniform,
                (AddressSpace::Storage { .. }, _) => Resource::Buffer,
                (AddressSpace::Handle, TypeInner::Image { class: naga::ImageClass::Storage { .. }, .. }) => {
                    Resource::Texture
                }
                _ => return Err(fail(format!("binding {} is no buffer or storage texture", binding.binding))),
            };
            if binding.group != 0 {
                return Err(fail(format!(
                    "binding {} is in group {}, expected group 0",
                    binding.binding, binding.group
                )));
            }
            bindings.push((binding.binding, resource));
        }
        let pipeline = spv::PipelineOptions { shader_stage: stage, entry_point: entry.to_owned() };
        let words =
            spv::write_vec(&module, &info, &self.options(), Some(&pipeline)).map_err(|e| fail(e.to_string()))?;
        let threads = module.entry_points[index].workgroup_size.iter().product();
        let spirv = Spirv { entry: entry.to_owned(), words, bindings, threads };
        Ok(Translated { spirv, hlsl: self.hlsl(&module, &info, entry) })
    }

    /// Writes HLSL as wgpu-hal 30 does for DX12 (`src/dx12/device.rs`).
    fn hlsl(
        &self,
        module: &naga::Module,
        info: &naga::valid::ModuleInfo,
        entry: &str,
    ) -> std::result::Result<String, String> {
        let is_checked = !self.is_trusted;
        let options = hlsl::Options {
            shader_model: hlsl::ShaderModel::V6_0,
            restrict_indexing: is_checked,
            force_loop_bounding: is_checked,
            zero_initialize_workgroup_memory: is_checked,
            ..Default::default()
        };
        let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, entry.to_owned())) };
        let mut text = String::new();
        match hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None) {
            Ok(_) => Ok(text),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Returns the options of wgpu-hal 30 (`src/vulkan/adapter.rs`, `device.rs`) on a Vulkan 1.3 driver with `robustBufferAccess2` and
    /// `robustImageAccess2`, to which wgpu leaves the bounds of buffers and images. Trusted shaders have no run-time checks at all.
    fn options(&self) -> spv::Options<'static> {
        let unchecked = BoundsCheckPolicy::Unchecked;
        let is_checked = !self.is_trusted;
        spv::Options {
            lang_version: (1, 6),
            flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
            bounds_check_policies: BoundsCheckPolicies {
                index: if is_checked { BoundsCheckPolicy::Restrict } else { unchecked },
                buffer: unchecked,
                image_load: unchecked,
                binding_array: unchecked,
            },
            zero_initialize_workgroup_memory: if is_checked {
                spv::ZeroInitializeWorkgroupMemoryMode::Native
            } else {
                spv::ZeroInitializeWorkgroupMemoryMode::None
            },
            force_loop_bounding: is_checked,
            emit_int_div_checks: is_checked,
            ..spv::Options::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "override WG: u32 = 64u;\nconst K: u32 = 2u;\n\
        @group(0) @binding(1) var<storage, read> x: array<f32>;\n@group(0) @binding(3) var<storage, read_write> y: array<f32>;\n\
        @compute @workgroup_size(WG) fn forward(@builtin(local_invocation_index) i: u32) {\n  var s = 0.0;\n  // unroll\n  \
        for (var k = 0u; k < K; k++) { s += x[i + k]; }\n  y[i] = s;\n}\n";

    fn spirv(text: &str, values: Values) -> Result<Vec<Spirv>> {
        Ok(translate_text("mine", text, &values)?.into_iter().map(|t| t.spirv).collect())
    }

    #[test]
    fn every_entry_is_translated_with_constants_and_overrides() {
        let all = spirv(TEXT, vec![("WG", 128.0), ("K", 5.0)]).unwrap();
        assert_eq!(all.len(), 1);
        let bindings = vec![(1, Resource::Buffer), (3, Resource::Buffer)];
        assert_eq!((all[0].threads, all[0].entry.as_str(), &all[0].bindings), (128, "forward", &bindings));
        // Five loads instead of two.
        let two = spirv(TEXT, Values::new()).unwrap();
        assert!(all[0].words.len() > two[0].words.len() && two[0].threads == 64);
        assert_eq!(all[0].words[0], 0x0723_0203, "begins with SPIR-V's magic number");
    }

    #[test]
    fn a_wrong_value_or_text_is_named() {
        let error = |text: &str, values: Values| spirv(text, values).unwrap_err().to_string();
        assert!(error(TEXT, vec![("NO", 1.0)]).contains("NO"));
        assert!(error("fn f(", Values::new()).contains("mine.wgsl"));
        let sampled = "@group(0) @binding(0) var t: texture_2d<f32>;\n\
            @compute @workgroup_size(1) fn f() { _ = textureLoad(t, vec2(0), 0); }";
        assert!(error(sampled, Values::new()).contains("storage texture"));
    }

    #[test]
    fn only_built_in_shaders_lose_their_checks() {
        let lengths = |source: &Source| {
            let both = translate(source, "forward", &[]).unwrap();
            [both.spirv.words.len(), both.hlsl.unwrap().len()]
        };
        // A loop that is not unrolled is bounded.
        let text: &'static str = TEXT.replace("  // unroll\n", "").leak();
        let [strange, ours] = [Source::new("mine", text), Source::built_in("mine", text)].map(|s| lengths(&s));
        assert!(strange[0] > ours[0] && strange[1] > ours[1], "{strange:?} {ours:?}");
    }
}
