//! Cuts a picture into windows of one size, such that every output pixel sees its whole receptive field.
//!
//! All windows lie inside the picture, so that padding happens only at the picture's own borders. If the kernels' sums do
//! not depend on the position, the joined result equals the untiled one bit for bit. A network that shrinks what it enlarges again is the
//! same at places a multiple of its steps apart, which a [`Grid`] says.

/// A stretch of one dimension. The network reads `start..start + len`; the result keeps `keep.0..keep.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub start: usize,
    pub len: usize,
    pub keep: (usize, usize),
}

/// Where windows may lie, and how long they may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Windows start at multiples of this, at least 1.
    pub multiple: usize,
    /// Remainder of every length divided by `multiple`.
    pub remainder: usize,
    /// The only length, if there is one.
    pub fixed: Option<usize>,
}

impl Grid {
    /// Returns the least length of at least `n` that all windows together may have.
    pub fn up(&self, n: usize) -> usize {
        let least = self.fixed.unwrap_or(self.remainder);
        if n <= least { least } else { least + (n - least).next_multiple_of(self.multiple) }
    }

    /// Returns the length of the shortest window that keeps something, `halo` inside.
    pub fn least(&self, halo: usize) -> usize {
        self.fixed.unwrap_or_else(|| self.up(2 * halo + self.multiple))
    }

    /// Returns how far the next window starts behind one of `len`.
    fn advance(&self, len: usize, halo: usize) -> usize {
        let kept = len.saturating_sub(2 * halo);
        (kept - kept % self.multiple).max(1)
    }

    /// Returns the longest length of at most `window`, but at least [`Grid::least`].
    fn longest(&self, window: usize, halo: usize) -> usize {
        let above = window.saturating_sub(self.remainder) % self.multiple;
        self.fixed.unwrap_or_else(|| self.least(halo).max(window.saturating_sub(above)))
    }
}

/// Covers `0..n` by as few stretches of at most `window` pixels as possible; `n` is what [`Grid::up`] returns. All have the same length,
/// the shortest that suffices, rounded up to a multiple of 4 where the grid is free, so that pictures of similar sizes share a plan. Each
/// kept pixel lies at least `halo` inside its stretch, or as far inside as the picture's border allows. A shorter `window` than
/// [`Grid::least`] becomes that.
pub fn stretches(n: usize, window: usize, halo: usize, grid: &Grid) -> Vec<Stretch> {
    let most = n.min(grid.longest(window, halo));
    let count = if n == most { 1 } else { 1 + (n - most).div_ceil(grid.advance(most, halo)) };
    let mut len = grid.up((n + 2 * halo * (count - 1)).div_ceil(count)).min(most);
    while len < most && (count - 1) * grid.advance(len, halo) < n - len {
        len += grid.multiple;
    }
    if grid.multiple == 1 && grid.fixed.is_none() {
        len = len.next_multiple_of(4).min(most);
    }
    let mut result = Vec::new();
    let mut kept = 0_usize;
    while kept < n {
        let start = kept.saturating_sub(halo);
        let start = (start - start % grid.multiple).min(n - len);
        let end = if start + len == n { n } else { start + len - halo };
        result.push(Stretch { start, len, keep: (kept, end) });
        kept = end;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_cover_everything_once_with_their_halo() {
        let free = Grid { multiple: 1, remainder: 0, fixed: None };
        for n in 1..60 {
            for window in 1..40 {
                for halo in 0..9 {
                    let all = stretches(n, window, halo, &free);
                    let mut next = 0;
                    for s in &all {
                        assert_eq!(s.keep.0, next);
                        assert!(s.keep.1 > s.keep.0 && s.start + s.len <= n && s.len == all[0].len);
                        assert!(s.start == 0 || s.keep.0 >= s.start + halo, "{n} {window} {halo} {s:?}");
                        assert!(s.start + s.len == n || s.keep.1 + halo <= s.start + s.len);
                        next = s.keep.1;
                    }
                    let most = n.min(window.max(2 * halo + 1));
                    assert!(all[0].len <= most);
                    // One stretch fewer would not suffice, nor, without the rounding, one pixel less.
                    let covers = |count: usize, len: usize| count * len >= n + 2 * halo * (count - 1);
                    assert!(all.len() == 1 || !covers(all.len() - 1, most));
                    assert!(all[0].len < 4 || !covers(all.len(), all[0].len - 4));
                    assert_eq!(next, n);
                }
            }
        }
    }
    #[test]
    fn stretches_on_a_grid_start_at_its_multiples() {
        for (multiple, remainder, fixed) in
            [(2, 0, None), (4, 3, None), (1, 0, Some(17)), (4, 1, Some(21)), (3, 0, None)]
        {
            let grid = Grid { multiple, remainder, fixed };
            for n in (1..90).map(|n| grid.up(n)) {
                for (window, halo) in [(20, 3), (33, 4), (7, 0), (1, 2), (usize::MAX, 3)] {
                    let all = stretches(n, window, halo, &grid);
                    let mut next = 0;
                    for s in &all {
                        assert_eq!((s.start % multiple, s.len % multiple), (0, remainder), "{grid:?} {n} {s:?}");
                        assert!(s.len == fixed.unwrap_or(all[0].len) && s.start + s.len <= n);
                        assert!(s.keep.0 == next && s.keep.1 > next);
                        assert!(s.start == 0 || s.keep.0 >= s.start + halo, "{grid:?} {n} {window} {halo} {s:?}");
                        assert!(s.start + s.len == n || s.keep.1 + halo <= s.start + s.len);
                        next = s.keep.1;
                    }
                    assert_eq!(next, n);
                    assert!(all[0].len <= window.max(grid.least(halo)));
                    assert!(window < usize::MAX || fixed.is_some() || all.len() == 1);
                }
            }
        }
    }
}
