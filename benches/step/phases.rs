//! Listens to the spans of a step, and adds up the time in each.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Phases that go over rows without multiplying matrices.
const POINTWISE: [&str; 3] = ["embed", "norm", "rotate_append"];

/// Time by phase, and forks. Phases do not nest.
#[derive(Clone, Default)]
pub struct Phases(Arc<Mutex<Totals>>);

#[derive(Default)]
struct Totals {
    /// In the order in which they first came; a span's id is its index and one.
    phases: Vec<(&'static str, Duration)>,
    entered: Option<Instant>,
    n_forks: usize,
}

/// Where the time of one step goes.
pub struct Shares {
    /// Share of each phase in the sum of all.
    pub phases: Vec<(&'static str, f64)>,
    /// Parallel regions.
    pub n_forks: f64,
}

impl Phases {
    /// What `n_steps` steps took, each.
    pub fn shares(&self, n_steps: usize) -> Shares {
        let totals = self.0.lock().expect("no listener panics");
        let all: Duration = totals.phases.iter().map(|(_, time)| *time).sum();
        let share = |(name, time): &(&'static str, Duration)| (*name, time.as_secs_f64() / all.as_secs_f64());
        Shares { phases: totals.phases.iter().map(share).collect(), n_forks: totals.n_forks as f64 / n_steps as f64 }
    }
}

impl Shares {
    /// Share of the pointwise phases.
    pub fn pointwise(&self) -> f64 {
        self.phases.iter().filter(|(name, _)| POINTWISE.contains(name)).map(|(_, share)| share).sum()
    }
}

/// `norm 1.2%, qkv 10.0%` and so on.
impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> =
            self.phases.iter().map(|(name, share)| format!("{name} {:.1}%", 100.0 * share)).collect();
        f.write_str(&parts.join(", "))
    }
}

impl Subscriber for Phases {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("longhaul::cpu")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut totals = self.0.lock().expect("no listener panics");
        let name = span.metadata().name();
        let known = totals.phases.iter().position(|(other, _)| *other == name);
        let idx = known.unwrap_or_else(|| {
            totals.phases.push((name, Duration::ZERO));
            totals.phases.len() - 1
        });
        Id::from_u64(idx as u64 + 1)
    }

    fn enter(&self, _: &Id) {
        self.0.lock().expect("no listener panics").entered = Some(Instant::now());
    }

    fn exit(&self, span: &Id) {
        let now = Instant::now();
        let mut totals = self.0.lock().expect("no listener panics");
        let entered = totals.entered.take().expect("a phase that ends has begun");
        totals.phases[span.into_u64() as usize - 1].1 += now - entered;
    }

    fn event(&self, event: &Event<'_>) {
        if event.metadata().target() == "longhaul::cpu::parallel" {
            self.0.lock().expect("no listener panics").n_forks += 1;
        }
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}
}
