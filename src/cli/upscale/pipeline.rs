//! Decoding, the adapter and encoding at the same time: threads before and behind the adapter, with bounded queues.
//!
//! Picture i is decoded by thread i mod n, goes through the adapter window by window in the order of the jobs, and is
//! assembled and written by thread i mod n of as many others. So results and their order do not depend on n. The frames of an
//! animation follow each other through the same threads.

use super::super::interrupt;
use super::side_by_side;
use crate::error::{Error, Result};
use crate::image::{Encoding, Frames, FramesWriter, Picture, Sequence};
use crate::tasks::upscale::{Upscaler, Window};
use crate::tensor::Tensor;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Windows that wait in a queue.
const AHEAD: usize = 2;

/// Threads on each side of the adapter at most.
const MAX_THREADS: usize = 16;

/// Bytes of the pictures that are on their way at the same time, inputs and results; a larger one goes alone.
const IN_FLIGHT_BYTES: u64 = 1 << 30;

/// A picture to enlarge.
pub struct Job {
    pub input: PathBuf,
    pub output: PathBuf,
    /// Of the result, all its frames, for the progress; 0 where the header cannot be read.
    pub pixels: u64,
    /// Of the samples of input and result, as many as are on their way.
    pub bytes: u64,
}

/// What was written.
pub struct Written {
    pub width: usize,
    pub height: usize,
    pub frames: usize,
    pub tiles: usize,
    /// From the file read to the file written.
    pub ms: f64,
}

/// What goes through the queues, for each job: when it began, what its pictures are to each other and how many there are;
/// pictures, each with its delay in ms, its windows and an end; an end. Before the adapter a window's tensor is what the network reads, behind it the
/// network's output.
enum Piece {
    Begin(Instant, Sequence, usize),
    Frame(Arc<Picture>, u32),
    Window(Window, Tensor),
    FrameEnd,
    End,
    Failed(Error),
}

/// Enlarges every job's picture. `advance` is called with pixels that are done, `report` with each job's result in the
/// order of `jobs`; its error ends everything. Returns the share of the time that the adapter waited, 0..1.
///
/// # Errors
/// Those of `report`; the device fails; Ctrl-C. All other errors are their job's result.
pub fn run(
    upscaler: &Upscaler,
    jobs: &[Job],
    compare: Option<&Path>,
    advance: &dyn Fn(u64),
    report: &mut dyn FnMut(&Job, Result<Written>) -> Result<()>,
) -> Result<f64> {
    if jobs.is_empty() {
        return Ok(0.0);
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = cores.min(MAX_THREADS).min(jobs.len());
    let room = Room::default();
    let (begin, mut busy) = (Instant::now(), Duration::ZERO);
    std::thread::scope(|scope| {
        // Every way out of this closure closes the queues and the room, so that the threads end.
        let _closing = Closing(&room);
        let (done, results) = channel();
        let (mut feeds, mut sinks) = (Vec::new(), Vec::new());
        for k in 0..threads {
            let (sender, receiver) = sync_channel(AHEAD);
            feeds.push(receiver);
            let room = &room;
            scope.spawn(move || {
                for (i, job) in jobs.iter().enumerate().skip(k).step_by(threads) {
                    if !room.take(i, job.bytes) || feed(upscaler, job, &sender).is_none() {
                        return;
                    }
                }
            });
            let (sender, receiver) = sync_channel(AHEAD);
            sinks.push(sender);
            let done = done.clone();
            scope.spawn(move || finish(upscaler, jobs, compare, room, &receiver, &done));
        }
        drop(done);
        let mut in_order = InOrder { next: 0, early: BTreeMap::new() };
        let gone = || Error::Usage("a thread that reads or writes pictures ended; look for its message above".into());
        for (i, job) in jobs.iter().enumerate() {
            let (feed, sink) = (&feeds[i % threads], &sinks[i % threads]);
            let (mut left, mut failure) = (job.pixels, None);
            loop {
                if interrupt::is_requested() {
                    return Err(Error::Interrupted);
                }
                let piece = match feed.recv().map_err(|_| gone())? {
                    Piece::Frame(..) | Piece::Window(..) | Piece::FrameEnd if failure.is_some() => continue,
                    Piece::Window(window, input) => {
                        let begin = Instant::now();
                        let output = upscaler.run(&input);
                        busy += begin.elapsed();
                        match output {
                            Ok(y) => {
                                let done = (window.kept.area() as u64).min(left);
                                left -= done;
                                advance(done);
                                Piece::Window(window, y)
                            }
                            // The others could not run either.
                            Err(e @ Error::Device { .. }) => return Err(e),
                            Err(e) => {
                                failure = Some(e);
                                continue;
                            }
                        }
                    }
                    Piece::End => failure.take().map_or(Piece::End, Piece::Failed),
                    piece => piece,
                };
                let is_last = matches!(piece, Piece::End | Piece::Failed(_));
                sink.send((i, piece)).map_err(|_| gone())?;
                for result in results.try_iter() {
                    in_order.put(result, jobs, report)?;
                }
                if is_last {
                    break;
                }
            }
            advance(left);
        }
        drop(sinks);
        for result in results {
            in_order.put(result, jobs, report)?;
        }
        if in_order.next < jobs.len() { Err(gone()) } else { Ok(()) }
    })?;
    Ok(1.0 - busy.as_secs_f64() / begin.elapsed().as_secs_f64().max(f64::MIN_POSITIVE))
}

/// Opens a job's pictures and cuts them into what the network reads. None where no one receives.
fn feed(upscaler: &Upscaler, job: &Job, sender: &SyncSender<Piece>) -> Option<()> {
    let begin = Instant::now();
    let open = || {
        let frames = Frames::open(&job.input)?;
        let name = job.output.display().to_string();
        let format = Picture::format_for(&name)?;
        frames.check_format(format)?;
        Ok((frames, name, format))
    };
    let (mut frames, name, format) = match open() {
        Ok(opened) => opened,
        Err(e) => return sender.send(Piece::Failed(e)).ok(),
    };
    sender.send(Piece::Begin(begin, frames.sequence(), frames.count())).ok()?;
    let mut next = || -> Result<Option<(Arc<Picture>, u32)>> {
        let Some(frame) = frames.next_frame()? else { return Ok(None) };
        let (scale, picture) = (upscaler.model().scale, frame.picture);
        // What could not be written is not computed.
        Picture::check_encode(&name, picture.width() * scale, picture.height() * scale, picture.channels(), format)?;
        Ok(Some((Arc::new(picture), frame.delay_ms)))
    };
    loop {
        let (picture, delay) = match next() {
            Ok(Some(frame)) => frame,
            Ok(None) => return sender.send(Piece::End).ok(),
            Err(e) => return sender.send(Piece::Failed(e)).ok(),
        };
        sender.send(Piece::Frame(picture.clone(), delay)).ok()?;
        for window in upscaler.windows_of(picture.height(), picture.width()) {
            match upscaler.read(&picture, &window) {
                Ok(x) => sender.send(Piece::Window(window, x)).ok()?,
                Err(e) => return sender.send(Piece::Failed(e)).ok(),
            }
        }
        sender.send(Piece::FrameEnd).ok()?;
    }
}

/// Assembles and writes pictures.
fn finish(
    upscaler: &Upscaler,
    jobs: &[Job],
    compare: Option<&Path>,
    room: &Room,
    receiver: &Receiver<(usize, Piece)>,
    done: &Sender<(usize, Result<Written>)>,
) {
    while let Ok((i, first)) = receiver.recv() {
        let mut arriving = Arriving { receiver, is_over: false };
        let result = match first {
            Piece::Begin(begin, sequence, count) => {
                write(upscaler, &jobs[i].output, compare, begin, (sequence, count), &mut arriving)
            }
            Piece::Failed(e) => {
                arriving.is_over = true;
                Err(e)
            }
            // Nothing else begins a job.
            _ => continue,
        };
        // What still comes of a job that failed here.
        while arriving.next().is_some() {}
        room.give(jobs[i].bytes);
        if done.send((i, result)).is_err() {
            return;
        }
    }
}

/// The pieces of one job.
struct Arriving<'a> {
    receiver: &'a Receiver<(usize, Piece)>,
    is_over: bool,
}

impl Arriving<'_> {
    /// None after the last one.
    fn next(&mut self) -> Option<Piece> {
        if self.is_over {
            return None;
        }
        let piece = self.receiver.recv().map_or(Piece::Failed(Error::Interrupted), |(_, piece)| piece);
        self.is_over = matches!(piece, Piece::End | Piece::Failed(_));
        Some(piece)
    }
}

/// An enlarged picture and the one that it was made from.
struct Enlarged {
    picture: Arc<Picture>,
    out: Picture,
    delay_ms: u32,
    tiles: usize,
}

/// The next picture, assembled; none after the last.
fn assemble(upscaler: &Upscaler, arriving: &mut Arriving) -> Result<Option<Enlarged>> {
    let mut open: Option<Enlarged> = None;
    while let Some(piece) = arriving.next() {
        match piece {
            Piece::Frame(picture, delay_ms) => {
                let out = upscaler.canvas(&picture)?;
                open = Some(Enlarged { picture, out, delay_ms, tiles: 0 });
            }
            Piece::Window(window, y) => {
                if let Some(e) = &mut open {
                    e.tiles += 1;
                    upscaler.write(&e.picture, &mut e.out, &window, &y)?;
                }
            }
            Piece::FrameEnd => return Ok(open),
            Piece::Failed(e) => return Err(e),
            Piece::Begin(..) | Piece::End => return Ok(None),
        }
    }
    Ok(None)
}

/// Writes the file of one job while its pieces arrive.
fn write(
    upscaler: &Upscaler,
    output: &Path,
    compare: Option<&Path>,
    begin: Instant,
    (sequence, count): (Sequence, usize),
    arriving: &mut Arriving,
) -> Result<Written> {
    let Some(first) = assemble(upscaler, arriving)? else { return Err(Error::Interrupted) };
    let (width, height) = (first.out.width(), first.out.height());
    let (mut frames, mut tiles) = (1, first.tiles);
    let name = output.display().to_string();
    let encoding = Encoding::from(Picture::format_for(&name)?);
    crate::files::write_whole(output, crate::files::Existing::Replace, |file| {
        let mut writer = FramesWriter::new(file, &name, &encoding, sequence, count, &first.out)?;
        writer.add(&first.out, first.delay_ms)?;
        while let Some(next) = assemble(upscaler, arriving)? {
            writer.add(&next.out, next.delay_ms)?;
            frames += 1;
            tiles += next.tiles;
        }
        writer.finish()
    })?;
    if let Some(file) = compare {
        side_by_side(&first.picture, &first.out, upscaler.model().scale)?.save(file)?;
    }
    let ms = begin.elapsed().as_secs_f64() * 1e3;
    Ok(Written { width, height, frames, tiles, ms })
}

/// Reports results in the order of the jobs.
struct InOrder {
    next: usize,
    early: BTreeMap<usize, Result<Written>>,
}

impl InOrder {
    fn put(
        &mut self,
        (i, result): (usize, Result<Written>),
        jobs: &[Job],
        report: &mut dyn FnMut(&Job, Result<Written>) -> Result<()>,
    ) -> Result<()> {
        self.early.insert(i, result);
        while let Some(result) = self.early.remove(&self.next) {
            self.next += 1;
            report(&jobs[self.next - 1], result)?;
        }
        Ok(())
    }
}

/// Memory for the pictures on their way. It is given in the order of the jobs, so that the one that is due always has some.
#[derive(Default)]
struct Room {
    taken: Mutex<Taken>,
    changed: Condvar,
}

#[derive(Default)]
struct Taken {
    next: usize,
    bytes: u64,
    is_closed: bool,
}

impl Room {
    /// Waits for the turn of job `i` and for `bytes`; false where the room was closed.
    fn take(&self, i: usize, bytes: u64) -> bool {
        let must_wait = |t: &mut Taken| {
            !t.is_closed && (t.next != i || (t.bytes > 0 && t.bytes.saturating_add(bytes) > IN_FLIGHT_BYTES))
        };
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = self.changed.wait_while(taken, must_wait).unwrap_or_else(PoisonError::into_inner);
        taken.next += 1;
        taken.bytes = taken.bytes.saturating_add(bytes);
        self.changed.notify_all();
        !taken.is_closed
    }

    fn give(&self, bytes: u64) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).bytes -= bytes;
        self.changed.notify_all();
    }

    fn close(&self) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
        self.changed.notify_all();
    }
}

/// Closes the room when it goes.
struct Closing<'a>(&'a Room);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_in_order_and_bounded() {
        let room = Room::default();
        let (sender, receiver) = channel();
        std::thread::scope(|scope| {
            // An assertion that fails ends the threads that wait.
            let _closing = Closing(&room);
            // Started in the wrong order; 2 fits only after 0 or 1 has gone, and 3, larger than all, goes alone.
            let start = |i: usize, bytes: u64| {
                let (room, sender) = (&room, sender.clone());
                scope.spawn(move || {
                    assert!(room.take(i, bytes));
                    sender.send(i).unwrap();
                });
            };
            let wait = Duration::from_millis(50);
            start(3, 3 * IN_FLIGHT_BYTES);
            start(2, IN_FLIGHT_BYTES / 2);
            start(1, IN_FLIGHT_BYTES / 2);
            assert!(receiver.recv_timeout(wait).is_err(), "all must wait for 0");
            start(0, 8);
            // Room is given in order; who was given some may still be overtaken on the way to say so.
            let mut first = [receiver.recv().unwrap(), receiver.recv().unwrap()];
            first.sort_unstable();
            assert_eq!(first, [0, 1]);
            assert!(receiver.recv_timeout(wait).is_err(), "2 must wait");
            room.give(8);
            assert_eq!(receiver.recv().unwrap(), 2);
            room.give(IN_FLIGHT_BYTES / 2);
            assert!(receiver.recv_timeout(wait).is_err(), "3 must wait");
            room.give(IN_FLIGHT_BYTES / 2);
            assert_eq!(receiver.recv().unwrap(), 3);
            scope.spawn(|| assert!(!room.take(9, 1), "a closed room gives nothing"));
            room.close();
        });
    }
}
