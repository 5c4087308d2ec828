//! Points in panels: gains over imbalance, and embeddings in two dimensions.

use crate::error::Result;
use crate::vision::image::Picture;
use crate::vision::image::drawing::{Canvas, Drawn, FINE, letters, paint};
use crate::vision::training::curves::linear_ticks;
use plotters::element::{Circle, PathElement};
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor, WHITE};

const INK: RGBColor = RGBColor(60, 60, 60);
const GRID: RGBColor = RGBColor(225, 225, 225);
/// Colours of the series, in order.
const COLORS: [RGBColor; 3] = [RGBColor(150, 175, 205), RGBColor(200, 80, 30), RGBColor(31, 97, 163)];

/// Margins around a panel's points, in pixels: left, right, above, below.
const MARGIN: [i32; 4] = [56, 16, 44, 44];

/// A pair of axes with points.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    pub title: String,
    /// What the axes show; without names they have no ticks.
    pub axes: Option<[String; 2]>,
    /// Named series of points, at most three; later ones lie above. One without a name is not in the legend.
    pub series: Vec<(String, Vec<[f64; 2]>)>,
    /// Draws a horizontal line at 0.
    pub has_zero: bool,
}

/// Draws panels of `size`, width and height in pixels, side by side.
///
/// # Errors
/// The picture is too large.
pub fn draw(name: &str, panels: &[Panel], [width, height]: [usize; 2]) -> Result<Picture> {
    paint(name, [width * panels.len(), height], |canvas| {
        canvas.fill(&WHITE)?;
        for (k, panel) in panels.iter().enumerate() {
            panel.draw(canvas, (k * width) as i32, [width as i32, height as i32])?;
        }
        Ok(())
    })
}

impl Panel {
    /// Returns the ends of an axis with some room around all points.
    fn ends(&self, axis: usize) -> [f64; 2] {
        let values = self.series.iter().flat_map(|(_, points)| points.iter().map(|point| point[axis]));
        let [mut low, mut high] =
            values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], v| [low.min(v), high.max(v)]);
        if self.has_zero && axis == 1 {
            (low, high) = (low.min(0.0), high.max(0.0));
        }
        if low > high {
            return [0.0, 1.0];
        }
        let room = (0.05 * (high - low)).max(1e-6);
        [low - room, high + room]
    }

    fn draw(&self, canvas: &Canvas, left: i32, [width, height]: [i32; 2]) -> Drawn<'static> {
        let ends = [0, 1].map(|axis| self.ends(axis));
        let [from, to] = [[left + MARGIN[0], height - MARGIN[3]], [left + width - MARGIN[1], MARGIN[2]]];
        let place = |axis: usize, value: f64| {
            let part = (value - ends[axis][0]) / (ends[axis][1] - ends[axis][0]);
            (f64::from(FINE) * (f64::from(from[axis]) + part * f64::from(to[axis] - from[axis]))) as i32
        };
        let text = |size, horizontal, vertical| letters(size, INK, horizontal, vertical);
        let line = |points: Vec<(i32, i32)>, color: RGBColor| PathElement::new(points, color.stroke_width(FINE as u32));
        let corner = |x: i32, y: i32| (FINE * x, FINE * y);
        canvas.draw(&line(
            vec![
                corner(from[0], to[1]),
                corner(from[0], from[1]),
                corner(to[0], from[1]),
                corner(to[0], to[1]),
                corner(from[0], to[1]),
            ],
            GRID,
        ))?;
        if let Some(names) = &self.axes {
            for (axis, range) in ends.into_iter().enumerate() {
                // Five are enough to read a tendency.
                for (tick, decimals) in linear_ticks(range, 5) {
                    let at = place(axis, tick);
                    let (points, label, style) = match axis {
                        0 => (
                            vec![(at, FINE * from[1]), (at, FINE * to[1])],
                            (at, FINE * (from[1] + 4)),
                            text(13, HPos::Center, VPos::Top),
                        ),
                        _ => (
                            vec![(FINE * from[0], at), (FINE * to[0], at)],
                            (FINE * (from[0] - 5), at),
                            text(13, HPos::Right, VPos::Center),
                        ),
                    };
                    canvas.draw(&line(points, GRID))?;
                    canvas.draw_text(&format!("{tick:.decimals$}"), &style, label)?;
                }
            }
            canvas.draw_text(
                &names[0],
                &text(13, HPos::Center, VPos::Bottom),
                corner((from[0] + to[0]) / 2, height - 4),
            )?;
            canvas.draw_text(&names[1], &text(13, HPos::Left, VPos::Top), corner(left + 6, 24))?;
        }
        if self.has_zero {
            let at = place(1, 0.0);
            canvas.draw(&line(vec![(FINE * from[0], at), (FINE * to[0], at)], INK))?;
        }
        for ((_, points), color) in self.series.iter().zip(COLORS) {
            for point in points {
                let radius = if points.len() > 200 { FINE * 3 / 2 } else { FINE * 3 };
                canvas.draw(&Circle::new((place(0, point[0]), place(1, point[1])), radius, color.filled()))?;
            }
        }
        canvas.draw_text(&self.title, &text(15, HPos::Left, VPos::Top), corner(left + 6, 4))?;
        let mut x = to[0];
        for ((name, _), color) in self.series.iter().zip(COLORS).rev().filter(|((name, _), _)| !name.is_empty()) {
            canvas.draw_text(name, &text(13, HPos::Right, VPos::Center), corner(x, MARGIN[2] - 10))?;
            x -= 7 * name.chars().count() as i32 + 6;
            canvas.draw(&Circle::new(corner(x, MARGIN[2] - 10), FINE * 4, color.filled()))?;
            x -= 12;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::image::Samples;

    #[test]
    fn points_stand_where_the_axes_say() {
        let panel = Panel {
            title: "title".into(),
            axes: Some(["x".into(), "y".into()]),
            series: vec![("low".into(), vec![[0.0, 0.0]]), ("high".into(), vec![[10.0, 10.0]])],
            has_zero: false,
        };
        let picture = draw("test", &[panel], [300, 200]).unwrap();
        let Samples::U8(samples) = picture.samples() else { panic!("8 bit") };
        let is = |color: RGBColor, x: usize, y: usize| {
            samples[3 * (y * 300 + x)..][..3].iter().zip([color.0, color.1, color.2]).all(|(a, b)| a.abs_diff(b) < 12)
        };
        // A twenty-second of the axis lies beyond each point: 228 and 112 pixels between the margins.
        let [across, down] = [228.0 / 22.0, 112.0 / 22.0];
        assert!(is(COLORS[0], 56 + across as usize, 156 - down as usize), "the lower left point");
        assert!(is(COLORS[1], 284 - across as usize, 44 + down as usize), "the upper right point");
        assert!(!is(COLORS[0], 284 - across as usize, 44 + down as usize));
    }
}
