//! What goes wrong on purpose.
//!
//! A plan is a list `FUNCTION#N=ACTION`, with `;` between; `N` counts the calls of that function from 1, and `*` is
//! every call. Actions:
//!
//! | action | what the call does |
//! |---|---|
//! | a number | returns it as its status, and does nothing. A fatal one loses the device: see [`is_fatal`] |
//! | `delay:MS` | waits, then does what it does |
//! | `hang:MS` | waits, then returns `NRT_TIMEOUT` (5), which is fatal |
//! | `crash` | ends the process by a signal |
//! | `keep` | for functions that free and return nothing: does not, and leaves the pointer |

use std::collections::BTreeMap;
use std::time::Duration;

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It returns this status.
    Status(i32),
    /// It waits before.
    Delay(Duration),
    /// It waits, and times out.
    Hang(Duration),
    /// It ends the process.
    Crash,
    /// It does not free.
    Keep,
}

/// Which calls go wrong, and how often each function was called.
#[derive(Debug, Default)]
pub struct Faults {
    planned: Vec<(String, Option<u64>, Action)>,
    n_calls: BTreeMap<&'static str, u64>,
}

impl Faults {
    /// Reads a plan.
    pub fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split(';').map(str::trim).filter(|entry| !entry.is_empty());
        let planned = entries.map(|e| entry(e).ok_or_else(|| format!("not FUNCTION#N=ACTION: {e}")));
        Ok(Self { planned: planned.collect::<Result<_, _>>()?, n_calls: BTreeMap::new() })
    }

    /// Counts a call, and says what goes wrong with it.
    pub fn next(&mut self, function: &'static str) -> Option<Action> {
        let n = self.n_calls.entry(function).or_default();
        *n += 1;
        let hit = self.planned.iter().find(|(name, at, _)| name == function && at.is_none_or(|at| at == *n));
        hit.map(|(_, _, action)| *action)
    }

    /// How often each function was called.
    pub fn n_calls(&self) -> &BTreeMap<&'static str, u64> {
        &self.n_calls
    }
}

fn entry(text: &str) -> Option<(String, Option<u64>, Action)> {
    let (call, action) = text.split_once('=')?;
    let (name, at) = call.split_once('#')?;
    let at = if at == "*" { None } else { Some(at.parse().ok()?) };
    let wait = |ms: &str| ms.parse().ok().map(Duration::from_millis);
    let action = match action.split_once(':') {
        Some(("delay", ms)) => Action::Delay(wait(ms)?),
        Some(("hang", ms)) => Action::Hang(wait(ms)?),
        Some(_) => return None,
        None if action == "crash" => Action::Crash,
        None if action == "keep" => Action::Keep,
        None => Action::Status(action.parse().ok()?),
    };
    Some((name.to_string(), at, action))
}

/// Whether the device answers no more after a status, as AWS's troubleshooting page and `nrt_async` best practices have
/// it. Written again here, and not taken from what is tested.
pub fn is_fatal(status: i32) -> bool {
    matches!(status, 5 | 6 | 101 | 1004 | 1200..=1299)
}
