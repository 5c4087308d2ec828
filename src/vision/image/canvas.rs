//! The canvas of an animation, on which its frames are drawn over each other.

use super::Rect;

/// What happens to a frame's rectangle when the frame ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Stay,
    /// Becomes transparent.
    Clear,
    /// Shows its previous content again.
    Restore,
}

/// A frame as stored in its file.
pub(super) struct Patch {
    /// Pixels of `rect`, row by row.
    pub rgba: Vec<u8>,
    pub rect: Rect,
    /// Whether the frame is blended over the canvas instead of replacing it.
    pub blends: bool,
    pub then: Then,
}

/// Pixels in 8-bit RGBA, initially transparent.
pub(super) struct Canvas {
    width: usize,
    height: usize,
    rgba: Vec<u8>,
    /// The last frame's rectangle, what happens to it, and its previous content if that is needed again.
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

    /// Draws the next frame. Its rectangle must lie on the canvas and match the number of its pixels.
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

/// Blends `new` over `old`, neither premultiplied. Source: W3C PNG, section 13.16.
fn over(old: [u8; 4], new: [u8; 4]) -> [u8; 4] {
    if new[3] == 255 || old[3] == 0 {
        return new;
    }
    if new[3] == 0 {
        return old;
    }
    let (a, b) = (u32::from(new[3]), u32::from(old[3]));
    // In units of 1/(255 · 255).
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
        // The cleared content is what is restored, not what was there before it.
        assert_eq!(draw(0, &[blue; 2], true, Then::Restore), [blue, blue, red]);
        assert_eq!(draw(2, &[blue], false, Then::Restore), [red, [0; 4], blue]);
        assert_eq!(draw(0, &[[9, 9, 9, 0]], true, Then::Stay), [red, [0; 4], red]);
        assert_eq!(draw(0, &[[9, 9, 9, 0]], false, Then::Stay), [[9, 9, 9, 0], [0; 4], red]);
        // Half of blue over red.
        assert_eq!(draw(2, &[[0, 0, 255, 128]], true, Then::Stay)[2], [127, 0, 128, 255]);
        // Half over half is three quarters opaque, two thirds of it from the upper pixel.
        assert_eq!(draw(1, &[[255, 0, 0, 128]], false, Then::Stay)[1], [255, 0, 0, 128]);
        assert_eq!(draw(1, &[[0, 255, 0, 128]], true, Then::Stay)[1], [85, 170, 0, 192]);
    }
}
