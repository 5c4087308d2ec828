//! RADV's null device: a driver that compiles for a GPU which is not there.
//!
//! With `RADV_FORCE_FAMILY` set, Mesa's RADV opens a device that allocates memory and compiles pipelines, but has no queue to run
//! them and no timeline semaphores, which wgpu needs. So pipelines are made here directly, with
//! VK_KHR_pipeline_executable_properties, which returns the compiler's statistics and the machine code.
#![allow(unsafe_code)]

use super::Compiled;
use crate::error::{Error, Result};
use crate::shader::{Resource, Spirv};
use ash::{ext, khr, vk};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};

/// An opened null device.
pub struct Driver {
    // Unloads the Vulkan loader when it is dropped, after the handles.
    _entry: ash::Entry,
    instance: ash::Instance,
    device: ash::Device,
    executable: khr::pipeline_executable_properties::Device,
    /// The device's name, e.g. `AMD RADV GFX1100`.
    pub name: String,
    /// Driver and version, e.g. `radv Mesa 22.3.6`.
    pub driver: String,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Driver").field("name", &self.name).field("driver", &self.driver).finish_non_exhaustive()
    }
}

/// Returns the text of one of Vulkan's arrays of characters, up to its zero.
fn text(chars: &[c_char]) -> String {
    let bytes: Vec<u8> = chars.iter().map(|&c| c as u8).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the error for a call of Vulkan's that failed.
fn refused(what: &str, e: impl std::fmt::Display) -> Error {
    Error::device(
        format!("RADV's null device: {what}: {e}"),
        "update mesa-vulkan-drivers; if it repeats, please report it",
    )
}

impl Driver {
    /// Opens the first device of the drivers that the environment names; the environment must name RADV alone (`VK_DRIVER_FILES`) and
    /// a GPU (`RADV_FORCE_FAMILY`).
    ///
    /// # Errors
    /// There is no Vulkan loader, or its first device does not report statistics of its compiler.
    pub fn open() -> Result<Self> {
        let missing = |e: &dyn std::fmt::Display| {
            Error::device(format!("no Vulkan loader: {e}"), "install it (on Debian: apt-get install libvulkan1)")
        };
        // SAFETY: the loader's library is Vulkan's; nothing else of this process unloads it.
        let entry = unsafe { ash::Entry::load() }.map_err(|e| missing(&e))?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let info = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: `info` and what it points to outlive the call.
        let instance = unsafe { entry.create_instance(&info, None) }.map_err(|e| refused("no instance", e))?;
        match Self::open_device(&instance) {
            Ok((device, name, driver)) => {
                let executable = khr::pipeline_executable_properties::Device::new(&instance, &device);
                Ok(Self { _entry: entry, instance, device, executable, name, driver })
            }
            Err(e) => {
                // SAFETY: no device of this instance exists.
                unsafe { instance.destroy_instance(None) };
                Err(e)
            }
        }
    }

    /// Opens the device as wgpu-hal 30 opens it, with all features of Vulkan 1.0 to 1.3, which are more than wgpu asks for, and with
    /// robust access to buffers and images, which may change the machine code.
    fn open_device(instance: &ash::Instance) -> Result<(ash::Device, String, String)> {
        // SAFETY: the instance is alive, every structure that is passed outlives its call, and each chain holds structures that the
        // device knows: those of Vulkan 1.1 to 1.3, and of extensions that it lists.
        unsafe {
            let all = instance.enumerate_physical_devices().map_err(|e| refused("no devices", e))?;
            let none = || {
                refused("no device", "the loader found none; is the driver of this machine's architecture installed?")
            };
            let physical = *all.first().ok_or_else(none)?;
            let mut of_driver = vk::PhysicalDeviceDriverProperties::default();
            let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut of_driver);
            instance.get_physical_device_properties2(physical, &mut properties);
            let name = text(&properties.properties.device_name);
            let driver = format!("{} {}", text(&of_driver.driver_name), text(&of_driver.driver_info));

            let known = instance.enumerate_device_extension_properties(physical);
            let known = known.map_err(|e| refused("no extensions", e))?;
            let has = |name: &CStr| known.iter().any(|k| k.extension_name_as_c_str() == Ok(name));
            if !has(khr::pipeline_executable_properties::NAME) {
                return Err(refused(&name, "lacks VK_KHR_pipeline_executable_properties"));
            }
            let wanted =
                [khr::pipeline_executable_properties::NAME, ext::robustness2::NAME, khr::cooperative_matrix::NAME];
            let names: Vec<_> = wanted.iter().filter(|name| has(name)).map(|name| name.as_ptr()).collect();
            let mut v11 = vk::PhysicalDeviceVulkan11Features::default();
            let mut v12 = vk::PhysicalDeviceVulkan12Features::default();
            let mut v13 = vk::PhysicalDeviceVulkan13Features::default();
            let mut statistics = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default();
            let mut robust = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
            let mut matrices = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
            let mut features = vk::PhysicalDeviceFeatures2::default().push_next(&mut v11).push_next(&mut v12);
            features = features.push_next(&mut v13).push_next(&mut statistics);
            if has(ext::robustness2::NAME) {
                features = features.push_next(&mut robust);
            }
            if has(khr::cooperative_matrix::NAME) {
                features = features.push_next(&mut matrices);
            }
            instance.get_physical_device_features2(physical, &mut features);
            let queue = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
            let info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queue)
                .enabled_extension_names(&names)
                .push_next(&mut features);
            let device = instance.create_device(physical, &info, None).map_err(|e| refused(&name, e))?;
            Ok((device, name, driver))
        }
    }

    /// Compiles a pipeline and returns what the compiler says of it.
    ///
    /// # Errors
    /// The driver refuses the shader.
    pub fn compile(&self, shader: &Spirv) -> Result<Compiled> {
        let d = &self.device;
        let bindings: Vec<_> =
            shader.bindings.iter().map(|&(binding, resource)| layout_of(binding, resource)).collect();
        let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        let module = vk::ShaderModuleCreateInfo::default().code(&shader.words);
        let name = CString::new(shader.entry.as_str()).map_err(|e| refused(&shader.entry, e))?;
        let fail = |e: vk::Result| refused(&shader.entry, e);
        // SAFETY: the device is alive, every structure that is passed outlives its call, the words are valid SPIR-V of naga's, the
        // bindings are those that the module declares, and each handle is destroyed once and not used afterwards.
        unsafe {
            let set = d.create_descriptor_set_layout(&set, None).map_err(fail)?;
            let sets = [set];
            let layout = d.create_pipeline_layout(&vk::PipelineLayoutCreateInfo::default().set_layouts(&sets), None);
            let module = d.create_shader_module(&module, None);
            let compiled = match (layout, module) {
                (Ok(layout), Ok(module)) => {
                    let stage = vk::PipelineShaderStageCreateInfo::default()
                        .stage(vk::ShaderStageFlags::COMPUTE)
                        .module(module)
                        .name(&name);
                    let capture = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                        | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
                    let info = vk::ComputePipelineCreateInfo::default().flags(capture).stage(stage).layout(layout);
                    match d.create_compute_pipelines(vk::PipelineCache::null(), &[info], None) {
                        Ok(pipelines) => {
                            let compiled = self.report(pipelines[0]);
                            d.destroy_pipeline(pipelines[0], None);
                            compiled
                        }
                        Err((_, e)) => Err(e),
                    }
                }
                (Err(e), _) | (_, Err(e)) => Err(e),
            };
            if let Ok(module) = module {
                d.destroy_shader_module(module, None);
            }
            if let Ok(layout) = layout {
                d.destroy_pipeline_layout(layout, None);
            }
            d.destroy_descriptor_set_layout(set, None);
            compiled.map_err(fail)
        }
    }

    /// Returns the statistics and the machine code of a compute pipeline.
    ///
    /// # Safety
    /// `pipeline` is one of this device's, and was created to capture both.
    unsafe fn report(&self, pipeline: vk::Pipeline) -> std::result::Result<Compiled, vk::Result> {
        let which = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
        // SAFETY: the caller keeps the contract of this function; a compute pipeline has one executable, number 0. The format of a
        // statistic says which member of its value is set.
        let statistics = unsafe { self.executable.get_pipeline_executable_statistics(&which) }?
            .iter()
            .map(|s| {
                let value = match s.format {
                    vk::PipelineExecutableStatisticFormatKHR::FLOAT64 => unsafe { s.value.f64 },
                    vk::PipelineExecutableStatisticFormatKHR::INT64 => unsafe { s.value.i64 as f64 },
                    vk::PipelineExecutableStatisticFormatKHR::UINT64 => unsafe { s.value.u64 as f64 },
                    _ => 0.0,
                };
                (text(&s.name), value)
            })
            .collect::<BTreeMap<_, _>>();
        // SAFETY: as above.
        let mut found = unsafe { self.executable.get_pipeline_executable_internal_representations(&which) }?;
        let mut texts: Vec<Vec<u8>> = found.iter().map(|f| vec![0; f.data_size]).collect();
        for (f, bytes) in found.iter_mut().zip(&mut texts) {
            f.p_data = bytes.as_mut_ptr().cast();
        }
        let mut count = found.len() as u32;
        let read = self.executable.fp().get_pipeline_executable_internal_representations_khr;
        // SAFETY: as above; each element points to as many bytes as the driver asked for.
        unsafe { read(self.device.handle(), &which, &mut count, found.as_mut_ptr()) }.result()?;
        let assembly = found.iter().zip(&texts).find(|(f, _)| text(&f.name).contains("Assembly"));
        let assembly = assembly.map(|(_, bytes)| {
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        });
        Ok(Compiled { statistics, assembly: assembly.unwrap_or_default() })
    }
}

fn layout_of(binding: u32, resource: Resource) -> vk::DescriptorSetLayoutBinding<'static> {
    vk::DescriptorSetLayoutBinding::default()
        .binding(binding)
        .descriptor_type(match resource {
            Resource::Uniform => vk::DescriptorType::UNIFORM_BUFFER,
            Resource::Buffer => vk::DescriptorType::STORAGE_BUFFER,
            Resource::Texture => vk::DescriptorType::STORAGE_IMAGE,
        })
        .descriptor_count(1)
        .stage_flags(vk::ShaderStageFlags::COMPUTE)
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: every other handle of the device was destroyed where it was made.
        unsafe {
            self.device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}
