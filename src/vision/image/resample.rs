//! Resizes planes on the host, for data, metrics and colours: separable, summed in f64, with the tables of
//! [`crate::ops::resize`].

use super::Rect;
use crate::error::{Error, Result};
use crate::ops::Op;
use crate::ops::resize::{Resize, Taps, taps, taps_range};
use std::ops::Range;

/// Type of a plane's numbers: f32 or f64.
pub trait Real: Copy + Default {
    fn to_f64(self) -> f64;
    fn from_f64(value: f64) -> Self;
}

impl Real for f32 {
    fn to_f64(self) -> f64 {
        self.into()
    }
    fn from_f64(value: f64) -> Self {
        value as Self
    }
}

impl Real for f64 {
    fn to_f64(self) -> f64 {
        self
    }
    fn from_f64(value: f64) -> Self {
        value
    }
}

/// Resizes a plane of `[height, width]`, row by row, by `op`, as MATLAB's imresize does for floating-point input: the
/// dimension with the smaller scale first, or rows first if both scales are equal. Sums are in f64. The plane between the
/// two passes has the type of the input, so f64 is as exact as MATLAB.
///
/// # Errors
/// The length of `plane` is not height · width; `op` refuses the size.
pub fn resize_plane<T: Real>(plane: &[T], size: [usize; 2], op: &Resize) -> Result<Vec<T>> {
    resize_rounded(plane, size, op, |v| v)
}

/// Like [`resize_plane`], but for 8-bit samples, rounded to 8 bit after each pass, as imresize does for uint8.
///
/// # Errors
/// Those of [`resize_plane`].
pub fn resize_plane_u8(plane: &[u8], size: [usize; 2], op: &Resize) -> Result<Vec<u8>> {
    let plane: Vec<f32> = plane.iter().map(|&v| v.into()).collect();
    let resized = resize_rounded(&plane, size, op, |v| (v + 0.5).floor().clamp(0.0, 255.0))?;
    Ok(resized.into_iter().map(|v| v as u8).collect())
}

fn resize_rounded<T: Real>(
    plane: &[T],
    size: [usize; 2],
    op: &Resize,
    round: impl Fn(f64) -> f64 + Copy,
) -> Result<Vec<T>> {
    if size[0].checked_mul(size[1]) != Some(plane.len()) {
        return Err(Error::Usage(format!(
            "a plane of [height, width] {size:?} needs height · width numbers, got {}",
            plane.len()
        )));
    }
    let out = out_size(op, size)?;
    let [rows, columns] = whole_taps(op, size, out);
    Ok(resample(plane, size[1], &rows, &columns, columns_first(op), round))
}

/// Returns the rectangle `rect` of a plane of `size` resized by `op`, equal to that of the whole result bit for bit: see
/// [`super::Picture::resized_rect`]. `held` holds the plane's rows from `first` on, at least those of [`rows_read`].
pub(crate) fn resize_rect(held: &[f32], first: usize, size: [usize; 2], rect: Rect, op: &Resize) -> Vec<f32> {
    let mut rows = taps_range(op, 0, size[0], rect.rows());
    let mut columns = taps_range(op, 1, size[1], rect.columns());
    let (top, height) = cut(&mut rows);
    let (left, width) = cut(&mut columns);
    let lines = held.chunks_exact(size[1]).skip(top - first).take(height);
    let source: Vec<f32> = lines.flat_map(|line| &line[left..left + width]).copied().collect();
    resample(&source, width, &rows, &columns, columns_first(op), |v| v)
}

/// Returns the rows of a plane of `height` from which `op` computes the rows `rows` of its result.
pub(crate) fn rows_read(op: &Resize, height: usize, rows: Range<usize>) -> Range<usize> {
    let (first, count) = cut(&mut taps_range(op, 0, height, rows));
    first..first + count
}

pub(super) fn out_size(op: &Resize, [height, width]: [usize; 2]) -> Result<[usize; 2]> {
    let shape =
        op.shape(&[[1, 1, height, width].into()]).map_err(|source| Error::Shape { node: "resize".into(), source })?;
    Ok([shape[2], shape[3]])
}

pub(super) fn whole_taps(op: &Resize, from: [usize; 2], to: [usize; 2]) -> [Taps; 2] {
    [0, 1].map(|k| taps(op, k, from[k], to[k]))
}

pub(super) fn columns_first(op: &Resize) -> bool {
    op.scale[1].as_f64() < op.scale[0].as_f64()
}

/// Makes the indices of `taps` relative to the lowest. Returns that index and the length of the part that they use.
pub(super) fn cut(taps: &mut Taps) -> (usize, usize) {
    let low = taps.indices.iter().copied().min().unwrap_or(0);
    let high = taps.indices.iter().copied().max().map_or(0, |h| h + 1);
    taps.indices.iter_mut().for_each(|i| *i -= low);
    (low as usize, (high - low) as usize)
}

pub(super) fn resample<T: Real>(
    plane: &[T],
    width: usize,
    rows: &Taps,
    columns: &Taps,
    columns_first: bool,
    round: impl Fn(f64) -> f64 + Copy,
) -> Vec<T> {
    if columns_first {
        let between = resample_columns(plane, width, columns, round);
        resample_rows(&between, columns.out_len(), rows, round)
    } else {
        let between = resample_rows(plane, width, rows, round);
        resample_columns(&between, width, columns, round)
    }
}

/// Computes every output row as a weighted sum of whole input rows.
fn resample_rows<T: Real>(plane: &[T], width: usize, taps: &Taps, round: impl Fn(f64) -> f64) -> Vec<T> {
    let mut out = Vec::with_capacity(taps.out_len() * width);
    let mut sums = vec![0.0f64; width];
    for o in 0..taps.out_len() {
        sums.fill(0.0);
        for (r, weight) in taps.of(o).filter(|(_, w)| *w != 0.0) {
            for (sum, v) in sums.iter_mut().zip(&plane[r * width..][..width]) {
                *sum += weight * v.to_f64();
            }
        }
        out.extend(sums.iter().map(|&v| T::from_f64(round(v))));
    }
    out
}

fn resample_columns<T: Real>(plane: &[T], width: usize, taps: &Taps, round: impl Fn(f64) -> f64) -> Vec<T> {
    let out_width = taps.out_len();
    if width == 0 {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(plane.len() / width * out_width);
    for row in plane.chunks_exact(width) {
        let tables = taps.indices.chunks_exact(taps.count).zip(taps.weights.chunks_exact(taps.count));
        out.extend(tables.map(|(indices, weights)| {
            let mut sum = 0.0f64;
            for (&i, &weight) in indices.iter().zip(weights) {
                sum += weight * row[i as usize].to_f64();
            }
            T::from_f64(round(sum))
        }));
    }
    out
}
