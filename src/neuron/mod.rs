//! AWS Trainium through libnrt, the Neuron runtime, which is opened at run time: nothing here needs an SDK to build, to
//! document or to test.
//!
//! Layers, each of which sees only the one before it:
//!
//! | module | what |
//! |---|---|
//! | `sys` | the C interface: types and constants, made by bindgen from a header of our own |
//! | [`nrt`] | one function per call of libnrt, with results: which library, which version, what a status means |
//! | [`device`] | safe ownership: [`Runtime`](device::Runtime), [`Core`](device::Core), [`Program`](device::Program), [`DeviceTensor`](device::DeviceTensor), [`TensorSet`](device::TensorSet) |
//! | [`backend`] | the two public kernels on it: [`PackedMatrix`](crate::backend::PackedMatrix) and [`KvPages`](crate::backend::KvPages) |
//!
//! and beside them two that need no device: [`neff`], which reads the file of a compiled program, and [`catalog`],
//! which programs there are. `backend` asks both.
//!
//! **Not run on hardware.** The whole path is tested against a stand-in for libnrt (`tests/fake-nrt`), which holds
//! device memory apart, checks every argument and can fail any call. No Trainium has run it.

pub mod backend;
pub mod catalog;
pub mod device;
mod error;
mod inspect;
pub mod neff;
pub mod nrt;
#[doc(hidden)] // for the stand-in and the tests of the interface; all others call `nrt`
pub mod sys;

pub use error::{Attempt, Failure, NeuronError, Result};
pub use inspect::{Inspection, inspect};
