//! The house rules that can be checked by a program.

use lineament::lab::roof;
use lineament::ops::{Kernel, kernels, pointwise, registry};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

/// Returns the path below `shaders` without its extension.
fn shader_stem(path: &Path) -> String {
    relative(path)["shaders/".len()..].trim_end_matches(".wgsl").to_owned()
}

/// Rows of a pointwise table share a file.
fn file_of(kernel: &Kernel) -> String {
    let is_unary = |name: &str| pointwise::unary::ROWS.iter().any(|unary| unary.name == name);
    let Some(row) = kernel.stem().strip_prefix("pointwise/") else {
        // A fused convolution with the function of a row in the place of slopes.
        let stem = kernel.stem();
        let mut ends = stem.match_indices('_').map(|(at, _)| at);
        let end = ends.find(|at| stem.starts_with("conv2d/") && is_unary(&stem[at + 1..]));
        let stem = &stem[..end.unwrap_or(stem.len())];
        // A sibling without a file of its own has that of the plain kernel (src/ops/fours.rs).
        return match (stem.strip_suffix("/fours"), stem.strip_suffix("_fours")) {
            _ if root().join(format!("shaders/{stem}.wgsl")).exists() => stem.to_owned(),
            (Some(operation), _) => format!("{operation}/plain"),
            (_, first) => first.unwrap_or(stem).to_owned(),
        };
    };
    let file = if is_unary(row) {
        "unary"
    } else if row.strip_suffix("_fours").is_some_and(is_unary) {
        // Another text of the same file (src/ops/fours.rs).
        "unary"
    } else if row.ends_with("_fours") {
        "binary_fours"
    } else if row.strip_suffix("_quads").is_some_and(is_unary) {
        "unary_quads"
    } else if row.ends_with("_quads") {
        "binary_quads"
    } else if pointwise::compare::ROWS.iter().any(|compare| compare.name == row) {
        "compare"
    } else if row.ends_with("_sums") {
        "binary_sums"
    } else {
        "binary"
    };
    format!("pointwise/{file}")
}

fn roof_kernels() -> Vec<Kernel> {
    roof::cases().iter().flat_map(|cases| cases[0].op.kernels()).copied().collect()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// Returns code without comments, so that comments may name what code may not.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn only_the_adapters_side_names_wgpu_and_only_shader_names_naga() {
    for path in files("src", "rs") {
        let (name, text) = (relative(&path), code(&path));
        assert!(!text.contains("wgpu::") || name.starts_with("src/exec/gpu/"), "{name} names wgpu::");
        assert!(!text.contains("naga::") || name.starts_with("src/shader/"), "{name} names naga::");
        let names_ash = text.contains("ash::vk") || text.contains("use ash");
        assert!(!names_ash || name == "src/lab/isa/driver.rs", "{name} names ash::");
    }
}

#[test]
fn operations_shaders_and_registry_agree() {
    let registered: Vec<&str> = registry().iter().map(|r| r.name).collect();
    let mut sorted = registered.clone();
    sorted.sort_unstable();
    assert_eq!(registered, sorted, "the registry is in alphabetical order");
    let modules: BTreeSet<String> = files("src/ops", "rs")
        .iter()
        .map(|p| relative(p)["src/ops/".len()..].split(['/', '.']).next().unwrap().to_owned())
        .filter(|s| !["mod", "fours", "kernel", "pointwise", "product", "sensitivity", "windows"].contains(&s.as_str()))
        .chain(pointwise::names().map(str::to_owned))
        .collect();
    assert_eq!(registered, modules.iter().collect::<Vec<_>>(), "src/ops and the registry list the same operations");
    let known: BTreeSet<String> = kernels().iter().chain(&roof_kernels()).map(file_of).collect();
    let (shared, own): (Vec<PathBuf>, Vec<PathBuf>) =
        files("shaders", "wgsl").into_iter().partition(|p| p.parent().unwrap().ends_with("shared"));
    let shaders: BTreeSet<String> = own.iter().map(|p| shader_stem(p)).collect();
    assert_eq!(known, shaders, "shaders and the operations list the same files");
    for kernel in kernels() {
        let owner = kernel.stem().split('/').next().unwrap();
        assert!(
            registered.contains(&owner) || owner == "pointwise",
            "shaders/{}.wgsl lies in no operation's folder",
            kernel.stem()
        );
    }
    let users: String = files("src", "rs").iter().map(|p| code(p)).collect();
    for file in &shared {
        let is_used = [format!("+ \"{}\"", stem(file)), relative(file)].iter().any(|name| users.contains(name));
        assert!(is_used, "{} is used by no operation", relative(file));
    }
    for r in registry() {
        let cases = (r.cases)();
        assert!(cases.iter().filter(|c| !c.real).count() >= 4, "{} has fewer than four small cases", r.name);
        assert_eq!(cases[0].op.name(), r.name);
    }
}

/// The rooms of src; each may name only those before it.
const ROOMS: [&str; 20] = [
    "shape", "error", "rng", "threads", "layout", "table", "tensor", "weights", "files", "ops", "graph", "shader",
    "plan", "exec", "vectors", "lab", "import", "train", "vision", "cli",
];

/// Returns what `text` names against the order of [`ROOMS`]; it is the code of a file `depth` folders below the root of `room`.
fn upward(room: &str, depth: usize, text: &str) -> Vec<String> {
    let floor = |room: &str| ROOMS.iter().position(|r| *r == room);
    let mut found = Vec::new();
    for line in text.lines() {
        for (at, _) in line.match_indices("crate::") {
            let is_word = at == 0 || !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
            let named: String = line[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            // Re-exports of the root have no floor.
            if is_word && floor(&named).is_none_or(|floor_of| Some(floor_of) > floor(room)) {
                found.push(line.trim().to_owned());
            }
        }
        if line.contains(&"super::".repeat(depth + 1)) {
            found.push(line.trim().to_owned());
        }
    }
    found
}

#[test]
fn a_room_names_only_rooms_before_it() {
    let mut seen: Vec<String> = Vec::new();
    for path in files("src", "rs") {
        let name = relative(&path);
        let below = name.trim_start_matches("src/");
        if matches!(below, "lib.rs" | "main.rs") {
            continue;
        }
        let room = below.split(['/', '.']).next().unwrap().to_owned();
        // `mod.rs` stands for its folder.
        let depth = below.trim_end_matches("/mod.rs").matches('/').count();
        let text = code(&path);
        let found = upward(&room, depth, text.split("#[cfg(test)]\nmod tests").next().unwrap());
        assert!(found.is_empty(), "{name} names what stands after {room}: {found:?}");
        seen.push(room);
    }
    seen.dedup();
    seen.sort_by_key(|room| ROOMS.iter().position(|r| r == room));
    assert_eq!(seen, ROOMS, "src has these rooms");
    for (room, depth, text) in [
        ("ops", 1, "use crate::graph::Graph;"),
        ("plan", 1, "    let key = crate::lab::tune::key(op);"),
        ("exec", 1, "use crate::{Device, Weights};"),
        ("plan", 1, "use super::super::exec;"),
        ("error", 0, "use super::tensor::Shape;"),
    ] {
        assert_eq!(upward(room, depth, text).len(), 1, "{room} may not: {text}");
    }
    assert!(upward("graph", 1, "use crate::ops::Op;\nuse super::grad;\n$crate::ops::Source").is_empty());
}

/// naga accepts some WGSL that the specification does not allow, such as `a < b & c`.
#[test]
fn a_second_front_end_takes_every_shader() {
    let all = kernels().into_iter().chain(roof_kernels()).collect::<Vec<_>>();
    assert!(all.len() > 40);
    for kernel in all {
        if let Err(e) = wgsl_parse::parse_str(kernel.source.text) {
            panic!("{}: {e}", kernel.stem());
        }
    }
    let naga_only = "fn f(a: vec4<u32>) -> vec4<bool> { return a < vec4(1u) & vec4(true); }";
    assert!(wgsl_parse::parse_str(naga_only).is_err(), "the front end refuses nothing");
}

/// All output goes through src/cli/out.rs, which survives a closed pipe; no program is ever started, except that `lab isa` starts
/// this one again, with another environment.
#[test]
fn nothing_prints_or_starts_programs_on_its_own() {
    for path in files("src", "rs").iter().filter(|path| !path.ends_with("src/cli/out.rs")) {
        let text = code(path);
        let mut text = text.split("#[cfg(test)]").next().unwrap().to_owned();
        if relative(path) == "src/cli/lab/worker.rs" {
            text = text.replacen("Command::new(env::current_exe()", "", 1);
        }
        for word in ["println!", "eprintln!", "print!(", "Command::new"] {
            assert!(!text.contains(word), "{}: {word}", relative(path));
        }
    }
}

#[test]
fn every_file_has_a_header() {
    for path in files("src", "rs").into_iter().chain(files("tests", "rs")).chain(files("examples", "rs")) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} begins without a module comment", relative(&path));
    }
    for path in files("shaders", "wgsl") {
        let text = fs::read_to_string(&path).unwrap();
        let stem = shader_stem(&path);
        assert!(text.starts_with(&format!("// {}: ", stem.trim_start_matches("shared/"))), "{}", relative(&path));
        let twin =
            text.contains("src/ops/") || text.contains("src/lab/roof.rs") || path.parent().unwrap().ends_with("shared");
        assert!(twin, "{} does not name its twin", relative(&path));
    }
}

#[test]
fn no_float_atomics_no_todo_no_clock_where_none_belongs() {
    for path in files("shaders", "wgsl") {
        assert!(!code(&path).contains("atomic<f32>"), "{} has a float atomic", relative(&path));
    }
    let clocks = ["src/lab/", "src/train/", "src/vision/training/", "src/cli/"];
    for path in files("src", "rs") {
        let (name, text) = (relative(&path), code(&path));
        assert!(!text.contains("todo!(") && !text.contains("unimplemented!("), "{name} has a hole");
        assert!(!fs::read_to_string(&path).unwrap().contains("TODO"), "{name} has a TODO");
        let reads_clock = text.contains("Instant::now") || text.contains("SystemTime::now");
        assert!(!reads_clock || clocks.iter().any(|c| name.starts_with(c)), "{name} reads the clock");
    }
}

#[test]
fn the_core_uses_no_files_threads_or_processes() {
    let may = [
        "src/cli/",
        "src/train/",
        "src/vision/training/",
        "src/vision/image/folder.rs",
        "src/files.rs",
        "src/main.rs",
        "src/lab/tune/store.rs",
        // Needs no threads, but takes them where there are any.
        "src/threads.rs",
    ];
    for path in files("src", "rs") {
        let (name, text) = (relative(&path), code(&path));
        if may.iter().any(|m| name.starts_with(m)) {
            continue;
        }
        let core = text.split("#[cfg(test)]").next().unwrap();
        for word in ["std::fs", "std::thread", "std::process", "std::env"] {
            for (number, line) in core.lines().enumerate() {
                assert!(!line.contains(word), "{name}, code line {}: {word}", number + 1);
            }
        }
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut section = String::new();
    let mut previous = "";
    for line in text.lines() {
        if line.starts_with('[') {
            section = line.to_owned();
        } else if section.ends_with("dependencies]") && line.contains('=') {
            assert!(previous.starts_with('#'), "Cargo.toml: {line} stands without a reason");
        }
        previous = line;
    }
}
