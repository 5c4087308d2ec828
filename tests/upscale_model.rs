//! `upscale --model FILE`: networks of other programs, of which scale, borders and reach are found from the graph.

#[path = "common/command.rs"]
mod command;
mod common;
#[path = "common/onnx.rs"]
mod onnx;

use command::{Folder, json, lineament, run, text};
use lineament::image::{Channel, Channels, Picture, Rect, Samples};
use lineament::import::onnx::read;
use lineament::import::{model::Model, ncnn};
use lineament::ops::resize::Ratio;
use lineament::rng::Rng;
use lineament::tasks::upscale::{Chain, Enlarger, Traits, Upscaler};
use lineament::{Device, Result, Select, Tensor, Weights};
use onnx::proto::{Attribute, Node, Tensor as Stored};
use onnx::{int, ints, node, value};
use serde_json::Value;
use std::path::Path;

/// A network in the making: each layer reads what the last one made.
struct Net {
    nodes: Vec<Node>,
    tensors: Vec<Stored>,
    rng: Rng,
}

impl Net {
    fn new() -> Self {
        Self { nodes: Vec::new(), tensors: Vec::new(), rng: Rng::new(3) }
    }
    fn last(&self) -> String {
        self.nodes.last().map_or("x".into(), |node| node.output[0].clone())
    }
    fn add(mut self, op: &str, more: &[&str], attributes: Vec<Attribute>) -> Self {
        let (last, output) = (self.last(), format!("t{}", self.nodes.len()));
        let inputs = [&[last.as_str()], more].concat();
        self.nodes.push(node(op, "", &inputs, &output, attributes));
        self
    }
    fn weights(&mut self, dims: &[i64]) -> String {
        let name = format!("w{}", self.tensors.len());
        self.tensors.push(onnx::tensor(&mut self.rng, &name, dims));
        name
    }
    fn floats(mut self, name: &str, values: &[f32]) -> Self {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let dims = vec![values.len() as i64];
        self.tensors.push(Stored { dims, data_type: 1, name: name.into(), raw_data: Some(raw), ..Default::default() });
        self
    }
    fn integers(mut self, name: &str, values: &[i64]) -> Self {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let dims = vec![values.len() as i64];
        self.tensors.push(Stored { dims, data_type: 7, name: name.into(), raw_data: Some(raw), ..Default::default() });
        self
    }
    fn conv(mut self, [to, from, side]: [i64; 3], stride: i64, pad: i64) -> Self {
        let w = self.weights(&[to, from, side, side]);
        let attributes = vec![ints("kernel_shape", &[side; 2]), ints("strides", &[stride; 2]), ints("pads", &[pad; 4])];
        self.add("Conv", &[&w], attributes)
    }
    /// A convolution that changes nothing.
    fn delta(mut self, channels: i64, side: i64) -> Self {
        let mut values = vec![0.0_f32; (channels * channels * side * side) as usize];
        for c in 0..channels {
            values[((c * channels + c) * side * side + side * side / 2) as usize] = 1.0;
        }
        let name = format!("w{}", self.tensors.len());
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let dims = vec![channels, channels, side, side];
        self.tensors.push(Stored { dims, data_type: 1, name: name.clone(), raw_data: Some(raw), ..Default::default() });
        self.add("Conv", &[&name], vec![ints("kernel_shape", &[side; 2])])
    }
    fn deconv(mut self, [from, to, side]: [i64; 3], stride: i64, pad: i64) -> Self {
        let w = self.weights(&[from, to, side, side]);
        let attributes = vec![ints("kernel_shape", &[side; 2]), ints("strides", &[stride; 2]), ints("pads", &[pad; 4])];
        self.add("ConvTranspose", &[&w], attributes)
    }
    fn relu(self) -> Self {
        self.add("Relu", &[], vec![])
    }
    fn shuffle(self, factor: i64) -> Self {
        self.add("DepthToSpace", &[], vec![int("blocksize", factor), string("mode", "CRD")])
    }
    fn nearest(self, scale: f32) -> Self {
        let attributes = vec![
            string("mode", "nearest"),
            string("coordinate_transformation_mode", "asymmetric"),
            string("nearest_mode", "floor"),
        ];
        self.floats("scales", &[1.0, 1.0, scale, scale]).add("Resize", &["", "scales"], attributes)
    }
    /// Returns the file, for an input of these dimensions; 0 stands for any.
    fn bytes(self, dims: &[i64]) -> Vec<u8> {
        let output = value(&self.last(), &[0, 0, 0, 0]);
        onnx::bytes(&onnx::model(self.nodes, self.tensors, value("x", dims), output))
    }
    fn model(self, dims: &[i64]) -> Model {
        read("net.onnx", &self.bytes(dims)).unwrap()
    }
}

fn string(name: &str, value: &str) -> Attribute {
    Attribute { name: name.into(), s: Some(value.as_bytes().to_vec()), ..Default::default() }
}

fn enlarger(model: Model) -> Enlarger {
    Enlarger::imported(model, "net.onnx").unwrap()
}

fn traits(model: Model) -> Traits {
    enlarger(model).traits().clone()
}

/// Two convolutions and a pixel shuffle by 2.
fn shuffling(channels: i64) -> Net {
    Net::new().conv([4, channels, 3], 1, 1).relu().conv([4 * channels, 4, 3], 1, 1).shuffle(2)
}

/// As waifu2x's upconv_7: no padding, and a transposed convolution that crops.
fn cropping() -> Net {
    Net::new().conv([3, 3, 3], 1, 0).relu().conv([4, 3, 3], 1, 0).deconv([4, 3, 4], 2, 3)
}

/// A U of one level: what is halved is enlarged again, and added to the middle of what it was made of.
fn halving() -> Net {
    let net = Net::new().conv([4, 1, 3], 1, 0).relu();
    let before = net.last();
    let mut net = net.conv([4, 4, 2], 2, 0).relu().conv([4, 4, 3], 1, 0).deconv([4, 4, 2], 2, 0);
    let after = net.last();
    net = net.integers("from", &[2, 2]).integers("to", &[-2, -2]).integers("axes", &[2, 3]);
    net.nodes.push(node("Slice", "", &[&before, "from", "to", "axes"], "middle", vec![]));
    net.add("Add", &[&after], vec![]).conv([4, 4, 3], 1, 1).shuffle(2)
}

/// A pixel shuffle as older exporters write it, with all sizes fixed.
fn fixed(side: i64) -> Net {
    Net::new()
        .conv([4, 1, 5], 1, 2)
        .integers("six", &[1, 1, 2, 2, side, side])
        .integers("four", &[1, 1, 2 * side, 2 * side])
        .add("Reshape", &["six"], vec![])
        .add("Transpose", &[], vec![ints("perm", &[0, 1, 4, 2, 5, 3])])
        .add("Reshape", &["four"], vec![])
}

/// Works on a quarter of the rows and columns.
fn coarse() -> Net {
    Net::new().conv([4, 1, 4], 4, 0).relu().conv([4, 4, 3], 1, 1).deconv([4, 1, 8], 8, 0)
}

/// As [`shuffling`], with factors for the channels from the mean of the whole picture.
fn squeezing() -> Net {
    let net = Net::new().conv([4, 1, 3], 1, 1);
    let main = net.last();
    let net = net.add("GlobalAveragePool", &[], vec![]).add("Sigmoid", &[], vec![]).add("Mul", &[&main], vec![]);
    net.conv([4, 4, 3], 1, 1).shuffle(2)
}

#[test]
fn what_a_network_is_follows_from_its_graph() {
    for (net, dims, expected) in [
        (shuffling(3), &[1, 3, 0, 0], (2, 3, 2, [0, 0], 1, None, true)),
        (shuffling(1), &[0, 1, 40, 30], (2, 1, 2, [0, 0], 1, None, true)),
        // The channels are not declared.
        (shuffling(1), &[0, 0, 0, 0], (2, 1, 2, [0, 0], 1, None, true)),
        (cropping(), &[1, 3, 0, 0], (2, 3, 3, [6, 6], 1, None, true)),
        (halving(), &[1, 1, 0, 0], (2, 1, 4, [6, 6], 2, None, true)),
        (fixed(24), &[1, 1, 24, 24], (2, 1, 2, [0, 0], 1, Some([24, 24]), true)),
        (squeezing(), &[1, 1, 0, 0], (2, 1, 2, [0, 0], 1, None, false)),
        (Net::new().delta(3, 5).nearest(3.0), &[1, 3, 0, 0], (3, 3, 2, [6, 6], 1, None, true)),
        (Net::new().conv([1, 1, 3], 1, 1), &[1, 1, 0, 0], (1, 1, 1, [0, 0], 1, None, true)),
        // The grid is what the coarsest layer needs.
        (coarse(), &[1, 1, 0, 0], (2, 1, 4, [0, 0], 4, None, true)),
    ] {
        let t = traits(net.model(dims));
        let got = (t.scale, t.channels, t.halo, t.crop, t.multiple, t.fixed, t.is_exact);
        assert_eq!(got, expected, "{t:?}");
    }
}

fn noise(shape: [usize; 4]) -> Tensor {
    let mut rng = Rng::new(5);
    Tensor::new(shape, (0..shape.iter().product()).map(|_| rng.unit() as f32).collect()).unwrap()
}

/// On the references, whose sums do not depend on the place, for windows of several sizes; an adapter may round differently in each.
#[test]
fn tiled_equals_untiled() {
    let cpu = Device::open(&Select::Cpu).unwrap();
    for (name, net, channels) in [
        ("shuffling", shuffling(3).model(&[1, 3, 0, 0]), 3),
        ("cropping", cropping().model(&[1, 3, 0, 0]), 3),
        ("halving", halving().model(&[1, 1, 0, 0]), 1),
        ("coarse", coarse().model(&[1, 1, 0, 0]), 1),
        ("old", fixed(24).model(&[1, 1, 24, 24]), 1),
    ] {
        let enlarger = enlarger(net);
        let run = |device: &Device, tile, input: &Tensor| {
            Upscaler::open(device.clone(), enlarger.clone(), Some(tile)).unwrap().luma(input).unwrap()
        };
        for (height, width) in [(37, 52), (40, 30)] {
            let input = noise([1, channels, height, width]);
            if enlarger.traits().fixed.is_some() {
                // Windows of that size, in other places: the parts of a picture that begins elsewhere.
                let (whole, [_, _, h, w]) = (run(&cpu, 0, &input), [1, 1, height - 8, width - 4]);
                let rows = input.data().chunks(width).skip(8).flat_map(|row| &row[4..]).copied().collect();
                let part = run(&cpu, 0, &Tensor::new([1, 1, h, w], rows).unwrap());
                // Away from the border that only one of them has.
                for (i, j) in (4..2 * h).flat_map(|i| (4..2 * w).map(move |j| (i, j))) {
                    let (a, b) = (whole.data()[(i + 16) * 2 * width + j + 8], part.data()[i * 2 * w + j]);
                    assert_eq!(a.to_bits(), b.to_bits(), "{name} {i} {j}");
                }
                continue;
            }
            let whole = run(&cpu, 0, &input);
            assert_eq!(whole.shape(), [1, channels, 2 * height, 2 * width]);
            for tile in [12, 19, 24] {
                let tiled = run(&cpu, tile, &input);
                let differ = whole.data().iter().zip(tiled.data()).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
                assert_eq!(differ, 0, "{name}, {height} × {width}, tile {tile}");
            }
            let Some(device) = common::device() else { continue };
            let tiled = run(&device, 19, &input);
            let most = whole.data().iter().zip(tiled.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(most <= 1e-4, "{name}: {most}");
        }
    }
}

fn samples(picture: &Picture) -> Vec<u16> {
    match picture.samples() {
        Samples::U8(samples) => samples.iter().map(|&v| v.into()).collect(),
        Samples::U16(samples) => samples.clone(),
    }
}

/// A network that only repeats pixels gives exactly that, to the last pixel of every border, whatever it crops.
#[test]
fn nothing_moves_and_nothing_is_lost_at_the_borders() {
    let cpu = Device::open(&Select::Cpu).unwrap();
    let mut rng = Rng::new(2);
    for (channels, bits) in [(Channels::Rgb, 8), (Channels::Rgba, 16), (Channels::Grey, 8), (Channels::GreyAlpha, 16)] {
        for (width, height) in [(29, 22), (1, 3)] {
            let n = width * height * channels.count();
            let all = match bits {
                8 => Samples::U8((0..n).map(|_| rng.below(256) as u8).collect()),
                _ => Samples::U16((0..n).map(|_| rng.below(65536) as u16).collect()),
            };
            let picture = Picture::from_samples("noise", width, height, channels, all).unwrap();
            for model in [
                Net::new().delta(3, 5).delta(3, 3).nearest(2.0).model(&[1, 3, 0, 0]),
                Net::new().nearest(2.0).delta(3, 7).model(&[1, 3, 0, 0]),
            ] {
                let enlarger = enlarger(model);
                assert!(enlarger.traits().crop[0] > 0);
                let chain = |tile| {
                    let stage = Upscaler::open(cpu.clone(), enlarger.clone(), Some(tile)).unwrap();
                    Chain::new(vec![stage], Ratio { num: 2, den: 1 }).unwrap()
                };
                for tile in [0, 16] {
                    let (out, _) = chain(tile).picture(&picture, &mut |_, _| true).unwrap();
                    assert_eq!((out.width(), out.height(), out.channels()), (2 * width, 2 * height, channels));
                    assert_eq!(out.samples().bits(), bits);
                    let (small, large, count) = (samples(&picture), samples(&out), channels.count());
                    let colours = if channels.has_alpha() { count - 1 } else { count };
                    for (i, j) in (0..2 * height).flat_map(|i| (0..2 * width).map(move |j| (i, j))) {
                        let (a, b) = ((i / 2 * width + j / 2) * count, (i * 2 * width + j) * count);
                        assert_eq!(large[b..b + colours], small[a..a + colours], "{i} {j} {tile}");
                    }
                    if channels.has_alpha() {
                        let alpha = out.plane(Channel::Alpha, out.whole()).unwrap();
                        let expected = picture.resized_rect(Channel::Alpha, out.whole(), &chain(0).bicubic()).unwrap();
                        let step = if bits == 8 { 255.0 } else { 65535.0 };
                        let near = |(a, b): (&f32, &f32)| (a - b.clamp(0.0, 1.0)).abs() <= 0.51 / step;
                        assert!(alpha.iter().zip(&expected).all(near));
                    }
                }
            }
        }
    }
}

#[test]
fn what_upscale_does_not_serve_is_said() {
    let error = |net: Net, dims: &[i64]| -> String {
        let result: Result<Enlarger> = Enlarger::imported(net.model(dims), "a/net.onnx");
        result.map(|enlarger| enlarger.traits().clone()).unwrap_err().to_string()
    };
    for (net, dims, parts) in [
        (
            shuffling(4),
            &[1, 4, 0, 0][..],
            &["a/net.onnx", "takes 4 channels", "1 (luminance) or 3 (red, green, blue)"][..],
        ),
        (Net::new().conv([12, 3, 3], 1, 1), &[1, 3, 0, 0], &["makes 12 channels of 3"]),
        (Net::new().delta(3, 1).nearest(1.5), &[1, 3, 0, 0], &["makes 360x360 pixels of 240x240", "whole number"]),
        (Net::new().delta(1, 1).nearest(17.0), &[1, 1, 0, 0], &["enlarges 17 times", "1 to 16"]),
        (Net::new().conv([1, 1, 2], 2, 0), &[1, 1, 0, 0], &["whole number"]),
        (
            Net::new().add("Transpose", &[], vec![ints("perm", &[0, 3, 1, 2])]).delta(3, 1),
            &[1, 0, 0, 3],
            &["channels last", "export it with channels first"],
        ),
        (Net::new().conv([3, 3, 3], 1, 1).add("GlobalAveragePool", &[], vec![]), &[1, 3, 0, 0], &["whole number"]),
        (Net::new().relu(), &[1, 3], &["[N, C, H, W]"]),
        (Net::new().conv([3, 3, 3], 1, 1).add("Unheard", &[], vec![]), &[1, 3, 0, 0], &["Unheard", "not covered"]),
    ] {
        let error = error(net, dims);
        assert!(parts.iter().all(|part| error.contains(part)), "{error:?} lacks one of {parts:?}");
    }
    let mut two = shuffling(1);
    two.nodes.push(node("Relu", "", &["x"], "other", vec![]));
    let mut file = onnx::model(two.nodes, two.tensors, value("x", &[1, 1, 0, 0]), value("t3", &[0; 4]));
    file.graph.as_mut().unwrap().output.push(value("other", &[0; 4]));
    let error = Enlarger::imported(read("net.onnx", &onnx::bytes(&file)).unwrap(), "net.onnx").map(|_| ()).unwrap_err();
    assert!(
        error.to_string().contains("outputs [\"t3\", \"other\"]; upscale serves networks with one of each"),
        "{error}"
    );
}

#[test]
fn the_command_enlarges_by_any_scale_and_says_what_depends_on_windows() {
    let folder = Folder::new();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path(name), bytes).unwrap();
        folder.text(name)
    };
    let net = write("net.onnx", &Net::new().delta(3, 3).nearest(2.0).bytes(&[1, 3, 0, 0]));
    let mut rng = Rng::new(7);
    let all = Samples::U16((0..20 * 9 * 4).map(|_| rng.below(65536) as u16).collect());
    let (small, out) = (folder.text("small.png"), folder.text("out.png"));
    Picture::from_samples("noise", 20, 9, Channels::Rgba, all).unwrap().save(Path::new(&small)).unwrap();
    let words = ["upscale", &small, &out, "--overwrite", "--device", "cpu"];
    let upscale = |more: &[&str]| lineament().args(words).args(more).output().unwrap();
    let report = |more: &[&str]| {
        let output = upscale(more);
        assert!(output.status.success(), "{more:?}: {}", text(&output.stderr));
        serde_json::from_str::<Value>(text(&output.stdout).lines().last().unwrap()).unwrap()
    };
    let made = report(&["--model", &net, "--json"]);
    assert_eq!((&made["channels"], &made["exact"], &made["stages"]), (&3.into(), &true.into(), &[2].into()));
    let picture = Picture::open(Path::new(&out)).unwrap();
    assert_eq!(
        (picture.width(), picture.height(), picture.channels(), picture.samples().bits()),
        (40, 18, Channels::Rgba, 16)
    );
    // Two runs and a bicubic step.
    let made = report(&["--model", &net, "--scale", "2.5", "--json"]);
    assert_eq!((&made["stages"], &made["pictures"][0]["width"]), (&[2, 2].into(), &50.into()));
    // Its enlargement is flat where the picture is.
    let (flat, rect) = (folder.text("flat.png"), Rect { top: 0, left: 0, height: 20, width: 30 });
    let of = |value: u8| Samples::U8([value, 40, 200].repeat(rect.area()));
    Picture::from_samples("flat", 30, 20, Channels::Rgb, of(90)).unwrap().save(Path::new(&flat)).unwrap();
    json(&["upscale", &flat, &out, "--overwrite", "--device", "cpu", "--model", &net, "--scale", "3", "--json"]);
    let picture = Picture::open(Path::new(&out)).unwrap();
    assert_eq!((picture.width(), samples(&picture)), (90, [90, 40, 200].repeat(90 * 60)));

    let squeezing = write("squeezing.onnx", &squeezing().bytes(&[1, 1, 0, 0]));
    let output = upscale(&["--model", &squeezing, "--self-check"]);
    // The references cannot be checked against themselves.
    assert!(!output.status.success() && text(&output.stderr).contains("against themselves"));
    let output = upscale(&["--model", &squeezing]);
    assert!(output.status.success() && text(&output.stderr).contains("differs slightly"), "{}", text(&output.stderr));
    let output = upscale(&["--model", &squeezing, "--tile", "0"]);
    assert!(output.status.success() && !text(&output.stderr).contains("differs"), "{}", text(&output.stderr));

    let four = write("four.onnx", &shuffling(4).bytes(&[1, 4, 0, 0]));
    let one = write("one.onnx", &Net::new().delta(3, 3).bytes(&[1, 3, 0, 0]));
    for (more, parts) in [
        (&["--model", &four][..], &["four.onnx", "takes 4 channels"][..]),
        (&["--model", &one, "--scale", "2"], &["keeps a picture's size", "leave --scale out"]),
        (&["--model", &net, "--weights", "w.safetensors"], &["leave --weights out"]),
        (&["--model", "none.onnx"], &["none.onnx"]),
        (&["--model", "none"], &["there is no model \"none\""]),
        (&["--model", &net, "--vram", "1"], &["the smallest window", "net.onnx", "allow "]),
    ] {
        let output = upscale(more);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{more:?}: {stderr}");
        assert!(parts.iter().all(|part| stderr.contains(part)), "{stderr:?} lacks one of {parts:?}");
    }
    report(&["--model", &one, "--json"]);
    if common::device().is_some() {
        for model in [&net, &squeezing] {
            let arguments = ["upscale", &small, &out, "--overwrite", "--model", model, "--self-check"];
            let output = run(&arguments);
            assert!(output.status.success() && text(&output.stdout).contains("agrees"), "{}", text(&output.stderr));
        }
    }
}

#[test]
fn convert_writes_the_weights_of_a_file_under_its_names() {
    let folder = Folder::new();
    // A factor that becomes a part of the convolution before it, and integers.
    let net = Net::new().conv([2, 3, 3], 1, 1).floats("gain", &[2.0]).add("Mul", &["gain"], vec![]);
    let expected = Stored::clone(&net.tensors[0]).raw_data.unwrap();
    let net = net.integers("shape", &[1, 2, -1]).add("Reshape", &["shape"], vec![]);
    std::fs::write(folder.path("net.onnx"), net.bytes(&[1, 3, 8, 8])).unwrap();
    let (net, out) = (folder.text("net.onnx"), folder.text("out.safetensors"));
    let report = json(&["convert", &net, &out, "--json"]);
    assert_eq!((&report["tensors"], &report["values"]), (&2.into(), &55.into()));
    let weights = Weights::open(Path::new(&out)).unwrap();
    assert_eq!(weights.tensors().keys().collect::<Vec<_>>(), ["gain", "w0"]);
    let bytes: Vec<u8> = weights.get("w0").unwrap().data().iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!((weights.get("w0").unwrap().shape(), bytes), ([2, 3, 3, 3].into(), expected));
    assert_eq!(weights.manifest().get("opset").map(String::as_str), Some("13"));

    std::fs::write(folder.path("net.param"), "7767517\n2 2\nInput in 0 1 a\nPReLU p 1 1 a b 0=2\n").unwrap();
    std::fs::write(folder.path("net.bin"), [0.25_f32, 0.5].map(f32::to_le_bytes).concat()).unwrap();
    let (net, other) = (folder.text("net.param"), folder.text("other.safetensors"));
    json(&["convert", &net, &other, "--json"]);
    let weights = Weights::open(Path::new(&other)).unwrap();
    let (name, slopes) = weights.tensors().iter().next().unwrap();
    assert!(name.starts_with("p.") && weights.tensors().len() == 1 && slopes.data() == [0.25, 0.5], "{name}");

    for (arguments, parts) in [
        (&["convert", &net, &out][..], &["out.safetensors: exists; give --overwrite"][..]),
        (&["convert", &net, "w.onnx"], &["another format than .safetensors"]),
        (&["convert", &net, &folder.text("a.safetensors"), "--model", "srcnn", "--scale", "2"], &["leave them out"]),
    ] {
        let output = run(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(parts.iter().all(|part| stderr.contains(part)), "{stderr:?} lacks one of {parts:?}");
    }
}

/// Networks that others trained and use: what is found is what their programs know of them, and results lie where the picture is.
#[test]
fn networks_of_other_programs_enlarge_as_theirs_do() {
    let (Some(device), Some(models)) = (common::device(), common::shared("models")) else { return };
    let photo = Picture::open(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/astronaut.png")).unwrap();
    let photo = photo.crop(Rect { top: 90, left: 170, height: 62, width: 83 }).unwrap();
    for (file, expected, tile) in [
        // waifu2x-ncnn-vulkan pads by 18 for cunet, and by 7 for upconv_7.
        ("accept/waifu2x_cunet_n1_2x.param", (2, 3, 18, [36, 36], 2, None, false), 0),
        ("sr/waifu2x_ncnn/scale2.0x_model.param", (2, 3, 7, [14, 14], 1, None, true), 40),
        ("sr/realesr_animevideov3_ncnn/realesr-animevideov3-x2.param", (2, 3, 19, [0, 0], 1, None, true), 64),
        ("accept/acnet_hdnl0.onnx", (2, 1, 9, [0, 0], 1, None, true), 40),
        ("sr/espcn_onnx/super_resolution.onnx", (3, 1, 5, [0, 0], 1, Some([224, 224]), true), 0),
    ] {
        let path = models.join(file);
        let model = if file.ends_with("param") { ncnn::open(&path) } else { lineament::import::onnx::open(&path) };
        let enlarger = Enlarger::imported(model.unwrap(), file).unwrap();
        let t = enlarger.traits();
        assert_eq!((t.scale, t.channels, t.halo, t.crop, t.multiple, t.fixed, t.is_exact), expected, "{t:?}");
        let scale = t.scale;
        let whole = Upscaler::open(device.clone(), enlarger.clone(), Some(0)).unwrap();
        let (out, _) = whole.picture(&photo, &mut |_, _| true).unwrap();
        if tile > 0 {
            let (tiled, report) = Upscaler::open(device.clone(), enlarger, Some(tile))
                .unwrap()
                .picture(&photo, &mut |_, _| true)
                .unwrap();
            assert!(report.tiles > 1);
            let most = samples(&out).into_iter().zip(samples(&tiled)).map(|(a, b)| a.abs_diff(b)).max();
            assert!(most <= Some(1), "{file}: {most:?}");
        }
        // No other shift brings it closer to the bicubic enlargement.
        let bicubic = photo
            .resize(&lineament::ops::resize::Resize::by(lineament::ops::resize::Kernel::Bicubic, scale as u32, 1))
            .unwrap();
        let (a, b) = (out.luma_u8(), bicubic.luma_u8());
        let error = |down: i64, right: i64| -> f64 {
            let (height, width) = (out.height() as i64, out.width() as i64);
            let inside = |i: i64, j: i64| (i * width + j) as usize;
            let pairs = (4..height - 4).flat_map(|i| (4..width - 4).map(move |j| (i, j)));
            pairs.map(|(i, j)| (f64::from(a[inside(i + down, j + right)]) - f64::from(b[inside(i, j)])).powi(2)).sum()
        };
        let still = error(0, 0);
        let pixels = ((out.height() - 8) * (out.width() - 8)) as f64;
        let psnr = 10.0 * (255.0 * 255.0 * pixels / still).log10();
        assert!(psnr > 24.0, "{file}: {psnr} dB from the bicubic enlargement");
        for (down, right) in [(0, 1), (1, 0), (0, -1), (-1, 0)] {
            assert!(error(down, right) > still, "{file} is shifted by {down}, {right}");
        }
    }
}
