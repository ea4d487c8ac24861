//! Safe ownership of what libnrt gives: a runtime, its cores, and the programs, tensors and tensor sets on them.
//!
//! ```no_run
//! use longhaul::neuron::device::Runtime;
//!
//! # fn main() -> Result<(), longhaul::neuron::NeuronError> {
//! let core = Runtime::start()?.core(0)?;
//! let program = core.load("double", &std::fs::read("double.neff").unwrap())?;
//! let (x, y) = (core.allocate("x", 4096)?, core.allocate("y", 4096)?);
//! let (mut inputs, mut outputs) = (core.tensor_set()?, core.tensor_set()?);
//! inputs.bind("x", &x)?;
//! outputs.bind("y", &y)?;
//! x.write_elements(0, &[1.0_f32; 1024])?;
//! program.execute(&inputs, &outputs)?;
//! let mut result = [0.0_f32; 1024];
//! y.read_elements(0, &mut result)?;
//! # Ok(())
//! # }
//! ```
//!
//! **Lifetimes.** Everything holds the runtime, so it closes last. A set holds the tensors that it was given.
//!
//! **Dropping** never panics. What fails then is parked, and the next call of the runtime, whatever it is, returns it
//! instead of running. What could not be freed is still there, so the runtime is not closed then: closing over it is
//! unsafe, and the process's end does as well.
//!
//! **A fatal status** ([`Fault::is_fatal`](crate::error::Fault::is_fatal)) loses the device to this process. Every
//! later call returns that failure at once ([`NeuronError::Lost`](super::NeuronError::Lost)) and calls nothing; what is
//! dropped is left to the process's end, since unloading and closing could hang. `DESIGN.md` says what a supervisor
//! does then.
//!
//! **Threads.** AWS documents executing from several threads and loading from several (see [`nrt`](super::nrt)), so
//! handles may move between threads. It says nothing about two threads in one tensor or set. Therefore every call about
//! something on a core is made under that core's lock: one thread at a time per core, any number over cores. That costs
//! no throughput: a core runs one program at a time.

mod core;
mod element;
mod health;
mod program;
mod runtime;
mod set;
mod tensor;

pub use core::Core;
pub use element::Element;
pub use program::Program;
pub use runtime::Runtime;
pub use set::TensorSet;
pub use tensor::DeviceTensor;
