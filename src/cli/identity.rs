//! What a report says about where its numbers come from.

use std::time::{SystemTime, UNIX_EPOCH};

use longhaul::engine::EngineInfo;
use longhaul::workload::report::{Identity, MachineIdentity};
use longhaul::workload::{Plan, WorkloadOptions};

use super::model::Source;

/// The commit that the build script found, or `unknown`.
const COMMIT: &str = env!("LONGHAUL_COMMIT");

/// Everything that a run's numbers depend on.
pub fn identity(
    plan: &Plan,
    options: &WorkloadOptions,
    source: &Source,
    info: &EngineInfo,
    weights_sha256: Option<String>,
) -> Identity {
    Identity {
        version: env!("CARGO_PKG_VERSION"),
        commit: COMMIT,
        workload: plan.workload.clone(),
        title: plan.title.clone(),
        seed: plan.seed,
        scale: options.scale.to_string(),
        gap_scale: options.gap_scale,
        n_sessions: plan.all_sessions().len(),
        concurrency: plan.concurrency.min(plan.sessions.len()),
        n_turns: plan.n_turns(),
        context_cap: plan.context_cap,
        model: info.model.clone(),
        synthetic: matches!(source, Source::Synthetic(_)),
        weights_sha256,
        weights_dtype: info.weights_dtype.to_string(),
        kernels: info.backend.clone(),
        n_threads: info.n_threads,
        kv_dtype: info.kv.dtype.to_string(),
        kv_budget_bytes: info.kv_budget_bytes,
        kv_bytes_per_token: info.kv.bytes_per_token(),
        max_step_tokens: info.max_step_tokens,
        machine: machine(),
        began_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
    }
}

/// The machine, in the report's words.
pub fn machine() -> MachineIdentity {
    let machine = longhaul::cpu::machine();
    MachineIdentity {
        cpu: machine.model_name,
        n_cores: machine.n_cores,
        threads_allowed: machine.threads_allowed,
        memory_bytes: machine.memory_bytes,
        memory_limit_bytes: machine.memory_limit_bytes,
    }
}
