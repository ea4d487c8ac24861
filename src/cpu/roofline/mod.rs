//! What this machine can do at most, measured now: the roofs that a kernel's figure is compared with (Williams, Waterman and Patterson 2009,
//! "Roofline"). A shared machine changes from minute to minute, so a roof belongs into the run that is compared with it.

mod region;
mod sample;
mod work;

pub use region::fork_join;

use super::arch::{TableVisitor, for_each_table};
use super::isa::Isa;
use super::machine::cache_bytes;
use sample::Work;
use work::{FirstCache, Reads, Registers};

/// Bytes that are read from DRAM, over all threads: more than any cache holds.
const DRAM_BYTES: usize = 5 << 28;
/// Streams that a thread reads at once; the best number counts.
const STREAMS: [usize; 4] = [1, 2, 4, 8];

/// A roof.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Roof {
    /// `fma512`, `fma256`, `amx-reg`, `dram`, `l2` and so on; those that end with `-l1` are our own product on operands in the first cache.
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

/// Measures every roof of this machine: the register loop and the first cache of each kernel table, and reads from each level of memory.
/// Takes some seconds and 1.25 GiB.
pub fn measure(n_threads: usize) -> Vec<Roof> {
    roofs(n_threads, |_| true)
}

/// Measures the roofs of these names alone; a name that this machine has no roof for is left out. [`TableStatus`](super::TableStatus) names
/// the roof of a kernel table's arithmetic; `dram`, `l3` and `l2` are the reads.
pub fn measure_named(names: &[&str], n_threads: usize) -> Vec<Roof> {
    roofs(n_threads, |name| names.contains(&name))
}

fn roofs(n_threads: usize, wanted: impl Fn(&str) -> bool) -> Vec<Roof> {
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
            let levels = [("l2", cache_bytes(2) / 2), ("l3", cache_bytes(2) * 4), ("dram", DRAM_BYTES / n_threads)];
            let wanted = levels.into_iter().filter(|(name, _)| wanted(name));
            wanted.map(|(name, bytes)| read_roof(isa, name, bytes, n_threads)).collect()
        });
    }
}

/// Sequential reads of `bytes` by each thread, with the number of streams that reads fastest.
fn read_roof<I: Isa>(isa: I, name: &'static str, bytes: usize, n_threads: usize) -> Roof {
    let data = vec![1.0f32; n_threads * bytes / 4];
    let by_streams = STREAMS.map(|n_streams| {
        let part = |thread: usize| &data[thread * bytes / 4..][..bytes / 4];
        Roof::measure(name, "GB/s", n_threads, |thread| Reads { isa, data: part(thread), n_streams })
    });
    let rate = |roof: &Roof| roof.all_threads.median;
    by_streams.into_iter().max_by(|a, b| rate(a).total_cmp(&rate(b))).expect("there are several")
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
