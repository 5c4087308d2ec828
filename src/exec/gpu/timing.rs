//! Runs whose steps are timed; a session records them separately, on request.

use super::super::timing::{Clock, Now, Phase, Run, Span};
use super::session::{Command, GpuSession};
use crate::error::Result;
use crate::plan::Plan;
use crate::tensor::Tensor;

impl GpuSession {
    /// Returns what times the steps.
    pub fn clock(&self) -> Clock {
        self.gpu.clock()
    }

    /// Runs once and returns the time of every step and of the copies before it, in order: timestamps if the adapter has them,
    /// otherwise host time around one submission each. Inputs that are not given keep their values.
    ///
    /// # Errors
    /// The adapter fails.
    pub async fn time(&self, plan: &Plan, inputs: &[(usize, &Tensor)], now: Now) -> Result<Run> {
        let _turn = self.take_turn()?;
        self.gpu.scoped("uploading", || self.upload(plan, inputs)).await?;
        let timed = self.commands.iter().flat_map(|command| {
            let copies = (!command.copies.is_empty()).then_some(Timed::Copies(command));
            copies.into_iter().chain([Timed::Dispatch(command)])
        });
        let run = self.time_all(&timed.collect::<Vec<_>>(), now).await?;
        self.tell_overwritten();
        Ok(run)
    }

    /// Returns the time that the adapter's copy command takes for the first `bytes` from one buffer's slot to another's.
    ///
    /// # Errors
    /// The adapter fails.
    pub async fn time_copy(&self, from: usize, to: usize, bytes: u64, now: Now) -> Result<Run> {
        let _turn = self.take_turn()?;
        self.time_all(&[Timed::Buffer { from, to, bytes }], now).await
    }

    async fn time_all(&self, timed: &[Timed<'_>], now: Now) -> Result<Run> {
        // Uploads go first, so that no row includes their time.
        let uploaded = self.gpu.scoped("uploading", || self.gpu.queue.submit([])).await?;
        self.gpu.wait(uploaded)?;
        match self.gpu.timestamp_ns {
            Some(ns) => self.time_by_timestamps(timed, ns, now).await,
            None => self.time_by_host(timed, now).await,
        }
    }

    async fn time_by_timestamps(&self, timed: &[Timed<'_>], tick_ns: f32, now: Now) -> Result<Run> {
        // Metal keeps at most 4096 samples in a set; small sets are safe everywhere.
        const SPANS_PER_SET: usize = 256;
        let mut run = Run::begin(now);
        let mut zero = None;
        for timed in timed.chunks(SPANS_PER_SET) {
            let n = 2 * timed.len() as u32;
            let bytes = 8 * u64::from(n);
            let (set, resolved, readback) = self
                .gpu
                .scoped("allocating timestamps", || {
                    let set = self.gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                        label: None,
                        ty: wgpu::QueryType::Timestamp,
                        count: n,
                    });
                    let resolve_usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
                    let read_usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
                    let buffer = |usage| self.gpu.buffer("timestamps", bytes, usage);
                    (set, buffer(resolve_usage), buffer(read_usage))
                })
                .await?;
            let begin_ms = run.now_ms();
            let recorded = self
                .gpu
                .scoped("recording", || {
                    let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
                    for (i, timed) in timed.iter().enumerate() {
                        self.record_timed(&mut encoder, timed, Some((&set, 2 * i as u32)));
                    }
                    encoder.resolve_query_set(&set, 0..n, &resolved, 0);
                    encoder.copy_buffer_to_buffer(&resolved, 0, &readback, 0, bytes);
                    encoder.finish()
                })
                .await?;
            run.spent(Phase::Record, begin_ms);
            self.submit_timed(&mut run, recorded).await?;
            let ticks: Vec<u64> = self.gpu.map(&readback, bytemuck::pod_collect_to_vec).await?;
            let zero = *zero.get_or_insert(ticks[0]);
            // As signed numbers, so that a clock that runs backwards is noticed.
            let ms = |from: u64, to: u64| to.wrapping_sub(from) as i64 as f64 * f64::from(tick_ns) / 1e6;
            run.spans.extend(ticks.chunks(2).map(|t| Span { begin_ms: ms(zero, t[0]), ms: ms(t[0], t[1]) }));
        }
        Ok(run)
    }

    async fn time_by_host(&self, timed: &[Timed<'_>], now: Now) -> Result<Run> {
        let mut run = Run::begin(now);
        for timed in timed {
            let begin_ms = run.now_ms();
            let recorded = self
                .gpu
                .scoped("recording", || {
                    let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
                    self.record_timed(&mut encoder, timed, None);
                    encoder.finish()
                })
                .await?;
            run.spent(Phase::Record, begin_ms);
            let begin_ms = run.now_ms();
            self.submit_timed(&mut run, recorded).await?;
            run.spans.push(Span { begin_ms, ms: run.now_ms() - begin_ms });
        }
        Ok(run)
    }

    async fn submit_timed(&self, run: &mut Run, recorded: wgpu::CommandBuffer) -> Result<()> {
        let begin_ms = run.now_ms();
        let submission = self.gpu.scoped("submitting", || self.gpu.queue.submit([recorded])).await?;
        run.spent(Phase::Submit, begin_ms);
        let begin_ms = run.now_ms();
        self.gpu.wait(submission)?;
        run.spent(Phase::Wait, begin_ms);
        Ok(())
    }

    /// Records `timed` between the timestamps `first` and `first + 1` of a set.
    fn record_timed(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        timed: &Timed<'_>,
        stamps: Option<(&wgpu::QuerySet, u32)>,
    ) {
        let writes = |first: bool, last: bool| {
            stamps.map(|(query_set, index)| wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: first.then_some(index),
                end_of_pass_write_index: last.then_some(index + 1),
            })
        };
        let pass = |timestamp_writes| wgpu::ComputePassDescriptor { label: None, timestamp_writes };
        if let Timed::Dispatch(command) = timed {
            command.record(&mut encoder.begin_compute_pass(&pass(writes(true, true))));
            return;
        }
        // A copy is not a pass: empty passes around it hold its timestamps.
        if stamps.is_some() {
            drop(encoder.begin_compute_pass(&pass(writes(true, false))));
        }
        match timed {
            Timed::Copies(command) => self.copy(encoder, command),
            Timed::Buffer { from, to, bytes } => {
                let (from, to) = (self.place(*from), self.place(*to));
                encoder.copy_buffer_to_buffer(&from.buffer, from.offset, &to.buffer, to.offset, *bytes);
            }
            Timed::Dispatch(_) => {}
        }
        if stamps.is_some() {
            drop(encoder.begin_compute_pass(&pass(writes(false, true))));
        }
    }
}

/// What is timed.
enum Timed<'a> {
    /// The copies to textures before a step.
    Copies(&'a Command),
    Dispatch(&'a Command),
    /// A copy from slot to slot.
    Buffer {
        from: usize,
        to: usize,
        bytes: u64,
    },
}
