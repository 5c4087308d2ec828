//! Compiles kernels in processes of their own, one per GPU.
//!
//! RADV reads from the environment which GPU to compile for, once per process, and may end the process if a shader makes it fail. So
//! this program starts itself with the environment set, sends one kernel per line, and reads one result per line. A process that ends
//! early is replaced by another one for the kernels that are left.

use super::super::{interrupt, out};
use crate::error::{Error, Result};
use crate::lab::isa::driver::Driver;
use crate::lab::isa::{Compiled, Kernel};
use crate::shader::{Resource, Spirv};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};

/// Kernels as compiled for one GPU.
pub struct Family {
    pub family: String,
    /// The device's name, e.g. `Null hardware (RADV GFX1100)`.
    pub device: String,
    /// Driver and version, e.g. `radv Mesa 22.3.6`.
    pub driver: String,
    /// For each kernel, what the driver says of it, or why it did not compile.
    pub results: Vec<std::result::Result<Compiled, String>>,
}

/// Compiles `kernels` for each of `families`, at the same time.
///
/// # Errors
/// RADV is not installed, does not know a family, or cannot be opened.
pub fn compile(families: &[String], kernels: &[Kernel]) -> Result<Vec<Family>> {
    let manifest = manifest()?;
    thread::scope(|scope| {
        let started: Vec<_> =
            families.iter().map(|family| scope.spawn(|| compile_for(family, &manifest, kernels))).collect();
        let panicked =
            || Error::device("a thread of lab isa ended early", "this is a bug in lineament; please report it");
        started.into_iter().map(|thread| thread.join().map_err(|_| panicked())?).collect()
    })
}

fn compile_for(family: &str, manifest: &Path, kernels: &[Kernel]) -> Result<Family> {
    let mut worker = Worker::start(family, manifest)?;
    let mut results = Vec::new();
    for kernel in kernels {
        interrupt::check()?;
        let result = match worker.compile(&kernel.shader) {
            Some(result) => result,
            None => {
                let said = std::mem::replace(&mut worker, Worker::start(family, manifest)?).end();
                Err(format!("the driver ended its process while compiling it{said}"))
            }
        };
        results.push(result);
    }
    let (device, driver) = (worker.device.clone(), worker.driver.clone());
    worker.end();
    Ok(Family { family: family.to_owned(), device, driver, results })
}

/// A process that compiles.
struct Worker {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    /// Collects what the process writes to standard error.
    errors: Option<JoinHandle<String>>,
    /// As in [`Family`].
    device: String,
    driver: String,
}

impl Worker {
    fn start(family: &str, manifest: &Path) -> Result<Self> {
        let mut command = Command::new(env::current_exe().map_err(|e| Error::io("lineament", e))?);
        command.args(["lab", "isa", "--worker"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Loaders older than 1.3.207 know only the second name.
        command.env("VK_DRIVER_FILES", manifest).env("VK_ICD_FILENAMES", manifest).env("RADV_FORCE_FAMILY", family);
        // What is in a cache has no statistics; Mesa before 22.0 knows only the second name.
        command.env("MESA_SHADER_CACHE_DISABLE", "true").env("MESA_GLSL_CACHE_DISABLE", "true");
        // The numbers must not depend on how someone debugs drivers.
        for name in ["RADV_DEBUG", "RADV_PERFTEST", "ACO_DEBUG", "NIR_DEBUG", "VK_INSTANCE_LAYERS", "VK_LOADER_DEBUG"] {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(|e| Error::io("lineament lab isa", e))?;
        let piped =
            || Error::device("a process of lab isa has no pipes", "this is a bug in lineament; please report it");
        let (to, from) = (child.stdin.take(), child.stdout.take().ok_or_else(piped)?);
        let mut stderr = child.stderr.take().ok_or_else(piped)?;
        let errors = thread::spawn(move || {
            let mut text = Vec::new();
            // What cannot be read is not worth a second error.
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let (device, driver) = (String::new(), String::new());
        let mut worker = Self { child, to, from: BufReader::new(from), errors: Some(errors), device, driver };
        match worker.read() {
            Some(greeting) if greeting["device"].is_string() => {
                let text = |name: &str| greeting[name].as_str().unwrap_or_default().to_owned();
                (worker.device, worker.driver) = (text("device"), text("driver"));
                Ok(worker)
            }
            other => {
                let said = match other.as_ref().and_then(|answer| answer["error"].as_str()) {
                    Some(error) => format!(": {error}"),
                    None => worker.end(),
                };
                Err(Error::device(
                    format!("RADV does not open as {family}{said}"),
                    "choose another --family, such as gfx1100, navi21 or vega10; which ones there are depends on Mesa's version",
                ))
            }
        }
    }

    /// Returns what the process answers next; `None` if it has ended.
    fn read(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.from.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Returns the result for a shader; `None` if the process has ended.
    fn compile(&mut self, shader: &Spirv) -> Option<std::result::Result<Compiled, String>> {
        let job = job(shader);
        let to = self.to.as_mut()?;
        writeln!(to, "{job}").and_then(|()| to.flush()).ok()?;
        let answer = self.read()?;
        Some(match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(compiled(&answer)),
        })
    }

    /// Waits for the process and returns what it said last, for the end of a message.
    fn end(mut self) -> String {
        drop(self.to.take());
        // A process that is gone already is what this waits for.
        let status = self.child.wait();
        let said = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        let is_line = |line: &&str| !line.is_empty() && !line.contains("is not a conformant");
        let last = said.lines().map(str::trim).rfind(is_line).map(|line| format!(": {line}"));
        let status = status.map(|status| format!(" ({status})")).unwrap_or_default();
        status + &last.unwrap_or_default()
    }
}

impl Drop for Worker {
    /// Ends a process that was left because of an error.
    fn drop(&mut self) {
        drop(self.to.take());
        let _ = self.child.wait();
    }
}

fn job(shader: &Spirv) -> Value {
    let resource = |resource| match resource {
        Resource::Uniform => "uniform",
        Resource::Buffer => "buffer",
        Resource::Texture => "texture",
    };
    let bindings: Vec<Value> = shader.bindings.iter().map(|&(b, r)| json!([b, resource(r)])).collect();
    json!({ "entry": shader.entry, "bindings": bindings, "threads": shader.threads, "words": shader.words })
}

/// Reads what [`job`] wrote.
fn shader(job: &Value) -> Option<Spirv> {
    let binding = |pair: &Value| {
        let resource = match pair[1].as_str()? {
            "uniform" => Resource::Uniform,
            "buffer" => Resource::Buffer,
            "texture" => Resource::Texture,
            _ => return None,
        };
        Some((u32::try_from(pair[0].as_u64()?).ok()?, resource))
    };
    let word = |word: &Value| u32::try_from(word.as_u64()?).ok();
    Some(Spirv {
        entry: job["entry"].as_str()?.to_owned(),
        words: job["words"].as_array()?.iter().map(word).collect::<Option<_>>()?,
        bindings: job["bindings"].as_array()?.iter().map(binding).collect::<Option<_>>()?,
        threads: u32::try_from(job["threads"].as_u64()?).ok()?,
    })
}

fn answer(compiled: &Compiled) -> Value {
    json!({ "statistics": compiled.statistics, "assembly": compiled.assembly })
}

/// Reads what [`answer`] wrote.
fn compiled(answer: &Value) -> Compiled {
    let statistics = answer["statistics"].as_object();
    let numbers = statistics.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)));
    Compiled {
        statistics: numbers.collect::<BTreeMap<_, _>>(),
        assembly: answer["assembly"].as_str().unwrap_or_default().to_owned(),
    }
}

/// Runs as the other side of a [`Worker`]: compiles every line of standard input.
pub fn serve() -> Result<u8> {
    let driver = match Driver::open() {
        Ok(driver) => driver,
        Err(e) => {
            out::json(&json!({ "error": e.to_string() }));
            return Ok(1);
        }
    };
    out::json(&json!({ "device": driver.name, "driver": driver.driver }));
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| Error::io("standard input", e))?;
        let shader = serde_json::from_str(&line).ok().and_then(|job| shader(&job));
        let shader =
            shader.ok_or_else(|| Error::Usage("--worker is how lab isa starts itself; leave it out".into()))?;
        match driver.compile(&shader) {
            Ok(compiled) => out::json(&answer(&compiled)),
            Err(e) => out::json(&json!({ "error": e.to_string() })),
        }
    }
    Ok(0)
}

/// Returns the manifest of RADV: in the files or folders of `VK_DRIVER_FILES` if that is set, as for every program that uses Vulkan,
/// or else in the folders where a Vulkan loader looks.
fn manifest() -> Result<PathBuf> {
    let places = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let paths = |value: &std::ffi::OsString| env::split_paths(value).collect::<Vec<_>>();
    let given = places("VK_DRIVER_FILES").or_else(|| places("VK_ICD_FILENAMES"));
    let searched = match &given {
        Some(given) => paths(given),
        None => {
            let data = places("XDG_DATA_DIRS").map(|value| paths(&value)).unwrap_or_default();
            let roots = ["/etc", "/usr/local/etc", "/usr/local/share", "/usr/share"].map(PathBuf::from);
            data.into_iter().chain(roots).map(|root| root.join("vulkan/icd.d")).collect()
        }
    };
    let hides = if given.is_some() { ", or unset VK_DRIVER_FILES and VK_ICD_FILENAMES, which hide others" } else { "" };
    manifest_in(&searched).ok_or_else(|| {
        let searched: Vec<String> = searched.iter().map(out::shown).collect();
        Error::device(
            format!("lab isa needs RADV, Mesa's driver for AMD GPUs: there is no radeon_icd*.json in {}", searched.join(", ")),
            format!(
                "install it; no GPU is needed (Debian, Ubuntu: apt-get install mesa-vulkan-drivers libvulkan1; Fedora: dnf install \
                 mesa-vulkan-drivers vulkan-loader; Arch: pacman -S vulkan-radeon){hides}"
            ),
        )
    })
}

/// Returns the first manifest of RADV among files and folders, preferably of this program's architecture.
fn manifest_in(searched: &[PathBuf]) -> Option<PathBuf> {
    let mut found = Vec::new();
    for place in searched {
        match std::fs::read_dir(place) {
            Ok(entries) => {
                let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
                inside.sort();
                found.extend(inside);
            }
            Err(_) => found.extend(place.is_file().then(|| place.clone())),
        }
    }
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    found.retain(|path| name(path).starts_with("radeon_icd") && name(path).ends_with(".json"));
    let ours = found.iter().find(|path| name(path).contains(env::consts::ARCH));
    ours.or(found.first()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_and_answers_arrive_as_they_were_sent() {
        let sent = Spirv {
            entry: "forward".into(),
            words: vec![0x0723_0203, u32::MAX, 0],
            bindings: vec![(0, Resource::Uniform), (1, Resource::Buffer), (7, Resource::Texture)],
            threads: 256,
        };
        let line = job(&sent).to_string();
        assert_eq!(shader(&serde_json::from_str(&line).unwrap()), Some(sent));
        assert_eq!(shader(&json!({ "entry": "forward" })), None);
        let sent =
            Compiled { statistics: BTreeMap::from([("VGPRs".into(), 96.0)]), assembly: "BB0:\n\ts_endpgm\n".into() };
        assert_eq!(compiled(&serde_json::from_str(&answer(&sent).to_string()).unwrap()), sent);
    }

    #[test]
    fn the_manifest_is_that_of_radv_and_of_this_architecture() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let searched = [path("nowhere"), folder.path().to_owned()];
        std::fs::write(path("lvp_icd.x86_64.json"), "{}").unwrap();
        assert_eq!(manifest_in(&searched), None);
        std::fs::write(path("radeon_icd.other.json"), "{}").unwrap();
        assert_eq!(manifest_in(&searched), Some(path("radeon_icd.other.json")));
        let ours = path(&format!("radeon_icd.{}.json", env::consts::ARCH));
        std::fs::write(&ours, "{}").unwrap();
        assert_eq!(manifest_in(&searched), Some(ours.clone()));
        assert_eq!(manifest_in(std::slice::from_ref(&ours)), Some(ours), "a file instead of a folder");
    }
}
