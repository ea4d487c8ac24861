//! Runs a plan on an engine: its sessions in threads, its subagents as forks, every turn measured.

mod interrupt;
mod live;
mod stateless;
mod turn;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

pub use interrupt::Interrupt;

use super::plan::{Plan, Prompt, SessionPlan, TurnPlan};
use super::record::{SessionRecord, TurnRecord, ms};
use super::tokens::Minter;
use crate::engine::{Engine, EngineStats, Session};
use crate::error::Result;

/// Hears how a replay goes on, from many threads.
pub trait Observer: Sync {
    /// `n` tokens of the plan's [work](Plan::work_tokens) are done.
    fn advance(&self, n: u64);

    /// A turn ended.
    fn turn_ended(&self, record: &TurnRecord);
}

/// Everything that a replay measured.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// Turns, in the order in which they were accepted.
    pub turns: Vec<TurnRecord>,
    /// Sessions, in the order of the plan.
    pub sessions: Vec<SessionRecord>,
    /// From the first session's start to the last one's end.
    pub wall: Duration,
    /// Counters of the engine before.
    pub before: EngineStats,
    /// Counters of the engine when the last session had ended.
    pub after: EngineStats,
    /// Counters once every retained prefix was dropped too: all pages must be free again.
    pub emptied: EngineStats,
    /// Whether it was cut short.
    pub interrupted: bool,
}

/// Runs `plan` to its end or to its interruption.
///
/// A session whose turn fails ends there, as its later prompts would build on what was never computed; all others go
/// on. A subagent that the operating system has no thread for fails; of sessions fewer run at once then.
///
/// # Errors
/// When the engine cannot drop its retained prefixes. What a turn suffers stands in its record.
pub fn run(engine: &Engine, plan: &Plan, interrupt: &Interrupt, observer: &dyn Observer) -> Result<Replayed> {
    let replay = Replay {
        engine,
        interrupt,
        observer,
        minter: Minter::new(plan.seed, engine.info().config.vocab),
        began: Instant::now(),
        log: Mutex::default(),
    };
    let before = engine.stats();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(session) = plan.sessions.get(next.fetch_add(1, Ordering::Relaxed)) {
            replay.session(session, None);
        }
    };
    std::thread::scope(|scope| {
        for n_threads in 0..plan.concurrency.min(plan.sessions.len()) {
            if let Err(error) = Builder::new().spawn_scoped(scope, work) {
                tracing::warn!(n_threads, %error, "fewer sessions at once than planned");
                // Who there is takes the sessions that are left, this thread too.
                return work();
            }
        }
    });
    let wall = replay.began.elapsed();
    let after = engine.stats();
    engine.drop_retained()?;
    let Log { mut turns, mut sessions } = replay.log.into_inner().unwrap_or_else(|e| e.into_inner());
    turns.sort_by(|a, b| a.start_ms.total_cmp(&b.start_ms));
    sessions.sort_by_key(|s| s.session);
    Ok(Replayed { turns, sessions, wall, before, after, emptied: engine.stats(), interrupted: interrupt.is_set() })
}

/// What all threads of a run share.
struct Replay<'a> {
    engine: &'a Engine,
    interrupt: &'a Interrupt,
    observer: &'a dyn Observer,
    minter: Minter,
    began: Instant,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    turns: Vec<TurnRecord>,
    sessions: Vec<SessionRecord>,
}

impl Replay<'_> {
    /// Runs one session to its end, as a fork of `parent` if it opens with one.
    fn session(&self, plan: &SessionPlan, parent: Option<Result<live::Forked>>) {
        // A session whose first turn did not fit has none.
        if plan.turns.is_empty() || !self.interrupt.wait_until(self.began + plan.start) {
            return;
        }
        let start_ms = self.now_ms();
        let stateless = matches!(plan.turns.first().map(|t| &t.prompt), Some(Prompt::Whole { .. } | Prompt::Blocks(_)));
        let completed_turns = if stateless { self.stateless(plan) } else { self.live(plan, parent) };
        let record = SessionRecord {
            session: plan.idx,
            group: plan.group,
            start_ms,
            end_ms: self.now_ms(),
            completed_turns,
            planned_turns: plan.turns.len(),
        };
        self.log().sessions.push(record);
    }

    /// Idles before a turn; `false` if the run was interrupted.
    fn wait(&self, turn: &TurnPlan) -> bool {
        self.interrupt.wait_until(Instant::now() + turn.wait)
    }

    /// A session of the plan's tenant.
    fn open(&self, plan: &SessionPlan) -> Result<Session> {
        self.engine.session(crate::engine::SessionOptions { tenant: plan.tenant.clone(), ..Default::default() })
    }

    /// Keeps a turn's record; whether the session may go on.
    fn keep(&self, record: TurnRecord) -> bool {
        let done = record.is_done();
        self.observer.turn_ended(&record);
        self.log().turns.push(record);
        done
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn now_ms(&self) -> f64 {
        ms(self.began.elapsed())
    }
}
