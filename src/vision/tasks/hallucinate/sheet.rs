//! Arranges planes beside and below each other in one grey picture.

use super::faces::resized;
use super::hallucinator::Hallucinated;
use crate::error::Result;
use crate::vision::image::drawing::{FINE, letters, paint};
use crate::vision::image::{Channels, Picture, Rect, Samples};
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{BLACK, WHITE};

/// Height of a line of titles, in pixels.
const LINE: usize = 16;

/// Draws a band `height` pixels high, in 0..1: white titles on black, each centred in its column of `side` pixels.
fn band(titles: &[&str], side: usize, columns: usize, height: usize) -> Result<Vec<f32>> {
    let style = letters(LINE as i32 - 1, WHITE, HPos::Center, VPos::Center);
    let picture = paint("titles", [side * columns, height], |canvas| {
        canvas.fill(&BLACK)?;
        titles.iter().take(columns).enumerate().try_for_each(|(c, title)| {
            let middle = (side * c + side / 2) as i32;
            title.lines().zip(0..).try_for_each(|(line, k)| {
                let half_lines = 2 * k + 1;
                canvas.draw_text(line, &style, (FINE * middle, FINE * LINE as i32 * half_lines / 2))
            })
        })
    })?;
    Ok(match picture.samples() {
        Samples::U8(samples) => samples.chunks_exact(3).map(|rgb| f32::from(rgb[0]) / 255.0).collect(),
        Samples::U16(samples) => samples.chunks_exact(3).map(|rgb| f32::from(rgb[0]) / 65_535.0).collect(),
    })
}

/// Returns a grey picture of rows of square planes of side `side`, with values clamped to 0..1. Shorter rows end in black. If
/// there are titles, each of one or more lines stands above its column.
///
/// # Errors
/// A plane has another size.
pub fn grid(name: &str, side: usize, titles: &[&str], rows: &[Vec<&[f32]>]) -> Result<Picture> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let top = LINE * titles.iter().map(|title| title.lines().count()).max().unwrap_or(0);
    let mut picture = Picture::new(name, side * columns, top + side * rows.len(), Channels::Grey, 8)?;
    if top > 0 {
        let width = side * columns;
        let band = band(titles, side, columns, top)?;
        picture.put_grey(Rect { top: 0, left: 0, height: top, width }, &band)?;
    }
    for (r, row) in rows.iter().enumerate() {
        for (c, plane) in row.iter().enumerate() {
            picture.put_grey(Rect { top: top + r * side, left: c * side, height: side, width: side }, plane)?;
        }
    }
    Ok(picture)
}

/// Names of the [`panels`], in order. The branches are those inside the full network, not networks of one branch: each panel
/// shows a branch's result in the last level, on top of what the levels before made with both.
pub const PANELS: [&str; 8] = [
    "input",
    "bicubic",
    "common branch\nlast level of CBN",
    "high-freq. branch\nlast level of CBN",
    "gate map\nlast level of CBN",
    "warped prior\nlast level of CBN",
    "CBN",
    "original",
];

/// Returns the first `count` of [`PANELS`] as a list for use in a sentence.
pub fn names(count: usize) -> String {
    PANELS[..count].iter().map(|name| name.replace('\n', ", ")).collect::<Vec<_>>().join("; ")
}

/// Returns a row of the contact sheet: I_0 as squares, bicubic, ↑I_{K−1} + G_A, ↑I_{K−1} + G_B, Λ, the sum of E^{W_K}'s
/// channels, I_K, and the original if there is one.
///
/// # Errors
/// I_0 is not square.
pub fn panels(i_0: &[f32], face: &Hallucinated, side: usize, original: Option<&[f32]>) -> Result<Vec<Vec<f32>>> {
    let own = i_0.len().isqrt();
    let place = |q: usize| (q / side * own / side) * own + q % side * own / side;
    let squares = (0..side * side).map(|q| i_0.get(place(q)).copied().unwrap_or_default()).collect();
    let mut row = vec![squares, resized(i_0, own, side)?];
    if let Some(d) = &face.details {
        let with = |residual: &[f32]| d.up.iter().zip(residual).map(|(up, g)| up + g).collect();
        let sum = |q: usize| d.e_w.chunks_exact(side * side).map(|channel| channel[q]).sum();
        row.extend([with(&d.g_a), with(&d.g_b), d.lambda.clone(), (0..side * side).map(sum).collect()]);
    }
    row.extend(face.i.last().cloned());
    row.extend(original.map(<[f32]>::to_vec));
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::image::Channel;

    #[test]
    fn every_column_has_its_title_above_it() {
        let plane = vec![0.0; 64 * 64];
        let picture = grid("x", 64, &["one\nmore", "two"], &[vec![&plane, &plane, &plane]]).unwrap();
        let top = 2 * LINE;
        assert_eq!((picture.width(), picture.height()), (3 * 64, top + 64));
        let luma = picture.plane(Channel::Y, picture.whole()).unwrap();
        let lit = |column: usize, rows: std::ops::Range<usize>| {
            rows.flat_map(|i| &luma[i * 192 + 64 * column..][..64]).filter(|v| **v > 0.5).count()
        };
        assert!(lit(0, 0..LINE) > 10 && lit(0, LINE..top) > 10 && lit(1, 0..LINE) > 10);
        assert_eq!((lit(1, LINE..top), lit(2, 0..top)), (0, 0));
        assert_eq!((0..3).map(|c| lit(c, top..top + 64)).sum::<usize>(), 0);
    }

    /// Neighbouring titles do not overlap on the narrowest sheet, and every panel of a branch names its level.
    #[test]
    fn titles_fit_above_their_panels_and_say_of_which_level_they_are() {
        for line in PANELS.iter().flat_map(|title| title.lines()) {
            assert!(line.len() * 6 <= 112, "{line} is wider than a face of 112 pixels");
        }
        for title in &PANELS[2..6] {
            assert!(title.ends_with("\nlast level of CBN"), "{title}");
        }
        assert_eq!(names(3), "input; bicubic; common branch, last level of CBN");
    }
}
