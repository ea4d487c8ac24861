//! The Neuron runtime, all of it but the hardware: every call goes through the C interface into a stand-in for libnrt
//! (`tests/fake-nrt`), which runs the programs that it is given, checks every argument and fails on demand.
//!
//! The runtime is initialised once per process, so each test runs in a process of its own: this executable starts
//! itself again.

mod api;
#[path = "../common/compiled.rs"]
mod compiled;
#[path = "../common/tiny.rs"]
mod families;
mod golden;
mod isolated;
mod kernel_cases;
mod loss;
mod opening;
mod programs;
mod scenario;
mod sweep;
mod threads;
#[path = "../session/tiny.rs"]
#[allow(dead_code)] // other tests use the rest
mod tiny;
mod versions;
