//! Every command of the README and the pages in docs runs as typed in a fresh clone.
//!
//! The following run page by page, in order, in one folder that looks like a clone with the inputs that the page names:
//! - every ```` ```sh ```` block, in a shell where the binary is called `lineament`. `cargo … --example NAME`, `--bench NAME` and
//!   `tools/NAME` do nothing, but must name something that exists.
//! - every `` `lineament …` `` in the text, in a second such folder, unless a word in it is in capitals (a placeholder).
//!
//! If a page names a new input, add it to [`clone`]. [`SHORTER`] shortens commands that would take minutes, by their first words,
//! so that a page needs no mark. Only a block that cannot run at all is marked on the page, in the line before it:
//! `<!-- test: skip: why -->`.
#![cfg(unix)]

#[path = "common/attributes.rs"]
mod attributes;
mod common;
#[path = "common/faces.rs"]
mod faces;
#[path = "common/onnx.rs"]
mod onnx;

use attributes::attribute_folder;
use faces::face_folder;
use lineament::image::{Channels, Picture, Samples};
use lineament::models::SuperResolution;
use lineament::rng::Rng;
use lineament::{Graph, Tensor};
use prost::Message;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Options to replace or add, by a command's first words.
const SHORTER: &[(&str, &str)] = &[
    ("train upscale", "--steps 2 --batch 2 --patch 6 --warmup 0"),
    ("train hallucinate", "--pretrain 1 --joint 1 --batch 2 --patch 16"),
    ("train attributes", "--steps 1 --batch 2"),
    ("reproduce speed", "--sizes 16,32 --size 32 --runs 1"),
    ("reproduce cbn", "--runs 0"),
    ("reproduce faceness", "--pictures 1 --faces 0"),
    ("reproduce lmle", "--seeds 1 --steps 1 --head-steps 2"),
    ("profile upscale", "--size 24x24"),
    ("profile detect", "--size 64x48 --runs 1"),
    ("tune upscale", "--size 16x16 --budget 1"),
    ("tune", "--budget 1"),
    ("bench", "--runs 1"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns every page whose commands must run.
fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    pages.extend([root().join("README.md"), root().join("weights/README.md")]);
    pages.sort();
    pages
}

/// Returns the ```` ```sh ```` blocks of a page that are not marked to be skipped.
fn blocks(page: &str) -> Vec<String> {
    let (mut found, mut open, mut before) = (Vec::new(), None, "");
    for line in page.lines() {
        match &mut open {
            None if line.starts_with("```sh") => open = Some((String::new(), before.starts_with("<!-- test: skip: "))),
            None => before = line,
            Some((text, is_skipped)) if line == "```" => {
                if !*is_skipped {
                    found.push(std::mem::take(text));
                }
                open = None;
            }
            Some((text, _)) => *text += &format!("{line}\n"),
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

/// Returns the commands in the text of a page, outside its blocks.
fn spans(page: &str) -> Vec<String> {
    let text: String = page.split("```").step_by(2).collect();
    let commands = text.split('`').skip(1).step_by(2).filter(|span| span.starts_with("lineament "));
    let is_placeholder = |word: &str| word.chars().any(|c| c.is_ascii_uppercase()) && !word.contains(['.', '/', '=']);
    let mut found: Vec<String> = Vec::new();
    for span in commands.map(|span| span.split_whitespace().collect::<Vec<_>>()) {
        let span_text = span.join(" ");
        if !span.iter().any(|word| is_placeholder(word)) && !found.contains(&span_text) {
            found.push(span_text);
        }
    }
    found
}

fn picture(path: &Path, side: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut rng = Rng::new(2);
    let samples = (0..side * side * 3).map(|_| rng.below(256) as u8).collect();
    Picture::from_samples("noise", side, side, Channels::Rgb, Samples::U8(samples)).unwrap().save(path).unwrap();
}

/// Packs pictures of 40 people, most of them men, as LFW is.
fn lfw(folder: &Path) {
    let (mut table, mut tar) = (String::from("file,male\n"), tar::Builder::new(Vec::new()));
    for person in 0..40 {
        let name = format!("P{person:02}/P{person:02}.png");
        let samples = (0..112 * 112 * 3).map(|k| (k * (3 + person % 5)) as u8).collect();
        let picture = Picture::from_samples("face", 112, 112, Channels::Rgb, Samples::U8(samples)).unwrap();
        let bytes = picture.encode(Picture::format_for("a.png").unwrap()).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, &name, &bytes[..]).unwrap();
        table += &format!("{name},{}\n", u8::from(person % 5 > 0));
    }
    fs::write(folder.join("lfw_gender.csv"), table).unwrap();
    fs::write(folder.join("lfw112.tar"), tar.into_inner().unwrap()).unwrap();
}

/// Creates a folder like a fresh clone, with small stand-ins for what the pages name, and ../shared beside it.
fn clone(at: &Path) -> PathBuf {
    let folder = at.join("clone");
    for part in ["weights", "assets"] {
        fs::create_dir_all(folder.join(part)).unwrap();
        for entry in fs::read_dir(root().join(part)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.join(part).join(path.file_name().unwrap())).unwrap();
        }
    }
    fs::copy(root().join("assets/astronaut.png"), folder.join("photo.png")).unwrap();
    for name in [
        "photo.jpg",
        "face.jpg",
        "group.jpg",
        "celeba/a.png",
        "faces/a.jpg",
        "tiny.png",
        "big.png",
        "scan.tif",
        "holiday/a.jpg",
        "holiday/day2/b.png",
    ] {
        picture(&folder.join(name), 20);
    }
    for set in ["set5", "pictures", "held_out", "t91", "sr/set5", "sr/set14", "sr/bsd100_40"] {
        picture(&folder.join(set).join("a.png"), 36);
    }
    fs::create_dir_all(at.join("shared/data/faces")).unwrap();
    for set in [
        "helen68_trainset_128",
        "helen68_testset_128",
        "faces/helen68_testset_128",
        "../shared/data/faces/helen68_testset_128",
    ] {
        face_folder(&folder.join(set), 5);
    }
    detection_inputs(&folder);
    for set in ["faces/celeba8k", "../shared/data/faces/celeba8k"] {
        attribute_folder(&folder.join(set), 16);
    }
    lfw(&folder.join("../shared/data/faces"));
    fs::write(folder.join("net.onnx"), onnx::chain(&[1, 2, 1], 8).encode_to_vec()).unwrap();
    let npy = |name: &str, value: f32| {
        let tensor = Tensor::filled([1, 1, 8, 8], value);
        fs::write(folder.join(name), lineament::import::npy::write(&tensor)).unwrap();
        tensor
    };
    let x = npy("x.npy", 0.25);
    let mut g = Graph::new();
    let net = lineament::import::onnx::open(folder.join("net.onnx")).unwrap().add(&mut g, &[vec![1, 1, 8, 8]]).unwrap();
    let device = lineament::Device::open(&lineament::Select::Cpu).unwrap();
    let y = device.compile(&g, &net.fetches(), net.weights).unwrap().run(&[("x", &x)]).unwrap();
    fs::write(folder.join("y.npy"), lineament::import::npy::write(&y[0])).unwrap();
    let mut g = Graph::new();
    let x = g.input("x", [1, 1, 16, 16]).unwrap();
    SuperResolution::new("srcnn-9-5-5", 3).unwrap().build(&mut g, x).unwrap();
    g.initialize(1).save(folder.join("w.safetensors")).unwrap();
    folder
}

/// Writes networks that find faces, and ground truth of one picture for each protocol.
fn detection_inputs(folder: &Path) {
    let shared = folder.join("../shared");
    let net = onnx::bytes(&onnx::face_finder());
    fs::create_dir_all(shared.join("models/yunet")).unwrap();
    for path in [folder.join("yunet.onnx"), shared.join("models/yunet/yunet_n_dynamic.onnx")] {
        fs::write(path, &net).unwrap();
    }
    let finder = "kind = 'priors'\nstrides = [8, 16, 32]\noffset = 0\nvariances = [1, 1]\nscores = ['cls_8', 'cls_16', 'cls_32']\n\
                  boxes = ['bbox_8', 'bbox_16', 'bbox_32']\n";
    fs::write(folder.join("reading.toml"), finder).unwrap();
    for part in ["afw640", "cmu", "fddb"] {
        picture(&shared.join("data/faces").join(part).join("a.png"), 40);
    }
    picture(&folder.join("pictures/a.png"), 40);
    let boxes = "half,file,x,y,w,h,ignore\ndev,a.png,0,0,8,8,0\n";
    for path in
        [folder.join("boxes.csv"), shared.join("data/faces/afw640_boxes.csv"), shared.join("data/faces/cmu.csv")]
    {
        fs::write(path, boxes).unwrap();
    }
    fs::write(folder.join("found.csv"), "file,x,y,width,height,score\na.png,0,0,8,8,0.5\n").unwrap();
    fs::create_dir_all(folder.join("fddb")).unwrap();
    fs::write(folder.join("fddb/FDDB-fold-01-ellipseList.txt"), "a\n1\n8 6 0 20 20 1\n").unwrap();
    fs::create_dir_all(folder.join("folds")).unwrap();
    fs::write(folder.join("folds/fold-01.txt"), "a\n1\n12 14 16 12 0.5\n").unwrap();
}

/// Writes the shell script `program` in `folder`.
fn script(folder: &Path, program: &str, text: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(program), format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(folder.join(program), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Returns the shell's `lineament`: `binary` with the options of [`SHORTER`] instead of the command's own.
fn shortened(binary: &str) -> String {
    let cases: String =
        SHORTER.iter().map(|(words, options)| format!("  \"{words} \"*) options='{options}' ;;\n")).collect();
    format!(
        r#"options=
case "$* " in
  *" --help "* | *" --show "* | *" --clear "*) ;;
{cases}esac
count=$#
while [ $count -gt 0 ]; do
  replaced=
  case "$1" in --*) case " $options " in *" $1 "*) replaced=1 ;; esac ;; esac
  if [ $replaced ]; then shift; count=$((count - 1)); else set -- "$@" "$1"; fi
  shift
  count=$((count - 1))
done
exec {binary} "$@" $options"#
    )
}

/// Runs `text` in `folder` in a shell, up to the first command that fails, and returns why it failed.
fn run(text: &str, folder: &Path) -> Option<String> {
    let bin = folder.join(".bin");
    script(&bin, "lineament", &shortened(env!("CARGO_BIN_EXE_lineament")));
    let root = root();
    let exists = r#"while [ $# -gt 1 ]; do
  case "$1" in --example) file="examples/$2.rs" ;; --bench) file="benches/$2.rs" ;; *) file=Cargo.toml ;; esac
  [ -f "ROOT/$file" ] || { echo "there is no $file" >&2; exit 1; }
  shift
done"#;
    script(&bin, "cargo", &exists.replace("ROOT", root.to_str().unwrap()));
    for tool in fs::read_dir(root.join("tools")).unwrap() {
        script(&folder.join("tools"), tool.unwrap().file_name().to_str().unwrap(), "exit 0");
    }
    let mut shell = Command::new("sh");
    shell.args(["-euxc", text]).current_dir(folder).env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    // The test must not depend on what the developer's machine remembers.
    shell.env_remove("LINEAMENT_DEVICE").env("LINEAMENT_TUNE", "off").env("XDG_CACHE_HOME", folder.join(".cache"));
    let output = shell.output().unwrap();
    (!output.status.success()).then(|| format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn check(page: &str) {
    if common::device().is_none() {
        return;
    }
    let text = fs::read_to_string(root().join(page)).unwrap();
    let place = tempfile::tempdir().unwrap();
    let folder = clone(place.path());
    let mut wrong: Vec<String> = blocks(&text).iter().filter_map(|block| run(block, &folder)).collect();
    let place = tempfile::tempdir().unwrap();
    let folder = clone(place.path());
    wrong.extend(spans(&text).iter().filter_map(|command| run(command, &folder)));
    assert!(wrong.is_empty(), "{page}:\n{}", wrong.join("\n"));
}

/// One test per page, so that they run in parallel.
macro_rules! pages {
    ($($test:ident $page:literal)*) => {
        $(#[test]
        fn $test() {
            check($page);
        })*
        const PAGES: &[&str] = &[$($page),*];
    };
}

pages! {
    readme "README.md"
    weights "weights/README.md"
    attributes_page "docs/attributes.md"
    detect "docs/detect.md"
    faces "docs/faces.md"
    kernel "docs/kernel.md"
    network "docs/network.md"
    phrasebook "docs/phrasebook.md"
    profile "docs/profile.md"
    reproduce "docs/reproduce.md"
    train "docs/train.md"
    upscale "docs/upscale.md"
}

#[test]
fn no_page_is_left_out() {
    let pages: Vec<String> =
        pages().iter().map(|page| page.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()).collect();
    for page in &pages {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let has_commands = !blocks(&text).is_empty() || !spans(&text).is_empty();
        assert!(!has_commands || PAGES.contains(&page.as_str()), "{page} is not in the list of this test");
    }
    assert!(PAGES.iter().all(|page| pages.iter().any(|p| p == page)), "{pages:?}");
}

/// Failing commands and missing tools and examples are noticed; skipped blocks and placeholders are left out.
#[test]
fn what_would_not_run_is_found() {
    let page = "text `lineament ops` and `lineament upscale IN OUT`\n```sh\nlineament ops \\\n  --json  # comment\n```\n<!-- test: skip: why -->\n```sh\nlineament none\n```\n";
    assert_eq!(blocks(page), ["lineament ops \\\n  --json  # comment\n"]);
    assert_eq!(spans(page), ["lineament ops"]);
    let folder = tempfile::tempdir().unwrap();
    let run = |text: &str| run(text, folder.path());
    assert_eq!(run("a='--json'\nlineament ops $a > ops.json"), None);
    assert!(
        fs::read_to_string(folder.path().join("ops.json")).unwrap().contains("relu"),
        "redirections are the shell's"
    );
    assert!(run("lineament upscale nowhere.png out.png --scale 3 --device cpu\ntrue").unwrap().contains("nowhere.png"));
    assert!(run("cargo run --example none").unwrap().contains("there is no examples/none.rs"));
    assert_eq!(run("cargo run --release --example custom_op -- x\ntools/test"), None);
    assert!(run("tools/none").is_some());

    let bin = folder.path().join("echo");
    script(&bin, "lineament", &shortened("echo"));
    let words = |arguments: &str| {
        let output = Command::new(bin.join("lineament")).args(arguments.split(' ')).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(words("bench a.onnx --runs 9 --json"), "bench a.onnx --json --runs 1\n");
    assert_eq!(words("tune --show"), "tune --show\n");
    assert_eq!(words("upscale a b --scale 3"), "upscale a b --scale 3\n");
}
