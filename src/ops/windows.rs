//! The windows of a picture that `max_pool2d` and `avg_pool2d` reduce to a pixel each.

use super::fours::units;
use super::{Io, Launch, Scalar};
use crate::error::ShapeError;
use crate::tensor::Shape;

/// Windows, with pairs for rows and columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Windows {
    /// Windows of one size at equal distances.
    Sliding(Sliding),
    /// As many windows as y has pixels, 1 to 65,535 per axis: window i reaches from ⌊i·H / H'⌋ to ⌈(i + 1)·H / H'⌉, so that all together
    /// cover the picture, and neighbours overlap by at most a pixel.
    Adaptive([usize; 2]),
}

/// Windows of one size at equal distances: H' = ⌊(H + padding above and below − (k − 1)·dilation − 1) / stride⌋ + 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sliding {
    /// Pixels of a window, 1 to 65,535 each.
    pub kernel: [usize; 2],
    /// Pixels from one window to the next, 1 to 65,535.
    pub stride: [usize; 2],
    /// Distance between the pixels of a window, 1 to 65,535.
    pub dilation: [usize; 2],
    /// Pixels added above, to the left, below and to the right, 0 to 65,535. Every window must have a pixel of the picture.
    pub padding: [usize; 4],
    /// Rounds the number of windows up, as long as the last one begins before the padding below or to the right.
    pub ceil: bool,
}

impl Sliding {
    /// Creates windows of `kernel` × `kernel` pixels without padding.
    pub fn square(kernel: usize, stride: usize) -> Self {
        Self { kernel: [kernel; 2], stride: [stride; 2], dilation: [1; 2], padding: [0; 4], ceil: false }
    }

    /// Sets the padding on all four sides.
    pub fn padded(self, padding: usize) -> Self {
        Self { padding: [padding; 4], ..self }
    }
}

/// The windows along an axis of a picture, `Axis` of `shaders/shared/windows.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axis {
    /// Pixels.
    size: usize,
    /// Windows.
    pub count: usize,
    /// `None` if the windows adapt to the picture.
    sliding: Option<Steps>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Steps {
    kernel: usize,
    stride: usize,
    dilation: usize,
    /// Padding before and behind the picture.
    before: usize,
    behind: usize,
}

/// Largest attribute: products of two stay below 2^32.
const LARGEST: usize = 65_535;

/// Maximum pixels per side with padding.
const MAX_SIDE: usize = 1 << 30;

fn check(name: &'static str, values: &[usize], least: usize) -> Result<(), ShapeError> {
    match values.iter().find(|value| !(least..=LARGEST).contains(*value)) {
        Some(value) => Err(ShapeError::value(name, format!("{least} to {LARGEST}"), value)),
        None => Ok(()),
    }
}

impl Windows {
    /// Returns the iterations of a plain kernel: over the pixels of a window for `forward`, else over the windows of a pixel.
    pub fn loops(&self, io: &Io, entry: &str) -> [usize; 2] {
        self.axes(io).map(|axis| if entry == "forward" { axis.most_pixels() } else { axis.most_windows() })
    }

    /// Returns the windows along axis `d` of x, 0 for rows and 1 for columns.
    fn axis(&self, x: &Shape, d: usize) -> Result<Axis, ShapeError> {
        let size = x.nchw()[2 + d];
        let op = match self {
            Self::Sliding(op) => op,
            Self::Adaptive(sizes) => {
                check("size", sizes, 1)?;
                if size > LARGEST {
                    return Err(ShapeError::shape("x", format!("[N, C, H, W], H and W at most {LARGEST}"), *x));
                }
                return Ok(Axis { size, count: sizes[d], sliding: None });
            }
        };
        check("kernel", &op.kernel, 1)?;
        check("stride", &op.stride, 1)?;
        check("dilation", &op.dilation, 1)?;
        check("padding", &op.padding, 0)?;
        let (kernel, stride, dilation) = (op.kernel[d], op.stride[d], op.dilation[d]);
        let (before, behind) = (op.padding[d], op.padding[2 + d]);
        let (padded, reach) = (size.saturating_add(before + behind), (kernel - 1) * dilation + 1);
        let Some(rest) = padded.checked_sub(reach).filter(|_| padded <= MAX_SIDE) else {
            let least = reach.saturating_sub(before + behind);
            let side = ["H", "W"][d];
            let expected = format!("[N, C, H, W], {side} at least {least} and at most 2^30 with padding");
            return Err(ShapeError::shape("x", expected, *x));
        };
        let mut count = rest / stride + 1;
        if op.ceil && rest % stride > 0 && count * stride < before + size {
            count += 1;
        }
        let axis = Axis { size, count, sliding: Some(Steps { kernel, stride, dilation, before, behind }) };
        // A window has no pixel if it begins behind the picture, or before it and steps across.
        let steps_across = |i: usize| {
            let first = (before - i * stride).div_ceil(dilation);
            first >= kernel || i * stride + first * dilation >= before + size
        };
        if (count - 1) * stride >= before + size || (0..count.min(before.div_ceil(stride))).any(steps_across) {
            let expected = "so small that every window has a pixel of the picture";
            return Err(ShapeError::value("padding", expected, format!("{:?}", op.padding)));
        }
        Ok(axis)
    }

    /// Returns the shape of `x` after pooling.
    pub(super) fn pooled(&self, x: Shape) -> Result<Shape, ShapeError> {
        let [n, c, _, _] = x.nchw();
        let [rows, columns] = [self.axis(&x, 0)?, self.axis(&x, 1)?];
        Ok([n, c, rows.count, columns.count].into())
    }

    /// Returns the windows along rows and columns of a call that [`Windows::pooled`] accepts.
    pub(super) fn axes(&self, io: &Io) -> [Axis; 2] {
        [0, 1].map(|d| self.axis(&io.x[0], d).expect("the graph has accepted the shapes"))
    }

    /// Returns the members of P that `shaders/shared/windows.wgsl` reads, and `threads`.
    pub(super) fn params(&self, io: &Io, threads: usize) -> Vec<(&'static str, Scalar)> {
        const NAMES: [[&str; 7]; 2] = [
            ["height", "out_height", "kernel_h", "stride_h", "dilation_h", "before_h", "behind_h"],
            ["width", "out_width", "kernel_w", "stride_w", "dilation_w", "before_w", "behind_w"],
        ];
        let mut params =
            vec![("threads", Scalar::from(threads)), ("adaptive", u32::from(matches!(self, Self::Adaptive(_))).into())];
        for (names, axis) in NAMES.into_iter().zip(self.axes(io)) {
            let still = Steps { kernel: 1, stride: 1, dilation: 1, before: 0, behind: 0 };
            let steps = axis.sliding.unwrap_or(still);
            let values =
                [axis.size, axis.count, steps.kernel, steps.stride, steps.dilation, steps.before, steps.behind];
            params.extend(names.into_iter().zip(values.map(Scalar::from)));
        }
        params
    }

    /// Returns the launch of a kernel that takes four neighbouring windows at a time, as `shaders/shared/window_rows.wgsl` says: small
    /// square windows in rows of multiples of four. For gradients, the windows lie side by side and cover the picture. Also returns
    /// the pixels of a window if none reaches beyond the picture.
    pub(super) fn fours(&self, io: &Io, entry: &str) -> Option<(Launch, Option<usize>)> {
        let ([_, _, height, width], [n, c, out_height, out_width]) = (io.x[0].nchw(), io.y.nchw());
        let axes = self.axes(io);
        let ([kernel, stride, before_h], [wide, stride_w, before_w]) = (axes[0].dense()?, axes[1].dense()?);
        let end = |axis: &Axis| (axis.count - 1) * stride + kernel;
        let is_inside = [before_h, before_w] == [0, 0] && axes.iter().all(|axis| end(axis) <= axis.size);
        let is_cover = is_inside && kernel == stride && axes.iter().all(|axis| end(axis) == axis.size);
        if [wide, stride_w] != [kernel, stride] || kernel > 4 || before_w > 4 || (entry != "forward" && !is_cover) {
            return None;
        }
        let (fours, out_fours) = (units(width, 4)?, units(out_width, 4)?);
        let threads = n * c * out_height * out_fours;
        let shift = before_w.next_multiple_of(4) - before_w;
        let params = [
            ("threads", threads.into()),
            ("height", height.into()),
            ("fours", fours.into()),
            ("out_height", out_height.into()),
            ("out_fours", out_fours.into()),
            ("before_h", before_h.into()),
        ];
        let constants = [
            ("K", kernel),
            ("S", stride),
            ("LEFT", before_w.div_ceil(4)),
            ("SHIFT", shift),
            ("QUADS", (shift + 3 * stride + kernel).div_ceil(4)),
            ("EDGES", usize::from(!is_inside)),
        ];
        let launch = Launch::threads(threads, params).with_all(constants);
        Some((launch, is_inside.then_some(kernel * kernel)))
    }

    /// Calls `f` for every pixel of every window in row order, with the index of the output and that of the pixel.
    pub(super) fn each(&self, io: &Io, mut f: impl FnMut(usize, usize)) {
        let ([_, _, height, width], [n, c, high, wide]) = (io.x[0].nchw(), io.y.nchw());
        let [rows, columns] = self.axes(io);
        for (plane, i) in (0..n * c).flat_map(|plane| (0..high).map(move |i| (plane, i))) {
            for j in 0..wide {
                for r in rows.pixels(i) {
                    for s in columns.pixels(j) {
                        f((plane * high + i) * wide + j, (plane * height + r) * width + s);
                    }
                }
            }
        }
    }
}

impl Axis {
    /// Returns the pixels of window i that are in the picture.
    pub fn pixels(&self, i: usize) -> Vec<usize> {
        let Some(Steps { kernel, stride, dilation, before, .. }) = self.sliding else {
            return (i * self.size / self.count..((i + 1) * self.size).div_ceil(self.count)).collect();
        };
        let padded = (0..kernel).map(|u| i * stride + u * dilation);
        padded.filter_map(|r| r.checked_sub(before).filter(|r| *r < self.size)).collect()
    }

    /// Returns how many pixels of window i are in the picture or in its padding.
    pub fn padded(&self, i: usize) -> usize {
        let Some(Steps { kernel, stride, dilation, before, behind }) = self.sliding else {
            return self.pixels(i).len();
        };
        (0..kernel).filter(|u| i * stride + u * dilation < before + self.size + behind).count()
    }

    /// Returns a bound on the number of pixels of a window.
    pub fn most_pixels(&self) -> usize {
        self.sliding.map_or_else(|| self.size.div_ceil(self.count) + 1, |steps| steps.kernel).min(self.size)
    }

    /// Returns a bound on the number of windows that have the same pixel.
    pub fn most_windows(&self) -> usize {
        let most = match self.sliding {
            Some(Steps { kernel, stride, dilation, .. }) => kernel.min(((kernel - 1) * dilation + 1).div_ceil(stride)),
            None => self.count.div_ceil(self.size) + 1,
        };
        most.min(self.count)
    }

    /// Returns the windows' side, their distance, and the padding before them, if no pixel lies between two of them or of one.
    pub fn dense(&self) -> Option<[usize; 3]> {
        let Steps { kernel, stride, dilation, before, .. } = self.sliding?;
        (dilation == 1 && stride <= kernel).then_some([kernel, stride, before])
    }

    /// Returns whether there is one window, which has all pixels and no padding.
    pub fn is_whole(&self) -> bool {
        self.count == 1 && self.pixels(0).len() == self.size && self.padded(0) == self.size
    }
}

/// Returns windows that cover borders, each with a shape of x.
pub(super) fn layouts() -> Vec<(Windows, Shape)> {
    let square = |kernel, stride, padding| Sliding::square(kernel, stride).padded(padding);
    let of = |windows, x: [usize; 4]| (Windows::Sliding(windows), Shape::from(x));
    let oblong = Sliding { kernel: [3, 2], stride: [1, 3], dilation: [2, 1], padding: [2, 0, 1, 1], ceil: false };
    let adaptive = |size, x: [usize; 4]| (Windows::Adaptive(size), Shape::from(x));
    vec![
        of(square(1, 1, 0), [1, 1, 1, 1]),
        of(square(2, 2, 0), [2, 3, 5, 7]),
        of(square(3, 2, 1), [2, 3, 5, 7]),
        of(square(3, 1, 1), [1, 1, 2, 129]),
        of(square(2, 3, 1), [1, 5, 13, 4]),
        of(oblong.clone(), [2, 3, 6, 11]),
        of(Sliding { dilation: [1, 4], padding: [0, 1, 2, 3], ..oblong.clone() }, [1, 2, 7, 9]),
        // Cut off below and to the right, with and without padding there, and a window too many.
        of(Sliding { ceil: true, ..square(2, 2, 0) }, [2, 3, 5, 7]),
        of(Sliding { ceil: true, padding: [1, 0, 1, 1], ..square(3, 2, 0) }, [2, 3, 6, 7]),
        of(Sliding { ceil: true, dilation: [2, 1], stride: [3, 4], ..square(3, 2, 1) }, [1, 2, 9, 8]),
        of(Sliding { ceil: true, ..square(3, 4, 1) }, [1, 2, 7, 11]),
        adaptive([1, 1], [2, 3, 5, 7]),
        adaptive([3, 4], [2, 3, 8, 7]),
        adaptive([7, 5], [1, 2, 4, 5]),
        adaptive([2, 300], [1, 1, 3, 7]),
        adaptive([1, 2], [1, 3, 70, 66]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_window_begins_before_the_padding_behind() {
        let count = |size: usize, ceil, behind| {
            let op = Sliding { ceil, padding: [0, 1, 0, behind], ..Sliding::square(3, 2) };
            Windows::Sliding(op).pooled([1, 1, 3, size].into()).map(|y| y[3]).map_err(|e| e.to_string())
        };
        // Padded to nine pixels, of which the fourth window has the last three.
        assert_eq!(count(7, true, 1), Ok(4));
        assert_eq!(count(6, false, 1), Ok(3));
        assert_eq!(count(6, true, 1), Ok(4));
        // A fourth window would begin at pixel 5, in the padding.
        assert_eq!(count(5, true, 2), Ok(3));
    }

    #[test]
    fn shape_when_windows_do_not_fit_is_refused() {
        let shape = |op: Sliding| Windows::Sliding(op).pooled([1, 2, 4, 5].into()).map_err(|e| e.to_string());
        assert_eq!(shape(Sliding::square(3, 2).padded(1)), Ok([1, 2, 2, 3].into()));
        assert_eq!(shape(Sliding::square(2, 0)), Err("stride must be 1 to 65535, got 0".into()));
        assert_eq!(shape(Sliding::square(0, 1)), Err("kernel must be 1 to 65535, got 0".into()));
        assert_eq!(
            shape(Sliding::square(3, 1).padded(3)),
            Err("padding must be so small that every window has a pixel of the picture, got [3, 3, 3, 3]".into())
        );
        let dilated = Sliding { dilation: [1, 8], padding: [0, 2, 0, 2], ..Sliding::square(2, 1) };
        assert!(shape(dilated).is_err());
        assert_eq!(
            shape(Sliding::square(5, 1)),
            Err("x must be [N, C, H, W], H at least 5 and at most 2^30 with padding, got [1, 2, 4, 5]".into())
        );
        assert!(Windows::Adaptive([0, 1]).pooled([1, 2, 4, 5].into()).is_err());
    }
}
