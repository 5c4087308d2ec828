//! `lineament check ops` as a library for a web page; `tools/check-browser` runs it.
#![cfg(target_arch = "wasm32")]

use lineament::lab::check;
use lineament::ops::{Family, Kernel, kernels_of, registry};
use lineament::{Device, Select};
use serde_json::json;
use wasm_bindgen::prelude::*;

/// Checks the kernels of the operations `wanted` (of all, if there are none) on the browser's adapter: those for GPUs and for every adapter,
/// and with `all` those for software adapters too; each on the first `most` cases that it serves. Calls
/// `report` with a line of JSON for the adapter, then one for each operation.
///
/// # Errors
/// The browser has no adapter; there is no such operation.
#[wasm_bindgen]
pub async fn check_operations(wanted: Vec<String>, all: bool, most: usize, report: &js_sys::Function) -> Result<(), JsError> {
    console_error_panic_hook::set_once();
    let say = |line: serde_json::Value| {
        let _ = report.call1(&JsValue::NULL, &line.to_string().into());
    };
    let registry = registry();
    if let Some(unknown) = wanted.iter().find(|name| !registry.iter().any(|registered| registered.name == **name)) {
        return Err(JsError::new(&format!("there is no operation {unknown:?}")));
    }
    let device = Device::open_async(&Select::Default).await?;
    say(json!({ "device": device.describe() }));
    for registered in registry.iter().filter(|r| wanted.is_empty() || wanted.iter().any(|name| name == r.name)) {
        let cases = (registered.cases)();
        let mut kernels: Vec<Kernel> = kernels_of(&cases);
        kernels.retain(|kernel| all || kernel.family != Some(Family::Software));
        let checked = check::on_adapter_async(&*cases[0].op, &cases, &device, &kernels, most).await;
        say(json!({
            "name": registered.name, "cases": checked.cases, "failures": checked.failures,
            "max_gpu_error": checked.max_gpu_error, "max_of_allowed": checked.max_of_allowed,
        }));
    }
    Ok(())
}
