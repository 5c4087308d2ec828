//! The machine code that RADV makes of the hardware family's kernels (`lineament lab isa layers`), against tests/golden_isa.json.
//!
//! The file holds, for each layer and kernel, the worst of the kernel's variants. A change that spills registers, loses ten points of
//! multiply-adds, needs over 10 % more bytes of workgroup memory per multiply-add or, where multiply-adds are few, takes over 10 % more
//! vector instructions for the bytes that it moves fails. If that is intended, or if another kernel serves a layer,
//! `LINEAMENT_BLESS=1 cargo test --test isa` writes the file anew, and the change shows in its diff.
//!
//! Without RADV the tests are skipped with a message, or fail with LINEAMENT_REQUIRE_GPU=1 where lavapipe, which is in the same
//! package, is installed.

#[path = "common/command.rs"]
mod command;

use command::{Folder, lineament, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

const FAMILIES: &str = "gfx1100,navi21";
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden_isa.json");
/// Points of multiply-adds among vector operations that a kernel may not lose.
const POINTS: f64 = 10.0;
/// How many times the bytes of workgroup memory per multiply-add are still accepted.
const BYTES: f64 = 1.1;
/// How many times the vector instructions for every 16 bytes loaded or stored are still accepted, where few of them are multiply-adds.
const INSTRUCTIONS: f64 = 1.1;
/// Percent of multiply-adds below which a kernel is bound by bytes, or by its addresses.
const FEW: f64 = 50.0;

/// What the gate watches of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Numbers {
    spills: f64,
    fma_percent: f64,
    workgroup_bytes_per_fma: f64,
    /// Vector instructions of the hottest loop for every 16 bytes that it loads from buffers or stores there.
    vector_per_16_bytes: f64,
}

/// Numbers by layer and kernel, such as `3x3 64-64 128²: conv2d/columns.forward`.
type Kernels = BTreeMap<String, Numbers>;

impl Numbers {
    fn worst(self, other: Self) -> Self {
        Self {
            spills: self.spills.max(other.spills),
            fma_percent: self.fma_percent.min(other.fma_percent),
            workgroup_bytes_per_fma: self.workgroup_bytes_per_fma.max(other.workgroup_bytes_per_fma),
            vector_per_16_bytes: self.vector_per_16_bytes.max(other.vector_per_16_bytes),
        }
    }
}

/// Runs `lineament lab isa` with `arguments`, separated by spaces.
fn isa(arguments: &str) -> Output {
    lineament().args(["lab", "isa"]).args(arguments.split(' ')).output().unwrap()
}

/// Returns the last line as JSON; `None` if RADV is missing and need not be there.
fn json_of(output: &Output) -> Option<Value> {
    let stderr = text(&output.stderr);
    if output.status.code() == Some(1) && stderr.contains("needs RADV") {
        let is_required = std::env::var("LINEAMENT_REQUIRE_GPU").is_ok_and(|v| v == "1");
        let drivers = std::fs::read_dir("/usr/share/vulkan/icd.d").into_iter().flatten().flatten();
        let has_lavapipe = drivers.into_iter().any(|file| file.file_name().to_string_lossy().starts_with("lvp_icd"));
        assert!(!(is_required && has_lavapipe), "LINEAMENT_REQUIRE_GPU=1, but: {stderr}");
        eprintln!("SKIPPED: {stderr}");
        return None;
    }
    assert!(output.status.success(), "{stderr}");
    Some(serde_json::from_str(text(&output.stdout).lines().last()?).unwrap())
}

/// Reads the numbers of a family from the object of `--json`. What only the training step around a layer needs is left out.
fn kernels(family: &Value) -> Kernels {
    let mut kernels = Kernels::new();
    for kernel in family["kernels"].as_array().unwrap() {
        let name = kernel["kernel"].as_str().unwrap();
        if ["loss/", "reduce/"].iter().any(|part| name.starts_with(part)) {
            continue;
        }
        let numbers = Numbers {
            spills: kernel["spills"].as_f64().unwrap(),
            fma_percent: rounded(100.0 * kernel["fma"].as_f64().unwrap_or(0.0)),
            workgroup_bytes_per_fma: rounded(kernel["workgroup_bytes_per_fma"].as_f64().unwrap_or(0.0)),
            vector_per_16_bytes: {
                let count = |name: &str| kernel["loop"][name].as_f64().unwrap();
                let bytes = count("global_bytes");
                if bytes > 0.0 { rounded(16.0 * count("vector") / bytes) } else { 0.0 }
            },
        };
        for layer in kernel["for"].as_array().unwrap() {
            let key = format!("{}: {name}", layer.as_str().unwrap());
            kernels.entry(key).and_modify(|known| *known = known.worst(numbers)).or_insert(numbers);
        }
    }
    kernels
}

fn rounded(value: f64) -> f64 {
    (100.0 * value).round() / 100.0
}

/// Returns what the gate refuses, each with the kernel, the old and the new number, and the command that shows it.
fn worse(family: &str, old: &Kernels, new: &Kernels) -> Vec<String> {
    let mut found = Vec::new();
    let mut refuse = |key: &str, problem: String| {
        let kernel = key.rsplit(' ').next().unwrap_or(key);
        let see = format!("lineament lab isa layers --family {family} --kernel {kernel}");
        found.push(format!("{family}: {key} {problem}; see `{see}`"));
    };
    for (key, was) in old {
        let Some(is) = new.get(key) else {
            refuse(key, "serves this layer no more; if that is intended, LINEAMENT_BLESS=1".into());
            continue;
        };
        if is.spills > was.spills {
            refuse(key, format!("spills {} registers, was {}", is.spills, was.spills));
        }
        if was.fma_percent - is.fma_percent >= POINTS {
            refuse(key, format!("has {} % multiply-adds, was {} %", is.fma_percent, was.fma_percent));
        }
        if is.workgroup_bytes_per_fma > BYTES * was.workgroup_bytes_per_fma {
            let (is, was) = (is.workgroup_bytes_per_fma, was.workgroup_bytes_per_fma);
            refuse(key, format!("needs {is} bytes of workgroup memory per multiply-add, was {was}"));
        }
        if is.fma_percent < FEW && is.vector_per_16_bytes > INSTRUCTIONS * was.vector_per_16_bytes {
            let (is, was) = (is.vector_per_16_bytes, was.vector_per_16_bytes);
            refuse(key, format!("takes {is} vector instructions for 16 bytes of buffers, was {was}"));
        }
    }
    for key in new.keys().filter(|key| !old.contains_key(*key)) {
        refuse(key, "is new; if its numbers are good, LINEAMENT_BLESS=1".into());
    }
    found
}

/// Writes `kernels` as the file holds them: one line per kernel.
fn object(kernels: &Kernels) -> String {
    let line = |(key, n): (&String, &Numbers)| {
        let numbers = json!({
            "spills": n.spills as u32, "fma_percent": n.fma_percent, "workgroup_bytes_per_fma": n.workgroup_bytes_per_fma,
            "vector_per_16_bytes": n.vector_per_16_bytes,
        });
        format!("    {}: {numbers}", json!(key))
    };
    format!("{{\n{}\n  }}", kernels.iter().map(line).collect::<Vec<_>>().join(",\n"))
}

fn read(golden: &Value, family: &str) -> Kernels {
    let number = |n: &Value, name: &str| n[name].as_f64().unwrap();
    let numbers = |n: &Value| Numbers {
        spills: number(n, "spills"),
        fma_percent: number(n, "fma_percent"),
        workgroup_bytes_per_fma: number(n, "workgroup_bytes_per_fma"),
        vector_per_16_bytes: number(n, "vector_per_16_bytes"),
    };
    golden[family].as_object().unwrap().iter().map(|(key, n)| (key.clone(), numbers(n))).collect()
}

#[test]
fn kernels_of_the_hardware_family_keep_their_numbers() {
    let Some(all) = json_of(&isa(&format!("layers --family {FAMILIES} --json --quiet"))) else { return };
    let families = all["families"].as_array().unwrap();
    assert_eq!(families.len(), 2);
    let driver = &families[0]["driver"];
    if std::env::var("LINEAMENT_BLESS").is_ok_and(|v| v == "1") {
        let mut file = format!("{{\n  \"driver\": {}", driver);
        for family in families {
            file += &format!(",\n  {}: {}", family["family"], object(&kernels(family)));
        }
        std::fs::write(GOLDEN, file + "\n}\n").unwrap();
    }
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(GOLDEN).unwrap()).unwrap();
    if golden["driver"] != *driver {
        // Every kernel did compile; but another compiler's numbers say nothing about these kernels.
        eprintln!("SKIPPED: the numbers are those of {}, this is {}", golden["driver"], driver);
        return;
    }
    let mut found = Vec::new();
    for family in families {
        let name = family["family"].as_str().unwrap();
        let (old, new) = (read(&golden, name), kernels(family));
        assert!(new.len() > 20, "{name} has {} kernels", new.len());
        found.extend(worse(name, &old, &new));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn slightly_worse_numbers_are_refused() {
    let was = Numbers { spills: 0.0, fma_percent: 97.0, workgroup_bytes_per_fma: 1.25, vector_per_16_bytes: 40.0 };
    let key = "3x3 64-64 128²: conv2d/conv3x3_tile.forward";
    let of = |numbers: Numbers| Kernels::from([(key.to_owned(), numbers)]);
    let refused = |is: Numbers| worse("navi21", &of(was), &of(is));
    for (is, message) in [
        (Numbers { spills: 1.0, ..was }, "spills 1 registers, was 0"),
        (Numbers { fma_percent: 87.0, ..was }, "has 87 % multiply-adds, was 97 %"),
        (
            Numbers { workgroup_bytes_per_fma: 1.38, ..was },
            "needs 1.38 bytes of workgroup memory per multiply-add, was 1.25",
        ),
    ] {
        let found = refused(is);
        assert_eq!(found.len(), 1, "{found:?}");
        let command = "`lineament lab isa layers --family navi21 --kernel conv2d/conv3x3_tile.forward`";
        assert!([key, message, command, "navi21"].iter().all(|part| found[0].contains(part)), "{found:?}");
    }
    let accepted = [
        was,
        Numbers { fma_percent: 87.1, ..was },
        Numbers { workgroup_bytes_per_fma: 1.37, ..was },
        Numbers { fma_percent: 99.0, workgroup_bytes_per_fma: 0.5, ..was },
        Numbers { vector_per_16_bytes: 80.0, ..was },
    ];
    accepted.into_iter().for_each(|is| assert!(refused(is).is_empty(), "{is:?}"));
    // Bound by bytes.
    let bytes = Numbers { fma_percent: 10.0, ..was };
    let more = |vector_per_16_bytes: f64| worse("navi21", &of(bytes), &of(Numbers { vector_per_16_bytes, ..bytes }));
    assert!(more(44.0).is_empty() && more(44.1)[0].contains("takes 44.1 vector instructions for 16 bytes"));
    // A kernel without workgroup memory may not begin to use it unnoticed, nor one appear or disappear.
    let without = Numbers { workgroup_bytes_per_fma: 0.0, ..was };
    assert_eq!(worse("navi21", &of(without), &of(was)).len(), 1);
    assert!(worse("navi21", &of(was), &Kernels::new())[0].contains("no more"));
    assert!(worse("navi21", &Kernels::new(), &of(was))[0].contains("is new"));
}

/// The numbers in the file are refused after any of them is made worse.
#[test]
fn the_gate_bites_on_every_kernel() {
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(GOLDEN).unwrap()).unwrap();
    for family in FAMILIES.split(',') {
        let old = read(&golden, family);
        assert!(worse(family, &old, &old).is_empty());
        for (key, was) in &old {
            for (name, is) in [
                ("spills", Numbers { spills: was.spills + 1.0, ..*was }),
                ("has", Numbers { fma_percent: was.fma_percent - POINTS, ..*was }),
                ("needs", Numbers { workgroup_bytes_per_fma: 1.11 * was.workgroup_bytes_per_fma + 0.01, ..*was }),
                ("takes", Numbers { vector_per_16_bytes: 1.11 * was.vector_per_16_bytes + 0.01, ..*was }),
            ] {
                if name == "takes" && was.fma_percent >= FEW {
                    continue;
                }
                let mut new = old.clone();
                new.insert(key.clone(), is);
                let found = worse(family, &old, &new);
                assert!(found.len() == 1 && found[0].contains(&format!("{key} {name}")), "{found:?}");
            }
        }
    }
}

const WGSL: &str = "override WG: u32 = 64u;\nconst K: u32 = 4u;\n@group(0) @binding(0) var<storage, read> x: array<f32>;\n\
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;\n@compute @workgroup_size(WG)\n\
    fn first(@builtin(global_invocation_id) id: vec3<u32>) {\n  var s = 1.0;\n  // unroll\n  \
    for (var k = 0u; k < K; k++) { s = fma(x[id.x + k], x[k], s); }\n  y[id.x] = s;\n}\n\
    @compute @workgroup_size(1) fn second() { y[0] = x[0]; }\n";

#[test]
fn a_file_that_is_no_kernel_yet_is_compiled_and_its_code_is_kept() {
    let folder = Folder::new();
    let (wgsl, code) = (folder.text("mine.wgsl"), folder.text("code"));
    std::fs::write(&wgsl, WGSL).unwrap();
    let arguments = format!("--wgsl {wgsl} --set WG=128 --set K=7 --kernel first --family navi21 --asm {code} --json");
    let Some(all) = json_of(&isa(&arguments)) else { return };
    let kernels = all["families"][0]["kernels"].as_array().unwrap();
    let kernel = &kernels[0];
    assert_eq!((kernels.len(), &kernel["kernel"], &kernel["threads"]), (1, &json!("mine.first"), &json!(128)));
    assert_eq!((&kernel["loop"]["multiply_adds"], &kernel["loop"]["depth"]), (&json!(7), &json!(0)), "{kernel}");
    let file = all["files"][0].as_str().unwrap();
    assert!(
        Path::new(file).starts_with(&code) && std::fs::read_to_string(file).unwrap().contains("s_endpgm"),
        "{file}"
    );
    // Nothing is overwritten unless asked.
    let again = isa(&arguments);
    assert!(again.status.code() == Some(1) && text(&again.stderr).contains("--overwrite"), "{again:?}");
    assert!(isa(&format!("{arguments} --overwrite")).status.success());
}

#[test]
fn kernels_are_written_as_hlsl_with_their_constants() {
    let folder = Folder::new();
    let (wgsl, hlsl) = (folder.text("mine.wgsl"), folder.text("hlsl"));
    std::fs::write(&wgsl, WGSL).unwrap();
    let arguments = format!("--wgsl {wgsl} --set WG=128 --set K=7 --hlsl {hlsl} --json");
    let Some(all) = json_of(&isa(&arguments)) else { return };
    let files = all["files"].as_array().unwrap();
    let read = |file: &Value| std::fs::read_to_string(file.as_str().unwrap()).unwrap();
    let [first, second] = [read(&files[0]), read(&files[1])];
    assert!(
        first.contains("numthreads(128, 1, 1)") && first.contains("void first(") && !second.contains("void first(")
    );
    // The loop is unrolled: its last turn adds 6.
    assert!(first.contains("+ 6u") && !first.contains("+ 7u"), "{first}");
    let again = isa(&arguments);
    assert!(again.status.code() == Some(1) && text(&again.stderr).contains("--overwrite"), "{again:?}");
    let error = isa(&format!("--wgsl {wgsl} --registers 128"));
    assert!(error.status.code() == Some(1) && text(&error.stderr).contains("leave --registers out"), "{error:?}");
}

#[test]
fn what_cannot_be_compiled_is_named() {
    let folder = Folder::new();
    let wgsl = folder.text("mine.wgsl");
    std::fs::write(&wgsl, WGSL).unwrap();
    let Some(_) = json_of(&isa(&format!("--wgsl {wgsl} --json"))) else { return };
    let fails = |arguments: &str, parts: &[&str]| {
        let output = isa(arguments);
        let stderr = text(&output.stderr);
        let is_named = parts.iter().all(|part| stderr.contains(part));
        assert!(output.status.code() == Some(1) && stderr.lines().count() == 1 && is_named, "{arguments}: {output:?}");
        output
    };
    fails(&format!("--wgsl {wgsl} --set NONE=1"), &["mine", "NONE"]);
    fails(&format!("--wgsl {wgsl} --kernel third"), &["third", "mine.first, mine.second"]);
    fails(&format!("--wgsl {wgsl} --family gfx0"), &["gfx0", "--family", "navi21"]);
}

/// A matrix that the compiler of Mesa 22.3 does not know, which ends its process, and a kernel after it.
const CRASH: &str = "enable wgpu_cooperative_matrix;\n@group(0) @binding(0) var<storage, read_write> y: array<f32>;\n\
    @compute @workgroup_size(64) fn bad() { var a = coopLoad<coop_mat8x8<f32, A>>(&y[0], 8u); coopStore(a, &y[64], 8u); }\n\
    @compute @workgroup_size(1) fn fine() { y[0] = 1.0; }\n";

#[test]
fn a_kernel_on_which_the_compiler_fails_is_named_and_the_others_are_compiled() {
    let folder = Folder::new();
    let wgsl = folder.text("coop.wgsl");
    std::fs::write(&wgsl, WGSL).unwrap();
    let Some(before) = json_of(&isa(&format!("--wgsl {wgsl} --json"))) else { return };
    std::fs::write(&wgsl, CRASH).unwrap();
    let output = isa(&format!("--wgsl {wgsl} --json"));
    let all: Value = serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap();
    let family = &all["families"][0];
    let names: Vec<&str> =
        family["kernels"].as_array().unwrap().iter().map(|k| k["kernel"].as_str().unwrap()).collect();
    assert!(names.contains(&"coop.fine"), "{output:?}");
    if before["families"][0]["driver"] == "radv Mesa 22.3.6" {
        let failed = family["failed"][0].as_str().unwrap();
        assert!(failed.starts_with("coop.bad: the driver ended its process"), "{failed}");
        assert!(output.status.code() == Some(1) && text(&output.stderr).contains(failed), "{output:?}");
    }
}

#[test]
fn without_radv_the_error_says_what_to_install() {
    let folder = Folder::new();
    let output =
        lineament().args(["lab", "isa", "layers"]).env("VK_DRIVER_FILES", folder.text("none.json")).output().unwrap();
    let stderr = text(&output.stderr);
    assert!(output.status.code() == Some(1) && stderr.lines().count() == 1, "{output:?}");
    assert!(stderr.contains("apt-get install mesa-vulkan-drivers") && stderr.contains("none.json"), "{stderr}");
}
