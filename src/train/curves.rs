//! The picture of a run: loss and validation over the steps.

use crate::error::Result;
use crate::image::{Channels, Picture, Samples};
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::FONT_6X13;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{Line, PrimitiveStyle};
use embedded_graphics::text::{Alignment, Text};
use std::convert::Infallible;

/// Points that a curve keeps at most, so that its memory does not grow with the run.
const MAX_POINTS: usize = 1024;

/// Means of a value over equal stretches of steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Steps that a point stands for.
    stretch: u64,
    /// The number of the stretch, sum and count.
    points: Vec<(u64, f64, u64)>,
}

impl Default for Curve {
    fn default() -> Self {
        Self { stretch: 1, points: Vec::new() }
    }
}

impl Curve {
    /// Adds the value of `step`, which counts from 1.
    pub fn push(&mut self, step: u64, value: f64) {
        self.add(step.saturating_sub(1) / self.stretch, value, 1);
        if self.points.len() > MAX_POINTS {
            self.stretch *= 2;
            for (stretch, sum, count) in std::mem::take(&mut self.points) {
                self.add(stretch / 2, sum, count);
            }
        }
    }

    fn add(&mut self, stretch: u64, sum: f64, count: u64) {
        match self.points.last_mut() {
            Some(last) if last.0 == stretch => {
                last.1 += sum;
                last.2 += count;
            }
            _ => self.points.push((stretch, sum, count)),
        }
    }

    /// The middle of each stretch, and the mean there.
    pub fn points(&self) -> Vec<(f64, f64)> {
        let middle = |stretch: u64| (stretch * self.stretch) as f64 + (self.stretch + 1) as f64 / 2.0;
        self.points.iter().map(|&(stretch, sum, count)| (middle(stretch), sum / count as f64)).collect()
    }
}

const WIDTH: i32 = 900;
const PANEL: i32 = 280;
/// Around a panel's axes: left, right, top, bottom.
const MARGIN: [i32; 4] = [72, 16, 24, 28];

const INK: Rgb888 = Rgb888::new(60, 60, 60);
const GRID: Rgb888 = Rgb888::new(225, 225, 225);
const CURVE: Rgb888 = Rgb888::new(31, 97, 163);

/// Draws the loss on a logarithmic axis, and under it what was validated, where it was.
///
/// # Errors
/// None in practice: the picture has a fixed size.
pub fn draw(loss: Vec<(f64, f64)>, (criterion, validation): (&str, Vec<(f64, f64)>)) -> Result<Picture> {
    let has_validation = !validation.is_empty();
    let height = PANEL * (1 + i32::from(has_validation));
    let mut canvas = Canvas { height, samples: vec![255; (3 * WIDTH * height) as usize] };
    let last = loss.iter().chain(&validation).map(|p| p.0).fold(1.0, f64::max);
    let logarithms = loss.into_iter().filter(|p| p.1 > 0.0).map(|(step, loss)| (step, loss.log10())).collect();
    canvas.panel(0, "loss", logarithms, last, |y| format!("{:.2e}", 10f64.powf(y)));
    if has_validation {
        canvas.panel(PANEL, &format!("validation: {criterion}"), validation, last, |y| format!("{y:.3}"));
    }
    Picture::from_samples("curves", WIDTH as usize, height as usize, Channels::Rgb, Samples::U8(canvas.samples))
}

struct Canvas {
    height: i32,
    samples: Vec<u8>,
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(WIDTH as u32, self.height as u32)
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;
    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> std::result::Result<(), Infallible> {
        for Pixel(Point { x, y }, color) in pixels {
            if (0..WIDTH).contains(&x) && (0..self.height).contains(&y) {
                let at = 3 * (y * WIDTH + x) as usize;
                self.samples[at..at + 3].copy_from_slice(&[color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}

impl Canvas {
    fn panel(&mut self, top: i32, title: &str, points: Vec<(f64, f64)>, last: f64, label: impl Fn(f64) -> String) {
        let [left, right, above, below] = MARGIN;
        let (x0, x1, y0, y1) = (left, WIDTH - right, top + above, top + PANEL - below);
        let ys = || points.iter().map(|p| p.1);
        let (mut low, mut high) = (ys().fold(f64::INFINITY, f64::min), ys().fold(f64::NEG_INFINITY, f64::max));
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        // A flat curve lies in the middle.
        let room = (0.05 * (high - low)).max(1e-3);
        (low, high) = (low - room, high + room);
        let x_of = |step: f64| x0 + (step / last * f64::from(x1 - x0)).round() as i32;
        let y_of = |value: f64| y1 - ((value - low) / (high - low) * f64::from(y1 - y0)).round() as i32;

        const TICKS: i32 = 5;
        for k in 0..=TICKS {
            let part = f64::from(k) / f64::from(TICKS);
            let (step, value) = ((last * part).round(), low + (high - low) * part);
            self.line([Point::new(x_of(step), y0), Point::new(x_of(step), y1)], GRID, 1);
            self.line([Point::new(x0, y_of(value)), Point::new(x1, y_of(value))], GRID, 1);
            self.text(&format!("{step:.0}"), Point::new(x_of(step), y1 + 16), Alignment::Center);
            self.text(&label(value), Point::new(x0 - 6, y_of(value) + 4), Alignment::Right);
        }
        self.text(title, Point::new(x0, top + 14), Alignment::Left);
        let line: Vec<Point> = points.iter().map(|&(step, value)| Point::new(x_of(step), y_of(value))).collect();
        // Not as a thick Polyline: embedded-graphics overflows where it joins long segments.
        for ends in line.windows(2) {
            self.line([ends[0], ends[1]], CURVE, 2);
        }
    }

    fn line(&mut self, [from, to]: [Point; 2], color: Rgb888, width: u32) {
        self.show(&Line::new(from, to).into_styled(PrimitiveStyle::with_stroke(color, width)));
    }

    fn text(&mut self, text: &str, at: Point, alignment: Alignment) {
        self.show(&Text::with_alignment(text, at, MonoTextStyle::new(&FONT_6X13, INK), alignment));
    }

    fn show<T>(&mut self, shape: &impl Drawable<Color = Rgb888, Output = T>) {
        let Ok(_) = shape.draw(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_keeps_its_means_in_few_points() {
        let mut curve = Curve::default();
        for step in 1..=10_000 {
            curve.push(step, step as f64);
        }
        let points = curve.points();
        assert!(points.len() <= MAX_POINTS && points.len() > MAX_POINTS / 2, "{}", points.len());
        // The mean of a stretch of a straight line lies in its middle; the last stretch may be cut off.
        for (step, value) in &points[..points.len() - 1] {
            assert!((step - value).abs() < 1e-9, "{step} {value}");
        }
    }

    #[test]
    fn the_curve_is_drawn_where_it_belongs() {
        let loss = vec![(1.0, 1.0), (50.0, 0.1), (100.0, 0.01)];
        let picture = draw(loss, ("psnr", vec![(50.0, 30.0), (100.0, 31.0)])).unwrap();
        assert_eq!((picture.width(), picture.height()), (900, 560));
        let Samples::U8(samples) = picture.samples() else { panic!("8 bit") };
        let is_curve = |x: usize, y: usize| samples[3 * (y * 900 + x)..][..3] == [CURVE.r(), CURVE.g(), CURVE.b()];
        // The middle of the loss, 0.1, is the middle of its axis: the axes lie at 72..884 and 24..252.
        assert!((136..=140).any(|y| is_curve(72 + 406, y)));
        assert!(!(24..130).any(|y| is_curve(72 + 406, y)));
        // Validation begins in the middle of the steps.
        assert!(!(300..540).any(|y| is_curve(200, y)) && (300..540).any(|y| is_curve(700, y)));
    }

    #[test]
    fn a_curve_of_few_far_points_is_drawn() {
        // In every direction, over the whole panel.
        for values in [[1.0, 1e-3, 1.0, 1e-3], [1.0, 0.9, 1e-3, 1.0], [1e-3, 1.0, 1.0, 1e-3], [1.0, 0.1, 0.01, 1e-3]] {
            let loss = values.iter().zip(1..).map(|(&y, step)| (f64::from(step), y)).collect();
            let picture = draw(loss, ("psnr", Vec::new())).unwrap();
            let Samples::U8(samples) = picture.samples() else { panic!("8 bit") };
            let is = |color: Rgb888, x: usize, y: usize| {
                samples[3 * (y * 900 + x)..][..3] == [color.r(), color.g(), color.b()]
            };
            // The axes lie at 72..884 and 24..252, so steps 1 to 4 every 203 pixels; a tick stands at the step that it names.
            for x in [275, 478, 681, 884] {
                assert!((24..252).any(|y| is(CURVE, x, y)));
                assert!((24..252).filter(|&y| is(GRID, x, y)).count() > 100);
            }
        }
    }
}
