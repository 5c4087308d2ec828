//! When the steps of a run began and ended, and what the host did in the meantime.

/// What measured a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The adapter's timestamps around each dispatch.
    Timestamps,
    /// The host's clock around one submission per step, which includes submitting and waiting.
    Host,
}

impl Clock {
    /// Returns `timestamps` or `host`, for programs to read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timestamps => "timestamps",
            Self::Host => "host",
        }
    }
}

/// The host's clock: milliseconds since an arbitrary fixed moment. The caller who asks for times supplies it.
pub type Now = fn() -> f64;

/// An interval by one clock.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Span {
    /// Milliseconds since the zero of that clock.
    pub begin_ms: f64,
    /// Duration in milliseconds; negative if the clock runs backwards.
    pub ms: f64,
}

impl Span {
    pub fn end_ms(&self) -> f64 {
        self.begin_ms + self.ms
    }
}

/// What the host does for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Encoding commands.
    Record,
    /// Handing them to the driver.
    Submit,
    /// Waiting until they are done.
    Wait,
}

impl Phase {
    /// Returns `record`, `submit` or `wait`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Submit => "submit",
            Self::Wait => "wait",
        }
    }
}

/// One timed run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// The time of each row of the profile, in order, since the first one began.
    pub spans: Vec<Span>,
    /// What the host did, in order, since the run began.
    pub host: Vec<(Phase, Span)>,
    now: Now,
    begin_ms: f64,
}

impl Run {
    /// Creates a run that begins now.
    pub fn begin(now: Now) -> Self {
        Self { spans: Vec::new(), host: Vec::new(), now, begin_ms: now() }
    }

    /// Returns the milliseconds since the run began.
    pub fn now_ms(&self) -> f64 {
        (self.now)() - self.begin_ms
    }

    /// Records that the host was in `phase` from `begin_ms` until now.
    pub fn spent(&mut self, phase: Phase, begin_ms: f64) {
        self.host.push((phase, Span { begin_ms, ms: self.now_ms() - begin_ms }));
    }

    pub fn host_ms(&self, phase: Phase) -> f64 {
        self.host.iter().filter(|(p, _)| *p == phase).map(|(_, s)| s.ms).sum()
    }

    pub fn total_ms(&self) -> f64 {
        self.spans.iter().map(|s| s.ms).sum()
    }
}
