//! longhaul: an inference core for long-horizon agents.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod backend;
pub mod cpu;
pub mod dtype;
pub mod emulation;
pub mod engine;
pub mod error;
pub mod kv;
pub mod reference;
pub mod spec;
#[cfg(feature = "text")]
pub mod text;
#[cfg(feature = "cli")]
pub mod workload;

pub use error::{Error, Result};
