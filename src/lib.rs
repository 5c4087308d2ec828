//! lineament: a GPU compute engine written by hand in Rust and WGSL, and face-analysis systems built on it.
//!
//! It runs and trains convolutional networks on any adapter that wgpu reaches (Vulkan, Metal, DX12, WebGPU, or Mesa's
//! lavapipe if there is no GPU), and on f64 references if there is no adapter at all.
//!
//! ```no_run
//! use lineament::prelude::*;
//!
//! # fn main() -> Result<()> {
//! let device = Device::open(&Select::Default)?; // or by name, by index, or Select::Cpu
//! let network = device.network(Params::fresh(1), |g| {
//!     let x = g.input("x");
//!     let y = x.conv("conv1", 32, 3, Conv2d::same(3)).relu().conv("conv2", 1, 3, Conv2d::same(3)) + x;
//!     g.output("y", y);
//!     g.loss("error", || y.mse(g.input("t"), Reduction::Mean)); // in training only
//! });
//! let (x, t) = (Tensor::filled([4, 1, 64, 64], 0.5), Tensor::filled([4, 1, 64, 64], 0.4));
//! let mut training = network.train(Optimizer::adam())?;
//! training.step(1e-3, &[("x", &x), ("t", &t)])?;
//! let y = network.run(&[("x", &Tensor::filled([1, 1, 128, 96], 0.5))])?; // plans and compiles for each new size
//! println!("{:?}", y["y"].shape());
//! # Ok(())
//! # }
//! ```
//!
//! # How data flows
//!
//! A graph says what to compute, a plan says how, and a session runs it:
//!
//! ```text
//! graph ──fuse──▶ graph ──select, schedule, memory──▶ plan ──compile──▶ session: tensors in, tensors out
//!   ▲                          ▲                                           │
//!  ops: formula, derivative,   shader: what the WGSL                    lab: check, profile, tune
//!       cost, kernels          declares                                   │
//!                              plan::Choices ◀──────── measurements ───────┘
//! ```
//!
//! # Rooms
//!
//! A room names only rooms above it in this list; `tests/tidy.rs` checks this.
//!
//! - [`error`], [`tensor`], [`layout`], [`rng`], [`weights`]: the foundation.
//! - [`ops`]: an operation is one `.rs` file (formula, shapes, f64 reference, derivative, cost, cases) with its plain kernel,
//!   `shaders/<operation>/plain.wgsl`, and one line in `src/ops/mod.rs`. [`ops::kernel`](mod@ops::kernel) defines what a kernel is: a WGSL file
//!   and the function that launches it. A faster kernel has its own pair of files, and may be for adapters of one family only;
//!   `shaders/shared` holds what several shaders have in common.
//! - [`graph`]: nodes with paths and shapes, which are checked when they are added. [`graph::grad`] appends gradient nodes to the
//!   same graph; `methods.rs` lists the built-in operations. A [`Var`] is a node to compute with, of a [`Draft`] that keeps errors.
//! - [`shader`]: reads from the WGSL, with naga, what each entry reads and writes, where the members of `p` lie, and how a
//!   tensor is laid out. None of this is repeated in Rust.
//! - [`plan`]: passes from a graph to steps over slots, plain data that prints as a table, with exact peak memory.
//!   [`plan::Plan::verify`] checks a plan from its steps alone.
//! - [`exec`]: runs a plan on an adapter (`gpu`) or on the references (`cpu`); a [`Network`] has a session for each input size.
//! - [`vectors`]: the nearest of a set of vectors, clusters, principal components, classes by the nearest, and quintuplets.
//! - [`lab`]: judges kernels and plans. [`lab::check`] compares every step with its reference, and [`lab::faults`] puts the
//!   check to the test; [`lab::profile`] and [`lab::roof`] measure times; [`lab::tune`] measures which shader serves a layer fastest;
//!   `lab::isa` reads the machine code for GPUs that are not there.
//! - [`import`]: networks and arrays made by other programs, and weight files. A reader makes an [`import::model::Model`] of a file,
//!   and [`import::lower`] has a function for each operator that adds it to a graph or, if its inputs are known, evaluates it.
//! - [`train`]: forward pass, backward pass and one update of all parameters, which lie in one buffer, as a single plan; resumed
//!   runs match uninterrupted ones bit for bit. A [`train::Training`] is a [`Network`] that learns.
//! - [`vision`]: the products. [`image`] reads and writes pictures, [`vision::boxes`] are where something was found, [`models`] are networks,
//!   [`tasks`] turn a picture into a result, [`metrics`] measure how good it is, and `vision::training` trains the models.
//! - `cli`: one file per command.
//!
//! # Invariants
//!
//! `tests/tidy.rs` and the tests of each room enforce them.
//!
//! 1. Only `src/exec/gpu` names `wgpu::`; only `src/shader` names `naga::`.
//! 2. A [`plan::Plan`] is data, without handles or closures; equal graphs have equal plans. What does not fit is rejected, and
//!    the error gives the number.
//! 3. Everything except `exec::gpu` works without an adapter.
//! 4. A device is a demand: there is no silent fallback.
//! 5. Anything random takes a seed. Only lab, training and the command line read the clock.
//! 6. Nothing that a user or a file supplies causes a panic. Errors say where, what was expected, what came, and what to do.
//! 7. Kernels stay within WebGPU's default limits. No dispatch is planned to take over 250 ms, and no thread to iterate more often than the
//!    adapter allows ([`ops::Launch::loops`]).
//! 8. Within one dispatch, a tensor that is read and one that is written never share memory.
//! 9. The WGSL type of a variable is its memory layout: `array<f32>` and `array<vec4<f32>>` are rows, which a plan may store as f16, `texture_storage_2d<r32float>` is
//!    rows as texels, and `texture_storage_2d<rgba32float>` is channel quads.
//! 10. Every kernel is tested on every case that it serves, on adapters of either family.
//! 11. There are no float atomics, and every sum has a fixed order: the same device gives the same bits.
//!
//! # Reading path for an afternoon (about 2,000 lines)
//!
//! 1. `src/ops/relu.rs` with `shaders/relu/plain.wgsl`: the whole contract; then `src/ops/mod.rs` and `kernel.rs`: the traits.
//! 2. `src/graph/grad.rs`: reverse mode as more nodes of the same graph.
//! 3. `src/plan/mod.rs`, then the passes `lower.rs`, `select.rs`, `memory.rs`: from nodes to steps over slots.
//! 4. `src/exec/cpu.rs`: runs a plan without an adapter; `src/exec/session.rs`: runs it on either.
//! 5. `src/lab/judge.rs`: when a kernel is correct, and why the check can be trusted.

#![deny(unsafe_code)]
// Without the command line, the library contains items that only it or another feature uses.
#![cfg_attr(not(feature = "cli"), allow(dead_code, unused_imports))]
#![warn(missing_debug_implementations)]

pub mod error;
#[cfg(feature = "files")]
mod files;
pub mod layout;
pub mod rng;
mod shape;
mod table;
pub mod tensor;
mod threads;
pub mod weights;

pub mod ops;

pub mod graph;

pub mod shader;

pub mod plan;

pub mod exec;

pub mod vectors;

#[cfg(feature = "lab")]
pub mod lab;

pub mod import;

#[cfg(feature = "train")]
pub mod train;

#[cfg(feature = "image")]
pub mod vision;

#[cfg(feature = "cli")]
pub mod cli;

pub use error::{Error, Result, ShapeError};
pub use exec::{Device, Network, Outputs, Params, Select, Session};
pub use graph::{Draft, Graph, NodeId, Var};
pub use tensor::{Shape, Tensor};
#[cfg(feature = "image")]
pub use vision::image::{self, Picture};
#[cfg(feature = "vision")]
pub use vision::{metrics, models, tasks};
pub use weights::Weights;

/// What a program that builds, runs and trains networks needs: `use lineament::prelude::*`.
pub mod prelude {
    pub use crate::error::{Error, Result};
    pub use crate::exec::{Device, Network, Outputs, Params, Select};
    pub use crate::graph::{Draft, Init, Layer, Var};
    pub use crate::ops::conv2d::Conv2d;
    pub use crate::ops::loss::Reduction;
    pub use crate::plan::Precision;
    pub use crate::rng::Rng;
    pub use crate::tensor::{DType, Shape, Tensor};
    #[cfg(feature = "train")]
    pub use crate::train::{Decay, Folder, Hooks, Job, Loader, Optimizer, Progress, Rule, Schedule, Training};
    pub use crate::weights::Weights;
}

/// Compiles the Rust code in README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct Readme;

/// Compiles the Rust code in the pages of docs.
#[cfg(doctest)]
#[doc = include_str!("../docs/network.md")]
#[derive(Debug)]
pub struct Pages;
