//! A stand-in for libnrt, for tests on any machine. The folders in `versions` make libraries of it, one for each
//! version: they differ in what they export.
//!
//! - Device memory is kept apart from the host's, and begins as garbage, so that a missing write or read shows.
//! - `nrt_load` takes the NEFFs that `kernels/neff.py` specifies: their `longhaul.json` names one of our kernels and
//!   its arguments. `nrt_execute` computes it with `longhaul::reference`, with slices, in-place aliasing and tensor
//!   sets as the device has them.
//! - Every argument is checked as strictly as AWS documents it. What no status is documented for is a *violation*: it
//!   is counted, and tests ask that there be none.
//! - Everything allocated and freed is counted (`fake_nrt_counters`).
//! - Any call can be made to fail, to wait, to hang or to lose the device (`fake_nrt_faults`, or `FAKE_NRT_FAULTS`):
//!   see [`faults`].
//!
//! The environment: `FAKE_NRT_CORES` (8) logical cores of the instance, of which `NEURON_RT_VISIBLE_CORES` makes some
//! visible; `FAKE_NRT_HBM` (1 GiB) bytes of memory of each.

mod arrays;
mod attention;
pub mod client;
pub mod control;
mod environment;
mod exports;
pub use exports::types;
pub mod faults;
pub mod ffi;
mod matmul;
mod program;
mod state;
