//! The definition of every operation and of a whole step, in f64: naive, readable, and the only oracle. Every backend
//! and kernel table is compared with it on the same cases; it knows nothing of pages, chunks, threads or packing.
//!
//! Inputs are ordinary arrays, outputs are new ones, and shapes that disagree panic: this is for tests, with contexts
//! up to 64 tokens or so. NaN and infinity go through operations as IEEE 754 says; what an operation does not read
//! cannot change its result.

mod attention;
mod ops;
mod step;

pub use attention::{Attention, attention};
pub use ops::{log_softmax, matmul, rms_norm, rope, silu_gate, softmax};
pub use step::{step, stored};

#[cfg(test)]
mod tests;
