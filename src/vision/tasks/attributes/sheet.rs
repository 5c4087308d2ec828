//! A picture of faces with their labels.

use super::{Attribute, PIXELS};
use crate::error::Result;
use crate::ops::resize::{Kernel, Resize};
use crate::vision::image::drawing::{FINE, letters, paint};
use crate::vision::image::{Channels, Picture, Samples};
use crate::vision::models::deepid2::SIZE;
use plotters::element::Rectangle;
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor, WHITE};

/// A face as the network saw it, with a score for each attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// As from [`Frame::planes`](super::Frame::planes).
    pub planes: Vec<u8>,
    pub scores: Vec<f32>,
}

/// How much larger faces are drawn, and how many stand beside each other.
const SCALE: usize = 4;
const COLUMNS: usize = 2;
/// Most labels of a face, and the height of one, in pixels.
const MOST: usize = 12;
const LINE: usize = 18;
/// Width of the labels of a face, and of the bar of a score of 1.
const WIDTH: usize = 250;
const BAR: usize = 80;

const INK: RGBColor = RGBColor(40, 40, 40);
const SCORE: RGBColor = RGBColor(31, 97, 163);
const REST: RGBColor = RGBColor(225, 225, 225);
const LIMIT: RGBColor = RGBColor(200, 80, 30);

/// Returns the numbers of the attributes whose scores reach their thresholds, the likeliest first.
pub fn present(scores: &[f32], limits: &[f64]) -> Vec<usize> {
    let mut found: Vec<usize> = (0..scores.len()).filter(|&k| f64::from(scores[k]) >= limits[k]).collect();
    found.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    found
}

/// Draws each face beside its likeliest attributes with a bar for the score, in which a line marks the threshold.
///
/// # Errors
/// The picture is too large.
pub fn draw(attributes: &[Attribute], limits: &[f64], faces: &[Labelled]) -> Result<Picture> {
    let [high, wide] = SIZE.map(|side| side * SCALE);
    let [width, height] = [wide + WIDTH, high];
    let columns = faces.len().clamp(1, COLUMNS);
    let size = [columns * width, faces.len().div_ceil(columns) * height];
    let mut sheet = paint("labels", size, |canvas| {
        canvas.fill(&WHITE)?;
        for (k, face) in faces.iter().enumerate() {
            let (x, y) = ((k % columns * width + wide) as i32, (k / columns * height) as i32);
            let bar = |row: i32, from: f32, to: f32, color: RGBColor| {
                let at = |part: f32| FINE * (x + 8) + (part * (FINE * BAR as i32) as f32) as i32;
                let (top, bottom) = (FINE * (row + 4), FINE * (row + LINE as i32 - 4));
                canvas.draw(&Rectangle::new([(at(from), top), (at(to), bottom)], color.filled()))
            };
            for (number, a) in present(&face.scores, limits).into_iter().take(MOST).enumerate() {
                let row = y + (number * LINE) as i32 + 2;
                bar(row, 0.0, 1.0, REST)?;
                bar(row, 0.0, face.scores[a], SCORE)?;
                bar(row, limits[a] as f32 - 0.01, limits[a] as f32 + 0.01, LIMIT)?;
                let text = format!("{:.2} {}", face.scores[a], attributes[a].name.replace('_', " "));
                let place = (FINE * (x + BAR as i32 + 16), FINE * (row + LINE as i32 / 2));
                canvas.draw_text(&text, &letters(LINE as i32 - 4, INK, HPos::Left, VPos::Center), place)?;
            }
        }
        Ok(())
    })?;
    for (k, face) in faces.iter().enumerate() {
        let own =
            |q: usize| (0..3).map(move |channel| face.planes.get(channel * (PIXELS / 3) + q).copied().unwrap_or(0));
        let samples = (0..PIXELS / 3).flat_map(own).collect();
        let small = Picture::from_samples("face", SIZE[1], SIZE[0], Channels::Rgb, Samples::U8(samples))?;
        let large = small.resize(&Resize::by(Kernel::Bicubic, SCALE as u32, 1))?;
        sheet.paste(&large, k / columns * height, k % columns * width)?;
    }
    Ok(sheet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::image::Channel;

    #[test]
    fn faces_stand_beside_bars_as_long_as_their_scores() {
        let list: Vec<Attribute> = ["Bald", "Young"]
            .map(|name| Attribute { name: name.into(), threshold: 0.25, balanced_accuracy: 50.0 })
            .into();
        assert_eq!(present(&[0.5, 0.9], &[0.5, 0.91]), [0]);
        assert_eq!(present(&[0.5, 0.9], &[0.5, 0.25]), [1, 0]);
        let face = |grey: u8, scores: [f32; 2]| Labelled { planes: vec![grey; PIXELS], scores: scores.into() };
        let faces = [face(10, [0.5, 0.75]), face(200, [0.0, 0.0]), face(90, [1.0, 0.1])];
        let sheet = draw(&list, &[0.25; 2], &faces).unwrap();
        let [high, wide] = SIZE.map(|side| side * SCALE);
        assert_eq!([sheet.width(), sheet.height()], [2 * (wide + WIDTH), 2 * high]);
        let red = sheet.plane(Channel::Red, sheet.whole()).unwrap();
        let at = |x: usize, y: usize| (red[y * sheet.width() + x] * 255.0).round() as u8;
        assert_eq!([at(50, 50), at(wide + WIDTH + 50, 50), at(50, high + 50)], [10, 200, 90]);
        // Columns of the bar's middle row that have the colour of a score; the threshold hides two of them.
        let length = |left: usize, row: usize| {
            (0..BAR).filter(|k| at(left + wide + 8 + k, row + 2 + LINE / 2).abs_diff(SCORE.0) < 20).count() as i32
        };
        for (left, row, score) in [(0, 0, 0.75), (0, LINE, 0.5), (wide + WIDTH, 0, 0.0), (0, high, 1.0)] {
            let wanted = (score * BAR as f64) as i32 - if score > 0.0 { 2 } else { 0 };
            assert!((length(left, row) - wanted).abs() <= 2, "{} {wanted}", length(left, row));
        }
    }
}
