//! The weights of a `.bin`: blobs in the order of the layers, without names or sizes, which follow from each layer's parameters.
//!
//! | kinds                                       | weights, in order; `!` marks those behind a tag                                  |
//! |---------------------------------------------|----------------------------------------------------------------------------------|
//! | Convolution*, Deconvolution*, DeformableConv2D | filters!, bias; none if they are an input (19=1; of deconvolutions 28=1)       |
//! | InnerProduct, Embed                         | matrix!, bias                                                                    |
//! | Gemm                                        | constant A!, B!, C!                                                              |
//! | MultiHeadAttention                          | of q, k, v and the output: matrix!, bias                                         |
//! | RNN, LSTM, GRU                              | input's matrix!, bias!, state's matrix!; of a projected LSTM the projection!     |
//! | BatchNorm                                   | slope, mean, variance, bias                                                      |
//! | Scale                                       | scale, bias; none if the scale is an input (0=-233)                              |
//! | InstanceNorm, GroupNorm, LayerNorm          | scale and bias, unless affine=0                                                  |
//! | RMSNorm                                     | scale, unless affine=0                                                           |
//! | PReLU, Bias, Normalize                      | slope; bias; scale                                                               |
//! | MemoryData                                  | values; `!` if 21=0                                                              |
//! | Padding                                     | values per channel, if 6 is their count                                          |
//! | Quantize, Dequantize, Requantize            | scales, bias                                                                     |
//!
//! int8 weights are followed by one scale per row, group or blob, and by scales of the layer's input and output, which are
//! dropped: lineament computes such a layer in f32, so results differ from ncnn's by what its rounding loses.

use super::{KINDS, Layer};
use crate::import::weights::from_f16;

/// Tags of f16, int8 and f32 values. 0 is f32 too; any other tag announces a table of 256 values and an index per weight.
const F16: u32 = 0x0130_6B47;
const INT8: u32 = 0x000D_4B38;
const F32: u32 = 0x0002_C056;

/// Reads the weights of all layers.
pub(super) fn read(layers: &mut [Layer], bin: &[u8]) -> Result<(), String> {
    let mut source = Source { rest: bin };
    let mut foreign: Option<String> = None;
    let suspect = |foreign: &Option<String>| {
        let about = |layer| {
            format!("; perhaps {layer}, an earlier layer, has weights: kinds that are not ncnn's must have none")
        };
        foreign.as_ref().map(about).unwrap_or_default()
    };
    for layer in &mut *layers {
        let at = layer.label();
        if !KINDS.contains(&layer.kind.as_str()) {
            foreign.get_or_insert(at);
            continue;
        }
        layer.weights = of_layer(layer, &mut source).map_err(|e| format!("{at}: {e}{}", suspect(&foreign)))?;
        let bad = layer.weights.iter().flatten().filter(|v| !v.is_finite()).count();
        if bad > 0 {
            return Err(format!("{at}: {bad} of its weights are NaN or infinite{}", suspect(&foreign)));
        }
    }
    if source.rest.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the .bin has {} bytes after the weights of the last layer{}; give the .bin that belongs to the .param",
        source.rest.len(),
        suspect(&foreign)
    ))
}

/// Reads the weights of one layer, as its `load_model` does.
fn of_layer(layer: &Layer, source: &mut Source<'_>) -> Result<Vec<Vec<f32>>, String> {
    let int = |id, default| layer.integer(id, default);
    match layer.kind.as_str() {
        kind @ ("Convolution"
        | "ConvolutionDepthWise"
        | "Convolution1D"
        | "ConvolutionDepthWise1D"
        | "Convolution3D"
        | "ConvolutionDepthWise3D"
        | "Deconvolution"
        | "DeconvolutionDepthWise"
        | "Deconvolution1D"
        | "DeconvolutionDepthWise1D"
        | "Deconvolution3D"
        | "DeconvolutionDepthWise3D"
        | "DeformableConv2D") => {
            let dynamic = match kind {
                "Deconvolution" | "DeconvolutionDepthWise" | "Deconvolution1D" | "DeconvolutionDepthWise1D" => {
                    int(28, 0)?
                }
                "Convolution" | "ConvolutionDepthWise" | "Convolution1D" | "ConvolutionDepthWise1D" => int(19, 0)?,
                _ => 0,
            };
            if dynamic != 0 {
                return Ok(Vec::new());
            }
            let outputs = int(0, 0)?;
            let mut filters = source.tagged(&[int(6, 0)?])?;
            let bias = source.raw_if(int(5, 0)? != 0, outputs)?;
            let term = int(8, 0)?;
            if term != 0 && matches!(kind, "Convolution" | "ConvolutionDepthWise") {
                // Of a depthwise layer, 1 means a scale per group and 2 one for all; 100 more announces the output's scale.
                let scales = match (kind, term) {
                    ("Convolution", _) => outputs,
                    (_, 1 | 101) => int(7, 1)?,
                    (_, 2 | 102) => 1,
                    _ => return Err(format!("int8_scale_term is {term}, expected 0, 1, 2, 101 or 102")),
                };
                let scales = source.raw(&[scales])?;
                filters.scale_rows(&scales)?;
                source.raw(&[1])?;
                source.raw_if(term > 100, 1)?;
            }
            with(filters, bias)
        }
        "InnerProduct" => {
            let outputs = int(0, 0)?;
            let mut matrix = source.tagged(&[int(2, 0)?])?;
            let bias = source.raw_if(int(1, 0)? != 0, outputs)?;
            if int(8, 0)? != 0 {
                let scales = source.raw(&[outputs])?;
                matrix.scale_rows(&scales)?;
                source.raw(&[1])?;
            }
            with(matrix, bias)
        }
        "Embed" => {
            let mut matrix = source.tagged(&[int(3, 0)?])?;
            let bias = source.raw_if(int(2, 0)? != 0, int(0, 0)?)?;
            if int(18, 0)? != 0 {
                let scale = source.raw(&[1])?;
                matrix.scale_rows(&scale)?;
            }
            with(matrix, bias)
        }
        "Gemm" => gemm(layer, source),
        "MultiHeadAttention" => attention(layer, source),
        kind @ ("RNN" | "LSTM" | "GRU") => recurrent(kind, layer, source),
        "BatchNorm" => {
            let channels = int(0, 0)?;
            (0..4).map(|_| source.raw(&[channels])).collect()
        }
        "Scale" if int(0, 0)? == -233 => Ok(Vec::new()),
        "Scale" => {
            let count = 1 + usize::from(int(1, 0)? != 0);
            (0..count).map(|_| source.raw(&[int(0, 0)?])).collect()
        }
        kind @ ("InstanceNorm" | "LayerNorm" | "GroupNorm" | "RMSNorm") => {
            let (channels, affine) = if kind == "GroupNorm" { (1, 3) } else { (0, 2) };
            let count = if int(affine, 1)? == 0 { 0 } else { 2 - usize::from(kind == "RMSNorm") };
            (0..count).map(|_| source.raw(&[int(channels, 0)?])).collect()
        }
        "PReLU" | "Bias" => Ok(vec![source.raw(&[int(0, 0)?])?]),
        "Normalize" => Ok(vec![source.raw(&[int(3, 0)?])?]),
        "MemoryData" => {
            let [w, h, c, d] = [int(0, 0)?, int(1, 0)?, int(2, 0)?, int(11, 0)?];
            let sizes = match [w, h, c, d] {
                // A single value that ncnn does not store.
                [0, 0, 0, 0] => return Ok(Vec::new()),
                [w, 0, 0, 0] => vec![w],
                [w, h, 0, 0] => vec![w, h],
                [w, h, c, 0] => vec![w, h, c],
                [w, h, c, d] => vec![w, h, d, c],
            };
            match int(21, 1)? {
                0 => Ok(vec![source.tagged(&sizes)?.in_f32()?]),
                1 => Ok(vec![source.raw(&sizes)?]),
                other => Err(format!("its load type is {other}, expected 0 or 1")),
            }
        }
        "Padding" => Ok(source.raw_if(int(6, 0)? != 0, int(6, 0)?)?.into_iter().collect()),
        "Quantize" => Ok(vec![source.raw(&[int(0, 1)?])?]),
        "Dequantize" => {
            let scales = source.raw(&[int(0, 1)?])?;
            Ok([scales].into_iter().chain(source.raw_if(int(1, 0)? != 0, int(1, 0)?)?).collect())
        }
        "Requantize" => {
            let scales = [source.raw(&[int(0, 1)?])?, source.raw(&[int(1, 1)?])?];
            Ok(scales.into_iter().chain(source.raw_if(int(2, 0)? != 0, int(2, 0)?)?).collect())
        }
        _ => Ok(Vec::new()),
    }
}

fn with(weights: Values, bias: Option<Vec<f32>>) -> Result<Vec<Vec<f32>>, String> {
    Ok([weights.in_f32()?].into_iter().chain(bias).collect())
}

fn gemm(layer: &Layer, source: &mut Source<'_>) -> Result<Vec<Vec<f32>>, String> {
    let int = |id, default| layer.integer(id, default);
    let [m, n, k] = [int(7, 0)?, int(8, 0)?, int(9, 0)?];
    let term = int(18, 0)?;
    refuse_blocks(term)?;
    let mut a = if int(4, 0)? == 1 { Some(source.tagged(&[m, k])?) } else { None };
    let mut b = if int(5, 0)? == 1 { Some(source.tagged(&[n, k])?) } else { None };
    let c = match (int(6, 0)?, int(10, 0)?) {
        (1, 0) => Some(source.tagged(&[1])?),
        (1, 1 | 2) => Some(source.tagged(&[m])?),
        (1, 3) => Some(source.tagged(&[n, m])?),
        (1, 4) => Some(source.tagged(&[n])?),
        (1, other) if other != -1 => return Err(format!("the broadcast type of C is {other}, expected -1 to 4")),
        _ => None,
    };
    if term != 0 {
        if let Some(a) = &mut a {
            let scales = source.raw(&[m])?;
            // A transposed matrix has its rows as columns.
            if int(2, 0)? == 0 { a.scale_rows(&scales)? } else { a.scale_columns(&scales)? }
        }
        if let Some(b) = &mut b {
            let scale = source.raw(&[1])?;
            b.scale_rows(&scale)?;
        }
    }
    [a, b, c].into_iter().flatten().map(Values::in_f32).collect()
}

fn attention(layer: &Layer, source: &mut Source<'_>) -> Result<Vec<Vec<f32>>, String> {
    let embed = layer.integer(0, 0)?;
    let q = layer.integer(2, 0)?.checked_div(embed).ok_or("embed_dim is 0")?;
    let (k, v) = (layer.integer(3, embed)?, layer.integer(4, embed)?);
    let term = layer.integer(18, 0)?;
    refuse_blocks(term)?;
    let mut parts = Vec::new();
    for (input, output) in [(q, embed), (k, embed), (v, embed), (embed, q)] {
        parts.push((source.tagged(&[input, output])?, source.raw(&[output])?));
    }
    if term != 0 {
        for (part, scales) in parts.iter_mut().zip([embed, embed, embed, 1]) {
            let scales = source.raw(&[scales])?;
            part.0.scale_rows(&scales)?;
        }
    }
    let mut weights = Vec::new();
    for (matrix, bias) in parts {
        weights.extend([matrix.in_f32()?, bias]);
    }
    Ok(weights)
}

fn recurrent(kind: &str, layer: &Layer, source: &mut Source<'_>) -> Result<Vec<Vec<f32>>, String> {
    let outputs = layer.integer(0, 0)?;
    let directions = if layer.integer(2, 0)? == 2 { 2 } else { 1 };
    let (state, gates, biases) = match kind {
        "LSTM" => (layer.integer(3, outputs)?, 4, 4),
        "GRU" => (outputs, 3, 4),
        _ => (outputs, 1, 1),
    };
    // As ncnn divides, so that odd sizes are read as there.
    let per_direction = layer.integer(1, 0)? / directions;
    let size = per_direction.checked_div(state).ok_or("its size of states is 0")? / gates;
    let mut input = source.tagged(&[size, state, gates, directions])?;
    let bias = source.tagged(&[state, biases, directions])?;
    let mut recurrent = source.tagged(&[outputs, state, gates, directions])?;
    let projection = if state == outputs { None } else { Some(source.tagged(&[state, outputs, directions])?) };
    if layer.integer(8, 0)? != 0 {
        for matrix in [&mut input, &mut recurrent] {
            let scales = source.raw(&[state, gates, directions])?;
            matrix.scale_rows(&scales)?;
        }
    }
    [Some(input), Some(bias), Some(recurrent), projection].into_iter().flatten().map(Values::in_f32).collect()
}

/// Fails for weights that are quantized in blocks of columns, with 4, 6 or 8 bits each.
fn refuse_blocks(term: i32) -> Result<(), String> {
    if term < 400 {
        return Ok(());
    }
    Err(format!(
        "its weights are quantized by blocks (quantize_term {term}), expected f32, f16 or int8; convert them to f16"
    ))
}

/// Weights behind a tag.
struct Values {
    data: Vec<f32>,
    /// Whether they must be divided by a scale.
    is_int8: bool,
}

impl Values {
    /// Divides int8 values by the scale of their row; there are as many rows as scales. Other values are what they are: ncnn
    /// would quantize them now.
    fn scale_rows(&mut self, scales: &[f32]) -> Result<(), String> {
        let columns = self.data.len() / scales.len().max(1);
        self.scale(scales, |at| at / columns)
    }

    /// The same for columns.
    fn scale_columns(&mut self, scales: &[f32]) -> Result<(), String> {
        self.scale(scales, |at| at % scales.len())
    }

    fn scale(&mut self, scales: &[f32], index: impl Fn(usize) -> usize) -> Result<(), String> {
        if scales.is_empty() || !self.data.len().is_multiple_of(scales.len()) {
            return Err(format!("has {} weights for {} scales; the .param is damaged", self.data.len(), scales.len()));
        }
        if std::mem::take(&mut self.is_int8) {
            for (at, value) in self.data.iter_mut().enumerate() {
                // As in ncnn, a scale of 0 belongs to a row of zeros.
                let scale = scales[index(at)];
                *value = if scale == 0.0 { 0.0 } else { *value / scale };
            }
        }
        Ok(())
    }

    fn in_f32(self) -> Result<Vec<f32>, String> {
        if self.is_int8 {
            return Err("its weights are int8, but its parameters announce no scales; convert the network again".into());
        }
        Ok(self.data)
    }
}

/// What is left of the file.
struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    /// Takes bytes that begin a weight; those after the last are skipped up to a multiple of four.
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = bytes
            .checked_next_multiple_of(4)
            .and_then(|padded| self.rest.split_at_checked(padded))
            .ok_or_else(|| {
                format!(
                    "its weights need {bytes} bytes more, but the .bin ends after {}; give the .bin that belongs to the .param",
                    self.rest.len()
                )
            })?;
        self.rest = rest;
        Ok(&taken[..bytes])
    }

    fn take_words(&mut self, count: usize) -> Result<impl Iterator<Item = u32> + use<'a>, String> {
        let bytes = self.take(count.saturating_mul(4))?;
        Ok(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])))
    }

    /// Reads f32 values without a tag, ncnn's load type 1.
    fn raw(&mut self, sizes: &[i32]) -> Result<Vec<f32>, String> {
        Ok(self.take_words(elements(sizes)?)?.map(f32::from_bits).collect())
    }

    fn raw_if(&mut self, is_there: bool, size: i32) -> Result<Option<Vec<f32>>, String> {
        is_there.then(|| self.raw(&[size])).transpose()
    }

    /// Reads a tag and the values that it announces, ncnn's load type 0.
    fn tagged(&mut self, sizes: &[i32]) -> Result<Values, String> {
        let count = elements(sizes)?;
        let tag = self.take_words(1)?.next().unwrap_or_default();
        let data = match tag {
            F16 => {
                let bytes = self.take(count.saturating_mul(2))?;
                bytes.chunks_exact(2).map(|b| from_f16(u16::from_le_bytes([b[0], b[1]]))).collect()
            }
            INT8 => self.take(count)?.iter().map(|&b| f32::from(b.cast_signed())).collect(),
            0 | F32 => self.take_words(count)?.map(f32::from_bits).collect(),
            _ => {
                let table: Vec<f32> = self.take_words(256)?.map(f32::from_bits).collect();
                self.take(count)?.iter().map(|&b| table[usize::from(b)]).collect()
            }
        };
        Ok(Values { data, is_int8: tag == INT8 })
    }
}

/// Returns the number of elements. Sizes are parameters, so they are compared with the file's before memory is allocated.
fn elements(sizes: &[i32]) -> Result<usize, String> {
    let product = sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(usize::try_from(size).ok()?));
    product
        .filter(|&n| n > 0)
        .ok_or_else(|| format!("has weights of size {sizes:?}, expected sizes of at least 1; the .param is damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::ncnn::param;

    fn layers(line: &str) -> Vec<Layer> {
        param::read(format!("7767517\n2 2\nInput in 0 1 a\n{line}\n").as_bytes()).unwrap()
    }

    /// The numbers 1, 2, 3, … as f32 without a tag, or behind one.
    fn words(count: usize, tag: Option<u32>) -> Vec<u8> {
        let values = (1..=count).flat_map(|v| (v as f32).to_le_bytes());
        tag.map(u32::to_le_bytes).into_iter().flatten().chain(values).collect()
    }

    /// Returns the lengths of the weights of a layer from a file of exactly these blobs, tagged ones as (true, _).
    fn lengths(line: &str, blobs: &[(bool, usize)]) -> Vec<usize> {
        let mut layers = layers(line);
        let bin: Vec<u8> = blobs.iter().flat_map(|&(tagged, n)| words(n, tagged.then_some(0))).collect();
        read(&mut layers, &bin).unwrap_or_else(|e| panic!("{line}: {e}"));
        if !bin.is_empty() {
            assert!(read(&mut layers, &bin[..bin.len() - 4]).unwrap_err().contains("ends after"), "{line}");
            let longer = [&bin[..], &[0; 4]].concat();
            assert!(read(&mut layers, &longer).unwrap_err().contains("4 bytes after"), "{line}");
        }
        layers[1].weights.iter().map(Vec::len).collect()
    }

    #[test]
    fn each_kind_has_its_weights() {
        let t = |n| (true, n);
        let r = |n| (false, n);
        for (line, blobs) in [
            ("Convolution c 1 1 a b 0=2 1=1 5=1 6=6", &[t(6), r(2)][..]),
            ("Convolution c 1 1 a b 0=2 1=1 6=6", &[t(6)]),
            ("Convolution c 1 1 a b 0=2 19=1 6=6", &[]),
            ("ConvolutionDepthWise1D c 1 1 a b 0=2 5=1 6=6 7=2", &[t(6), r(2)]),
            ("Convolution3D c 1 1 a b 0=2 5=1 6=6 19=1", &[t(6), r(2)]),
            ("Deconvolution c 1 1 a b 0=2 5=1 6=6 19=1", &[t(6), r(2)]),
            ("DeconvolutionDepthWise c 1 1 a b 0=2 5=1 6=6 28=1", &[]),
            ("DeformableConv2D c 1 1 a b 0=2 5=1 6=6", &[t(6), r(2)]),
            ("InnerProduct c 1 1 a b 0=2 1=1 2=6", &[t(6), r(2)]),
            ("Embed c 1 1 a b 0=2 1=3 2=1 3=6", &[t(6), r(2)]),
            ("Gemm c 1 1 a b 4=1 5=1 6=1 7=2 8=3 9=4 10=3", &[t(8), t(12), t(6)]),
            ("Gemm c 1 1 a b 5=1 6=1 8=3 9=4 10=4", &[t(12), t(3)]),
            ("Gemm c 1 1 a b 5=1 6=1 8=3 9=4 10=-1", &[t(12)]),
            ("MultiHeadAttention c 1 1 a b 0=4 1=2 2=8 3=3 4=1", &[t(8), r(4), t(12), r(4), t(4), r(4), t(8), r(2)]),
            ("RNN c 1 1 a b 0=2 1=12 2=2", &[t(12), t(4), t(8)]),
            ("GRU c 1 1 a b 0=2 1=18", &[t(18), t(8), t(12)]),
            ("LSTM c 1 1 a b 0=2 1=24 2=1", &[t(24), t(8), t(16)]),
            ("LSTM c 1 1 a b 0=2 1=36 3=3", &[t(36), t(12), t(24), t(6)]),
            ("BatchNorm c 1 1 a b 0=3", &[r(3), r(3), r(3), r(3)]),
            ("Scale c 1 1 a b 0=3 1=1", &[r(3), r(3)]),
            ("Scale c 1 1 a b 0=3", &[r(3)]),
            ("Scale c 2 1 a a b 0=-233 1=1", &[]),
            ("InstanceNorm c 1 1 a b 0=3", &[r(3), r(3)]),
            ("InstanceNorm c 1 1 a b 0=3 2=0", &[]),
            ("GroupNorm c 1 1 a b 0=1 1=3", &[r(3), r(3)]),
            ("GroupNorm c 1 1 a b 0=1 1=3 3=0", &[]),
            ("LayerNorm c 1 1 a b 0=3", &[r(3), r(3)]),
            ("RMSNorm c 1 1 a b 0=3", &[r(3)]),
            ("PReLU c 1 1 a b 0=3", &[r(3)]),
            ("Bias c 1 1 a b 0=3", &[r(3)]),
            ("Normalize c 1 1 a b 1=1 3=1", &[r(1)]),
            ("MemoryData c 0 1 b", &[]),
            ("MemoryData c 0 1 b 0=2", &[r(2)]),
            ("MemoryData c 0 1 b 0=2 1=3", &[r(6)]),
            ("MemoryData c 0 1 b 0=2 1=3 2=4 21=0", &[t(24)]),
            ("MemoryData c 0 1 b 0=2 1=3 2=4 11=5", &[r(120)]),
            ("Padding c 1 1 a b 6=3", &[r(3)]),
            ("Padding c 1 1 a b 0=1", &[]),
            ("Quantize c 1 1 a b", &[r(1)]),
            ("Dequantize c 1 1 a b 0=2 1=3", &[r(2), r(3)]),
            ("Requantize c 1 1 a b 0=2 1=3 2=4", &[r(2), r(3), r(4)]),
            ("Sigmoid c 1 1 a b", &[]),
            ("rife.Warp c 2 1 a a b", &[]),
        ] {
            assert_eq!(lengths(line, blobs), blobs.iter().map(|b| b.1).collect::<Vec<_>>(), "{line}");
        }
    }

    #[test]
    fn every_tag_is_read_and_padded() {
        let net = "InnerProduct c 1 1 a b 0=1 1=1 2=3";
        let one = words(1, None);
        let f16 = [&F16.to_le_bytes()[..], &[0, 0x3C, 0, 0xC0, 1, 0], &[9, 9]].concat();
        let table: Vec<u8> = (0..256).flat_map(|v| (v as f32 / 2.0).to_le_bytes()).collect();
        let indices = [&0x0100_0000u32.to_le_bytes()[..], &table, &[4, 255, 0, 9]].concat();
        for (blob, expected) in [
            (f16, [1.0, -2.0, 2f32.powi(-24)]),
            (words(3, Some(0)), [1.0, 2.0, 3.0]),
            (words(3, Some(F32)), [1.0, 2.0, 3.0]),
            (indices, [2.0, 127.5, 0.0]),
        ] {
            let mut layers = layers(net);
            read(&mut layers, &[&blob[..], &one].concat()).unwrap();
            assert_eq!(layers[1].weights, [&expected[..], &[1.0]]);
        }
    }

    #[test]
    fn int8_weights_are_divided_by_their_scales() {
        let int8 = [&INT8.to_le_bytes()[..], &[8, 0x80, 4, 2]].concat();
        let scales = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        for (line, after, expected) in [
            ("Convolution c 1 1 a b 0=2 1=1 6=4 8=2", &[2.0, 4.0, 9.0][..], [4.0, -64.0, 1.0, 0.5]),
            ("Convolution c 1 1 a b 0=2 1=1 6=4 8=102", &[2.0, 0.0, 9.0, 9.0], [4.0, -64.0, 0.0, 0.0]),
            ("ConvolutionDepthWise c 1 1 a b 0=4 6=4 7=4 8=1", &[2.0, 4.0, 8.0, 1.0, 9.0], [4.0, -32.0, 0.5, 2.0]),
            ("ConvolutionDepthWise c 1 1 a b 0=4 6=4 7=4 8=102", &[2.0, 9.0, 9.0], [4.0, -64.0, 2.0, 1.0]),
            ("InnerProduct c 1 1 a b 0=2 2=4 8=2", &[2.0, 4.0, 9.0], [4.0, -64.0, 1.0, 0.5]),
            ("Embed c 1 1 a b 0=2 1=2 3=4 18=1", &[2.0], [4.0, -64.0, 2.0, 1.0]),
            ("Gemm c 1 1 a b 4=1 7=2 9=2 18=2", &[2.0, 4.0], [4.0, -64.0, 1.0, 0.5]),
            ("Gemm c 1 1 a b 2=1 4=1 7=2 9=2 18=2", &[2.0, 4.0], [4.0, -32.0, 2.0, 0.5]),
            ("Gemm c 1 1 a b 5=1 8=2 9=2 18=2", &[2.0], [4.0, -64.0, 2.0, 1.0]),
        ] {
            let mut layers = layers(line);
            read(&mut layers, &[&int8[..], &scales(after)].concat()).unwrap_or_else(|e| panic!("{line}: {e}"));
            assert_eq!(layers[1].weights, [expected], "{line}");
        }
        // The weights of attention, then those of a recurrent layer.
        let int8 = |n: usize| [&INT8.to_le_bytes()[..], &[8; 8][..n.next_multiple_of(4)]].concat();
        let parts =
            [int8(4), words(2, None), int8(4), words(2, None), int8(4), words(2, None), int8(4), words(2, None)];
        let bin = [parts.concat(), scales(&[1.0, 2.0, 4.0, 8.0, 1.0, 2.0, 16.0])].concat();
        let mut net = layers("MultiHeadAttention c 1 1 a b 0=2 2=4 18=2");
        read(&mut net, &bin).unwrap();
        assert_eq!(net[1].weights[2], [2.0, 2.0, 1.0, 1.0]);
        assert_eq!(net[1].weights[6], [0.5; 4]);
        let bin = [int8(4), words(2, Some(0)), int8(4), scales(&[1.0, 2.0, 4.0, 8.0])].concat();
        let mut net = layers("RNN c 1 1 a b 0=2 1=4 8=2");
        read(&mut net, &bin).unwrap();
        assert_eq!(net[1].weights, [&[8.0, 8.0, 4.0, 4.0][..], &[1.0, 2.0], &[2.0, 2.0, 1.0, 1.0]]);
        // f32 weights of an int8 layer stay as they are.
        let bin = [words(4, Some(0)), scales(&[2.0, 4.0, 9.0])].concat();
        let mut net = layers("InnerProduct c 1 1 a b 0=2 2=4 8=2");
        read(&mut net, &bin).unwrap();
        assert_eq!(net[1].weights, [[1.0, 2.0, 3.0, 4.0]]);
    }

    #[test]
    fn broken_weights_are_refused_with_their_layer() {
        let int8 = [&INT8.to_le_bytes()[..], &[1; 4]].concat();
        let nan = [&0u32.to_le_bytes()[..], &[0xFF; 8]].concat();
        for (line, bin, message) in [
            ("InnerProduct c 1 1 a b 0=2 2=4", int8.clone(), "InnerProduct \"c\": its weights are int8, but"),
            ("InnerProduct c 1 1 a b 0=3 2=4 8=1", [&int8[..], &words(4, None)].concat(), "4 weights for 3 scales"),
            ("ConvolutionDepthWise c 1 1 a b 0=2 6=4 7=2 8=7", int8, "int8_scale_term is 7"),
            ("InnerProduct c 1 1 a b 0=2 2=2", nan, "2 of its weights are NaN"),
            ("InnerProduct c 1 1 a b 0=2", vec![0; 8], "size [0]"),
            ("BatchNorm c 1 1 a b 0=-4", vec![0; 8], "size [-4]"),
            ("BatchNorm c 1 1 a b 0=2147483647", vec![0; 8], "need 8589934588 bytes more, but the .bin ends after 8"),
            ("MemoryData c 0 1 b 0=2147483647 1=2147483647 2=2147483647", vec![0; 8], "size [2147483647, "),
            ("MemoryData c 0 1 b 0=2 21=2", vec![0; 8], "load type is 2"),
            ("Gemm c 1 1 a b 5=1 8=2 9=2 3=1 18=411", vec![0; 8], "quantized by blocks"),
            ("MultiHeadAttention c 1 1 a b 2=4", vec![0; 8], "embed_dim is 0"),
            ("LSTM c 1 1 a b 0=2 1=4 3=0", vec![0; 8], "size of states is 0"),
            ("PReLU c 1 1 a b 0=1.5", vec![0; 8], "parameter 0 is the number 1.5"),
            ("Foo c 1 1 a b 0=1", vec![0; 8], "8 bytes after the weights of the last layer; perhaps Foo \"c\""),
        ] {
            let error = read(&mut layers(line), &bin).unwrap_err();
            assert!(error.contains(message), "{error:?} lacks {message:?}");
        }
    }
}
