//! Finds the faces of a picture and draws their boxes and landmarks, with YuNet (Wu, Peng and Yu 2023):
//! `cargo run --release --example find_faces -- yunet.onnx picture.jpg marked.png`.
//!
//! The network is `face_detection_yunet_2023mar.onnx` of <https://github.com/opencv/opencv_zoo> or `yunet_n_dynamic.onnx` of
//! <https://github.com/ShiqiYu/libfacedetection.train>. What follows it here is what OpenCV's FaceDetectorYN does.

use lineament::import::array::Array;
use lineament::import::{model::Model, onnx};
use lineament::prelude::*;
use lineament::vision::image::{Channel, Channels, Picture, Samples};

/// Cells of the network's three outputs, in pixels. Its input is a multiple of the largest.
const STRIDES: [usize; 3] = [8, 16, 32];
/// Least score of a face, and largest overlap of two: the common area of their boxes as a part of that of both together.
const SCORE: f32 = 0.6;
const OVERLAP: f32 = 0.3;

/// A face, in pixels of the picture.
#[derive(Debug, Clone)]
pub struct Face {
    /// 0 to 1.
    pub score: f32,
    /// Left, top, width, height.
    pub bounds: [f32; 4],
    /// Right eye, left eye, tip of the nose, right and left corner of the mouth: x and y.
    pub landmarks: [[f32; 2]; 5],
}

/// Returns the faces of a picture, the most certain first.
pub fn find(device: &Device, model: &Model, picture: &Picture) -> Result<Vec<Face>> {
    // Samples of 0..255, blue first, with black on the right and below up to whole cells.
    let [height, width] = [picture.height(), picture.width()].map(|n| n.next_multiple_of(STRIDES[2]));
    let mut pixels = vec![0.0; 3 * height * width];
    for (k, channel) in [Channel::Blue, Channel::Green, Channel::Red].into_iter().enumerate() {
        for (y, row) in picture.plane(channel, picture.whole())?.chunks(picture.width()).enumerate() {
            let at = (k * height + y) * width;
            pixels[at..at + row.len()].iter_mut().zip(row).for_each(|(to, from)| *to = 255.0 * from);
        }
    }
    let [input] = model.inputs() else {
        return Err(Error::Usage("the network is no YuNet: it takes several inputs".into()));
    };
    let given = [(input.name.clone(), Array::floats(&[1, 3, height, width], pixels)?)];
    let outputs = model.prepare(device, &given)?.run(&given)?;

    let mut found = Vec::new();
    for stride in STRIDES {
        let columns = width / stride;
        let output = |name: &str, each: usize| {
            let name = format!("{name}_{stride}");
            let array = outputs.iter().find(|(known, _)| *known == name).map(|(_, array)| array.to_f64());
            array
                .filter(|all| all.len() == height / stride * columns * each)
                .ok_or_else(|| Error::Usage(format!("the network is no YuNet: it lacks {name}")))
        };
        let [class, object, bounds, points] =
            [output("cls", 1)?, output("obj", 1)?, output("bbox", 4)?, output("kps", 10)?];
        for (cell, (class, object)) in class.iter().zip(&object).enumerate() {
            let score = (class.clamp(0.0, 1.0) * object.clamp(0.0, 1.0)).sqrt() as f32;
            if score < SCORE {
                continue;
            }
            // Places are relative to the cell, in cells; sizes are logarithms.
            let corner = [(cell % columns) as f64, (cell / columns) as f64];
            let place = |at: &[f64]| [0, 1].map(|d| ((corner[d] + at[d]) * stride as f64) as f32);
            let b = &bounds[4 * cell..][..4];
            let ([x, y], [w, h]) = (place(b), [b[2], b[3]].map(|log| (log.exp() * stride as f64) as f32));
            let landmarks = std::array::from_fn(|k| place(&points[10 * cell + 2 * k..][..2]));
            found.push(Face { score, bounds: [x - w / 2.0, y - h / 2.0, w, h], landmarks });
        }
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut faces: Vec<Face> = Vec::new();
    for face in found {
        if faces.iter().all(|other| overlap(&face.bounds, &other.bounds) <= OVERLAP) {
            faces.push(face);
        }
    }
    Ok(faces)
}

/// Returns the common area of two boxes as a part of that of both together.
fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let side = |d: usize| ((a[d] + a[d + 2]).min(b[d] + b[d + 2]) - a[d].max(b[d])).max(0.0);
    let common = side(0) * side(1);
    common / (a[2] * a[3] + b[2] * b[3] - common)
}

/// Returns the picture in RGB with the faces' boxes in green and their landmarks in red.
pub fn mark(picture: &Picture, faces: &[Face]) -> Result<Picture> {
    let [height, width] = [picture.height(), picture.width()];
    let mut pixels = vec![0; 3 * height * width];
    for (k, channel) in [Channel::Red, Channel::Green, Channel::Blue].into_iter().enumerate() {
        let plane = picture.plane(channel, picture.whole())?;
        pixels.iter_mut().skip(k).step_by(3).zip(plane).for_each(|(to, from)| *to = (255.0 * from + 0.5) as u8);
    }
    let thick = 1 + height.max(width) as i64 / 400;
    // Fills the pixels from a corner to the opposite one, as far as they are in the picture.
    let mut fill = |[left, top]: [i64; 2], [right, bottom]: [i64; 2], color: [u8; 3]| {
        for y in top.max(0)..bottom.min(height as i64) {
            for x in left.max(0)..right.min(width as i64) {
                pixels[3 * (y as usize * width + x as usize)..][..3].copy_from_slice(&color);
            }
        }
    };
    for face in faces {
        let [x, y, w, h] = face.bounds.map(|v| v.round() as i64);
        let [green, red] = [[0, 220, 0], [230, 0, 0]];
        for ([left, top], [right, bottom]) in
            [([x, y], [x + w, y]), ([x, y + h], [x + w, y + h]), ([x, y], [x, y + h]), ([x + w, y], [x + w, y + h])]
        {
            fill([left, top], [right + thick, bottom + thick], green);
        }
        for point in face.landmarks {
            let [x, y] = point.map(|v| v.round() as i64);
            fill([x - thick, y - thick], [x + thick + 1, y + thick + 1], red);
        }
    }
    Picture::from_samples("faces", width, height, Channels::Rgb, Samples::U8(pixels))
}

pub fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [network, from, to] = &arguments[..] else {
        return Err(Error::Usage("usage: find_faces YUNET.onnx PICTURE MARKED.png".into()));
    };
    let (device, picture) = (Device::open(&Select::Default)?, Picture::open(from)?);
    let faces = find(&device, &onnx::open(network)?, &picture)?;
    for face in &faces {
        println!("{:.3} at {:.0?}", face.score, face.bounds);
    }
    mark(&picture, &faces)?.save(to)
}
