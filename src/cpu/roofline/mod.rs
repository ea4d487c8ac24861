//! What this machine can do at most, measured now: the roofs that a kernel's figure is compared with (Williams,
//! Waterman and Patterson 2009, "Roofline"). A shared machine changes from minute to minute, so a roof belongs into the
//! run that is compared with it.

mod region;
mod sample;
mod work;

pub use region::fork_join;

use super::arch::{TableVisitor, for_each_table};
use super::buffer::Buffer;
use super::isa::Isa;
use super::machine::cache_bytes;
use sample::Work;
use work::{FirstCache, ReadWay, Reads, Registers, read_ways};

/// Bytes that are read from DRAM, over all threads: more than any cache holds.
const DRAM_BYTES: usize = 5 << 28;

/// A roof.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Roof {
    /// `fma512`, `fma256`, `amx-reg`, `dram`, `l2` and so on; those that end with `-l1` are our own product on operands
    /// in the first cache.
    pub name: &'static str,
    /// `GFLOP/s` or `GB/s`, decimal.
    pub unit: &'static str,
    /// One thread.
    pub one_thread: Rate,
    /// All threads at once.
    pub all_threads: Rate,
}

/// Samples of a rate, in the unit of its roof.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Rate {
    /// The middle sample.
    pub median: f64,
    /// The largest.
    pub best: f64,
}

/// Measures every roof of this machine: the register loop and the first cache of each kernel table, and reads from each
/// level of memory. Takes some seconds and 1.25 GiB.
///
/// # Panics
/// Without a thread.
pub fn measure(n_threads: usize) -> Vec<Roof> {
    roofs(n_threads, |_| true)
}

/// Measures the roofs of these names alone; a name that this machine has no roof for is left out.
/// [`TableStatus`](super::TableStatus) names the roof of a kernel table's arithmetic; `dram`, `l3` and `l2` are the
/// reads.
///
/// # Panics
/// Without a thread.
pub fn measure_named(names: &[&str], n_threads: usize) -> Vec<Roof> {
    roofs(n_threads, |name| names.contains(&name))
}

fn roofs(n_threads: usize, wanted: impl Fn(&str) -> bool) -> Vec<Roof> {
    assert!(n_threads > 0, "a roof is measured with a thread at least");
    let mut roofs = Roofs { n_threads, wanted, found: Vec::new(), reads: None };
    for_each_table(&mut roofs);
    roofs.found.extend(roofs.reads.into_iter().flatten());
    roofs.found
}

/// Collects roofs, table by table.
struct Roofs<F> {
    n_threads: usize,
    wanted: F,
    found: Vec<Roof>,
    /// Reads, measured with the first table alone: they are the machine's, not the table's.
    reads: Option<Vec<Roof>>,
}

impl<F: Fn(&str) -> bool> TableVisitor for Roofs<F> {
    fn visit<I: Isa>(&mut self, table: Result<I, String>) {
        let Ok(isa) = table else { return };
        let n_threads = self.n_threads;
        if (self.wanted)(I::REGISTER_ROOF) {
            self.found.push(Roof::measure(I::REGISTER_ROOF, "GFLOP/s", n_threads, |_| Registers { isa }));
        }
        if (self.wanted)(I::L1_ROOF) {
            self.found.push(Roof::measure(I::L1_ROOF, "GFLOP/s", n_threads, |_| FirstCache::new(isa)));
        }
        let wanted = &self.wanted;
        self.reads.get_or_insert_with(|| {
            let levels = [
                ReadLevel { name: "l2", bytes: cache_bytes(2) / 2, alone_bytes: cache_bytes(2) / 2 },
                ReadLevel { name: "l3", bytes: cache_bytes(2) * 4, alone_bytes: cache_bytes(2) * 4 },
                ReadLevel { name: "dram", bytes: DRAM_BYTES / n_threads, alone_bytes: DRAM_BYTES },
            ];
            let wanted = levels.into_iter().filter(|level| wanted(level.name));
            wanted.map(|level| level.measure(isa, n_threads)).collect()
        });
    }
}

/// A level of memory.
struct ReadLevel {
    name: &'static str,
    /// What each thread reads of it, from end to end, where all do.
    bytes: usize,
    /// What a thread reads that is alone.
    alone_bytes: usize,
}

impl ReadLevel {
    fn measure<I: Isa>(&self, isa: I, n_threads: usize) -> Roof {
        let (len, alone_len) = (self.bytes / 4, self.alone_bytes / 4);
        // As weights, keys and values lie: in huge pages where there are any.
        let mut data: Buffer<f32> = Buffer::zeroed((n_threads * len).max(alone_len));
        data.fill(1.0);
        let all_threads =
            fastest(|way| Rate::measure(n_threads, &|thread| Reads { isa, data: &data[thread * len..][..len], way }));
        let one_thread = match n_threads {
            1 => all_threads,
            _ => fastest(|way| Rate::measure(1, &|_| Reads { isa, data: &data[..alone_len], way })),
        };
        Roof { name: self.name, unit: "GB/s", one_thread, all_threads }
    }
}

/// The rate of the fastest way to read.
fn fastest<I: Isa>(rate: impl Fn(ReadWay<I>) -> Rate) -> Rate {
    read_ways().map(rate).into_iter().max_by(|a, b| a.median.total_cmp(&b.median)).expect("there are several")
}

impl Roof {
    fn measure<W: Work>(
        name: &'static str,
        unit: &'static str,
        n_threads: usize,
        new: impl Fn(usize) -> W + Sync,
    ) -> Self {
        let all_threads = Rate::measure(n_threads, &new);
        let one_thread = if n_threads == 1 { all_threads } else { Rate::measure(1, &new) };
        Self { name, unit, one_thread, all_threads }
    }
}
