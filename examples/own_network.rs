//! Runs a network that others trained: `cargo run --release --example own_network -- net.onnx [input.npy …]`.
//!
//! Inputs are given in the network's order; without them, all are zero. ncnn's networks are opened by their `.param`.

use lineament::import::array::Array;
use lineament::import::model::InputSize;
use lineament::import::{ncnn, npy, onnx};
use lineament::prelude::*;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or_else(|| Error::Usage("usage: own_network NET [INPUT.npy …]".into()))?;
    let model = if path.ends_with(".param") { ncnn::open(&path)? } else { onnx::open(&path)? };
    let mut given = Vec::new();
    for port in model.inputs() {
        println!("input {}: {}", port.name, port.describe());
        let array = match arguments.next() {
            Some(file) => npy::open_array(file)?,
            None => {
                let dims = model.dims(port, InputSize::default())?;
                Array::from_f64(&dims, port.kind, &vec![0.0; dims.iter().product()])?
            }
        };
        given.push((port.name.clone(), array));
    }
    // A run is planned and compiled for these sizes; what the file cannot do comes out here, all at once.
    let device = Device::open(&Select::Default)?;
    let run = model.prepare(&device, &given)?;
    for (name, array) in run.run(&given)? {
        let largest = array.to_f64().into_iter().fold(f64::NEG_INFINITY, f64::max);
        println!("output {name}: {} {:?}, largest {largest}", array.kind(), array.dims());
    }
    Ok(())
}
