//! Draws lines and letters on pictures by plotters, in a bundled font, so that the result does not depend on the system.

use super::{Channels, Picture, Samples};
use crate::error::{Error, Result};
use plotters::backend::BitMapBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoFont, RGBColor, TextStyle, register_font};
use std::sync::OnceLock;

/// Canvas pixels per pixel of the picture, along each axis: edges and letters are smooth, and letters are placed to half a
/// pixel.
pub const FINE: i32 = 2;

/// The surface for lines and letters, measured in canvas pixels.
pub type Canvas<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// The result of drawing.
pub type Drawn<'a> = std::result::Result<(), DrawingAreaErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>>;

const FONT: &str = "Noto Sans";

/// Returns a style for letters that span about `height_px` pixels of the picture from the lowest to the highest part of any.
pub fn letters(height_px: i32, color: RGBColor, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    // A test ensures that this succeeds.
    REGISTERED.get_or_init(|| register_font(FONT, FontStyle::Normal, ttf_noto_sans::REGULAR).is_ok());
    let mut style = TextStyle::from((FONT, FINE * height_px).into_font());
    style.color = color.to_backend_color();
    style.pos = Pos::new(horizontal, vertical);
    style
}

/// Returns an RGB picture of `size`, width and height, on which `draw` draws at [`FINE`] times that size.
///
/// # Errors
/// `draw` fails; the picture is too large.
pub fn paint(name: &str, size: [usize; 2], draw: impl FnOnce(&Canvas) -> Drawn<'static>) -> Result<Picture> {
    let fail = |problem: String| Error::image(name, format!("cannot be drawn: {problem}; draw a smaller one"));
    let [width, height] = size;
    let fine = FINE as usize;
    let sides = size.map(|n| u32::try_from(n).ok().and_then(|n| n.checked_mul(FINE as u32)));
    let [Some(w), Some(h)] = sides else { return Err(fail(format!("{width} × {height} pixels"))) };
    let bytes = (w as usize).checked_mul(h as usize).and_then(|n| u32::try_from(n.checked_mul(3)?).ok());
    let mut canvas = vec![0; bytes.ok_or_else(|| fail(format!("{width} × {height} pixels")))? as usize];
    {
        let area = BitMapBackend::with_buffer(&mut canvas, (w, h)).into_drawing_area();
        draw(&area).and_then(|()| area.present()).map_err(|e| fail(e.to_string()))?;
    }
    let row = 3 * w as usize;
    let mean = |q: usize| {
        let (i, j, channel) = (q / (3 * width), q / 3 % width, q % 3);
        let first = fine * i * row + 3 * fine * j + channel;
        let block = (0..fine * fine).map(|k| u32::from(canvas[first + k / fine * row + 3 * (k % fine)]));
        (block.sum::<u32>() / (FINE * FINE) as u32) as u8
    };
    let samples = (0..3 * width * height).map(mean).collect();
    Picture::from_samples(name, width, height, Channels::Rgb, Samples::U8(samples))
}

#[cfg(test)]
mod tests {
    use super::*;
    use plotters::style::{BLACK, WHITE};

    #[test]
    fn letters_stand_where_they_belong_in_the_font_that_ships() {
        let drawn = |text: &str| {
            let picture = paint("text", [60, 20], |canvas| {
                canvas.fill(&BLACK)?;
                canvas.draw_text(text, &letters(12, WHITE, HPos::Center, VPos::Center), (60, 20))
            });
            let picture = picture.unwrap();
            let Samples::U8(samples) = picture.samples() else { panic!("8 bit") };
            let is_lit = |q: &usize| samples[3 * q] > 100;
            (0..60 * 20).filter(is_lit).map(|q| [q % 60, q / 60]).collect::<Vec<_>>()
        };
        let lit = drawn("H");
        assert!(lit.len() > 10 && lit.len() < 60, "{lit:?}");
        let [columns, rows] = [0, 1].map(|axis| lit.iter().map(move |p| p[axis]));
        assert!(columns.clone().min().unwrap() >= 22 && columns.max().unwrap() <= 38, "{lit:?}");
        assert!(rows.clone().min().unwrap() >= 3 && rows.max().unwrap() <= 17, "{lit:?}");
        assert!(drawn("HHH").len() > 2 * lit.len());
        // The font has the non-ASCII letters of the charts: all missing letters look alike.
        let missing = drawn("\u{10fffd}");
        assert!("–×·".chars().all(|c| drawn(&c.to_string()) != missing));
    }
}
