//! The layers of a `.param`, as text or binary.
//!
//! Text: the magic number, the counts of layers and blobs, then a line for each layer:
//! `kind name inputs outputs input… output… id=value…`. A value is an integer, a float (with a point or an exponent), an array
//! (`-23303=2,5,6` or `3=5,6`) or a text (that begins with a letter or a quotation mark).
//! Binary: the same as little-endian 32-bit words, kinds by their number; parameters end with -233.

use super::{Layer, Param};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The first word of both forms.
const MAGIC: i32 = 7_767_517;

/// Largest `.param` in bytes: [`MAX_LAYERS`] lines of twice the usual length.
const MAX_BYTES: usize = 4 << 20;

/// Most layers: several times as many as in the largest networks that are in use. A layer becomes up to a hundred nodes.
const MAX_LAYERS: usize = 1 << 14;

/// Most blobs: a few for each layer.
const MAX_BLOBS: usize = 1 << 16;

/// Longest array: several for each channel of a wide layer. Arrays give offsets, sizes, slopes and anchors.
const MAX_ARRAY: usize = 1 << 16;

/// Longest name and text in bytes, as in ncnn.
const MAX_NAME: usize = 255;

/// ncnn's `NCNN_MAX_PARAM_COUNT`: parameters are numbered from 0.
const PARAMS: i32 = 32;

/// An array's parameter `id` is stored as `-23300 - id`.
const ARRAY: i32 = -23300;

/// In a binary file, a text's parameter `id` is stored as `-23400 - id`.
const TEXT: i32 = -23400;

/// In a binary file, ends a layer's parameters.
const END: i32 = -233;

/// In a binary file, marks the number of a kind that the program registered itself.
const CUSTOM: i32 = 1 << 8;

/// ncnn's own kinds; the position is the number in a binary file. Order of `src/CMakeLists.txt`, where kinds are only appended.
#[rustfmt::skip]
pub(super) const KINDS: [&str; 110] = [
    "AbsVal", "ArgMax", "BatchNorm", "Bias", "BNLL", "Concat", "Convolution", "Crop", "Deconvolution", "Dropout",
    "Eltwise", "ELU", "Embed", "Exp", "Flatten", "InnerProduct", "Input", "Log", "LRN", "MemoryData", "MVN",
    "Pooling", "Power", "PReLU", "Proposal", "Reduction", "ReLU", "Reshape", "ROIPooling", "Scale", "Sigmoid",
    "Slice", "Softmax", "Split", "SPP", "TanH", "Threshold", "Tile", "RNN", "LSTM", "BinaryOp", "UnaryOp",
    "ConvolutionDepthWise", "Padding", "Squeeze", "ExpandDims", "Normalize", "Permute", "PriorBox", "DetectionOutput",
    "Interp", "DeconvolutionDepthWise", "ShuffleChannel", "InstanceNorm", "Clip", "Reorg", "YoloDetectionOutput",
    "Quantize", "Dequantize", "Yolov3DetectionOutput", "PSROIPooling", "ROIAlign", "Packing", "Requantize", "Cast",
    "HardSigmoid", "SELU", "HardSwish", "Noop", "PixelShuffle", "DeepCopy", "Mish", "StatisticsPooling", "Swish",
    "Gemm", "GroupNorm", "LayerNorm", "Softplus", "GRU", "MultiHeadAttention", "GELU", "Convolution1D", "Pooling1D",
    "ConvolutionDepthWise1D", "Convolution3D", "ConvolutionDepthWise3D", "Pooling3D", "MatMul", "Deconvolution1D",
    "DeconvolutionDepthWise1D", "Deconvolution3D", "DeconvolutionDepthWise3D", "Einsum", "DeformableConv2D", "GLU",
    "Fold", "Unfold", "GridSample", "CumulativeSum", "CopyTo", "Erf", "Diag", "CELU", "Shrink", "RMSNorm",
    "Spectrogram", "InverseSpectrogram", "Flip", "SDPA", "RotaryEmbed",
];

/// Reads the layers of a `.param`.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Layer>, String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!("has {} bytes, expected at most {MAX_BYTES}; give an ncnn .param", bytes.len()));
    }
    if bytes.first_chunk::<4>() == Some(&MAGIC.to_le_bytes()) { binary(bytes) } else { text(bytes) }
}

fn text(bytes: &[u8]) -> Result<Vec<Layer>, String> {
    let text = str::from_utf8(bytes)
        .map_err(|_| "is not an ncnn .param: neither text nor binary with 7767517 at its start; give the .param")?;
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    if lines.next().and_then(|(_, line)| line.trim().parse().ok()) != Some(MAGIC) {
        return Err("is not an ncnn .param, or an old one: expected 7767517 in the first line; convert it again".into());
    }
    let counts: Option<Vec<usize>> = lines
        .next()
        .map(|(_, line)| line)
        .and_then(|line| line.split_whitespace().map(|word| word.parse().ok()).collect());
    let Some(&[layer_count, blob_count]) = counts.as_deref() else {
        return Err(
            "expected the counts of layers and blobs in the second line; the file is truncated or damaged".into()
        );
    };
    check_counts(layer_count, blob_count)?;
    let mut blobs = Blobs::default();
    let mut layers = Vec::new();
    for (number, line) in lines {
        let layer = line_of(line).map_err(|problem| format!("line {}: {problem}", number + 1))?;
        blobs.check(&layer.inputs, &layer.outputs).map_err(|problem| format!("line {}: {problem}", number + 1))?;
        layers.push(layer);
        check_layers(layers.len(), layer_count)?;
    }
    blobs.finish(layers.len(), layer_count, blob_count)?;
    Ok(layers)
}

/// Reads the line of a layer.
fn line_of(line: &str) -> Result<Layer, String> {
    let mut rest = line;
    let kind = word(&mut rest).ok_or("expected a layer")?;
    let name = word(&mut rest).ok_or("expected the layer's name")?;
    let at = |problem: String| format!("{kind} {name:?}: {problem}");
    if kind.len() > MAX_NAME || name.len() > MAX_NAME {
        return Err(format!("a name has more than {MAX_NAME} bytes; shorten it"));
    }
    let mut count = |what: &str| -> Result<usize, String> {
        let word = word(&mut rest).unwrap_or_default();
        word.parse().map_err(|_| at(format!("expected the count of its {what}, got {word:?}; the line is damaged")))
    };
    let counts = [count("inputs")?, count("outputs")?];
    let mut blobs = [Vec::new(), Vec::new()];
    for (blobs, count) in blobs.iter_mut().zip(counts) {
        for _ in 0..count {
            let blob = word(&mut rest).filter(|blob| blob.len() <= MAX_NAME).ok_or_else(|| {
                let [inputs, outputs] = counts;
                at(format!(
                    "expected {inputs} + {outputs} names of blobs, of at most {MAX_NAME} bytes; the line is damaged"
                ))
            })?;
            blobs.push(blob.to_owned());
        }
    }
    let mut params = BTreeMap::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        let broken = |rest: &str| {
            let shown: String = rest.chars().take(40).collect();
            at(format!(
                "expected a parameter as id=value, got {shown:?}; the line is damaged, convert the network again"
            ))
        };
        let (key, value) = rest.split_once('=').ok_or_else(|| broken(rest))?;
        let key: i32 = key.parse().map_err(|_| broken(rest))?;
        let id = if key <= ARRAY { ARRAY.saturating_sub(key) } else { key };
        check_id(id).map_err(at)?;
        let (param, after) = value_of(value, key <= ARRAY).ok_or_else(|| broken(rest))?;
        if params.insert(id, param).is_some() {
            return Err(at(format!("gives the parameter {id} twice; delete one")));
        }
        rest = after;
    }
    let [inputs, outputs] = blobs;
    Ok(Layer { kind: kind.to_owned(), name: name.to_owned(), inputs, outputs, params, weights: Vec::new() })
}

/// Splits off the next word.
fn word<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let text = rest.trim_start();
    let (word, after) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
    *rest = after;
    Some(word).filter(|word| !word.is_empty())
}

/// Splits off a parameter's value; `has_length` if it is an array that begins with its length.
fn value_of(text: &str, has_length: bool) -> Option<(Param, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (inner, after) = quoted.split_once('"')?;
        return (inner.len() <= MAX_NAME && !has_length).then(|| (Param::Text(inner.to_owned()), after));
    }
    let mut rest = text;
    if text.starts_with(char::is_whitespace) {
        return None;
    }
    let value = word(&mut rest)?;
    if value.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return (value.len() <= MAX_NAME && !has_length).then(|| (Param::Text(value.to_owned()), rest));
    }
    let mut values: Vec<&str> = value.split(',').collect();
    if values.len() > MAX_ARRAY + 1 {
        return None;
    }
    if has_length {
        let length: usize = values.remove(0).parse().ok()?;
        if length != values.len() {
            return None;
        }
    } else if values.len() > 1 {
        // ncnn's writer may end an array with a comma.
        values.pop_if(|last| last.is_empty());
    }
    // A value with a point or an exponent is a float; in an array, one makes all of them floats.
    let is_float = values.iter().any(|v| v.contains(['.', 'e', 'E']));
    let is_array = has_length || value.contains(',');
    let param = if is_float {
        let floats: Option<Vec<f32>> = values.iter().map(|v| v.parse().ok()).collect();
        if is_array { Param::Floats(floats?) } else { Param::Float(*floats?.first()?) }
    } else {
        let ints: Option<Vec<i32>> = values.iter().map(|v| v.parse().ok()).collect();
        if is_array { Param::Ints(ints?) } else { Param::Int(*ints?.first()?) }
    };
    Some((param, rest))
}

fn binary(bytes: &[u8]) -> Result<Vec<Layer>, String> {
    let mut words = Words { rest: bytes };
    words.next()?;
    let counts = [words.next()?, words.next()?].map(|count| usize::try_from(count).unwrap_or(0));
    let [layer_count, blob_count] = counts;
    check_counts(layer_count, blob_count)?;
    let mut blobs = Blobs::default();
    let mut layers: Vec<(Layer, [Vec<i32>; 2])> = Vec::new();
    for number in 0..layer_count {
        let kind = kind_of(words.next()?);
        let (layer, ends) =
            binary_layer(&mut words, kind, number, blob_count).map_err(|e| format!("layer {number}: {e}"))?;
        blobs.check(&ends[0], &ends[1]).map_err(|e| format!("layer {number} ({}): {e}", layer.kind))?;
        layers.push((layer, ends));
    }
    if !words.rest.is_empty() {
        return Err(format!("has {} bytes after its {layer_count} layers; copy it again", words.rest.len()));
    }
    blobs.finish(layers.len(), layer_count, blob_count)?;

    // Inputs and outputs are named as ncnn's converter pnnx names them, the rest by their numbers.
    let mut names: HashMap<i32, String> = HashMap::new();
    let read: HashSet<i32> = layers.iter().flat_map(|(_, ends)| &ends[0]).copied().collect();
    let given = layers.iter().filter(|(layer, _)| layer.kind == "Input").flat_map(|(_, ends)| &ends[1]);
    for (k, &blob) in given.enumerate() {
        names.insert(blob, format!("in{k}"));
    }
    let unread = layers.iter().flat_map(|(_, ends)| &ends[1]).filter(|blob| !read.contains(blob));
    for (k, &blob) in unread.enumerate() {
        names.entry(blob).or_insert_with(|| format!("out{k}"));
    }
    let name = |blob: &i32| names.get(blob).cloned().unwrap_or_else(|| format!("blob{blob}"));
    Ok(layers
        .into_iter()
        .map(|(layer, [inputs, outputs])| Layer {
            inputs: inputs.iter().map(name).collect(),
            outputs: outputs.iter().map(name).collect(),
            ..layer
        })
        .collect())
}

/// Returns ncnn's word for a kind, or a name for a number that is not one of ncnn's.
fn kind_of(number: i32) -> String {
    match usize::try_from(number).ok().and_then(|number| KINDS.get(number)) {
        Some(kind) => (*kind).to_owned(),
        None if number >= CUSTOM => format!("custom{}", number & !CUSTOM),
        None => format!("layer{number}"),
    }
}

/// Reads a layer after its kind: without names of blobs, but with their numbers.
fn binary_layer(
    words: &mut Words<'_>,
    kind: String,
    number: usize,
    blob_count: usize,
) -> Result<(Layer, [Vec<i32>; 2]), String> {
    let counts = [words.next()?, words.next()?];
    let mut ends = [Vec::new(), Vec::new()];
    for (blobs, count) in ends.iter_mut().zip(counts) {
        for _ in 0..count {
            let blob = words.next()?;
            if usize::try_from(blob).ok().is_none_or(|blob| blob >= blob_count) {
                return Err(format!("{kind} names the blob {blob}, expected 0 to {}; copy it again", blob_count - 1));
            }
            blobs.push(blob);
        }
    }
    let mut params = BTreeMap::new();
    loop {
        let key = words.next()?;
        let (id, param) = match key {
            END => break,
            _ if key <= TEXT => {
                let length = words.length(MAX_NAME)?;
                let padded = words.take(length.next_multiple_of(4))?;
                // ncnn takes the text to end at its first zero.
                let text = padded[..length].split(|&b| b == 0).next().unwrap_or_default();
                let text =
                    str::from_utf8(text).map_err(|_| "a text is not UTF-8; the file is damaged, copy it again")?;
                (TEXT.saturating_sub(key), Param::Text(text.to_owned()))
            }
            _ if key <= ARRAY => {
                let length = words.length(MAX_ARRAY)?;
                let values = words.take(4 * length)?.chunks_exact(4);
                (
                    ARRAY.saturating_sub(key),
                    Param::Words(values.map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
                )
            }
            _ => (key, Param::Word(words.next()?.cast_unsigned())),
        };
        check_id(id)?;
        if params.insert(id, param).is_some() {
            return Err(format!("{kind} gives the parameter {id} twice; the file is damaged, copy it again"));
        }
    }
    let name = format!("{kind}_{number}");
    Ok((Layer { kind, name, inputs: Vec::new(), outputs: Vec::new(), params, weights: Vec::new() }, ends))
}

/// The 32-bit words of a binary file.
struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], String> {
        let (taken, rest) =
            self.rest.split_at_checked(bytes).ok_or("the file is truncated; copy or download it again")?;
        self.rest = rest;
        Ok(taken)
    }

    fn next(&mut self) -> Result<i32, String> {
        let bytes = self.take(4)?;
        Ok(i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn length(&mut self, most: usize) -> Result<usize, String> {
        let length = self.next()?;
        usize::try_from(length).ok().filter(|&length| length <= most).ok_or_else(|| {
            format!(
                "an array or text has the length {length}, expected at most {most}; the file is damaged, copy it again"
            )
        })
    }
}

fn check_id(id: i32) -> Result<(), String> {
    if (0..PARAMS).contains(&id) {
        Ok(())
    } else {
        Err(format!("has a parameter {id}, expected 0 to {}; convert the network again", PARAMS - 1))
    }
}

fn check_counts(layers: usize, blobs: usize) -> Result<(), String> {
    if (1..=MAX_LAYERS).contains(&layers) && (1..=MAX_BLOBS).contains(&blobs) {
        return Ok(());
    }
    Err(format!(
        "its header says {layers} layers and {blobs} blobs, expected 1 to {MAX_LAYERS} and 1 to {MAX_BLOBS}; give an ncnn .param"
    ))
}

/// Fails if there are more layers than the header says, of which ncnn would ignore those at the end.
fn check_layers(layers: usize, expected: usize) -> Result<(), String> {
    if layers <= expected {
        return Ok(());
    }
    Err(format!("has more than the {expected} layers of its header; correct the first number of the second line"))
}

/// The blobs that were produced so far, by name or number.
struct Blobs<T>(HashSet<T>);

impl<T> Default for Blobs<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: Clone + Eq + std::hash::Hash + std::fmt::Debug> Blobs<T> {
    /// Fails unless all of `inputs` were produced before and none of `outputs`.
    fn check(&mut self, inputs: &[T], outputs: &[T]) -> Result<(), String> {
        if let Some(blob) = inputs.iter().find(|blob| !self.0.contains(*blob)) {
            return Err(format!("reads the blob {blob:?}, which no layer before produces; the network is incomplete"));
        }
        for blob in outputs {
            if !self.0.insert(blob.clone()) {
                return Err(format!("produces the blob {blob:?}, which another layer produces too; rename one"));
            }
        }
        Ok(())
    }

    /// Compares with the header's counts. ncnn only needs room for the blobs, and files edited by hand often list too many.
    fn finish(&self, layers: usize, expected: usize, blobs: usize) -> Result<(), String> {
        if layers != expected {
            return Err(format!("has {layers} layers, but {expected} in its header; it is truncated, copy it again"));
        }
        if self.0.len() > blobs {
            return Err(format!(
                "has {} blobs, but {blobs} in its header; correct the second number of the second line",
                self.0.len()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn one(params: &str) -> Result<Param, String> {
        let layers = read(format!("7767517\n1 1\nInput in 0 1 a {params}\n").as_bytes())?;
        Ok(layers[0].params.values().next().unwrap().clone())
    }

    #[test]
    fn every_notation_of_a_parameter_is_read() {
        for (text, expected) in [
            ("0=-233", Param::Int(-233)),
            ("31=2147483647", Param::Int(i32::MAX)),
            ("0=1.500000e+00", Param::Float(1.5)),
            ("0=-3.402823e+38", Param::Float(-3.402823e38)),
            ("0=1e2", Param::Float(100.0)),
            ("-23300=3,1,-2,3", Param::Ints(vec![1, -2, 3])),
            ("-23331=2,1.0,2", Param::Floats(vec![1.0, 2.0])),
            ("-23310=0", Param::Ints(vec![])),
            ("3=5,6", Param::Ints(vec![5, 6])),
            ("3=5,", Param::Ints(vec![5])),
            ("3=0.5,6e0", Param::Floats(vec![0.5, 6.0])),
            ("6=\"*(0w,2),1h c\"", Param::Text("*(0w,2),1h c".into())),
            ("6=floor(0w)", Param::Text("floor(0w)".into())),
            ("6=\"\"", Param::Text(String::new())),
        ] {
            assert_eq!(one(text), Ok(expected), "{text}");
        }
        let layers = read(b"7767517\r\n1 1\r\n\r\nInput in 0 1 a 0=1 1=\"x y\" 2=3\r\n").unwrap();
        let params = BTreeMap::from([(0, Param::Int(1)), (1, Param::Text("x y".into())), (2, Param::Int(3))]);
        assert_eq!(layers[0].params, params);
    }

    #[test]
    fn broken_texts_are_refused_with_their_reason() {
        let long = "x".repeat(256);
        let net = |layers: usize, blobs: usize, lines: &str| format!("7767517\n{layers} {blobs}\n{lines}");
        for (text, message) in [
            ("".into(), "expected 7767517"),
            ("7767516\n1 1\nInput in 0 1 a".into(), "expected 7767517"),
            ("7767517".into(), "the counts of layers and blobs"),
            ("7767517\n1\nInput in 0 1 a".into(), "the counts of layers and blobs"),
            (net(0, 1, ""), "0 layers and 1 blobs"),
            (net(16_385, 1, ""), "expected 1 to 16384"),
            (net(2, 1, "Input in 0 1 a"), "has 1 layers, but 2"),
            (net(1, 2, "Input in 0 1 a\nInput jn 0 1 b"), "more than the 1 layers"),
            (net(2, 1, "Input in 0 1 a\nInput jn 0 1 b"), "has 2 blobs, but 1"),
            (net(2, 2, "Input in 0 1 a\nInput jn 0 1 a"), "line 4: produces the blob \"a\""),
            (net(2, 2, "ReLU r 1 1 a b\nInput jn 0 1 a"), "line 3: reads the blob \"a\""),
            (net(1, 1, "Input in 0 1"), "expected 0 + 1 names"),
            (net(1, 1, "Input in 0 99999999999 a"), "expected 0 + 99999999999 names"),
            (net(1, 1, "Input in 0 -1 a"), "the count of its outputs, got \"-1\""),
            (net(1, 1, "Input"), "the layer's name"),
            (net(1, 1, &format!("Input {long} 0 1 a")), "more than 255 bytes"),
            (net(1, 1, "Input in 0 1 a 0=1 0=2"), "the parameter 0 twice"),
            (net(1, 1, "Input in 0 1 a 32=1"), "a parameter 32"),
            (net(1, 1, "Input in 0 1 a -1=1"), "a parameter -1"),
            (net(1, 1, "Input in 0 1 a -2147483648=1,1"), "a parameter 2147460348"),
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(error.contains(message), "{error:?} lacks {message:?}");
        }
        for params in
            ["0", "0=", "0= 1", "=1", "x=1", "0=1,,2", "0=+-1", "0=2147483648", "0=1.5.5", "-23300=2,1", "-23300=1,1,2"]
        {
            assert!(one(params).unwrap_err().contains("expected a parameter as id=value"), "{params}");
        }
        for params in ["0=\"abc", "-23300=abc", &format!("0={long}"), &format!("0=1{}", ",1".repeat(MAX_ARRAY + 1))] {
            assert!(one(params).is_err());
        }
        assert!(read(&[0xFF, 0xFE, 0]).unwrap_err().contains("neither text nor binary"));
        assert!(read(&vec![b' '; MAX_BYTES + 1]).unwrap_err().contains("at most"));
    }

    /// Input → Split → Sigmoid and a custom layer, with each kind of parameter.
    fn binary_file() -> Vec<u8> {
        let mut words = vec![MAGIC, 4, 5];
        words.extend([16, 0, 1, 4, 0, 640, 1, 0.5f32.to_bits().cast_signed(), END]);
        words.extend([33, 1, 2, 4, 0, 1, ARRAY - 3, 2, 7, -1, END]);
        words.extend([30, 1, 1, 0, 2, TEXT - 6, 5, i32::from_le_bytes(*b"0w,1"), i32::from_le_bytes(*b"h\0\0\0"), END]);
        words.extend([CUSTOM + 2, 1, 1, 1, 3, END]);
        words.into_iter().flat_map(i32::to_le_bytes).collect()
    }

    #[test]
    fn a_binary_file_means_the_same_as_its_text() {
        let layers = read(&binary_file()).unwrap();
        let text = "7767517\n4 5\nInput Input_0 0 1 in0 0=640 1=0.5\nSplit Split_1 1 2 in0 blob0 blob1 3=7,-1\n\
                    Sigmoid Sigmoid_2 1 1 blob0 out0 6=\"0w,1h\"\ncustom2 custom2_3 1 1 blob1 out1\n";
        let expected = read(text.as_bytes()).unwrap();
        for (binary, text) in layers.iter().zip(&expected) {
            assert_eq!(
                (&binary.kind, &binary.name, &binary.inputs, &binary.outputs),
                (&text.kind, &text.name, &text.inputs, &text.outputs)
            );
            assert_eq!(binary.params.keys().collect::<Vec<_>>(), text.params.keys().collect::<Vec<_>>());
        }
        let (input, split) = (&layers[0], &layers[1]);
        let got = (input.int(0, 0).unwrap(), input.float(1, 0.0).unwrap(), split.ints(3).unwrap());
        assert_eq!(got, (640, 0.5, vec![7, -1]));
        assert_eq!(layers[2].text(6).unwrap(), Some("0w,1h"));
    }

    /// Numbers that ncnn's releases have had from the beginning or since a kind was added.
    #[test]
    fn kinds_have_their_numbers() {
        for (number, kind) in [
            (0, "AbsVal"),
            (6, "Convolution"),
            (16, "Input"),
            (33, "Split"),
            (42, "ConvolutionDepthWise"),
            (109, "RotaryEmbed"),
        ] {
            assert_eq!(kind_of(number), kind);
        }
        assert_eq!(
            (kind_of(110), kind_of(-1), kind_of(CUSTOM)),
            ("layer110".into(), "layer-1".into(), "custom0".into())
        );
    }

    #[test]
    fn damaged_binary_files_never_panic() {
        let bytes = binary_file();
        for len in 4..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "the first {len} bytes");
        }
        assert!(read(&[&bytes[..], &[0; 4]].concat()).unwrap_err().contains("4 bytes after its 4 layers"));
        let mut rng = Rng::new(5);
        for _ in 0..50_000 {
            let mut damaged = bytes.clone();
            for _ in 0..1 + rng.below(3) {
                let at = rng.below(bytes.len());
                damaged[at] = [0, 1, 2, 0xFF, 0x7F, 0x80, rng.below(256) as u8][rng.below(7)];
            }
            let _ = read(&damaged);
        }
    }
}
