//! How far the work is, on everything that takes over a second: bars on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use longhaul::workload::Observer;
use longhaul::workload::record::TurnRecord;

/// Time between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// How progress is told on stderr.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Bars that redraw themselves.
    Bars,
    /// A line every ten seconds, for logs.
    Lines,
    /// Not at all.
    Silent,
}

impl Progress {
    /// Nothing beside JSON; else what stderr can show.
    pub fn new(json: bool) -> Self {
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Self::Silent,
            (false, true) => Self::Bars,
            (false, false) => Self::Lines,
        }
    }
}

/// A spinner with the time it has taken, on a terminal.
pub fn spinner(progress: Progress, message: String) -> ProgressBar {
    if progress != Progress::Bars {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(message);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// A bar over a replay's tokens, with rate and time left.
pub struct ReplayBar {
    bar: ProgressBar,
    n_turns: usize,
    /// When the last line was written, where lines are.
    last_line: Option<Mutex<Instant>>,
}

impl ReplayBar {
    /// Over `n_tokens` of work in `n_turns` turns.
    pub fn new(progress: Progress, n_tokens: u64, n_turns: usize) -> Self {
        let target = match progress {
            Progress::Bars => ProgressDrawTarget::stderr(),
            Progress::Lines | Progress::Silent => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(n_tokens), target);
        let template = "{bar:32} {human_pos}/{human_len} tokens  {per_sec}  {eta} left  turn {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.with_key("per_sec", rate));
        }
        bar.set_message(format!("0/{n_turns}"));
        if progress == Progress::Bars {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar, n_turns, last_line: (progress == Progress::Lines).then(|| Mutex::new(Instant::now())) }
    }

    /// Takes it away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Writes a line if the last is old enough; a thread that finds another at it goes on.
    fn line(&self) {
        let Some(Ok(mut last)) = self.last_line.as_ref().map(Mutex::try_lock) else { return };
        if last.elapsed() < LINE_INTERVAL {
            return;
        }
        *last = Instant::now();
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
        let (rate, left, turn) = (self.bar.per_sec(), HumanDuration(self.bar.eta()), self.bar.message());
        eprintln!("longhaul: {done} of {all} tokens, {rate:.0} tokens/s, {left} left, turn {turn}");
    }
}

impl Observer for ReplayBar {
    fn advance(&self, n: u64) {
        self.bar.inc(n);
        self.line();
    }

    fn turn_ended(&self, record: &TurnRecord) {
        let done = self.bar.message().split('/').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        self.bar.set_message(format!("{}/{}", done + u64::from(record.is_done()), self.n_turns));
    }
}

fn rate(state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write) {
    // A bar that cannot be written shows nothing; there is nobody to tell.
    let _ = write!(out, "{:.0} tokens/s", state.per_sec());
}
