//! The threads of a step, which wait for its parallel regions awake.
//!
//! A step forks hundreds of times, some microseconds apart. To hand such a region to a pool costs more than to wait for
//! the next one: jobs are queued and stolen, and a thread that finds none goes to sleep and must be woken. So for the
//! length of a step some threads are a team: they spin on one word, which says that a region is open and how many of
//! them are inside. A thread that comes late, or never since it has other work, is not waited for: whoever leads the
//! step takes all tasks that nobody else takes. Who waits asks for memory that the next region reads (`next_reads`).
//! The threads are our own (`crew`), or those of an embedder's pool ([`lead_workers`]).

mod crew;
mod next_reads;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

pub use crew::Crew;
pub use next_reads::NextReads;
use rayon::prelude::*;

/// Who takes part in a region.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// 0 leads; no two members of a region have the same number.
    pub number: usize,
    /// The same for a thread from step to step, as far as can be.
    pub seat: usize,
}

/// A member that does not lead.
struct Helper {
    member: Member,
    /// The last region that it took part in, of any step: it takes part in none twice.
    last: u64,
    /// What it will read, as its last job said.
    next: NextReads,
}

impl Helper {
    fn new(member: Member) -> Self {
        Self { member, last: 0, next: NextReads::NONE }
    }
}

/// What a member does in a region. It may answer what the member reads next; what was said before holds otherwise.
type Job<'a> = &'a (dyn Fn(Member) -> Option<NextReads> + Sync);

/// Regions are counted in the word from this bit on, helpers inside below it.
const REGION: u64 = 1 << 16;

/// Looks at the word before a waiting thread lets others run, and looks for a step before a helper of ours sleeps: some
/// 50 us on recent Intel CPUs.
const SPINS: u32 = 1_000;

thread_local! {
    /// The team that this thread leads, while no region is open; null otherwise.
    static LED: Cell<*const Team> = const { Cell::new(ptr::null()) };
}

/// Threads that work on a step.
struct Team {
    /// The leader's seat.
    leader_seat: usize,
    /// Number of openings and closings, odd while a region is open, times [`REGION`]; plus the helpers inside.
    word: AtomicU64,
    /// The open region's job.
    job: UnsafeCell<Job<'static>>,
    /// Number of beginnings and ends of steps: odd while one is under way.
    step: AtomicU64,
    /// What a helper's job panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: the leader alone writes `job`, while no region is open and no helper inside; helpers read it inside an open
// region alone. The word orders the two. Everything else is for sharing.
unsafe impl Sync for Team {}

/// Runs `step` on this thread, with `n_helpers` other threads of its rayon pool ready for [`run`]. Allocates nothing on
/// a thread of a pool.
pub fn lead_workers<R: Send>(n_helpers: usize, step: impl FnOnce() -> R + Send) -> R {
    let member = |number: usize| Member { number, seat: rayon::current_thread_index().unwrap_or(number) };
    let team = Team::new(member(0).seat);
    let begun = team.begin();
    // SAFETY: nobody else knows this team.
    let lead = || unsafe { team.lead(step) };
    let help = || {
        (1..n_helpers + 1)
            .into_par_iter()
            .with_max_len(1)
            .for_each(|number| team.help(begun, &mut Helper::new(member(number))))
    };
    rayon::join(lead, help).0
}

/// Runs `job` on this thread as member 0, and on those helpers of its team that come in time, each with a number of its
/// own. Returns when all are done. Without a team, or inside another region, member 0 is alone.
///
/// # Panics
/// If the job does on any thread.
pub fn run(job: Job<'_>) {
    let led = LED.replace(ptr::null());
    if led.is_null() {
        job(Member { number: 0, seat: 0 });
        return;
    }
    // SAFETY: `Team::lead` put the pointer there, and takes it away before it gives the team back; it runs below us on
    // this thread's stack.
    let team = unsafe { &*led };
    // SAFETY: a lifetime is all that changes. `open` ends with no helper inside, panic or not, so nobody has the job
    // after this function.
    let job = unsafe { std::mem::transmute::<Job<'_>, Job<'static>>(job) };
    // SAFETY: this thread alone leads the team, promised whoever called `Team::lead`; no region is open, since LED was
    // not null, and no helper inside, since the last one was waited for.
    unsafe { *team.job.get() = job };
    team.word.fetch_add(REGION, Ordering::Release);
    let open = Open(team);
    let outcome = catch_unwind(AssertUnwindSafe(|| job(Member { number: 0, seat: team.leader_seat })));
    drop(open);
    // Taken in any case: what is left would come out of a later region.
    let of_helper = team.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(panic) = outcome.err().or(of_helper) {
        resume_unwind(panic);
    }
}

/// This thread leads a team; at its end the step is over, and the helpers go.
struct Led<'a> {
    before: *const Team,
    team: &'a Team,
}

impl Drop for Led<'_> {
    fn drop(&mut self) {
        LED.set(self.before);
        // Release: who sees the end sees all regions closed.
        self.team.step.fetch_add(1, Ordering::Release);
    }
}

/// A region is open; at its end it is closed, and whoever is inside is waited for.
struct Open<'a>(&'a Team);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.word.fetch_add(REGION, Ordering::Release);
        let mut n_looks = 0;
        // Acquire: what the helpers wrote is there when they are gone.
        while !self.0.word.load(Ordering::Acquire).is_multiple_of(REGION) {
            wait(&mut n_looks);
        }
        LED.set(self.0);
    }
}

impl Team {
    /// Nobody's, until somebody leads.
    fn new(leader_seat: usize) -> Self {
        Self {
            leader_seat,
            word: AtomicU64::new(0),
            job: UnsafeCell::new(&|_| None),
            step: AtomicU64::new(0),
            panic: Mutex::new(None),
        }
    }

    /// A step begins, for helpers too; answers its number. Whoever calls this leads next.
    fn begin(&self) -> u64 {
        self.step.fetch_add(1, Ordering::Release) + 1
    }

    /// Runs the step that has begun as its leader.
    ///
    /// # Safety
    /// Nobody else leads this team meanwhile.
    unsafe fn lead<R>(&self, step: impl FnOnce() -> R) -> R {
        let _led = Led { before: LED.replace(self), team: self };
        step()
    }

    /// Takes part in every region that is seen open, until the step `begun` is over; one who comes late may do so in
    /// the first of the next step.
    fn help(&self, begun: u64, helper: &mut Helper) {
        let mut n_looks = 0;
        // Acquire: a helper that leaves has seen every region of the step closed.
        while self.step.load(Ordering::Acquire) == begun {
            let word = self.word.load(Ordering::Relaxed);
            let region = word / REGION;
            let fresh = region % 2 == 1 && region != helper.last;
            // Acquire: the leader wrote the job before it opened the region.
            if fresh && self.word.compare_exchange(word, word + 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                // SAFETY: this thread is inside an open region, so nobody writes the job.
                let job = unsafe { *self.job.get() };
                match catch_unwind(AssertUnwindSafe(|| job(helper.member))) {
                    Ok(next) => helper.next = next.unwrap_or(helper.next),
                    Err(panic) => *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic),
                }
                self.word.fetch_sub(1, Ordering::Release);
                (helper.last, n_looks) = (region, 0);
            } else if helper.next.ask() == 0 {
                wait(&mut n_looks);
            }
        }
    }
}

/// Spins at first, and then lets other threads run.
fn wait(n_looks: &mut u32) {
    *n_looks += 1;
    if *n_looks < SPINS {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}
