//! Finds objects with a network that others trained.

use super::Reading;
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::import::array::{Array, MAX_MADE_UP};
use crate::import::model::{Dimension, Model, Prepared};
use crate::ops::resize::{Kernel, Resize};
use crate::vision::boxes::{Bounds, Detection};
use crate::vision::image::{Channel, Picture, Rect};

/// How many input sizes stay compiled.
const MOST_SIZES: usize = 4;

/// An imported network and how its outputs are read.
#[derive(Debug)]
pub struct Imported {
    device: Device,
    model: Model,
    reading: Reading,
    /// Compiled networks by height and width, the last used one last.
    prepared: Vec<([usize; 2], Prepared)>,
}

/// How a picture lies in a network's input: enlarged or reduced, then with black on the right and below.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Fit {
    /// Height and width of the input.
    input: [usize; 2],
    /// Height and width of the picture in it.
    inner: [usize; 2],
}

impl Imported {
    /// See [`super::Detector::new`].
    pub fn new(device: &Device, model: Model, reading: Option<Reading>) -> Result<Self> {
        let outputs: Vec<String> = model.outputs().iter().map(|port| port.name.clone()).collect();
        let reading = match reading {
            Some(reading) => reading,
            None => Reading::known(&outputs).ok_or_else(|| {
                Error::Usage(format!(
                    "how to read the network's outputs is not known; give a reading, a TOML file, that names what they are: {}",
                    outputs.join(", ")
                ))
            })?,
        };
        reading.check()?;
        if let Some(name) = reading.outputs().find(|name| !outputs.contains(name)) {
            let known = outputs.join(", ");
            return Err(Error::Usage(format!(
                "the network has no output {name:?}, which its reading names; it has {known}"
            )));
        }
        let imported = Self { device: device.clone(), model, reading, prepared: Vec::new() };
        imported.port()?;
        Ok(imported)
    }

    /// Returns how the outputs are read.
    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// Returns the name of the input, whether its channels come last, and its height and width if they are fixed.
    fn port(&self) -> Result<(&str, &'static str, [Option<usize>; 2])> {
        let [port] = self.model.inputs() else {
            let names: Vec<&str> = self.model.inputs().iter().map(|port| port.name.as_str()).collect();
            return Err(Error::Usage(format!(
                "a network that finds objects takes one picture, this one takes {names:?}"
            )));
        };
        let letters = port.letters();
        let dims = port.dims.as_deref().unwrap_or_default();
        let size = |letter: char| match dims.get(letters.find(letter)?)? {
            Dimension::Fixed(size) => Some(*size),
            Dimension::Any(_) => None,
        };
        let is_picture = letters.contains('H') && size('C').is_none_or(|channels| channels == 3);
        if !is_picture || !port.kind.is_float() {
            let problem =
                format!("input {:?} is {}, expected a picture of three channels of floats", port.name, port.describe());
            return Err(Error::Usage(problem));
        }
        Ok((&port.name, letters, [size('H'), size('W')]))
    }

    /// Returns how a picture of a height and width lies in the input.
    fn fit(&self, [height, width]: [usize; 2]) -> Result<Fit> {
        let (_, _, fixed) = self.port()?;
        let size = match (self.reading.size, fixed) {
            (Some([width, height]), _) => Some([height, width]),
            (None, [Some(height), Some(width)]) => Some([height, width]),
            (None, _) => None,
        };
        let multiple = self.reading.multiple();
        let fit = match size {
            None => Fit { input: [height, width].map(|n| n.next_multiple_of(multiple)), inner: [height, width] },
            Some(input) => {
                let scale = (input[0] as f64 / height as f64).min(input[1] as f64 / width as f64);
                // At least a pixel, however long the picture is.
                let side = |n: usize, most: usize| ((n as f64 * scale).round() as usize).clamp(1, most);
                Fit { input, inner: [side(height, input[0]), side(width, input[1])] }
            }
        };
        match fit.input[0].checked_mul(fit.input[1]).is_some_and(|n| n <= MAX_MADE_UP / 3) {
            true => Ok(fit),
            false => Err(Error::Usage(format!(
                "an input of {} × {} pixels is too large; reduce the picture",
                fit.input[1], fit.input[0]
            ))),
        }
    }

    /// Returns the network's input for a picture.
    fn input(&self, picture: &Picture, fit: Fit) -> Result<Array> {
        let ([height, width], [rows, columns]) = (fit.input, fit.inner);
        let (_, letters, _) = self.port()?;
        let mut channels = [Channel::Red, Channel::Green, Channel::Blue];
        if self.reading.bgr {
            channels.reverse();
        }
        let resize = (fit.inner != [picture.height(), picture.width()])
            .then(|| Resize::to(Kernel::Bilinear, [picture.height(), picture.width()], fit.inner))
            .transpose()
            .map_err(|e| Error::Usage(e.to_string()))?;
        let mut values = vec![0.0f32; 3 * height * width];
        let is_last = letters.ends_with('C');
        for (k, channel) in channels.into_iter().enumerate() {
            let [mean, std] = self.reading.normalisation(k);
            let whole = Rect { top: 0, left: 0, height: rows, width: columns };
            let plane = match &resize {
                Some(resize) => picture.resized_rect(channel, whole, resize)?,
                None => picture.plane(channel, whole)?,
            };
            for y in 0..height {
                for x in 0..width {
                    let sample = if y < rows && x < columns { 255.0 * plane[y * columns + x] } else { 0.0 };
                    let at = if is_last { 3 * (y * width + x) + k } else { (k * height + y) * width + x };
                    values[at] = ((f64::from(sample) - mean) / std) as f32;
                }
            }
        }
        let dims = letters.chars().map(|letter| match letter {
            'N' => 1,
            'C' => 3,
            'H' => height,
            _ => width,
        });
        Array::floats(&dims.collect::<Vec<_>>(), values)
    }

    /// Returns every box that the network's outputs hold with at least the score `threshold`, in no order.
    pub fn find(&mut self, picture: &Picture, threshold: f64) -> Result<Vec<Detection>> {
        let fit = self.fit([picture.height(), picture.width()])?;
        let given = [(self.port()?.0.to_owned(), self.input(picture, fit)?)];
        let at = self.prepared.iter().position(|(size, _)| *size == fit.input);
        let prepared = match at {
            Some(at) => self.prepared.remove(at).1,
            None => self.model.prepare(&self.device, &given)?,
        };
        let outputs = prepared.run(&given);
        if self.prepared.len() >= MOST_SIZES {
            self.prepared.remove(0);
        }
        self.prepared.push((fit.input, prepared));
        let mut all = self.reading.decode(&outputs?, fit.input, threshold)?;
        let scale = [1, 0].map(|k| fit.inner[k] as f64 / [picture.height(), picture.width()][k] as f64);
        for Detection { bounds: b, points, .. } in &mut all {
            *b = Bounds::new(b.x / scale[0], b.y / scale[1], b.width / scale[0], b.height / scale[1]);
            points.iter_mut().for_each(|p| *p = [p[0] / scale[0], p[1] / scale[1]]);
        }
        Ok(all)
    }
}
