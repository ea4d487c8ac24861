//! Threads of our own that take part in steps, and sleep between them.
//!
//! Whoever asks for a step leads it on the thread it is on. To enter a pool from outside instead means to sleep until a thread of the pool is done, and
//! to be woken twice, which took 40 to 70 us a step (DESIGN.md, "Threads of a step"): as long as a decode step of a small layer.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use super::{Member, SPINS, Team};

/// One leader at a time, and the threads that help.
pub struct Crew {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// Held by who leads.
    leading: Mutex<()>,
}

struct Shared {
    team: Team,
    /// Helper `i + 1` of the team.
    helpers: OnceLock<Box<[Thread]>>,
    /// There will be no more steps.
    closing: AtomicBool,
}

impl Crew {
    /// Threads for steps on `n_threads`, the leader's among them.
    ///
    /// # Errors
    /// What the operating system says if it gives no thread.
    pub fn new(n_threads: usize) -> io::Result<Self> {
        let shared = Shared { team: Team::new(0), helpers: OnceLock::new(), closing: AtomicBool::new(false) };
        let mut crew = Self { shared: Arc::new(shared), helpers: Vec::new(), leading: Mutex::default() };
        for number in 1..n_threads {
            let shared = crew.shared.clone();
            let helper = thread::Builder::new().name(format!("longhaul-{number}"));
            crew.helpers.push(helper.spawn(move || shared.serve(number))?);
        }
        crew.shared.helpers.get_or_init(|| crew.helpers.iter().map(|helper| helper.thread().clone()).collect());
        Ok(crew)
    }

    /// Runs `step` on this thread, with the helpers ready for [`run`](super::run). Several threads that lead take turns; so a step must not lead another one of
    /// the same crew. Allocates nothing.
    pub fn lead<R>(&self, step: impl FnOnce() -> R) -> R {
        if self.helpers.is_empty() {
            return step();
        }
        let _leading = self.leading.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.team.lead(|| {
            self.shared.wake_after(0);
            step()
        })
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // A job's panic was caught and went to the leader.
            let _ = helper.join();
        }
    }
}

impl Shared {
    /// A helper's life: asleep, but for steps and a little after each, when the next is likely.
    fn serve(&self, number: usize) {
        let mut n_looks = 0;
        while !self.closing.load(Ordering::Acquire) {
            if !self.team.over.load(Ordering::Acquire) {
                self.wake_after(number);
                self.team.help(Member { number, seat: number });
                n_looks = 0;
            } else if n_looks < SPINS {
                n_looks += 1;
                std::hint::spin_loop();
            } else {
                thread::park();
            }
        }
    }

    /// Wakes two members for each, so that many are awake soon.
    fn wake_after(&self, number: usize) {
        let helpers = self.helpers.get().expect("a crew leads when it is whole");
        for next in [2 * number + 1, 2 * number + 2] {
            if let Some(helper) = helpers.get(next - 1) {
                helper.unpark();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use super::super::run;
    use super::*;

    #[test]
    fn all_helpers_come_to_every_step_however_long_they_slept() {
        for n_threads in [1, 2, 3, 6] {
            let (crew, met) = (Crew::new(n_threads).unwrap(), Barrier::new(n_threads));
            for pause_us in [0, 10, 2_000, 0] {
                thread::sleep(std::time::Duration::from_micros(pause_us));
                crew.lead(|| {
                    run(&|_| {
                        met.wait();
                    })
                });
            }
        }
    }

    #[test]
    fn leaders_take_turns() {
        let (crew, inside) = (Crew::new(2).unwrap(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        crew.lead(|| {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            run(&|_| ());
                            inside.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_anywhere_comes_out_and_leaves_the_crew_usable() {
        let (crew, met) = (Crew::new(2).unwrap(), Barrier::new(2));
        for culprit in [0, 1] {
            let job = |member: Member| {
                met.wait();
                assert_ne!(member.number, culprit, "as told");
            };
            assert!(catch_unwind(AssertUnwindSafe(|| crew.lead(|| run(&job)))).is_err());
        }
        crew.lead(|| {
            run(&|_| {
                met.wait();
            })
        });
    }
}
