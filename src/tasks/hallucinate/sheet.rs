//! Planes beside and below each other in one grey picture.

use super::faces::resized;
use super::hallucinator::Hallucinated;
use crate::error::Result;
use crate::image::{Channels, Picture, Rect};
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::FONT_6X13;
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Alignment, Text};
use std::convert::Infallible;

/// Height of the band with the titles, in pixels.
const BAND: usize = 16;

/// White text on black, in 0..1.
struct Band {
    width: usize,
    plane: Vec<f32>,
}

impl OriginDimensions for Band {
    fn size(&self) -> Size {
        Size::new(self.width as u32, BAND as u32)
    }
}

impl DrawTarget for Band {
    type Color = BinaryColor;
    type Error = Infallible;
    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(
        &mut self,
        pixels: I,
    ) -> std::result::Result<(), Infallible> {
        for Pixel(Point { x, y }, color) in pixels {
            if (0..self.width as i32).contains(&x) && (0..BAND as i32).contains(&y) {
                self.plane[y as usize * self.width + x as usize] = f32::from(u8::from(color.is_on()));
            }
        }
        Ok(())
    }
}

/// A grey picture of rows of square planes of `side` with values in 0..1, cut off beyond; shorter rows end in black. Each
/// column has its title above it where there are titles.
///
/// # Errors
/// A plane is of another size.
pub fn grid(name: &str, side: usize, titles: &[&str], rows: &[Vec<&[f32]>]) -> Result<Picture> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let top = if titles.is_empty() { 0 } else { BAND };
    let mut picture = Picture::new(name, side * columns, top + side * rows.len(), Channels::Grey, 8)?;
    if top > 0 {
        let width = side * columns;
        let mut band = Band { width, plane: vec![0.0; width * BAND] };
        let style = MonoTextStyle::new(&FONT_6X13, BinaryColor::On);
        for (c, title) in titles.iter().take(columns).enumerate() {
            let at = Point::new((side * c + side / 2) as i32, 12);
            let Ok(_) = Text::with_alignment(title, at, style, Alignment::Center).draw(&mut band);
        }
        picture.put_grey(Rect { top: 0, left: 0, height: BAND, width }, &band.plane)?;
    }
    for (r, row) in rows.iter().enumerate() {
        for (c, plane) in row.iter().enumerate() {
            picture.put_grey(Rect { top: top + r * side, left: c * side, height: side, width: side }, plane)?;
        }
    }
    Ok(picture)
}

/// Names of [`panels`], in order.
pub const PANELS: [&str; 8] =
    ["input", "bicubic", "common", "high-frequency", "gate map", "warped prior", "CBN", "original"];

/// A row of the contact sheet: I_0 as squares, bicubic, ↑I_{K−1} + G_A, ↑I_{K−1} + G_B, Λ, the sum of E^{W_K}'s channels, I_K,
/// and the original where there is one.
///
/// # Errors
/// I_0 is no square.
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
    use crate::image::Channel;

    #[test]
    fn every_column_has_its_title_above_it() {
        let plane = vec![0.0; 64 * 64];
        let picture = grid("x", 64, &["one", "two"], &[vec![&plane, &plane, &plane]]).unwrap();
        assert_eq!((picture.width(), picture.height()), (3 * 64, BAND + 64));
        let luma = picture.plane(Channel::Y, picture.whole()).unwrap();
        let lit = |column: usize, rows: std::ops::Range<usize>| {
            rows.flat_map(|i| &luma[i * 192 + 64 * column..][..64]).filter(|v| **v > 0.5).count()
        };
        assert!(lit(0, 0..BAND) > 10 && lit(1, 0..BAND) > 10);
        assert_eq!((lit(2, 0..BAND), (0..3).map(|c| lit(c, BAND..BAND + 64)).sum::<usize>()), (0, 0));
    }
}
