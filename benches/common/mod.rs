//! What the kernels' benches share: who is asked, how a case is timed, and what share of its roof it reached.

mod arguments;
mod roofs;

use std::time::{Duration, Instant};

use criterion::Criterion;
use longhaul::backend::Backend;
use longhaul::cpu::trial::{Bound, Cost, Trial};
use longhaul::cpu::{self, CpuOptions, TableStatus};
use longhaul::emulation::Arithmetic;

pub use arguments::n_filters;
pub use roofs::Roofs;

const SAMPLES: usize = 10;

/// Criterion as all kernels use it.
pub fn criterion() -> Criterion {
    let criterion = Criterion::default().sample_size(SAMPLES);
    criterion.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(200))
}

/// A kernel table with a number of threads.
#[derive(Clone, Copy)]
pub struct Setup {
    pub table: &'static str,
    /// The roof of its arithmetic.
    pub roof: &'static str,
    pub n_threads: usize,
}

impl Setup {
    /// All that a filter may choose from: every table of this machine, with one thread and with all. Without a filter
    /// it is the chosen table (or the one that `LONGHAUL_ISA` forces) with all threads.
    pub fn all() -> Vec<Self> {
        let forced = cpu::forced_table();
        let chosen = |t: &TableStatus| forced.as_deref().map_or(t.chosen, |name| t.name == name);
        let wanted = |t: &TableStatus| t.available && (n_filters() > 0 || chosen(t));
        let n_threads = cpu::machine().threads_allowed;
        let threads = if n_filters() > 0 && n_threads > 1 { vec![1, n_threads] } else { vec![n_threads] };
        let tables: Vec<_> = cpu::tables().into_iter().filter(wanted).collect();
        assert!(!tables.is_empty(), "{}: no table {forced:?} on this machine", cpu::TABLE_VARIABLE);
        tables
            .into_iter()
            .flat_map(|t| threads.iter().map(move |&n_threads| Self { table: t.name, roof: t.roof, n_threads }))
            .collect()
    }

    pub fn open(&self) -> Box<dyn Backend> {
        let options =
            CpuOptions { table: Some(self.table.into()), threads: Some(self.n_threads), ..Default::default() };
        cpu::open(&options).expect("the table is there")
    }

    /// `amx/2-threads`
    pub fn name(&self) -> String {
        format!("{}/{}-threads", self.table, self.n_threads)
    }
}

/// How the kernel table of this name rounds: `avx2`, or `cpu/avx2` as its backend is called.
pub fn arithmetic(table: &str) -> Arithmetic {
    Arithmetic::of_table(table.trim_start_matches("cpu/")).expect("the emulation knows every table")
}

/// Times one case if it is selected, and prints its share of the roof, or without `roofs` how many bytes it goes over.
/// `ready` makes it ready, compares it with the emulation, and is called for selected cases alone.
pub fn time<T: Trial>(
    criterion: &mut Criterion,
    mut roofs: Option<&mut Roofs>,
    name: &str,
    setup: &Setup,
    cost: Cost,
    ready: impl Fn(&dyn Backend) -> T,
) {
    let (mut trial, mut samples) = (None, Vec::new());
    criterion.bench_function(&format!("{name}/{}", setup.name()), |bencher| {
        let trial = trial.get_or_insert_with(|| {
            // Before the case, so that its threads find the machine as the case will.
            roofs.iter_mut().for_each(|roofs| roofs.refresh(setup));
            ready(&*setup.open())
        });
        bencher.iter_custom(|n_times| {
            let began = Instant::now();
            (0..n_times).for_each(|_| trial.call().expect("shapes agree"));
            let took = began.elapsed();
            samples.push(took / n_times as u32);
            took
        });
    });
    // Those before the last are the warm-up's.
    let mut samples = samples.split_off(samples.len().saturating_sub(SAMPLES));
    samples.sort();
    if let Some(&median) = samples.get(samples.len() / 2) {
        let report = match roofs {
            Some(roofs) => report(&cost, median, samples[0], &roofs.ceiling(setup), setup),
            None => format!("{:.1} GB/s (best {:.1})", cost.gbytes(median), cost.gbytes(samples[0])),
        };
        println!("{:24}{report}", "");
    }
}

fn report(cost: &Cost, median: Duration, best: Duration, ceiling: &cpu::trial::Ceiling, setup: &Setup) -> String {
    let rate = match cost.share(median, ceiling).map(|share| share.of) {
        Some(Bound::Memory) => format!("{:.1} GB/s (best {:.1})", cost.gbytes(median), cost.gbytes(best)),
        _ => format!("{:.1} GFLOP/s (best {:.1})", cost.gflops(median), cost.gflops(best)),
    };
    match (cost.share(median, ceiling), cost.share(best, ceiling)) {
        (Some(share), Some(best)) => {
            let (roof, height) = match share.of {
                Bound::Memory => ("dram", format!("{:.1} GB/s", ceiling.memory)),
                Bound::Arithmetic => (setup.roof, format!("{:.1} GFLOP/s", ceiling.arithmetic)),
            };
            let (median, best) = (100.0 * share.share, 100.0 * best.share);
            format!("{rate}: {median:.1}% (best {best:.1}%) of {roof}, {height}")
        }
        _ => format!("{rate}: no roof is measured for integers"),
    }
}
