//! Agent workloads: what long-horizon agents ask of an engine, replayed and measured.
//!
//! A workload is laid out as a [`Plan`] before anything runs, deterministic from a seed: [`coding_loop`] (W1),
//! [`idle_resume`] (W2), [`fan_out`] (W4) and recorded [`trace`]s (W6). [`replay`] runs a plan on an engine,
//! [`metrics`] says what came of it, and [`report`] writes it down as a table, as JSON and as a page with plots. The
//! module comes with the cargo feature `cli`, which brings its readers and writers.
//!
//! **What counts as cached.** A request's prompt is the whole context at its start. Live sessions (`coding-loop`,
//! `fan-out`, `idle-resume`) append to the context that the engine holds, the model's own answers included; the last
//! token of an answer was never computed and counts as new. A trace is replayed by clients without state: every turn is
//! a new session that gets its whole prompt. The ideal of a turn is what a cache that forgets nothing would have of its
//! prompt, computed from lengths alone; a prompt that is known whole computes its last token again, for its logits. A
//! run reaches `prefix hit = ideal` to the token when the engine recomputes nothing; sessions that start together and
//! share a system prompt may each compute it, and stay below.

pub mod coding_loop;
pub mod fan_out;
mod growth;
pub mod idle_resume;
pub mod metrics;
pub mod plan;
pub mod quantiles;
pub mod record;
pub mod replay;
pub mod report;
pub mod scale;
pub mod tokens;
pub mod trace;

pub use plan::{Plan, WorkloadOptions};
pub use replay::{Interrupt, Observer, Replayed};
pub use report::{Report, ReportFolder};
pub use scale::Scale;

#[cfg(test)]
mod tests;
