//! What an animation shows while its frames are drawn over each other.

use super::Rect;

/// What becomes of a frame's rectangle when its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Stay,
    /// Becomes transparent.
    Clear,
    /// Shows again what was there before.
    Restore,
}

/// A frame as its file has it.
pub(super) struct Patch {
    /// Of `rect`, row by row.
    pub rgba: Vec<u8>,
    pub rect: Rect,
    /// Drawn over what is there, instead of replacing it.
    pub blends: bool,
    pub then: Then,
}

/// Pixels of 8-bit RGBA, transparent at first.
pub(super) struct Canvas {
    width: usize,
    height: usize,
    rgba: Vec<u8>,
    /// Of the last frame, and what its rectangle held before, where that is needed again.
    last: Option<(Rect, Then, Vec<u8>)>,
}

impl Canvas {
    pub fn new(width: usize, height: usize) -> Self {
        Self { width, height, rgba: vec![0; 4 * width * height], last: None }
    }

    pub fn width(&self) -> usize {
        self.width
    }
    pub fn height(&self) -> usize {
        self.height
    }
    pub fn rgba(&self) -> &[u8] {
        &self.rgba
    }

    pub fn holds(&self, rect: Rect) -> bool {
        rect.is_within(self.height, self.width)
    }

    /// The next frame; its rectangle lies on the canvas and is as large as its pixels.
    pub fn draw(&mut self, patch: &Patch) {
        match self.last.take() {
            Some((rect, Then::Clear, _)) => self.rows(rect, |row, _| row.fill(0)),
            Some((rect, Then::Restore, before)) => {
                self.rows(rect, |row, i| row.copy_from_slice(&before[4 * i * rect.width..][..4 * rect.width]));
            }
            Some((_, Then::Stay, _)) | None => {}
        }
        let mut before = Vec::new();
        if patch.then == Then::Restore {
            self.rows(patch.rect, |row, _| before.extend_from_slice(row));
        }
        self.rows(patch.rect, |row, i| {
            let new = &patch.rgba[4 * i * patch.rect.width..][..4 * patch.rect.width];
            if !patch.blends {
                return row.copy_from_slice(new);
            }
            for (old, new) in row.as_chunks_mut::<4>().0.iter_mut().zip(new.as_chunks::<4>().0) {
                *old = over(*old, *new);
            }
        });
        self.last = Some((patch.rect, patch.then, before));
    }

    fn rows(&mut self, rect: Rect, mut f: impl FnMut(&mut [u8], usize)) {
        for i in 0..rect.height {
            let at = 4 * ((rect.top + i) * self.width + rect.left);
            f(&mut self.rgba[at..at + 4 * rect.width], i);
        }
    }
}

/// `new` over `old`, both not premultiplied. Source: W3C PNG, section 13.16.
fn over(old: [u8; 4], new: [u8; 4]) -> [u8; 4] {
    if new[3] == 255 || old[3] == 0 {
        return new;
    }
    if new[3] == 0 {
        return old;
    }
    let (a, b) = (u32::from(new[3]), u32::from(old[3]));
    // Of 255 · 255.
    let alpha = 255 * a + b * (255 - a);
    let mix = |k: usize| {
        let sum = 255 * a * u32::from(new[k]) + b * (255 - a) * u32::from(old[k]);
        ((sum + alpha / 2) / alpha) as u8
    };
    [mix(0), mix(1), mix(2), ((alpha + 127) / 255) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_stay_vanish_or_give_back_what_was_there() {
        let [red, green, blue] = [[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255]];
        let mut canvas = Canvas::new(3, 1);
        let mut draw = |left, pixels: &[[u8; 4]], blends, then| {
            let rect = Rect { top: 0, left, height: 1, width: pixels.len() };
            canvas.draw(&Patch { rgba: pixels.concat(), rect, blends, then });
            canvas.rgba().as_chunks::<4>().0.to_vec()
        };
        assert_eq!(draw(0, &[red; 3], false, Then::Stay), [red; 3]);
        assert_eq!(draw(1, &[green], true, Then::Clear), [red, green, red]);
        // What was cleared is what is given back, not what stood there before.
        assert_eq!(draw(0, &[blue; 2], true, Then::Restore), [blue, blue, red]);
        assert_eq!(draw(2, &[blue], false, Then::Restore), [red, [0; 4], blue]);
        assert_eq!(draw(0, &[[9, 9, 9, 0]], true, Then::Stay), [red, [0; 4], red]);
        assert_eq!(draw(0, &[[9, 9, 9, 0]], false, Then::Stay), [[9, 9, 9, 0], [0; 4], red]);
        // Half of blue over red.
        assert_eq!(draw(2, &[[0, 0, 255, 128]], true, Then::Stay)[2], [127, 0, 128, 255]);
        // Half over half is three quarters opaque, of which two thirds are the upper one's.
        assert_eq!(draw(1, &[[255, 0, 0, 128]], false, Then::Stay)[1], [255, 0, 0, 128]);
        assert_eq!(draw(1, &[[0, 255, 0, 128]], true, Then::Stay)[1], [85, 170, 0, 192]);
    }
}
