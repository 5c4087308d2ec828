//! The picture of a run: loss and validation over the steps.

use crate::error::Result;
use crate::train::history::History;
use crate::vision::image::Picture;
use crate::vision::image::drawing::{Canvas, Drawn, FINE, letters, paint};
use plotters::chart::{ChartBuilder, LabelAreaPosition, SeriesLabelPosition};
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::element::{Circle, PathElement};
use plotters::series::LineSeries;
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor, WHITE};
use std::ops::Range;

/// Width of the picture, in pixels.
const WIDTH: i32 = 900;
/// Height of a panel, in pixels.
const PANEL: i32 = 280;
/// Margins around a panel's axes, in pixels: left, right, above, below.
const MARGIN: [i32; 4] = [76, 24, 30, 46];

const INK: RGBColor = RGBColor(60, 60, 60);
const GRID: RGBColor = RGBColor(225, 225, 225);
const CURVE: RGBColor = RGBColor(31, 97, 163);
/// The raw values that [`CURVE`] smooths.
const RAW: RGBColor = RGBColor(176, 205, 232);
const BEST: RGBColor = RGBColor(200, 80, 30);

/// Approximate number of ticks along an axis.
const TICKS: usize = 6;
/// The smoothing window reaches 1/`SMOOTH` of all points to each side.
const SMOOTH: usize = 40;

/// Draws the loss on a logarithmic axis, raw and smoothed, and the validation results, if any, below it.
///
/// # Errors
/// None in practice, because the picture has a fixed size.
pub fn draw(history: &History) -> Result<Picture> {
    let loss = history.loss.points();
    let validation: Vec<_> = history.validations.iter().map(|&(step, value)| (step as f64, value)).collect();
    let last = loss.iter().chain(&validation).map(|p| p.0).fold(1.0, f64::max);
    let smoothed = smooth(&loss);
    let mut panels = vec![Panel::loss(&loss, smoothed)];
    if !validation.is_empty() {
        panels.push(Panel::validation(&history.criterion, validation));
    }
    let height = PANEL as usize * panels.len();
    paint("curves", [WIDTH as usize, height], |canvas| {
        canvas.fill(&WHITE)?;
        let areas = canvas.split_evenly((panels.len(), 1));
        panels.iter().zip(areas).try_for_each(|(panel, area)| panel.draw(&area, last))
    })
}

/// Returns means over a window that grows with the curve, or `None` if the curve is too short for one.
fn smooth(points: &[(f64, f64)]) -> Option<Vec<(f64, f64)>> {
    let reach = points.len() / SMOOTH;
    let mean = |k: usize| {
        // The window is symmetric, so that the ends are not pulled towards the middle.
        let reach = reach.min(k).min(points.len() - 1 - k);
        let window = &points[k - reach..=k + reach];
        (points[k].0, window.iter().map(|p| p.1).sum::<f64>() / window.len() as f64)
    };
    (reach > 0).then(|| (0..points.len()).map(mean).collect())
}

/// One pair of axes.
struct Panel {
    /// What the panel shows, with its unit or scale.
    title: String,
    lines: Vec<Line>,
    /// Positions and labels of the vertical axis's ticks.
    ticks: Vec<(f64, String)>,
    /// Ends of the vertical axis.
    range: [f64; 2],
    legend: SeriesLabelPosition,
}

struct Line {
    name: String,
    color: RGBColor,
    /// Pixels.
    width: u32,
    points: Vec<(f64, f64)>,
    /// Whether each point has a mark.
    has_marks: bool,
}

impl Panel {
    fn loss(raw: &[(f64, f64)], smoothed: Option<Vec<(f64, f64)>>) -> Self {
        let logarithms = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
            points.iter().filter(|p| p.1 > 0.0).map(|&(step, loss)| (step, loss.log10())).collect()
        };
        let raw = logarithms(raw);
        let range = range_of(&raw);
        let has_marks = raw.len() <= 2 * TICKS;
        let line = |name: &str, color, width, points| Line { name: name.into(), color, width, points, has_marks };
        let lines = match smoothed {
            Some(smoothed) => {
                vec![line("loss", RAW, 1, raw), line("smoothed", CURVE, 2, logarithms(&smoothed))]
            }
            None => vec![line("loss", CURVE, 2, raw)],
        };
        Self {
            title: "Training loss (log scale)".into(),
            lines,
            ticks: logarithmic_ticks(range),
            range,
            legend: SeriesLabelPosition::UpperRight,
        }
    }

    fn validation(criterion: &str, points: Vec<(f64, f64)>) -> Self {
        let (name, unit) = match criterion {
            "psnr" => ("PSNR", " dB"),
            "ssim" => ("SSIM", ""),
            other => (other, ""),
        };
        let range = range_of(&points);
        let best = points.iter().copied().reduce(|best, p| if p.1 > best.1 { p } else { best });
        let has_marks = points.len() <= 10 * TICKS;
        let mut lines = vec![Line { name: name.to_owned(), color: CURVE, width: 2, points, has_marks }];
        if let Some((step, value)) = best {
            let name = format!("best: {value:.3}{unit} at step {}", grouped(step));
            lines.push(Line { name, color: BEST, width: 2, points: vec![(step, value)], has_marks: true });
        }
        let unit = if unit.is_empty() { String::new() } else { format!(" ({})", unit.trim()) };
        let ticks =
            linear_ticks(range, TICKS).into_iter().map(|(at, decimals)| (at, format!("{at:.decimals$}"))).collect();
        let legend = SeriesLabelPosition::LowerRight;
        Self { title: format!("Validation: {name}{unit}"), lines, ticks, range, legend }
    }

    fn draw(&self, area: &Canvas, last: f64) -> Drawn<'static> {
        let [left, right, above, below] = MARGIN.map(|px| FINE * px);
        let text = |px: i32, h: HPos, v: VPos| letters(px, INK, h, v);
        area.draw_text(&self.title, &text(16, HPos::Left, VPos::Center), (left, above / 2))?;
        let steps: Vec<f64> =
            linear_ticks([0.0, last], TICKS).into_iter().map(|(at, _)| at).filter(|at| at.fract() == 0.0).collect();
        let heights: Vec<f64> = self.ticks.iter().map(|(at, _)| *at).collect();
        let name_of =
            |y: &f64| self.ticks.iter().find(|(at, _)| at == y).map_or(String::new(), |(_, name)| name.clone());
        let (x, y) = (Axis { ends: [0.0, last], ticks: steps }, Axis { ends: self.range, ticks: heights });
        let mut chart = ChartBuilder::on(area)
            .margin_right(right)
            .margin_top(above)
            .set_label_area_size(LabelAreaPosition::Left, left)
            .set_label_area_size(LabelAreaPosition::Bottom, below)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .bold_line_style(GRID.stroke_width(FINE as u32))
            .light_line_style(WHITE.mix(0.0))
            .axis_style(GRID.stroke_width(FINE as u32))
            .set_all_tick_mark_size(FINE * 3)
            .label_style(text(14, HPos::Left, VPos::Top))
            .axis_desc_style(text(14, HPos::Left, VPos::Top))
            .x_label_formatter(&|step| grouped(*step))
            .y_label_formatter(&name_of)
            .x_desc("steps")
            .draw()?;
        for line in &self.lines {
            let (color, thick) = (line.color, FINE as u32 * line.width);
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), color.stroke_width(thick)))?
                .label(&line.name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + FINE * 16, y)], color.stroke_width(FINE as u32 * 2))
                });
            if line.has_marks {
                let mark = |&point: &(f64, f64)| Circle::new(point, FINE * 3, color.filled());
                chart.draw_series(line.points.iter().map(mark))?;
            }
        }
        chart
            .configure_series_labels()
            .position(self.legend.clone())
            .margin(FINE * 8)
            .legend_area_size(FINE * 22)
            .label_font(text(14, HPos::Left, VPos::Top))
            .background_style(WHITE.mix(0.85))
            .border_style(GRID.stroke_width(FINE as u32))
            .draw()
    }
}

/// A linear axis with chosen ticks.
struct Axis {
    ends: [f64; 2],
    ticks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;
    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let part = (value - self.ends[0]) / (self.ends[1] - self.ends[0]);
        first + (part * f64::from(last - first)).round() as i32
    }
    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }
    fn range(&self) -> Range<f64> {
        self.ends[0]..self.ends[1]
    }
}

/// Returns the ends of an axis for `points`, with some room; a flat curve lies in the middle.
fn range_of(points: &[(f64, f64)]) -> [f64; 2] {
    let ends = [f64::INFINITY, f64::NEG_INFINITY];
    let [low, high] = points.iter().fold(ends, |[low, high], p| [low.min(p.1), high.max(p.1)]);
    if low > high {
        return [0.0, 1.0];
    }
    let room = (0.05 * (high - low)).max(0.01);
    [low - room, high + room]
}

/// Returns about `count` multiples of 1, 2 or 5 times a power of ten within the range, and the decimals that they need.
pub(super) fn linear_ticks([low, high]: [f64; 2], count: usize) -> Vec<(f64, usize)> {
    let rough = (high - low) / count as f64;
    let exponent = rough.log10().floor() as i32;
    let steps = [1, 2, 5].map(|m| (f64::from(m), exponent)).into_iter().chain([(1.0, exponent + 1)]);
    let fits = |(m, e): &(f64, i32)| m * 10f64.powi(*e) >= rough * (1.0 - 1e-9);
    let Some((m, e)) = steps.into_iter().find(fits) else { return Vec::new() };
    // Divide by a whole power of ten, so that a tick is exactly the number on its label.
    let value = |k: i64| {
        let whole = k as f64 * m;
        if e < 0 { whole / 10f64.powi(-e) } else { whole * 10f64.powi(e) }
    };
    let step = value(1);
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    (first..=last).map(|k| (value(k), (-e).max(0) as usize)).collect()
}

/// Returns the ticks of an axis of decimal logarithms: 1, 2 and 5 times the powers of ten, the powers alone if those are too
/// many, or round values if they are too few.
fn logarithmic_ticks([low, high]: [f64; 2]) -> Vec<(f64, String)> {
    let decades = || low.floor() as i32..=high.ceil() as i32;
    let within = |at: &f64| (low..=high).contains(at);
    let of = |factors: &'static [u32]| -> Vec<(f64, String)> {
        let all = decades().flat_map(|e| factors.iter().map(move |&m| (m, e)));
        all.map(|(m, e)| (f64::from(m).log10() + f64::from(e), power(m, e))).filter(|(at, _)| within(at)).collect()
    };
    let fine = of(&[1, 2, 5]);
    if fine.len() < 3 {
        let values = linear_ticks([low, high].map(|at| 10f64.powf(at)), TICKS);
        return values
            .into_iter()
            .filter(|&(value, _)| value > 0.0)
            .map(|(value, decimals)| {
                (value.log10(), if decimals > 5 { format!("{value:e}") } else { format!("{value:.decimals$}") })
            })
            .filter(|(at, _)| within(at))
            .collect();
    }
    if fine.len() <= 2 * TICKS {
        return fine;
    }
    let powers = of(&[1]);
    let every = powers.len().div_ceil(2 * TICKS);
    powers.into_iter().step_by(every).collect()
}

/// Formats m·10^e, in full if that is short.
fn power(m: u32, e: i32) -> String {
    match e {
        -3..0 => format!("{:.*}", -e as usize, f64::from(m) * 10f64.powi(e)),
        0..4 => format!("{}", u64::from(m) * 10u64.pow(e as u32)),
        _ => format!("{m}e{e}"),
    }
}

/// Formats a whole number with commas between thousands.
fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap_or_default()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::image::Samples;

    /// A history whose loss has these values at steps 1, 2, …, and these validations.
    fn history(losses: impl IntoIterator<Item = f64>, validations: &[(u64, f64)]) -> History {
        let mut history = History { criterion: "psnr".into(), validations: validations.to_vec(), ..History::default() };
        (1..).zip(losses).for_each(|(step, loss)| history.loss.push(step, loss));
        history
    }

    /// Whether a pixel of a picture 900 pixels wide has this colour, up to antialiasing.
    fn is(picture: &Picture, color: RGBColor, x: usize, y: usize) -> bool {
        let Samples::U8(samples) = picture.samples() else { panic!("8 bit") };
        let got = &samples[3 * (y * 900 + x)..][..3];
        [color.0, color.1, color.2].iter().zip(got).all(|(want, got)| want.abs_diff(*got) < 12)
    }

    #[test]
    fn the_curve_is_drawn_where_it_belongs() {
        let mut history = history([], &[(50, 30.0), (100, 31.0)]);
        for (step, loss) in [(1, 1.0), (50, 0.1), (100, 0.01)] {
            history.loss.push(step, loss);
        }
        let picture = draw(&history).unwrap();
        assert_eq!((picture.width(), picture.height()), (900, 560));
        let is_curve = |x: usize, y: usize| is(&picture, CURVE, x, y);
        // The axes lie at 76..876 and 30..234. The middle of the loss, 0.1, is the middle of its axis.
        assert!((128..=136).any(|y| is_curve(476, y)));
        assert!(!(30..124).any(|y| is_curve(476, y)) && !(140..234).any(|y| is_curve(476, y)));
        // Validation begins in the middle of the steps.
        assert!(!(310..514).any(|y| is_curve(200, y)) && (310..514).any(|y| is_curve(650, y)));
    }

    #[test]
    fn a_curve_of_few_far_points_is_drawn() {
        // In every direction, over the whole panel.
        for values in [[1.0, 1e-3, 1.0, 1e-3], [1.0, 0.9, 1e-3, 1.0], [1e-3, 1.0, 1.0, 1e-3], [1.0, 0.1, 0.01, 1e-3]] {
            let picture = draw(&history(values, &[])).unwrap();
            // The axes lie at 76..876 and 30..234, so steps 1 to 4 are 200 pixels apart; a tick stands at its own step.
            for x in [276, 476, 676] {
                assert!((30..234).any(|y| (x - 2..=x + 2).any(|x| is(&picture, CURVE, x, y))), "{values:?} {x}");
                assert!((x - 1..=x + 1).any(|x| (30..234).filter(|&y| is(&picture, GRID, x, y)).count() > 100), "{x}");
            }
        }
    }

    #[test]
    fn a_long_loss_is_drawn_as_it_was_and_smoothed_over_it() {
        // Falls from 1 to 0.01, and jumps by a third up and down.
        let value = |k: u32| 10f64.powf(-2.0 * f64::from(k) / 1000.0) * if k.is_multiple_of(2) { 0.75 } else { 1.25 };
        let loss: Vec<(f64, f64)> = (0..1000).map(|k| (f64::from(k + 1), value(k))).collect();
        let smoothed = smooth(&loss).unwrap();
        for (k, (step, mean)) in smoothed.iter().enumerate().skip(30).take(940) {
            let expected = 10f64.powf(-2.0 * k as f64 / 1000.0);
            assert!(*step == (k + 1) as f64 && (mean / expected - 1.0).abs() < 0.05, "{step}: {mean}, {expected}");
        }
        let picture = draw(&history((0..1000).map(value), &[])).unwrap();
        let count = |color: RGBColor| (30..234).filter(|&y| is(&picture, color, 300, y)).count();
        assert!(count(RAW) > count(CURVE) && count(CURVE) >= 1, "{} {}", count(RAW), count(CURVE));
        assert!(smooth(&[(1.0, 1.0), (2.0, 0.5)]).is_none());
    }

    #[test]
    fn ticks_are_round() {
        let linear = |low, high| -> Vec<String> {
            linear_ticks([low, high], TICKS).into_iter().map(|(at, decimals)| format!("{at:.decimals$}")).collect()
        };
        assert_eq!(linear(0.0, 31_200.0), ["0", "10000", "20000", "30000"]);
        assert_eq!(linear(0.0, 26.0), ["0", "5", "10", "15", "20", "25"]);
        assert_eq!(linear(36.7, 36.96), ["36.70", "36.75", "36.80", "36.85", "36.90", "36.95"]);
        assert_eq!(linear(-0.3, 0.3), ["-0.3", "-0.2", "-0.1", "0.0", "0.1", "0.2", "0.3"]);
        let logarithmic = |low: f64, high: f64| -> Vec<String> {
            let ticks = logarithmic_ticks([low.log10(), high.log10()]);
            for (at, name) in &ticks {
                let named: f64 = name.parse().unwrap();
                assert!((10f64.powf(*at) / named - 1.0).abs() < 1e-9, "{at} is called {name}");
            }
            ticks.into_iter().map(|(_, name)| name).collect()
        };
        assert_eq!(logarithmic(0.0015, 0.3), ["0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2"]);
        assert_eq!(logarithmic(1.5e-6, 0.03), ["1e-5", "1e-4", "0.001", "0.01"]);
        assert_eq!(
            logarithmic(0.0031, 0.0034),
            ["0.00310", "0.00315", "0.00320", "0.00325", "0.00330", "0.00335", "0.00340"]
        );
        assert_eq!(
            logarithmic(5.0, 20_001.0),
            ["5", "10", "20", "50", "100", "200", "500", "1000", "2000", "5000", "1e4", "2e4"]
        );
        assert!(logarithmic(1e-30, 1.0).len() <= 2 * TICKS);
        assert_eq!([0.0, 999.0, 1000.0, 1_234_567.0].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
