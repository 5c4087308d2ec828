//! When a run's steps began and ended, and what the host did meanwhile.

/// What measured a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The adapter's timestamps around each dispatch.
    Timestamps,
    /// The host's clock around a submission a step: includes submitting and waiting.
    Host,
}

impl Clock {
    /// `timestamps` or `host`, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timestamps => "timestamps",
            Self::Host => "host",
        }
    }
}

/// The host's clock: milliseconds since any one moment. Who asks for times hands it in.
pub type Now = fn() -> f64;

/// From when to when, by one clock.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Span {
    /// Milliseconds since that clock's zero.
    pub begin_ms: f64,
    /// Duration; negative where a clock runs backwards.
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
    /// `record`, `submit` or `wait`.
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
    /// Of each row of the profile, in order, since the first one's begin.
    pub spans: Vec<Span>,
    /// What the host did, in order, since the run's begin.
    pub host: Vec<(Phase, Span)>,
    now: Now,
    begin_ms: f64,
}

impl Run {
    /// A run that begins now.
    pub fn begin(now: Now) -> Self {
        Self { spans: Vec::new(), host: Vec::new(), now, begin_ms: now() }
    }

    /// Milliseconds since its begin.
    pub fn now_ms(&self) -> f64 {
        (self.now)() - self.begin_ms
    }

    /// The host was in `phase` from `begin_ms` until now.
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
