//! Bars on everything that takes over a second; none where nobody would see them.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use longhaul::workload::Observer;
use longhaul::workload::record::TurnRecord;

/// A spinner with the time it has taken.
pub fn spinner(visible: bool, message: String) -> ProgressBar {
    if !visible {
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
pub struct ReplayBar(ProgressBar, u64);

impl ReplayBar {
    /// Over `n_tokens` of work in `n_turns` turns.
    pub fn new(visible: bool, n_tokens: u64, n_turns: usize) -> Self {
        if !visible {
            return Self(ProgressBar::hidden(), n_turns as u64);
        }
        let bar = ProgressBar::new(n_tokens);
        let template = "{bar:32} {human_pos}/{human_len} tokens  {per_sec}  {eta} left  turn {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.with_key("per_sec", rate));
        }
        bar.set_message(format!("0/{n_turns}"));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar, n_turns as u64)
    }

    /// Takes it away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Observer for ReplayBar {
    fn advance(&self, n: u64) {
        self.0.inc(n);
    }

    fn turn_ended(&self, record: &TurnRecord) {
        let done = self.0.message().split('/').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        self.0.set_message(format!("{}/{}", done + u64::from(record.is_done()), self.1));
    }
}

fn rate(state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write) {
    // A bar that cannot be written shows nothing; there is nobody to tell.
    let _ = write!(out, "{:.0} tokens/s", state.per_sec());
}
