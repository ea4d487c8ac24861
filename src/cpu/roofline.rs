//! What this machine can do at most, measured now: the roofs that a kernel's figure is compared with (Williams, Waterman and Patterson 2009,
//! "Roofline"). A shared machine changes from minute to minute, so a roof belongs into the run that is compared with it.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::arch::{TableVisitor, for_each_table};
use super::isa::{Isa, Kernel, LhsElement};
use super::machine::cache_bytes;
use super::product::Product;

/// Samples of each roof.
const SAMPLES: usize = 7;
/// A sample takes about this long.
const SAMPLE_TIME: Duration = Duration::from_millis(40);
/// Bytes that are read from DRAM, over all threads: more than any cache holds.
const DRAM_BYTES: usize = 5 << 28;
/// Streams that a thread reads at once; the best number counts.
const STREAMS: [usize; 4] = [1, 2, 4, 8];
/// Panels and depth of a product whose operands stay in the first cache; its rows are those of a block of attention.
const L1_PANELS: usize = 4;
const L1_DEPTH: usize = 128;

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
    measure_some(n_threads, |_| true)
}

/// Measures the roofs whose names are `wanted`, for a run that compares something with one or two of them.
pub fn measure_some(n_threads: usize, wanted: impl Fn(&str) -> bool) -> Vec<Roof> {
    let mut roofs = Roofs { n_threads, wanted: &wanted, found: Vec::new(), reads: None };
    for_each_table(&mut roofs);
    roofs.found.extend(roofs.reads.into_iter().flatten());
    roofs.found
}

/// Collects roofs, table by table.
struct Roofs<'a> {
    n_threads: usize,
    /// Whether a roof of this name is to be measured.
    wanted: &'a dyn Fn(&str) -> bool,
    found: Vec<Roof>,
    /// Reads, measured with the best table alone: they are the machine's, not the table's.
    reads: Option<Vec<Roof>>,
}

impl TableVisitor for Roofs<'_> {
    fn visit<I: Isa>(&mut self, table: Result<I, String>) {
        let Ok(isa) = table else { return };
        let (n_threads, wanted) = (self.n_threads, self.wanted);
        if wanted(I::REGISTER_ROOF) {
            self.found.push(Roof::measure(I::REGISTER_ROOF, "GFLOP/s", n_threads, |_| Registers { isa }));
        }
        if wanted(I::L1_ROOF) {
            self.found.push(Roof::measure(I::L1_ROOF, "GFLOP/s", n_threads, |_| FirstCache::new(isa)));
        }
        self.reads.get_or_insert_with(|| {
            let levels = [("l2", cache_bytes(2) / 2), ("l3", cache_bytes(2) * 4), ("dram", DRAM_BYTES / n_threads)];
            let levels = levels.into_iter().filter(|(name, _)| wanted(name));
            levels.map(|(name, bytes)| read_roof(isa, name, bytes, n_threads)).collect()
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

/// Something to do again and again.
trait Work {
    /// Does it once; answers what it did, in FLOP or bytes.
    fn once(&mut self) -> usize;
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

impl Rate {
    /// Runs `new(thread)` on each thread in step, sample by sample.
    fn measure<W: Work>(n_threads: usize, new: &(impl Fn(usize) -> W + Sync)) -> Self {
        let (barrier, done) = (Barrier::new(n_threads), AtomicU64::new(0));
        let sampler = |thread: usize| {
            let mut work = new(thread);
            let n_times = times_per_sample(&mut work);
            let sample = |_| {
                done.store(0, Ordering::Relaxed);
                barrier.wait();
                let began = Instant::now();
                let units: usize = (0..n_times).map(|_| work.once()).sum();
                done.fetch_add(units as u64, Ordering::Relaxed);
                barrier.wait();
                let rate = done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64() / 1e9;
                barrier.wait();
                rate
            };
            (0..SAMPLES).map(sample).collect::<Vec<f64>>()
        };
        let mut rates = std::thread::scope(|scope| {
            (1..n_threads).for_each(|thread| drop(scope.spawn(move || drop(sampler(thread)))));
            sampler(0)
        });
        rates.sort_by(f64::total_cmp);
        Self { median: rates[SAMPLES / 2], best: rates[SAMPLES - 1] }
    }
}

/// Calls that take about [`SAMPLE_TIME`], after some that warm caches and clock up.
fn times_per_sample(work: &mut impl Work) -> usize {
    work.once();
    let began = Instant::now();
    let mut n = 0;
    while began.elapsed() < SAMPLE_TIME {
        work.once();
        n += 1;
    }
    n
}

/// Arithmetic that never leaves the registers.
struct Registers<I> {
    isa: I,
}

impl<I: Isa> Work for Registers<I> {
    fn once(&mut self) -> usize {
        self.isa.register_loop()
    }
}

/// Our product, operands in the first cache.
struct FirstCache<I: Isa> {
    isa: I,
    lhs: Vec<I::Lhs>,
    panels: Vec<u16>,
    out: Vec<f32>,
}

impl<I: Isa> FirstCache<I> {
    fn new(isa: I) -> Self {
        Self {
            isa,
            lhs: vec![I::Lhs::default(); I::Lhs::buffer_len(I::ATTENTION_ROWS, L1_DEPTH)],
            panels: vec![0; L1_PANELS * L1_DEPTH * 16],
            out: vec![0.0; I::ATTENTION_ROWS * L1_PANELS * 16],
        }
    }
}

impl<I: Isa> Work for FirstCache<I> {
    fn once(&mut self) -> usize {
        const TIMES: usize = 100;
        let Self { isa, lhs, panels, out } = self;
        isa.run(Repeat { lhs, panels, out, times: TIMES });
        TIMES * 2 * I::ATTENTION_ROWS * L1_PANELS * 16 * L1_DEPTH
    }
}

struct Repeat<'a, L> {
    lhs: &'a [L],
    panels: &'a [u16],
    out: &'a mut [f32],
    times: usize,
}

impl<I: Isa> Kernel<I> for Repeat<'_, I::Lhs> {
    #[inline(always)]
    fn run(self, isa: I) {
        isa.begin_products();
        for _ in 0..self.times {
            isa.product(Product {
                lhs: self.lhs,
                lhs_depth: L1_DEPTH,
                first_row: 0,
                first_k: 0,
                n_rows: I::ATTENTION_ROWS,
                panels: self.panels,
                panel_stride: L1_DEPTH * 16,
                n_panels: L1_PANELS,
                depth: L1_DEPTH,
                out: &mut *self.out,
                out_stride: L1_PANELS * 16,
                accumulate: false,
            });
        }
        isa.end_products();
    }
}

/// Sequential reads in several streams.
struct Reads<'a, I> {
    isa: I,
    data: &'a [f32],
    n_streams: usize,
}

impl<I: Isa> Work for Reads<'_, I> {
    fn once(&mut self) -> usize {
        match self.n_streams {
            1 => self.isa.run(ReadOnce::<1>(self.data)),
            2 => self.isa.run(ReadOnce::<2>(self.data)),
            4 => self.isa.run(ReadOnce::<4>(self.data)),
            _ => self.isa.run(ReadOnce::<8>(self.data)),
        }
        size_of_val(self.data)
    }
}

struct ReadOnce<'a, const STREAMS: usize>(&'a [f32]);

impl<I: Isa, const STREAMS: usize> Kernel<I> for ReadOnce<'_, STREAMS> {
    #[inline(always)]
    fn run(self, isa: I) {
        let (lines, _) = self.0.as_chunks::<16>();
        let len = lines.len() / STREAMS;
        // Eight sums, so that none waits for the last addition to itself.
        let mut sums = [isa.splat(0.0); 8];
        let steps = 8 / STREAMS;
        for first in (0..len / steps * steps).step_by(steps) {
            for stream in 0..STREAMS {
                for step in 0..steps {
                    let sum = &mut sums[stream * steps + step];
                    *sum = isa.add(*sum, isa.load(&lines[stream * len + first + step]));
                }
            }
        }
        let mut lanes = [0.0; 16];
        for sum in sums {
            isa.store(sum, &mut lanes);
            std::hint::black_box(&lanes);
        }
    }
}
