//! `lineament devices`.

use super::out::{self, say};
use crate::error::Result;
use crate::exec::{AdapterInfo, adapters, default_adapter};
use clap::Args;
use serde_json::json;

/// List the adapters, their limits, and which one is the default and why.
#[derive(Args)]
#[command(after_help = "Examples:
  lineament devices
  lineament devices --json --quiet
  lineament upscale in.png out.png --scale 3 --device llvmpipe")]
pub struct Arguments {
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

/// The environment variable with which lavapipe computes more numbers at a time.
const WIDER: &str = "LP_NATIVE_VECTOR_WIDTH=512";

/// Returns whether lavapipe uses half of what the processor's vectors hold.
fn could_be_wider(a: &AdapterInfo) -> bool {
    #[cfg(target_arch = "x86_64")]
    let has_wider = std::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    let has_wider = false;
    has_wider && a.name.starts_with("llvmpipe") && a.name.contains("256 bits")
}

pub fn run(arguments: &Arguments) -> Result<u8> {
    let all = adapters();
    let default = default_adapter(&all);
    for (index, a) in all.iter().enumerate() {
        say!("{index}  {}", a.name);
        say!("   {}, {}, driver {}", a.backend, a.kind, a.driver);
        let (mib, groups) = (a.caps.binding_bytes >> 20, a.caps.workgroups_per_dimension);
        say!("   tensors up to {mib} MiB, {groups} workgroups per dimension");
        let (smallest, largest) = a.subgroup_size;
        let no = |has: bool| if has { "" } else { "no " };
        let (timestamps, f16) = (no(a.has_timestamps), no(a.caps.has_f16));
        say!("   subgroups of {smallest} to {largest}, {timestamps}timestamps, {f16}f16");
        if could_be_wider(a) {
            say!("   this processor has AVX-512: convolutions may be faster with {WIDER}");
        }
    }
    say!("cpu\n   the f64 references on the processor: slow, always available");
    match default {
        Some((index, why)) => say!("default: {index} ({why}); choose with --device NAME|INDEX|cpu"),
        None => say!(
            "default: none, because no adapter was found; use --device cpu, or install a Vulkan driver (on Debian: apt-get \
             install mesa-vulkan-drivers libvulkan1)"
        ),
    }
    if arguments.json {
        let rows: Vec<_> = all
            .iter()
            .enumerate()
            .map(|(index, a)| {
                json!({
                    "index": index, "name": a.name, "backend": a.backend, "type": a.kind, "driver": a.driver,
                    "default": default.is_some_and(|(d, _)| d == index),
                    "max_binding_bytes": a.caps.binding_bytes,
                    "max_workgroups_per_dimension": a.caps.workgroups_per_dimension,
                    "subgroup_size": [a.subgroup_size.0, a.subgroup_size.1],
                    "timestamps": a.has_timestamps, "f16": a.caps.has_f16,
                    "faster_with": could_be_wider(a).then_some(WIDER),
                })
            })
            .collect();
        out::json(&json!({ "adapters": rows, "default": default.map(|d| d.0), "why": default.map(|d| d.1) }));
    }
    Ok(0)
}
