//! longhaul: an inference core for long-horizon agents.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod backend;
pub mod cpu;
pub mod dtype;
pub mod error;
pub mod reference;
pub mod spec;

pub use error::{Error, Result};
