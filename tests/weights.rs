//! Weights in and out: what a file keeps, and how broken and hostile files are refused.

use lineament::{Tensor, Weights};
use std::collections::BTreeMap;

/// Returns a safetensors file with this header and data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// Returns the header entry of an F32 tensor with this name, shape and place.
fn entry(name: &str, shape: &str, begin: usize, end: usize) -> String {
    format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
}

fn message(bytes: &[u8]) -> String {
    Weights::from_bytes("net/x.safetensors", bytes).unwrap_err().to_string()
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in {message:?}");
    }
}

fn sample() -> Weights {
    let conv = Tensor::new([2, 1, 3, 3], (0..18).map(|v| v as f32 / 8.0 - 1.0).collect()).unwrap();
    let bias = Tensor::new([1, 2, 1, 1], vec![f32::MIN_POSITIVE, -0.0]).unwrap();
    let mut weights = Weights::from_tensors(BTreeMap::from([("conv.w".into(), conv), ("conv.b".into(), bias)]));
    weights.set_manifest("model", "fsrcnn");
    weights.set_manifest("scale", "3");
    weights.set_manifest("data", "a \"quoted\" line\nand another, größer");
    weights
}

#[test]
fn weights_come_back_with_their_manifest() {
    let weights = sample();
    let bytes = weights.to_bytes().unwrap();
    let back = Weights::from_bytes("a", &bytes).unwrap();
    assert_eq!(back.tensors(), weights.tensors());
    assert!(back.get("conv.b").unwrap().data()[1].is_sign_negative());
    assert_eq!(back.name(), "a");
    let mut manifest = back.manifest().clone();
    let sum = manifest.remove("sha256").unwrap();
    assert_eq!(&manifest, weights.manifest());
    // The checksum is over all bytes after the header, and equal weights give equal files.
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    assert_eq!(header % 8, 0);
    assert_eq!(bytes.len(), 8 + header + 4 * 20);
    assert_eq!(sum.len(), 64);
    assert_eq!(back.to_bytes().unwrap(), bytes);
    // The reference reader of the format agrees.
    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(read.tensor("conv.w").unwrap().shape(), [2, 1, 3, 3]);
}

#[test]
fn files_are_saved_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("net.safetensors");
    sample().save(&path).unwrap();
    sample().save(&path).unwrap();
    assert_eq!(Weights::open(&path).unwrap().tensors(), sample().tensors());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let open = |name: &str| Weights::open(dir.path().join(name)).unwrap_err().to_string();
    says(&open("none.safetensors"), &["none.safetensors", "there is no such file", "check the path"]);
    says(&open("."), &["is a folder"]);
    std::fs::write(dir.path().join("empty.safetensors"), "").unwrap();
    says(&open("empty.safetensors"), &["empty.safetensors: the file is empty", "download it again"]);
    let save = sample().save(dir.path().join("no/net.safetensors")).unwrap_err().to_string();
    says(&save, &["no/net.safetensors", "there is no folder", "create it first"]);
}

#[test]
fn shapes_of_one_to_six_dimensions_are_kept() {
    let header = format!(
        "{{{},{},{}}}",
        entry("scalar", "[]", 0, 4),
        entry("bias", "[3]", 4, 16),
        entry("matrix", "[2,3]", 16, 40)
    );
    let weights = Weights::from_bytes("x", &file(&header, &[0; 40])).unwrap();
    let shape = |name: &str| weights.get(name).unwrap().shape().to_vec();
    assert_eq!([shape("scalar"), shape("bias"), shape("matrix")], [vec![1], vec![3], vec![2, 3]]);
    let saved = Weights::from_bytes("x", &weights.to_bytes().unwrap()).unwrap();
    assert_eq!(saved.tensors(), weights.tensors());
    let bytes = file(&format!("{{{}}}", entry("odd", "[1,1,1,1,1,1,6]", 0, 24)), &[0; 24]);
    says(&message(&bytes), &["net/x.safetensors", "tensor \"odd\" is [", "at most 6 dimensions", "reshape it"]);
}

/// A bias `[C]` and a matrix `[O, I]` are read where a network has four dimensions, and no other shapes are.
#[test]
fn a_network_takes_biases_and_matrices_as_others_save_them() {
    let mut graph = lineament::Graph::new();
    let init = lineament::graph::Init::Constant(0.0);
    let x = graph.input("x", [1, 3, 1, 1]).unwrap();
    let (w, b) = (graph.param("w", [2, 3, 1, 1], init).unwrap(), graph.param("b", [1, 2, 1, 1], init).unwrap());
    let y = graph.conv2d(x, w, b, lineament::ops::conv2d::Conv2d::default()).unwrap();
    let device = lineament::Device::open(&lineament::Select::Cpu).unwrap();
    let compiled = |w: &[usize], b: &[usize]| {
        let tensor = |sizes: &[usize]| {
            let shape = lineament::tensor::Shape::new(sizes).unwrap();
            Tensor::new(shape, (1..=sizes.iter().product::<usize>()).map(|v| v as f32).collect()).unwrap()
        };
        let tensors = [("w".to_owned(), tensor(w)), ("b".to_owned(), tensor(b))];
        device.compile(&graph, &[y], Weights::from_tensors(tensors.into()))
    };
    let session = compiled(&[2, 3], &[2]).unwrap();
    let y = session.run(&[("x", &Tensor::filled([1, 3, 1, 1], 1.0))]).unwrap();
    assert_eq!(y[0].data(), [7.0, 17.0]);
    // A checkpoint of which one tensor does not fit changes nothing.
    let load = |name: &str, tensor: Tensor| {
        let all = [("b".to_owned(), Tensor::filled([1, 2, 1, 1], 100.0)), (name.to_owned(), tensor)];
        session.load(&Weights::from_tensors(all.into())).unwrap_err().to_string()
    };
    says(&load("w", Tensor::zeros([2, 3])), &["\"w\" is [2, 3], expected [2, 3, 1, 1]"]);
    says(&load("w", Tensor::new([2, 3, 1, 1], vec![1_u32; 6]).unwrap()), &["\"w\" holds u32, expected f32"]);
    says(&load("x", Tensor::zeros([1, 3, 1, 1])), &["\"x\", which is not a parameter"]);
    says(&load("z", Tensor::zeros([1])), &["\"z\", which this session does not use"]);
    assert_eq!(session.run(&[("x", &Tensor::filled([1, 3, 1, 1], 1.0))]).unwrap(), y);
    for (w, b, named) in [
        (&[3, 2][..], &[2][..], "\"w\" is [3, 2]"),
        (&[2, 3], &[2, 1], "\"b\" is [2, 1]"),
        (&[6], &[2], "\"w\" is [6]"),
    ] {
        says(&compiled(w, b).unwrap_err().to_string(), &[named, "the network expects"]);
    }
}

#[test]
fn half_precision_is_widened_and_other_types_are_refused() {
    for (dtype, data) in [("F16", [0x00, 0x3C, 0x00, 0xC1]), ("BF16", [0x80, 0x3F, 0x20, 0xC0])] {
        let header = format!(r#"{{"a":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,4]}}}}"#);
        let weights = Weights::from_bytes("x", &file(&header, &data)).unwrap();
        assert_eq!(weights.get("a").unwrap().data(), [1.0, -2.5], "{dtype}");
    }
    for (dtype, len) in [("F64", 8), ("I64", 8), ("U8", 1), ("BOOL", 1)] {
        let header = format!(r#"{{"a":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,{len}]}}}}"#);
        says(&message(&file(&header, &vec![0; len])), &["tensor \"a\"", dtype, "expected F32, F16 or BF16", "convert"]);
    }
    let header = r#"{"a":{"dtype":"Q4","shape":[1],"data_offsets":[0,4]}}"#;
    says(&message(&file(header, &[0; 4])), &["tensor \"a\"", "Q4", "expected F32", "convert it to F32"]);
}

#[test]
fn headers_that_lie_are_refused() {
    // A header of a gigabyte in a file of a few bytes, the largest u64, and a length of 2⁶³.
    for len in [1u64 << 30, u64::MAX, 1 << 63] {
        let mut bytes = len.to_le_bytes().to_vec();
        bytes.extend(b"{}");
        let text = message(&bytes);
        says(&text, &["net/x.safetensors", &len.to_string(), "the limit is 8 MiB", "convert the weights"]);
    }
    // An honest header as long as that would take forty times its size to read.
    says(&message(&file(&format!("{{}}{}", " ".repeat(8 << 20)), &[])), &["claims 8388610 bytes, the limit is 8 MiB"]);
    let good = sample().to_bytes().unwrap();
    for keep in [20, 100] {
        says(&message(&good[..keep]), &["net/x.safetensors", "truncated", "copy or download it again"]);
    }
    says(&message(&good[..good.len() - 1]), &["tensor \"conv.w\" ends at byte 80 of the data", "79", "truncated"]);
    says(&message(&[1, 2, 3]), &["only 3 bytes", "not a safetensors file"]);
    says(&message(b"PK\x03\x04\0\0\0\0 a zip file of PyTorch's"), &["not a safetensors file", "convert the weights"]);
    says(&message(&file("[1,2]   ", &[])), &["not a safetensors file"]);
    says(&message(&file("{\"a\":3}", &[])), &["tensor \"a\" has no valid shape", "save the file again"]);
    says(&message(&file(r#"{"__metadata__":{"a":1}}"#, &[])), &["net/x.safetensors", "save the file again"]);
    says(&message(&file(&"[".repeat(100_000), &[])), &["not a safetensors file"]);
}

#[test]
fn tensors_that_overlap_leave_gaps_or_reach_out_are_refused() {
    let two = |a: (usize, usize), b: (usize, usize), len: usize| {
        let header = format!("{{{},{}}}", entry("a", "[2]", a.0, a.1), entry("b", "[2]", b.0, b.1));
        message(&file(&header, &vec![0; len]))
    };
    says(&two((0, 8), (4, 12), 12), &["net/x.safetensors: tensor \"b\" overlaps", "save the file again"]);
    says(&two((0, 8), (0, 8), 8), &["tensor \"b\" overlaps", "save the file again"]);
    says(&two((0, 8), (12, 20), 20), &["4 bytes before tensor \"b\" belong to no tensor", "save the file again"]);
    says(&two((0, 8), (8, 16), 20), &["4 bytes at the end belong to no tensor", "save the file again"]);
    says(&two((0, 8), (8, 16), 12), &["tensor \"b\" ends at byte 16", "12", "copy or download it again"]);
    says(&two((0, 8), (usize::MAX - 8, usize::MAX), 8), &["tensor \"b\" ends at byte", "damaged"]);
    says(&two((8, 0), (8, 16), 16), &["tensor \"a\" [2] needs 8 bytes", "save the file again"]);
    says(&two((0, 4), (4, 12), 12), &["tensor \"a\" [2] needs 8 bytes, its data_offsets are [0, 4]"]);
}

#[test]
fn impossible_shapes_are_refused() {
    for shape in [
        "[4294967296,1,1,1]",
        "[65536,65536]",
        "[18446744073709551615,18446744073709551615,3,3]",
        "[9223372036854775808,2]",
        "[4294967296,4294967296,4294967296,0]",
    ] {
        let text = message(&file(&format!("{{{}}}", entry("big", shape, 0, 16)), &[0; 16]));
        says(&text, &["net/x.safetensors: tensor \"big\" is [", "2^32 elements or more", "split it"]);
    }
    let text = message(&file(&format!("{{{}}}", entry("none", "[0,3]", 0, 0)), &[]));
    says(&text, &["tensor \"none\" is [0, 3] and has no elements", "remove it"]);
    for shape in ["[-1]", "[1.5]", "\"2\"", "[18446744073709551616]"] {
        let text = message(&file(&format!("{{{}}}", entry("odd", shape, 0, 4)), &[0; 4]));
        says(&text, &["tensor \"odd\" has no valid shape", "save the file again"]);
    }
}

#[test]
fn values_that_are_not_finite_are_refused() {
    let header = format!("{{{}}}", entry("conv3.w", "[4]", 0, 16));
    let data: Vec<u8> =
        [1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY].iter().flat_map(|v: &f32| v.to_le_bytes()).collect();
    says(
        &message(&file(&header, &data)),
        &["net/x.safetensors: tensor \"conv3.w\" has 3 values of 4 that are NaN or infinite", "did not diverge"],
    );
    let bad = Tensor::new([1, 2, 1, 1], vec![0.0, f32::NAN]).unwrap();
    let error = Weights::from_tensors(BTreeMap::from([("b".into(), bad)])).to_bytes().unwrap_err().to_string();
    says(&error, &["tensor \"b\" has 1 values that are NaN or infinite"]);
    let reserved = BTreeMap::from([("__metadata__".into(), Tensor::scalar(1.0))]);
    says(&Weights::from_tensors(reserved).to_bytes().unwrap_err().to_string(), &["__metadata__", "rename it"]);
}

#[test]
fn a_wrong_checksum_is_refused() {
    let good = sample().to_bytes().unwrap();
    let mut bytes = good.clone();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    says(&message(&bytes), &["net/x.safetensors: the tensors' sha256 is", "the manifest says", "download it again"]);
    // Files from other programs have no checksum.
    assert!(Weights::from_bytes("x", &file(&format!("{{{}}}", entry("a", "[1]", 0, 4)), &[0; 4])).is_ok());
}

#[test]
fn damaged_files_are_errors_not_panics() {
    let good = sample().to_bytes().unwrap();
    let mut rng = lineament::rng::Rng::new(3);
    for _ in 0..5000 {
        let mut bytes = good.clone();
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(bytes.len());
            bytes[at] = if rng.below(2) == 0 { rng.below(256) as u8 } else { b"0123456789[]{}\",:"[rng.below(17)] };
        }
        if let Err(e) = Weights::from_bytes("damaged", &bytes) {
            says(&e.to_string(), &["damaged: "]);
        }
    }
}
