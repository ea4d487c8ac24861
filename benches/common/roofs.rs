//! The roofs of this run, measured anew when they are old: a shared machine changes from minute to minute. The highest
//! of the run counts, for what a kernel can be above is no roof.

use std::time::{Duration, Instant};

use longhaul::cpu::roofline;
use longhaul::cpu::trial::Ceiling;

use super::Setup;

/// After this long a roof is measured again.
const OLD: Duration = Duration::from_secs(20);

/// What was measured, by table and threads.
#[derive(Default)]
pub struct Roofs(Vec<(&'static str, usize, Instant, Ceiling)>);

impl Roofs {
    /// Measures the roofs of `setup` unless that was done a moment ago, and prints them.
    pub fn refresh(&mut self, setup: &Setup) {
        let key = (setup.roof, setup.n_threads);
        if self.0.iter().any(|(roof, n_threads, at, _)| (*roof, *n_threads) == key && at.elapsed() < OLD) {
            return;
        }
        let found = roofline::measure_named(&[setup.roof, "dram"], setup.n_threads);
        let rate = |name: &str| found.iter().find(|r| r.name == name).expect("every table has its roof").all_threads;
        let (arithmetic, memory) = (rate(setup.roof), rate("dram"));
        println!(
            "roofs, {} threads: {} {:.1} GFLOP/s (best {:.1}), dram {:.1} GB/s (best {:.1})",
            setup.n_threads, setup.roof, arithmetic.median, arithmetic.best, memory.median, memory.best
        );
        let before = self.0.iter().position(|(roof, n_threads, ..)| (*roof, *n_threads) == key);
        let before = before.map(|i| self.0.swap_remove(i).3).unwrap_or(Ceiling { arithmetic: 0.0, memory: 0.0 });
        let ceiling =
            Ceiling { arithmetic: arithmetic.median.max(before.arithmetic), memory: memory.median.max(before.memory) };
        self.0.push((setup.roof, setup.n_threads, Instant::now(), ceiling));
    }

    /// The highest roofs that [`Roofs::refresh`] has measured for `setup`.
    pub fn ceiling(&self, setup: &Setup) -> Ceiling {
        let found = self.0.iter().find(|(roof, n_threads, ..)| (*roof, *n_threads) == (setup.roof, setup.n_threads));
        found.expect("roofs are measured before a case").3
    }
}
