//! Finds the faces of a picture and draws their boxes: `cargo run --release --example find_faces -- picture.jpg marked.png`.
//!
//! With the file of a YuNet (Wu, Peng and Yu 2023) as a third argument, that network finds them, and landmarks too:
//! `face_detection_yunet_2023mar.onnx` of <https://github.com/opencv/opencv_zoo> or `yunet_n_dynamic.onnx` of
//! <https://github.com/ShiqiYu/libfacedetection.train>. Its outputs are read as OpenCV's FaceDetectorYN does. `lineament detect` does the
//! same for folders, and docs/detect.md says how other networks are read.

use lineament::import::{model::Model, onnx};
use lineament::prelude::*;
use lineament::tasks::detect::{Ask, Detector, mark};
use lineament::vision::boxes::Detection;
use lineament::vision::image::Picture;

/// Returns the faces of a picture, the most certain first: boxes in pixels, and the landmarks of a YuNet (right eye, left eye, tip of the
/// nose, right and left corner of the mouth).
pub fn find(device: &Device, yunet: Option<Model>, picture: &Picture) -> Result<Vec<Detection>> {
    // One detector serves any number of pictures.
    let mut detector = match yunet {
        None => Detector::faces(device)?,
        Some(model) => Detector::new(device, model, None)?,
    };
    detector.find(picture, Ask::default())
}

pub fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (from, to, yunet) = match &arguments[..] {
        [from, to] => (from, to, None),
        [from, to, network] => (from, to, Some(onnx::open(network)?)),
        _ => return Err(Error::Usage("usage: find_faces PICTURE MARKED.png [YUNET.onnx]".into())),
    };
    let (device, picture) = (Device::open(&Select::Default)?, Picture::open(from)?);
    let faces = find(&device, yunet, &picture)?;
    for face in &faces {
        println!("{:.3} at {:.0?}", face.score, face.bounds.sides());
    }
    mark(&picture, &faces)?.save(to)
}
