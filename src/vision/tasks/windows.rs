//! Cuts a picture into windows of one size, such that every output pixel sees its whole receptive field.
//!
//! All windows lie inside the picture, so that padding happens only at the picture's own borders. If the kernels' sums do
//! not depend on the position, the joined result equals the untiled one bit for bit.

/// A stretch of one dimension. The network reads `start..start + len`; the result keeps `keep.0..keep.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub start: usize,
    pub len: usize,
    pub keep: (usize, usize),
}

/// Covers `0..n` by as few stretches of at most `window` pixels as possible. All have the same length, the shortest that
/// suffices, rounded up to a multiple of 4 so that pictures of similar sizes share a plan. Each kept pixel lies at least `halo`
/// inside its stretch, or as far inside as the picture's border allows. A `window` of at most 2·halo becomes 2·halo + 1.
pub fn stretches(n: usize, window: usize, halo: usize) -> Vec<Stretch> {
    let most = n.min(window.max(2 * halo + 1));
    let count = if n == most { 1 } else { (n - 2 * halo).div_ceil(most - 2 * halo) };
    let len = (n + 2 * halo * (count - 1)).div_ceil(count).next_multiple_of(4).min(most);
    let mut result = Vec::new();
    let mut kept = 0;
    while kept < n {
        let start = kept.saturating_sub(halo).min(n - len);
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
        for n in 1..60 {
            for window in 1..40 {
                for halo in 0..9 {
                    let all = stretches(n, window, halo);
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
}
