//! Draws where the parts of faces are seen.

use super::faceness::Faceness;
use crate::error::Result;
use crate::vision::image::Picture;
use crate::vision::models::parts::PARTS;
use crate::vision::tasks::hallucinate::sheet::grid;

/// Side of a square that a picture or a map is fitted into, in pixels.
const SIDE: usize = 160;

/// Returns a row for each picture: the picture, and for each part how strongly it is seen at each place, the strongest of all sizes, as grey
/// levels up to the strongest of that map.
///
/// # Errors
/// The adapter fails; the result is too large.
pub fn partness(faceness: &Faceness, pictures: &[Picture]) -> Result<Picture> {
    let mut rows: Vec<Vec<Vec<f32>>> = Vec::new();
    for picture in pictures {
        let (width, height, luma) = (picture.width(), picture.height(), picture.luma_u8());
        let scale = width.max(height) as f64 / SIDE as f64;
        // The pixel of the picture under one of the square.
        let source = |k: usize| {
            let [x, y] = [k % SIDE, k / SIDE].map(|v| (v as f64 + 0.5) * scale);
            (x < width as f64 && y < height as f64).then_some([x, y])
        };
        let square = |value: &dyn Fn([f64; 2]) -> f32| -> Vec<f32> {
            (0..SIDE * SIDE).map(|k| source(k).map_or(0.0, value)).collect()
        };
        let mut row = vec![square(&|[x, y]| f32::from(luma[y as usize * width + x as usize]) / 255.0)];
        let all = faceness.maps(picture)?;
        for part in 0..PARTS.len() {
            let strongest = |[x, y]: [f64; 2]| {
                let at = all.iter().map(|maps| {
                    let [column, row] = [x, y].map(|v| (v / maps.spacing) as usize);
                    maps.of[part][row.min(maps.rows - 1) * maps.columns + column.min(maps.columns - 1)]
                });
                at.fold(0.0, f32::max)
            };
            let mut map = square(&strongest);
            let most = map.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
            map.iter_mut().for_each(|v| *v /= most);
            row.push(map);
        }
        rows.push(row);
    }
    let titles: Vec<&str> = ["picture"].into_iter().chain(PARTS.iter().map(|part| part.name)).collect();
    let rows: Vec<Vec<&[f32]>> = rows.iter().map(|row| row.iter().map(Vec::as_slice).collect()).collect();
    grid("partness", SIDE, &titles, &rows)
}
