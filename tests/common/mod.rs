//! The kernel tables of this machine.

use longhaul::backend::Backend;
use longhaul::cpu::{self, CpuOptions};

/// Every kernel table that this machine has, on two threads; the one that `LONGHAUL_ISA` says, if it says one.
pub fn backends() -> Vec<Box<dyn Backend>> {
    let forced = std::env::var(cpu::TABLE_VARIABLE).ok();
    let wanted = |name: &str| forced.as_deref().is_none_or(|forced| forced == name);
    cpu::tables().into_iter().filter(|t| t.available && wanted(t.name)).map(|t| open(t.name, 2)).collect()
}

/// One kernel table on some threads.
pub fn open(table: &str, n_threads: usize) -> Box<dyn Backend> {
    cpu::open(&CpuOptions { table: Some(table.into()), threads: Some(n_threads), ..Default::default() }).unwrap()
}
