//! The error type. Messages read: where → what was expected → what came → what to do.

use crate::shape::Shape;

/// The error of every public function of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation refused its shapes or attributes.
    #[error("{node}: {}", .source)]
    Shape {
        node: String,
        #[source]
        source: ShapeError,
    },
    /// The graph was built or used wrongly: an unknown node, a duplicate name, a missing gradient.
    #[error("{node}: {problem}")]
    Graph { node: String, problem: String },
    /// An operation of a [`Draft`](crate::graph::Draft) failed; `at` is the caller's line.
    #[error("{source} (at {at})")]
    At {
        at: String,
        #[source]
        source: Box<Error>,
    },
    /// A shader does not parse, validate, or match its operation.
    #[error("shaders/{file}.wgsl{}: {problem}", at(.entry))]
    Shader { file: String, entry: String, problem: String },
    /// A plan cannot be made or does not fit the adapter.
    #[error("plan: {problem}")]
    Plan { problem: String },
    /// There is no such adapter, or the adapter failed.
    #[error("device: {problem}; {remedy}")]
    Device { problem: String, remedy: String },
    /// A weights file is broken or does not fit the graph.
    #[error("{file}: {problem}")]
    Weights { file: String, problem: String },
    /// A file from another program (ONNX, .npy) is broken or uses features that are not covered.
    #[error("{file}: {problem}")]
    Import { file: String, problem: String },
    /// A network needs values before it runs, such as a shape, which are given only for a run; `needs` names them.
    #[error("{file}: {problem}")]
    Unknown { file: String, problem: String, needs: Vec<String> },
    /// A picture cannot be read, understood or written.
    #[error("{file}: {problem}")]
    Image { file: String, problem: String },
    /// The operating system refused an operation.
    #[error("{file}: {source}")]
    Io {
        file: String,
        #[source]
        source: std::io::Error,
    },
    /// A result differs from the reference by more than f32 arithmetic explains.
    #[error(
        "check: {node} ({entry}) differs at {index}: reference {expected:e}, device {got:e}, allowed {allowed:.1e}"
    )]
    Check { node: String, entry: String, index: String, expected: f64, got: f32, allowed: f64 },
    /// A request makes no sense as given.
    #[error("{0}")]
    Usage(String),
    /// A training step has a loss or a gradient that is not finite; the message names the first value that is not.
    #[error("{0}")]
    NotFinite(String),
    /// A training run stopped early; `kept` says what is saved and how to continue.
    #[error("{source}; {kept}")]
    Stopped {
        #[source]
        source: Box<Error>,
        kept: String,
    },
    /// The user asked to stop.
    #[error("interrupted; nothing half-written was left")]
    Interrupted,
}

fn at(entry: &str) -> String {
    if entry.is_empty() { String::new() } else { format!(" ({entry})") }
}

/// The result type of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation refused its inputs; [`crate::Graph`] adds the node's path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{input} must be {expected}, got {got}")]
pub struct ShapeError {
    /// The input or attribute at fault, e.g. `w` or `stride`.
    pub input: &'static str,
    /// The accepted shape or range, with free dimensions by name: `[Co, Ci=64, 3, 3]`.
    pub expected: String,
    /// What was given instead.
    pub got: String,
}

impl ShapeError {
    /// Creates an error for an input of the wrong shape.
    pub fn shape(input: &'static str, expected: impl Into<String>, got: Shape) -> Self {
        Self { input, expected: expected.into(), got: format!("{got:?}") }
    }
    /// Creates an error for an attribute out of range.
    pub fn value(input: &'static str, expected: impl Into<String>, got: impl ToString) -> Self {
        Self { input, expected: expected.into(), got: got.to_string() }
    }
}

impl Error {
    pub(crate) fn graph(node: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Graph { node: node.into(), problem: problem.into() }
    }
    pub(crate) fn plan(problem: impl Into<String>) -> Self {
        Self::Plan { problem: problem.into() }
    }
    pub(crate) fn device(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Device { problem: problem.into(), remedy: remedy.into() }
    }
    pub(crate) fn weights(file: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Weights { file: file.into(), problem: problem.into() }
    }
    pub(crate) fn import(file: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Import { file: file.into(), problem: problem.into() }
    }
    /// Creates an error for a picture that cannot be used; `problem` says what was expected and what to do.
    pub fn image(file: impl std::fmt::Display, problem: impl Into<String>) -> Self {
        Self::Image { file: file.to_string(), problem: problem.into() }
    }
    /// Creates an error from an operating-system error and the path that it concerns.
    pub fn io(file: impl AsRef<std::path::Path>, source: std::io::Error) -> Self {
        Self::Io { file: file.as_ref().display().to_string(), source }
    }
}
