//! Finds the faces of a picture and draws their boxes and landmarks, with YuNet (Wu, Peng and Yu 2023):
//! `cargo run --release --example find_faces -- yunet.onnx picture.jpg marked.png`.
//!
//! The network is `face_detection_yunet_2023mar.onnx` of <https://github.com/opencv/opencv_zoo> or `yunet_n_dynamic.onnx` of
//! <https://github.com/ShiqiYu/libfacedetection.train>. Its outputs are read as OpenCV's FaceDetectorYN does. `lineament detect` does the
//! same for folders, and docs/detect.md says how other networks are read.

use lineament::import::{model::Model, onnx};
use lineament::prelude::*;
use lineament::tasks::detect::{Ask, Detector, mark};
use lineament::vision::boxes::Detection;
use lineament::vision::image::Picture;

/// Returns the faces of a picture, the most certain first: boxes and landmarks (right eye, left eye, tip of the nose, right and left corner
/// of the mouth) in pixels.
pub fn find(device: &Device, model: Model, picture: &Picture) -> Result<Vec<Detection>> {
    // One detector serves any number of pictures.
    Detector::new(device, model, None)?.find(picture, Ask::default())
}

pub fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [network, from, to] = &arguments[..] else {
        return Err(Error::Usage("usage: find_faces YUNET.onnx PICTURE MARKED.png".into()));
    };
    let (device, picture) = (Device::open(&Select::Default)?, Picture::open(from)?);
    let faces = find(&device, onnx::open(network)?, &picture)?;
    for face in &faces {
        println!("{:.3} at {:.0?}", face.score, face.bounds.sides());
    }
    mark(&picture, &faces)?.save(to)
}
