//! Filled ellipses and rectangles, pixel by pixel as OpenCV draws them, because FDDB's evaluator counts these pixels.
//!
//! Sources: `ellipse2Poly`, `FillConvexPoly`, `Line2` and `clipLine` of OpenCV's drawing.cpp, of which this has the arithmetic: fixed
//! point with 16 bits after the binary point, whole degrees, sines of seven decimals, and an outline that is drawn over the filled rows.

/// One pixel in fixed point.
const SHIFT: u32 = 16;
const ONE: i64 = 1 << SHIFT;
const HALF: i64 = ONE / 2;

/// The largest coordinate that is drawn, in pixels: twice the side of the largest JPEG. It keeps all products within 64 bits.
pub(super) const MOST: f64 = 131_072.0;

/// The pixels of a convex region within a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mask {
    size: [i64; 2],
    /// The first row of `rows`.
    top: i64,
    /// The spans of each row, which do not touch: first and last column, the first larger where there is none. An outline that leaves the
    /// picture can lie apart from what it encloses, on both sides.
    rows: Vec<[[i64; 2]; SPANS]>,
}

/// The largest number of spans in a row.
const SPANS: usize = 3;
/// A span without pixels.
const NONE: [i64; 2] = [i64::MAX, i64::MIN];

/// Returns the pixels of a span, and of the part that two have in common.
fn length([first, last]: [i64; 2]) -> u64 {
    (last.saturating_sub(first).saturating_add(1)).max(0) as u64
}
fn common(a: [i64; 2], b: [i64; 2]) -> [i64; 2] {
    [a[0].max(b[0]), a[1].min(b[1])]
}
fn joined(a: [i64; 2], b: [i64; 2]) -> [i64; 2] {
    [a[0].min(b[0]), a[1].max(b[1])]
}
/// Returns whether two spans have a pixel in common or next to each other.
fn touch(a: [i64; 2], b: [i64; 2]) -> bool {
    a != NONE && b != NONE && a[0] <= b[1] + 1 && b[0] <= a[1] + 1
}

impl Mask {
    /// Creates a mask without pixels that can have some in the rows `top..=bottom` of a picture of `size`, height and width.
    fn new(size: [usize; 2], top: i64, bottom: i64) -> Self {
        let size = size.map(|n| n as i64);
        let [top, bottom] = [top.max(0), bottom.min(size[0] - 1)];
        Self { size, top, rows: vec![[NONE; SPANS]; usize::try_from(bottom - top + 1).unwrap_or(0)] }
    }

    /// Draws the rectangle between two corners, inclusive. Corners are rounded to whole pixels, from f32 as OpenCV's points are.
    pub fn rectangle(size: [usize; 2], [x, y, width, height]: [f64; 4]) -> Self {
        let [a, b] = [[x, y], [x + width, y + height]].map(|p| p.map(round));
        let mut mask = Self::new(size, a[1].min(b[1]), a[1].max(b[1]));
        for y in mask.top..mask.top + mask.rows.len() as i64 {
            mask.fill(y, a[0].min(b[0]), a[0].max(b[0]));
        }
        mask
    }

    /// Draws an ellipse of FDDB: major and minor radius, which are cut to whole pixels, the angle of the major axis in radians, which is
    /// rounded to whole degrees, and the centre, which is rounded to a whole pixel.
    pub fn ellipse(size: [usize; 2], [major, minor, angle, x, y]: [f64; 5]) -> Self {
        use std::f64::consts::PI;
        let centre = [x, y].map(round);
        let axes = [major, minor].map(|r| (r as i64).abs());
        // As EllipsesSingleImage.cpp and EllipseR.cpp convert it.
        let degrees = (180.0 - (PI - angle) * 180.0 / PI).round_ties_even() as i64;
        let outline = outline(centre, axes, degrees.rem_euclid(360));
        let reach = axes[0].max(axes[1]) + 2;
        let mut mask = Self::new(size, centre[1] - reach, centre[1] + reach);
        mask.polygon(&outline);
        mask
    }

    /// Returns the number of pixels.
    pub fn area(&self) -> u64 {
        self.rows.iter().flatten().map(|span| length(*span)).sum()
    }

    /// Returns the number of pixels that both masks have.
    pub fn common_area(&self, other: &Self) -> u64 {
        let mut area = 0;
        for (y, row) in (self.top..).zip(&self.rows) {
            let others = usize::try_from(y - other.top).ok().and_then(|k| other.rows.get(k)).unwrap_or(&[NONE; SPANS]);
            area += row.iter().flat_map(|a| others.map(|b| length(common(*a, b)))).sum::<u64>();
        }
        area
    }

    /// Returns the common pixels as a part of all, 0 if there are none.
    pub fn iou(&self, other: &Self) -> f64 {
        let common = self.common_area(other);
        let all = self.area() + other.area() - common;
        if all == 0 { 0.0 } else { common as f64 / all as f64 }
    }

    /// Adds the pixels of a row from a column to another, inclusive.
    fn fill(&mut self, y: i64, first: i64, last: i64) {
        let [first, last] = [first.max(0), last.min(self.size[1] - 1)];
        let row = usize::try_from(y - self.top).ok().and_then(|k| self.rows.get_mut(k));
        let Some(row) = row.filter(|_| first <= last) else { return };
        let mut new = [first, last];
        while let Some(span) = row.iter_mut().find(|span| touch(**span, new)) {
            new = joined(*span, new);
            *span = NONE;
        }
        match row.iter_mut().find(|span| **span == NONE) {
            Some(span) => *span = new,
            // What is drawn is convex, so it has no fourth part.
            None => row[0] = joined(row[0], new),
        }
    }

    /// Fills a convex polygon in fixed point, and draws its outline.
    fn polygon(&mut self, points: &[[i64; 2]]) {
        let [height, width] = self.size;
        let count = points.len();
        for (k, to) in points.iter().enumerate() {
            self.line(points[(k + count - 1) % count], *to);
        }
        let whole = |v: i64| (v + HALF) >> SHIFT;
        let ends = |axis: usize| {
            let all = points.iter().map(|p| p[axis]);
            [all.clone().min(), all.max()].map(|v| whole(v.unwrap_or_default()))
        };
        let ([left, right], [top, bottom]) = (ends(0), ends(1));
        if count < 3 || right < 0 || bottom < 0 || left >= width || top >= height {
            return;
        }
        let first = (0..count).min_by_key(|k| points[*k][1]).unwrap_or_default();
        // Two edges run down from the highest point, one in either direction: x, its step per row, and where the edge ends.
        let mut edges = [1, count - 1].map(|step| Edge { at: first, step, x: -ONE, dx: 0, end: top });
        let mut left_over = count;
        for y in top..=bottom.min(height - 1) {
            for edge in &mut edges {
                if y < edge.end {
                    continue;
                }
                let (mut from, mut to) = (edge.at, (edge.at + edge.step) % count);
                loop {
                    // Every point is passed once.
                    let Some(rest) = left_over.checked_sub(1) else { return };
                    left_over = rest;
                    let end = whole(points[to][1]);
                    if end > y {
                        let (x, run, rows) = (points[from][0], points[to][0] - points[from][0], end - y);
                        *edge = Edge { at: to, step: edge.step, x, dx: (2 * run + rows) / (2 * rows), end };
                        break;
                    }
                    from = to;
                    to = (to + edge.step) % count;
                }
            }
            let [a, b] = [edges[0].x, edges[1].x].map(whole);
            self.fill(y, a.min(b), a.max(b));
            edges.iter_mut().for_each(|edge| edge.x += edge.dx);
        }
    }

    /// Draws a line of 8-connected pixels between two points in fixed point.
    fn line(&mut self, from: [i64; 2], to: [i64; 2]) {
        let Some([mut from, mut to]) = clipped([from, to], [self.size[1] << SHIFT, self.size[0] << SHIFT]) else {
            return;
        };
        let run = [0, 1].map(|axis| (to[axis] - from[axis]).abs());
        // One pixel per column of a flat line, per row of a steep one.
        let along = usize::from(run[0] <= run[1]);
        if to[along] < from[along] {
            (from, to) = (to, from);
        }
        let slope = (to[1 - along] - from[1 - along]) * ONE / (run[along] | 1);
        let count = (to[along] - from[along]) >> SHIFT;
        let end = to.map(|v| (v + HALF) >> SHIFT);
        self.fill(end[1], end[0], end[0]);
        let (mut place, mut across) = ((from[along] + HALF) >> SHIFT, from[1 - along] + HALF);
        for _ in 0..=count {
            let [x, y] = if along == 0 { [place, across >> SHIFT] } else { [across >> SHIFT, place] };
            self.fill(y, x, x);
            place += 1;
            across += slope;
        }
    }
}

/// An edge of a polygon while it is filled.
struct Edge {
    /// The point at its end.
    at: usize,
    /// How the next point is reached, modulo their number.
    step: usize,
    x: i64,
    dx: i64,
    end: i64,
}

/// Rounds a coordinate as OpenCV does: from f32, halves to the even number.
fn round(v: f64) -> i64 {
    f64::from((v as f32).round_ties_even()) as i64
}

/// Returns the sine of whole degrees from 0 to 450, to seven decimals.
fn sine(degrees: i64) -> f64 {
    let exact = (degrees as f64).to_radians().sin();
    f64::from(((exact * 1e7).round() / 1e7) as f32)
}

/// Returns an ellipse as a polygon in fixed point. Large ones have a corner every five degrees.
fn outline(centre: [i64; 2], axes: [i64; 2], degrees: i64) -> Vec<[i64; 2]> {
    let step = match axes[0].max(axes[1]) {
        0..3 => 90,
        3..10 => 30,
        10..15 => 18,
        _ => 5,
    };
    let (cos, sin) = (sine(450 - degrees), sine(degrees));
    let [a, b] = axes.map(|r| (r << SHIFT) as f64);
    let centre = centre.map(|v| v << SHIFT);
    let mut points: Vec<[i64; 2]> = Vec::new();
    for at in (0..=360).step_by(step) {
        let (x, y) = (a * sine(450 - at), b * sine(at));
        let point = [centre[0] as f64 + x * cos - y * sin, centre[1] as f64 + x * sin + y * cos];
        let point = point.map(|v| v.round_ties_even() as i64);
        if points.last() != Some(&point) {
            points.push(point);
        }
    }
    points
}

/// Returns the part of a line within 0..`size`, or `None` if there is none.
fn clipped([mut p, mut q]: [[i64; 2]; 2], size: [i64; 2]) -> Option<[[i64; 2]; 2]> {
    let most = size.map(|n| n - 1);
    let side = |p: [i64; 2], axis: usize| match p[axis] {
        v if v < 0 => 1,
        v if v > most[axis] => 2,
        _ => 0,
    };
    let code = |p: [i64; 2]| [side(p, 0), side(p, 1)];
    let (a, b) = (code(p), code(q));
    if a[0] & b[0] != 0 || a[1] & b[1] != 0 {
        return None;
    }
    // Rows first, then columns, as OpenCV does: the results differ by roundings.
    for axis in [1, 0] {
        let sides = [side(p, axis), side(q, axis)];
        if sides[0] & sides[1] != 0 {
            return None;
        }
        for (k, side) in sides.into_iter().enumerate().filter(|(_, side)| *side != 0) {
            let end = if side == 1 { 0 } else { most[axis] };
            let own = if k == 0 { p } else { q };
            let shift = (end - own[axis]) as f64 * (q[1 - axis] - p[1 - axis]) as f64 / (q[axis] - p[axis]) as f64;
            let mut moved = own;
            moved[1 - axis] += shift as i64;
            moved[axis] = end;
            if k == 0 { p = moved } else { q = moved }
        }
    }
    (code(p) == [0, 0] && code(q) == [0, 0]).then_some([p, q])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_have_both_ends() {
        let area = |numbers| Mask::rectangle([50, 80], numbers).area();
        // From 10 to 30 and from 5 to 15, inclusive.
        assert_eq!(area([10.0, 5.0, 20.0, 10.0]), 21 * 11);
        // Halves to even: 10 to 30.
        assert_eq!(area([10.5, 5.0, 20.0, 10.0]), 21 * 11);
        assert_eq!(area([9.5, 5.0, 20.0, 10.0]), 21 * 11);
        assert_eq!(area([70.0, 40.0, 100.0, 100.0]), 10 * 10);
        assert_eq!(area([-9.0, -4.0, 10.0, 10.0]), 2 * 7);
        assert_eq!(area([80.0, 0.0, 10.0, 10.0]), 0);
        assert_eq!(area([10.0, 5.0, -20.0, 10.0]), 11 * 11);
        let (a, b) = ([10.0, 5.0, 20.0, 10.0], [21.0, 10.0, 20.0, 10.0]);
        let [a, b] = [a, b].map(|numbers| Mask::rectangle([50, 80], numbers));
        assert_eq!((a.common_area(&b), b.common_area(&a)), (60, 60));
        assert_eq!(a.iou(&b), 60.0 / 402.0);
        let none = Mask::rectangle([50, 80], [80.0, 0.0, 10.0, 10.0]);
        assert_eq!((a.iou(&none), none.iou(&none)), (0.0, 0.0));
    }

    #[test]
    fn what_lies_outside_or_is_degenerate_is_drawn_without_harm() {
        let far = MOST;
        for numbers in [
            [0.0, 0.0, 0.0, 10.0, 10.0],
            [far, far, 1.0, 0.0, 0.0],
            [far, 0.4, 0.7, far, far],
            [5.0, 3.0, 1e9, -far, 10.0],
            [-5.0, 3.0, -1e9, 10.0, 10.0],
            [30.0, 20.0, 0.5, 79.0, 49.0],
        ] {
            let mask = Mask::ellipse([50, 80], numbers);
            assert!(mask.area() <= 4000 && mask.common_area(&mask) == mask.area(), "{numbers:?}");
        }
        assert_eq!(Mask::ellipse([50, 80], [0.0, 0.0, 0.0, 10.0, 10.0]).area(), 1);
        assert_eq!(Mask::ellipse([50, 80], [far, far, 1.0, 0.0, 0.0]).area(), 4000);
    }
}
