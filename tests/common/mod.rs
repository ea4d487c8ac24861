//! The kernel tables of this machine.

use longhaul::backend::Backend;
use longhaul::cpu::{self, CpuOptions};

/// Every kernel table that this machine has, on two threads.
pub fn backends() -> Vec<Box<dyn Backend>> {
    cpu::tables().into_iter().filter(|t| t.available).map(|t| open(t.name, 2)).collect()
}

/// One kernel table on some threads.
pub fn open(table: &str, n_threads: usize) -> Box<dyn Backend> {
    cpu::open(&CpuOptions { table: Some(table.into()), threads: Some(n_threads), ..Default::default() }).unwrap()
}
