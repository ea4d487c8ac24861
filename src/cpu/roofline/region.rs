//! What it costs to hand work to all threads and to wait for them.

use std::time::{Duration, Instant};

use crate::cpu::parallel::{Pool, for_each_task};
use crate::error::Result;

/// Samples, of which the middle one counts, and regions of each.
const SAMPLES: usize = 15;
const REGIONS: u32 = 200;
/// What each thread does in a region, and one thread between two: as in a decode step of a small model. Without work
/// the thread that forks would have done all of it before another is there.
const TASK: Duration = Duration::from_micros(50);
const GAP: Duration = Duration::from_micros(2);

/// Time that a parallel region takes beyond the work of its longest task: what each fork and join of a step costs.
///
/// # Errors
/// [`Error::Unavailable`](crate::Error::Unavailable) if there can be no pool of `n_threads`.
pub fn fork_join(n_threads: usize) -> Result<Duration> {
    let pool = Pool::new(n_threads)?;
    let mut states = vec![(); n_threads];
    let mut samples: Vec<Duration> = (0..SAMPLES)
        .map(|_| {
            pool.run_step(|| {
                let began = Instant::now();
                for _ in 0..REGIONS {
                    work_for(GAP);
                    for_each_task(&mut states, n_threads, |_, _| work_for(TASK));
                }
                (began.elapsed() / REGIONS).saturating_sub(GAP + TASK)
            })
        })
        .collect();
    samples.sort();
    Ok(samples[SAMPLES / 2])
}

/// Keeps the thread busy.
fn work_for(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}
