//! Overlaps decoding, computing and encoding: threads before and after the adapter, connected by bounded queues.
//!
//! Picture i is decoded by one of the reading threads, goes through the adapter window by window in the order of the jobs, and
//! is assembled and written by one of the writing threads. The index i determines the threads, so results and their order do
//! not depend on the number of threads. All frames of an animation go through the same threads, in order.

use super::super::interrupt;
use super::super::out::{self, note};
use super::side_by_side;
use super::targets::{Input, Output};
use crate::error::{Error, Result};
use crate::files::{self, Existing};
use crate::tensor::Tensor;
use crate::train::threads;
use crate::vision::image::{Encoding, Frames, FramesWriter, Picture, Sequence};
use crate::vision::tasks::upscale::{Canvas, Chain, Passage, Step, Window};
use std::collections::BTreeMap;
use std::io::{Cursor, Seek, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// Capacity of a queue in pieces, mostly windows.
const AHEAD: usize = 2;

/// Maximum number of default threads on each side of the adapter.
const MAX_THREADS: usize = 16;

/// Maximum bytes of pictures in flight, inputs and results together; a larger picture runs alone.
const IN_FLIGHT_BYTES: u64 = 1 << 30;

/// Largest window that is computed quickly, so that a long wait for it means that the driver is compiling.
const QUICK_PX: usize = 512 * 512;

/// Wait for the first window after which the user is told about compiling.
const PATIENCE: Duration = Duration::from_millis(1000);

/// A picture to enlarge.
pub struct Job {
    pub input: Input,
    pub output: Output,
    pub encoding: Encoding,
    /// Pixels of the result in all its frames, for the progress bar; 0 if the header cannot be read.
    pub pixels: u64,
    /// Bytes of the input and result samples that are in flight at a time.
    pub bytes: u64,
}

/// Describes a written file.
pub struct Written {
    pub width: usize,
    pub height: usize,
    pub frames: usize,
    /// How the frames relate to each other.
    pub sequence: Sequence,
    pub tiles: usize,
    /// From reading the file to having written the result.
    pub ms: f64,
}

/// Threads on each side of the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads {
    pub read: usize,
    pub write: usize,
}

impl Threads {
    /// Returns one thread per core on each side, at most `MAX_THREADS`.
    pub fn of_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MAX_THREADS);
        Self { read: cores, write: cores }
    }
}

/// Settings shared by all jobs.
pub struct Work<'a> {
    pub chain: &'a Chain,
    pub existing: Existing,
    /// File that shows the only job's result beside the bicubic enlargement.
    pub compare: Option<&'a Path>,
    pub threads: Threads,
}

/// An item in the queues. Each job sends its start time, the kind of its sequence and the number of pictures; then, for each
/// picture, the picture with its delay in ms, its windows, and an end with the number of windows that were run; then an end.
/// Before the adapter, a window's tensor is the first network's input; after it, the last network's output.
enum Piece {
    Begin(Instant, Sequence, usize),
    Frame(Arc<Picture>, u32),
    Window(Window, Tensor),
    FrameEnd(usize),
    End,
    Failed(Error),
}

/// Enlarges every job's picture. Calls `advance` with the number of pixels just done, and `report` with each job's result in
/// the order of `jobs`; an error of `report` ends everything. Returns the share of time that the adapter waited, 0..1.
///
/// # Errors
/// Those of `report`; the device fails; Ctrl-C. Any other error becomes the result of its job.
pub fn run(
    work: &Work,
    jobs: &[Job],
    advance: &dyn Fn(u64),
    report: &mut dyn FnMut(&Job, Result<Written>) -> Result<()>,
) -> Result<f64> {
    if jobs.is_empty() {
        return Ok(0.0);
    }
    let [readers, writers] = [work.threads.read, work.threads.write].map(|n| n.clamp(1, jobs.len()));
    log::info!("threads: {readers} to read, {writers} to write");
    let room = Room::default();
    let mut adapter = Adapter { has_begun: false, busy: Duration::ZERO };
    let begin = Instant::now();
    std::thread::scope(|scope| {
        // Every exit from this closure closes the queues and the room, so that the threads end.
        let _closing = Closing(&room);
        let (mut feeds, mut sinks) = (Vec::new(), Vec::new());
        for k in 0..readers {
            let (sender, receiver) = sync_channel(AHEAD);
            feeds.push(receiver);
            let room = &room;
            let read = move || {
                for (i, job) in jobs.iter().enumerate().skip(k).step_by(readers) {
                    if !room.take(i, job.bytes) || feed(work.chain, job, &sender).is_none() {
                        return;
                    }
                }
            };
            Builder::new().spawn_scoped(scope, read).map_err(|e| threads::refused(&e))?;
        }
        let (done, results) = channel();
        for _ in 0..writers {
            let (sender, receiver) = sync_channel(AHEAD);
            sinks.push(sender);
            let (room, done) = (&room, done.clone());
            let write = move || finish(work, jobs, room, &receiver, &done);
            Builder::new().spawn_scoped(scope, write).map_err(|e| threads::refused(&e))?;
        }
        drop(done);
        let mut in_order = InOrder { next: 0, early: BTreeMap::new() };
        for (i, job) in jobs.iter().enumerate() {
            let feed = &feeds[i % readers];
            let mut passing = Passing {
                i,
                chain: work.chain,
                sink: &sinks[i % writers],
                passage: None,
                tiles: 0,
                left: job.pixels,
                advance,
            };
            let mut failure = None;
            loop {
                interrupt::check()?;
                let piece = feed.recv().map_err(|_| gone())?;
                let is_last = matches!(piece, Piece::End | Piece::Failed(_));
                if !is_last && failure.is_some() {
                    continue;
                }
                let piece = match (piece, failure.take()) {
                    (Piece::End, Some(e)) => Piece::Failed(e),
                    (piece, _) => piece,
                };
                failure = adapter.take(piece, &mut passing)?.err();
                for result in results.try_iter() {
                    in_order.put(result, jobs, report)?;
                }
                if is_last {
                    break;
                }
            }
            advance(passing.left);
        }
        drop(sinks);
        for result in results {
            in_order.put(result, jobs, report)?;
        }
        if in_order.next < jobs.len() { Err(gone()) } else { Ok(()) }
    })?;
    Ok(1.0 - adapter.busy.as_secs_f64() / begin.elapsed().as_secs_f64().max(f64::MIN_POSITIVE))
}

fn gone() -> Error {
    Error::Usage("a thread that reads or writes pictures ended; see its message above".into())
}

/// Runs the networks.
struct Adapter {
    has_begun: bool,
    busy: Duration,
}

/// A job on its way from one queue to the other.
struct Passing<'a> {
    i: usize,
    chain: &'a Chain,
    sink: &'a SyncSender<(usize, Piece)>,
    /// Passage of the current frame.
    passage: Option<Passage<'a>>,
    /// Windows that were run for the current frame.
    tiles: usize,
    /// Pixels of the job not yet reported to `advance`.
    left: u64,
    advance: &'a dyn Fn(u64),
}

impl Adapter {
    /// Runs a piece and passes its result on. The inner error concerns only this job.
    fn take(&mut self, piece: Piece, passing: &mut Passing) -> Result<Result<()>> {
        match (piece, &mut passing.passage) {
            (Piece::Window(window, input), Some(passage)) => {
                let patience = self.patience(&input);
                let begin = Instant::now();
                let step = passage.run(window, &input);
                self.busy += begin.elapsed();
                if patience.is_some() {
                    log::debug!("the first window took {}", out::duration(begin.elapsed().as_secs_f64()));
                }
                match step {
                    Ok(step) => passing.pass(step)?,
                    // Other jobs could not run either.
                    Err(e @ Error::Device { .. }) => return Err(e),
                    Err(e) => return Ok(Err(e)),
                }
            }
            // The networks after the first.
            (Piece::FrameEnd(_), Some(_)) => loop {
                interrupt::check()?;
                let begin = Instant::now();
                let step = passing.passage.as_mut().map_or(Ok(None), Passage::step);
                self.busy += begin.elapsed();
                match step {
                    Ok(Some(step)) => passing.pass(step)?,
                    Ok(None) => {
                        passing.send(Piece::FrameEnd(passing.tiles))?;
                        break;
                    }
                    Err(e @ Error::Device { .. }) => return Err(e),
                    Err(e) => return Ok(Err(e)),
                }
            },
            (Piece::Frame(picture, delay), _) => {
                passing.passage = Some(passing.chain.begin(picture.height(), picture.width()));
                passing.tiles = 0;
                passing.send(Piece::Frame(picture, delay))?;
            }
            (piece, _) => passing.send(piece)?,
        }
        Ok(Ok(()))
    }

    /// Returns a guard to hold while the first window runs, for which the driver compiles the shaders. If the guard is held for
    /// long, the user is told.
    fn patience(&mut self, input: &Tensor) -> Option<Sender<()>> {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        if !is_first || input.data().len() > QUICK_PX {
            return None;
        }
        let (ready, compiled) = channel::<()>();
        // If the system refuses the thread, the run continues without the message.
        let _ = Builder::new().spawn(move || {
            if compiled.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                note!("compiling shaders; if the driver caches them, the next run starts faster");
            }
        });
        Some(ready)
    }
}

impl Passing<'_> {
    fn send(&self, piece: Piece) -> Result<()> {
        self.sink.send((self.i, piece)).map_err(|_| gone())
    }

    fn pass(&mut self, step: Step) -> Result<()> {
        self.tiles += 1;
        let Step::Last(window, y) = step else { return Ok(()) };
        let scale = self.chain.scale();
        let part = scale.as_f64() / self.chain.product() as f64;
        let done = ((window.kept.area() as f64 * part * part) as u64).min(self.left);
        self.left -= done;
        (self.advance)(done);
        self.send(Piece::Window(window, y))
    }
}

/// Opens a job's pictures and cuts them into inputs of the first network. Returns `None` if nobody receives.
fn feed(chain: &Chain, job: &Job, sender: &SyncSender<Piece>) -> Option<()> {
    let begin = Instant::now();
    let name = job.output.name();
    let open = || {
        let frames = job.input.open()?;
        frames.check_format(job.encoding.format)?;
        Ok(frames)
    };
    let mut frames: Frames = match open() {
        Ok(opened) => opened,
        Err(e) => return sender.send(Piece::Failed(e)).ok(),
    };
    sender.send(Piece::Begin(begin, frames.sequence(), frames.count())).ok()?;
    let mut next = || -> Result<Option<(Arc<Picture>, u32)>> {
        let Some(frame) = frames.next_frame()? else { return Ok(None) };
        let picture = frame.picture;
        let [height, width] = chain.size(picture.height(), picture.width());
        // Do not compute what could not be written.
        Picture::check_encode(&name, width, height, picture.channels(), job.encoding.format)?;
        Ok(Some((Arc::new(picture), frame.delay_ms)))
    };
    loop {
        let (picture, delay) = match next() {
            Ok(Some(frame)) => frame,
            Ok(None) => return sender.send(Piece::End).ok(),
            Err(e) => return sender.send(Piece::Failed(e)).ok(),
        };
        sender.send(Piece::Frame(picture.clone(), delay)).ok()?;
        let first = chain.first();
        for window in first.windows_of(picture.height(), picture.width()) {
            match first.read(&picture, &window) {
                Ok(x) => sender.send(Piece::Window(window, x)).ok()?,
                Err(e) => return sender.send(Piece::Failed(e)).ok(),
            }
        }
        sender.send(Piece::FrameEnd(0)).ok()?;
    }
}

/// Assembles and writes pictures.
fn finish(
    work: &Work,
    jobs: &[Job],
    room: &Room,
    receiver: &Receiver<(usize, Piece)>,
    done: &Sender<(usize, Result<Written>)>,
) {
    while let Ok((i, first)) = receiver.recv() {
        let mut arriving = Arriving { receiver, is_over: false };
        let result = match first {
            Piece::Begin(begin, sequence, count) => write(work, &jobs[i], begin, (sequence, count), &mut arriving),
            Piece::Failed(e) => {
                arriving.is_over = true;
                Err(e)
            }
            // No other piece begins a job.
            _ => continue,
        };
        // Drain the remaining pieces of a job that failed here.
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
    /// Returns the next piece, or `None` after the last one.
    fn next(&mut self) -> Option<Piece> {
        if self.is_over {
            return None;
        }
        let piece = self.receiver.recv().map_or(Piece::Failed(Error::Interrupted), |(_, piece)| piece);
        self.is_over = matches!(piece, Piece::End | Piece::Failed(_));
        Some(piece)
    }
}

/// An enlarged picture and its source.
struct Enlarged {
    picture: Arc<Picture>,
    out: Picture,
    delay_ms: u32,
    tiles: usize,
}

/// Assembles the next picture, or returns `None` after the last.
fn assemble(chain: &Chain, arriving: &mut Arriving) -> Result<Option<Enlarged>> {
    let mut open: Option<(Arc<Picture>, Canvas, u32)> = None;
    while let Some(piece) = arriving.next() {
        match piece {
            Piece::Frame(picture, delay) => {
                let canvas = chain.canvas(&picture)?;
                open = Some((picture, canvas, delay));
            }
            Piece::Window(window, y) => {
                if let Some((picture, canvas, _)) = &mut open {
                    canvas.put(picture, &window, &y)?;
                }
            }
            Piece::FrameEnd(tiles) => {
                let done = |(picture, canvas, delay_ms): (_, Canvas, _)| Enlarged {
                    picture,
                    out: canvas.finish(),
                    delay_ms,
                    tiles,
                };
                return Ok(open.map(done));
            }
            Piece::Failed(e) => return Err(e),
            Piece::Begin(..) | Piece::End => return Ok(None),
        }
    }
    Ok(None)
}

/// Writes the file of one job while its pieces arrive.
fn write(
    work: &Work,
    job: &Job,
    begin: Instant,
    (sequence, count): (Sequence, usize),
    arriving: &mut Arriving,
) -> Result<Written> {
    let Some(first) = assemble(work.chain, arriving)? else { return Err(Error::Interrupted) };
    let mut written = Written {
        width: first.out.width(),
        height: first.out.height(),
        frames: 1,
        sequence,
        tiles: first.tiles,
        ms: 0.0,
    };
    let mut rest = || {
        let next = assemble(work.chain, arriving)?;
        written.frames += usize::from(next.is_some());
        written.tiles += next.as_ref().map_or(0, |next| next.tiles);
        Ok(next)
    };
    match &job.output {
        Output::File(path) => {
            files::write_whole(path, work.existing, |file| encode(file, job, (sequence, count), &first, &mut rest))?
        }
        Output::Stdout => {
            let mut bytes = Cursor::new(Vec::new());
            encode(&mut bytes, job, (sequence, count), &first, &mut rest)?;
            out::data(bytes.get_ref())?;
        }
    }
    if let Some(path) = work.compare {
        let format = Picture::format_for(&path.display().to_string())?;
        let both = side_by_side(&first.picture, &first.out, &work.chain.bicubic())?;
        both.save_as(path, &Encoding { format, ..job.encoding }, work.existing)?;
    }
    written.ms = begin.elapsed().as_secs_f64() * 1e3;
    Ok(written)
}

/// Writes `count` pictures: `first` and those that `rest` returns.
fn encode(
    file: impl Write + Seek,
    job: &Job,
    (sequence, count): (Sequence, usize),
    first: &Enlarged,
    rest: &mut dyn FnMut() -> Result<Option<Enlarged>>,
) -> Result<()> {
    let mut writer = FramesWriter::new(file, &job.output.name(), &job.encoding, sequence, count, &first.out)?;
    writer.add(&first.out, first.delay_ms)?;
    while let Some(next) = rest()? {
        writer.add(&next.out, next.delay_ms)?;
    }
    writer.finish()
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

/// Memory for pictures in flight. It is granted in the order of the jobs, so that the job that is due always has some.
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
    /// Waits for the turn of job `i` and for `bytes`. Returns false if the room was closed.
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

/// Closes the room when dropped.
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
            // If an assertion fails, this ends the waiting threads.
            let _closing = Closing(&room);
            // Started in the wrong order; 2 fits only after 0 or 1 has gone, and 3, larger than the limit, runs alone.
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
            // Room is granted in order, but the threads may report it in another order.
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
