//! How a rate is sampled: the same work on each thread, in step.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Rate;

/// Samples of each roof.
const SAMPLES: usize = 7;
/// A sample takes about this long.
const SAMPLE_TIME: Duration = Duration::from_millis(40);

/// Something to do again and again.
pub trait Work {
    /// Does it once; answers what it did, in FLOP or bytes.
    fn once(&mut self) -> usize;
}

impl Rate {
    /// Runs `new(thread)` on each thread in step, sample by sample.
    pub(super) fn measure<W: Work>(n_threads: usize, new: &(impl Fn(usize) -> W + Sync)) -> Self {
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
