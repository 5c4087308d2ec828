//! Enlarges a picture by any factor: networks one after another, then a bicubic step to the exact size.
//!
//! Luminance, or what else the networks enlarge, stays in f32 from the first network to the result. Between two networks it is clamped to
//! 0..1, because they were trained on pictures. If the product of their scales exceeds the scale, the last output is shrunk bicubically,
//! with antialiasing. All else is enlarged bicubically from the picture in one step. The result depends on the size of the
//! windows only as far as that of each [`Upscaler`] does.

use super::{Enlarger, Report, Upscaler, Window, canvas, crop, put};
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::ops::resize::{Kernel, Ratio, Resize};
use crate::tensor::Tensor;
use crate::vision::image::{Picture, Rect, resize_rect, rows_read};
use std::collections::VecDeque;
use std::ops::Range;

/// Largest number of rows of the result that the bicubic step makes at once.
const BAND_PX: usize = 64;

/// Returns factors from `scales`, possibly repeated, with the smallest product that is at least `scale`; among those, the
/// fewest. The smallest factor comes first, because each network works on what the ones before made. Empty if no product will do.
pub fn factors(scales: &[usize], scale: Ratio) -> Vec<usize> {
    /// Appends to `chosen` whatever keeps it in ascending order, until the product is large enough.
    fn search(scales: &[usize], scale: Ratio, chosen: &mut Vec<usize>, best: &mut Option<(u64, Vec<usize>)>) {
        let product = chosen.iter().fold(1_u64, |product, &factor| product.saturating_mul(factor as u64));
        let is_worse = |(least, fewest): &(u64, Vec<usize>)| (product, chosen.len()) >= (*least, fewest.len());
        if best.as_ref().is_some_and(is_worse) {
            return;
        }
        if u128::from(product) * u128::from(scale.den) >= u128::from(scale.num) {
            *best = Some((product, chosen.clone()));
            return;
        }
        for (k, &factor) in scales.iter().enumerate().filter(|(_, factor)| **factor > 1) {
            chosen.push(factor);
            search(&scales[k..], scale, chosen, best);
            chosen.pop();
        }
    }
    let mut sorted = scales.to_vec();
    sorted.sort_unstable();
    let mut best = None;
    search(&sorted, scale, &mut Vec::new(), &mut best);
    best.map_or_else(Vec::new, |(_, factors)| factors)
}

/// Super-resolution networks on a device, one after another, for one scale.
#[derive(Debug)]
pub struct Chain {
    stages: Vec<Upscaler>,
    /// Output pixels per input pixel, along each side.
    scale: Ratio,
}

impl Chain {
    /// Creates a chain of networks in the order in which they run.
    ///
    /// # Errors
    /// There is no network; they differ in channels; the product of their scales is less than `scale`; the numbers of `scale` are too
    /// large.
    pub fn new(stages: Vec<Upscaler>, scale: Ratio) -> Result<Self> {
        let channels = |stage: &Upscaler| stage.traits().channels;
        if let Some(other) = stages.iter().find(|stage| channels(stage) != channels(&stages[0])) {
            let (a, b) = (&stages[0], other);
            let problem = format!("{} takes {} channels and {} {}", a.name(), channels(a), b.name(), channels(b));
            return Err(Error::Usage(format!("{problem}; choose networks that take equally many")));
        }
        let chain = Self { stages, scale };
        let product = chain.product() as u128;
        if chain.stages.is_empty() || product * u128::from(scale.den) < u128::from(scale.num) {
            let problem = format!("networks that enlarge {product} times cannot enlarge {} times", scale.as_f64());
            return Err(Error::Usage(format!("{problem}; use more of them or a smaller scale")));
        }
        if u32::try_from(product * u128::from(scale.den)).is_err() {
            let problem = format!("the numbers of the scale {}/{} times {product} are too large", scale.num, scale.den);
            return Err(Error::Usage(format!("{problem}; shorten the fraction")));
        }
        Ok(chain)
    }

    /// Like [`Chain::new`], but with windows whose plans' exact peaks are together at most `bytes`. Each network gets the peak of
    /// its smallest window and an equal share of the rest.
    ///
    /// # Errors
    /// The smallest windows take more; the error gives their plans' bytes. Those of [`Chain::new`] and [`Upscaler::within`].
    pub fn within(device: &Device, mut networks: Vec<Enlarger>, scale: Ratio, bytes: u64) -> Result<Self> {
        if networks.len() < 2 {
            let one = networks.pop().map(|network| Upscaler::open_within(device.clone(), network, bytes));
            return Self::new(one.transpose()?.into_iter().collect(), scale);
        }
        let open = |network| Upscaler::open(device.clone(), network, Some(0));
        let mut stages = networks.into_iter().map(open).collect::<Result<Vec<_>>>()?;
        let smallest = stages.iter().map(Upscaler::smallest_window).collect::<Result<Vec<_>>>()?;
        let needed: u64 = smallest.iter().map(|(_, bytes)| bytes).sum();
        let Some(rest) = bytes.checked_sub(needed) else {
            return Err(Error::plan(format!(
                "the smallest windows of {} networks take {needed} bytes, more than the {bytes} that are allowed; allow \
                 {needed} or more",
                stages.len()
            )));
        };
        let each = rest / stages.len() as u64;
        for (stage, (side, bytes)) in stages.iter_mut().zip(smallest) {
            stage.fit(side, bytes + each)?;
        }
        Self::new(stages, scale)
    }

    /// Returns the networks in the order in which they run.
    pub fn stages(&self) -> &[Upscaler] {
        &self.stages
    }

    /// Returns the network that reads the picture.
    pub fn first(&self) -> &Upscaler {
        &self.stages[0]
    }

    /// Returns the output pixels per input pixel, along each side.
    pub fn scale(&self) -> Ratio {
        self.scale
    }

    /// Returns the channels that the networks enlarge: 1 for luminance, 3 for red, green and blue.
    pub fn channels(&self) -> usize {
        self.first().traits().channels
    }

    /// Returns the product of the networks' scales.
    pub fn product(&self) -> usize {
        self.stages.iter().map(|stage| stage.scale()).product()
    }

    /// Returns the scale of the bicubic step after the networks, below 1, or `None` if their product equals the scale.
    pub fn rest(&self) -> Option<Ratio> {
        let product = self.product() as u32;
        (product * self.scale.den != self.scale.num)
            .then(|| Ratio { num: self.scale.num, den: self.scale.den * product })
    }

    /// Returns the bicubic operation that makes a picture as large as the result.
    pub fn bicubic(&self) -> Resize {
        Resize::by(Kernel::Bicubic, self.scale.num, self.scale.den)
    }

    /// Returns the height and width of the result for a picture of `height` × `width`.
    pub fn size(&self, height: usize, width: usize) -> [usize; 2] {
        [height, width].map(|n| self.scale.size_of(n))
    }

    /// Begins the passage of a picture of `height` × `width`.
    pub fn begin(&self, height: usize, width: usize) -> Passage<'_> {
        let ratio = self.first().scale();
        let plane = (self.stages.len() > 1).then(|| Tensor::zeros([1, self.channels(), height * ratio, width * ratio]));
        Passage { chain: self, plane, stage: 1, windows: VecDeque::new(), next: None }
    }

    /// Returns a black canvas for the result for `picture`.
    ///
    /// # Errors
    /// The result is too large for a picture.
    pub fn canvas(&self, picture: &Picture) -> Result<Canvas> {
        let op = self.bicubic();
        let out = canvas(picture, &op)?;
        let rows = self.rest().map_or_else(Vec::new, |rest| {
            let rest = Resize::by(Kernel::Bicubic, rest.num, rest.den);
            let size = [picture.height(), picture.width()].map(|n| n * self.product());
            (0..self.channels()).map(|_| Rows::new(rest.clone(), size, out.height())).collect()
        });
        Ok(Canvas { op, out, rows })
    }

    /// Enlarges a picture. `progress(done, all)` is called after every window of every network with numbers of output pixels;
    /// `done` grows only in the last network. Returning false stops.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if `progress` returned false; the result is too large for a picture; the device fails.
    pub fn picture(&self, picture: &Picture, progress: &mut dyn FnMut(u64, u64) -> bool) -> Result<(Picture, Report)> {
        let mut canvas = self.canvas(picture)?;
        let mut passage = self.begin(picture.height(), picture.width());
        let (mut done, mut tiles) = (0_u64, 0);
        let all = canvas.out.whole().area() as u64;
        let area = picture.whole().area() as u64 * (self.product() as u64).pow(2);
        let mut take = |step: Step| {
            if let Step::Last(window, y) = step {
                canvas.put(picture, &window, &y)?;
                done += window.kept.area() as u64;
            }
            tiles += 1;
            let share = u128::from(all) * u128::from(done) / u128::from(area);
            if progress(share as u64, all) { Ok(()) } else { Err(Error::Interrupted) }
        };
        for window in self.first().windows_of(picture.height(), picture.width()) {
            take(passage.run(window, &self.first().read(picture, &window)?)?)?;
        }
        while let Some(step) = passage.step()? {
            take(step)?;
        }
        Ok((canvas.finish(), Report { tiles }))
    }

    /// Checks every network on its input when `picture` is enlarged; see [`Upscaler::self_check`].
    ///
    /// # Errors
    /// Those of [`Upscaler::self_check`].
    pub fn self_check(&self, picture: &Picture) -> Result<()> {
        let mut plane: Option<Tensor> = None;
        for (k, stage) in self.stages.iter().enumerate() {
            let read = |window: &Window| match &plane {
                None => stage.read(picture, window),
                Some(plane) => stage.read_plane(plane, window),
            };
            let [height, width] =
                plane.as_ref().map_or([picture.height(), picture.width()], |p| [p.shape()[2], p.shape()[3]]);
            stage.check_window(picture.name(), [height, width], read)?;
            if k + 1 < self.stages.len() {
                let scale = stage.scale();
                let output = stage.whole(&stage.windows_of(height, width), [height * scale, width * scale], read)?;
                plane = Some(clamped(output));
            }
        }
        Ok(())
    }
}

/// Clamps a network's output to 0..1 for the next network.
fn clamped(mut plane: Tensor) -> Tensor {
    plane.data_mut().iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
    plane
}

/// One picture's planes on their way through the networks.
#[derive(Debug)]
pub struct Passage<'c> {
    chain: &'c Chain,
    /// Input of the network `stage`; `None` if there is only one network, and after the last.
    plane: Option<Tensor>,
    stage: usize,
    /// Windows on which that network has yet to run.
    windows: VecDeque<Window>,
    /// Output of that network, if another follows.
    next: Option<Tensor>,
}

/// What happened to a window on which a network ran.
#[derive(Debug)]
pub enum Step {
    /// It was the last network: [`Canvas::put`] takes its output for the window.
    Last(Window, Tensor),
    /// Another network follows.
    Inner,
}

impl Passage<'_> {
    /// Runs the first network on its input for one window of [`Upscaler::windows_of`]. Call this for the windows in order.
    ///
    /// # Errors
    /// Those of [`Upscaler::run`].
    pub fn run(&mut self, window: Window, input: &Tensor) -> Result<Step> {
        let y = self.chain.first().run(input)?;
        let Some(plane) = &mut self.plane else { return Ok(Step::Last(window, y)) };
        window.paste(&clamped(y), plane)?;
        Ok(Step::Inner)
    }

    /// Runs one more window after those of the first network. Returns `None` when all are done.
    ///
    /// # Errors
    /// Those of [`Upscaler::run`].
    pub fn step(&mut self) -> Result<Option<Step>> {
        let Some(plane) = &self.plane else { return Ok(None) };
        let stage = &self.chain.stages[self.stage];
        let is_last = self.stage + 1 == self.chain.stages.len();
        if self.windows.is_empty() {
            let [_, _, height, width] = plane.shape().nchw();
            self.windows = stage.windows_of(height, width).into();
            let scale = stage.scale();
            self.next = (!is_last).then(|| Tensor::zeros([1, self.chain.channels(), height * scale, width * scale]));
        }
        let Some(window) = self.windows.pop_front() else { return Ok(None) };
        let y = stage.run(&stage.read_plane(plane, &window)?)?;
        let step = match &mut self.next {
            None => Step::Last(window, y),
            Some(next) => {
                window.paste(&clamped(y), next)?;
                Step::Inner
            }
        };
        if self.windows.is_empty() {
            self.plane = self.next.take();
            self.stage += 1;
        }
        Ok(Some(step))
    }
}

/// An enlargement that is built window by window.
#[derive(Debug)]
pub struct Canvas {
    /// Makes colour and alpha as large as the result.
    op: Resize,
    out: Picture,
    /// One for each plane; none if there is no bicubic step.
    rows: Vec<Rows>,
}

impl Canvas {
    /// Adds the last network's output for a window. Windows come row by row, in the order of [`Upscaler::windows_of`];
    /// `picture` is the one passed to [`Chain::canvas`].
    ///
    /// # Errors
    /// `picture`, `window` or `y` belongs to another canvas.
    pub fn put(&mut self, picture: &Picture, window: &Window, y: &Tensor) -> Result<()> {
        let part = crop(y, window.inside)?;
        if self.rows.is_empty() {
            return put(picture, &mut self.out, window.kept, part.data(), &self.op);
        }
        for (rows, plane) in self.rows.iter_mut().zip(part.data().chunks(window.kept.area())) {
            rows.take(window.kept, plane);
        }
        let width = self.out.width();
        loop {
            let given: Option<Vec<_>> = self.rows.iter_mut().map(|rows| rows.give(width)).collect();
            let Some(given) = given else { return Ok(()) };
            let range = given[0].0.clone();
            let y = given.into_iter().flat_map(|(_, plane)| plane).collect::<Vec<f32>>();
            let rect = Rect { top: range.start, left: 0, height: range.len(), width };
            put(picture, &mut self.out, rect, &y, &self.op)?;
        }
    }

    /// Returns the result.
    pub fn finish(self) -> Picture {
        self.out
    }
}

/// The last network's output. Only the rows that the bicubic step still needs are held.
#[derive(Debug)]
struct Rows {
    op: Resize,
    /// Height and width of the whole output.
    size: [usize; 2],
    held: Vec<f32>,
    /// The complete rows that are held.
    whole: Range<usize>,
    /// For each row of the result, the rows to hold: from the first that it or any row below it reads to the last that it or
    /// any row above it reads.
    needs: Vec<Range<usize>>,
    /// The next row of the result.
    next: usize,
}

impl Rows {
    fn new(op: Resize, size: [usize; 2], out_height: usize) -> Self {
        let mut needs: Vec<Range<usize>> = (0..out_height).map(|row| rows_read(&op, size[0], row..row + 1)).collect();
        for k in 1..needs.len() {
            needs[k].end = needs[k].end.max(needs[k - 1].end);
        }
        for k in (1..needs.len()).rev() {
            needs[k - 1].start = needs[k - 1].start.min(needs[k].start);
        }
        Self { op, size, held: Vec::new(), whole: 0..0, needs, next: 0 }
    }

    /// Adds a rectangle of the output.
    fn take(&mut self, rect: Rect, y: &[f32]) {
        let (first, width) = (self.whole.start, self.size[1]);
        let end = rect.top + rect.height;
        self.held.resize(self.held.len().max((end - first) * width), 0.0);
        for (i, line) in y.chunks(rect.width).enumerate() {
            let at = (rect.top + i - first) * width + rect.left;
            self.held[at..at + rect.width].copy_from_slice(line);
        }
        if rect.left + rect.width == width {
            self.whole.end = end;
        }
    }

    /// Returns the next rows of the result and their values, `out_width` each, or `None` until more is added.
    fn give(&mut self, out_width: usize) -> Option<(Range<usize>, Vec<f32>)> {
        let ready = |needs: &&Range<usize>| needs.end <= self.whole.end;
        let count = self.needs[self.next..].iter().take(BAND_PX).take_while(ready).count();
        if count == 0 {
            return None;
        }
        let range = self.next..self.next + count;
        let rect = Rect { top: range.start, left: 0, height: count, width: out_width };
        let y = resize_rect(&self.held, self.whole.start, self.size, rect, &self.op);
        self.next = range.end;
        let kept = self.needs.get(self.next).map_or(self.whole.end, |needs| needs.start.min(self.whole.end));
        self.held.drain(..(kept - self.whole.start) * self.size[1]);
        self.whole.start = kept;
        Some((range, y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_few_and_their_product_is_the_smallest_that_serves() {
        let of = |scales: &[usize], num, den| factors(scales, Ratio { num, den });
        let all = [4, 2, 3];
        for (num, den, expected) in [
            (11, 10, &[2][..]),
            (2, 1, &[2]),
            (5, 2, &[3]),
            (7, 2, &[4]),
            (401, 100, &[2, 3]),
            (7, 1, &[2, 4]),
            (9, 1, &[3, 3]),
            (10, 1, &[3, 4]),
            (25, 2, &[4, 4]),
            (16, 1, &[4, 4]),
        ] {
            assert_eq!(of(&all, num, den), expected, "{num}/{den}");
        }
        assert_eq!(of(&[3], 2, 1), [3]);
        assert_eq!(of(&[3], 16, 1), [3, 3, 3]);
        assert!(of(&[], 2, 1).is_empty() && of(&[1], 2, 1).is_empty());
    }
}
