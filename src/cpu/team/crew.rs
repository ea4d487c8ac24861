//! Threads of our own that take part in steps, and sleep between them.
//!
//! Whoever asks for a step leads it on the thread it is on. To enter a pool from outside instead is to sleep until a
//! thread of the pool has been woken, has run the step and wakes the caller: as long as a small product takes
//! (DESIGN.md, "Threads of a step").

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use super::{Helper, Member, SPINS, Team};

/// One leader at a time, and the threads that help.
pub struct Crew {
    shared: Arc<Shared>,
    /// From member 1 on.
    helpers: VecDeque<JoinHandle<()>>,
    /// Held by who leads.
    leading: Mutex<()>,
    /// Held by who leads next: a leader that comes back at once does not overtake it.
    next: Mutex<()>,
}

struct Shared {
    team: Team,
    /// There will be no more steps.
    closing: AtomicBool,
}

/// Whom a member wakes: two each, so that many are awake soon.
type Woken = [Option<Thread>; 2];

impl Crew {
    /// Threads for steps on `n_threads`, the leader's among them.
    ///
    /// # Errors
    /// What the operating system says if it gives no thread.
    pub fn new(n_threads: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared { team: Team::new(0), closing: AtomicBool::new(false) });
        let mut crew = Self { shared, helpers: VecDeque::new(), leading: Mutex::default(), next: Mutex::default() };
        // The last first, for members 2i + 1 and 2i + 2 are woken by member i.
        for number in (1..n_threads).rev() {
            let (shared, woken) = (crew.shared.clone(), crew.woken_by(number));
            let helper = thread::Builder::new().name(format!("longhaul-{number}"));
            crew.helpers.push_front(helper.spawn(move || shared.serve(number, &woken))?);
        }
        Ok(crew)
    }

    /// Whom member `number` wakes, where helpers are those from `number + 1` on.
    fn woken_by(&self, number: usize) -> Woken {
        [number, number + 1].map(|i| self.helpers.get(i).map(|helper| helper.thread().clone()))
    }

    /// Runs `step` on this thread, with the helpers ready for [`run`](super::run). Several threads that lead take
    /// turns; so a step must not lead another one of the same crew, nor wait for rayon, which may have one in hand.
    /// Allocates nothing.
    pub fn lead<R>(&self, step: impl FnOnce() -> R) -> R {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let _leading = self.leading.lock().unwrap_or_else(PoisonError::into_inner);
        drop(next);
        self.shared.team.begin();
        // Whom [`Crew::woken_by`] names for member 0, without new handles.
        self.helpers.iter().take(2).for_each(|helper| helper.thread().unpark());
        // SAFETY: `leading` is held until the step is over.
        unsafe { self.shared.team.lead(step) }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // Relaxed: the flag is all there is to see.
        self.shared.closing.store(true, Ordering::Relaxed);
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // A job's panic was caught and went to the leader.
            let _ = helper.join();
        }
    }
}

impl Shared {
    /// A helper's life: asleep, but for steps and a little after each, when the next is likely.
    fn serve(&self, number: usize, woken: &Woken) {
        let (mut helper, mut n_looks) = (Helper::new(Member { number, seat: number }), 0);
        while !self.closing.load(Ordering::Relaxed) {
            let step = self.team.step.load(Ordering::Acquire);
            if !step.is_multiple_of(2) {
                woken.iter().flatten().for_each(Thread::unpark);
                self.team.help(step, &mut helper);
                n_looks = 0;
            } else if n_looks < SPINS {
                n_looks += 1;
                std::hint::spin_loop();
            } else {
                thread::park();
                n_looks = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use super::super::tests::run;
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
    fn a_step_that_panics_is_over() {
        let crew = Crew::new(2).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| crew.lead(|| panic!("as told")))).is_err());
        let met = Barrier::new(2);
        crew.lead(|| {
            run(&|_| {
                met.wait();
            })
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
