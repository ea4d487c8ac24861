//! What an engine tells about itself.

use crate::spec::{KvSpec, ModelConfig, WeightDtype};

/// Facts about an engine that do not change.
#[derive(Debug, Clone)]
pub struct EngineInfo {
    /// The model: its folder, the preset it was made from, or its family.
    pub model: String,
    /// Backend and kernel table: `cpu/avx2`.
    pub backend: String,
    /// The model's configuration.
    pub config: ModelConfig,
    /// What the matrices run as.
    pub weights_dtype: WeightDtype,
    /// Shape and type of the KV cache.
    pub kv: KvSpec,
    /// Tokens of a KV page.
    pub page_len: usize,
    /// Pages of the pool.
    pub n_pages: usize,
    /// Bytes of the pool: `n_pages * page_len * kv.bytes_per_token()`.
    pub kv_budget_bytes: u64,
    /// Threads that a step uses.
    pub n_threads: usize,
    /// Most rows of a step.
    pub max_step_tokens: usize,
    /// What a user should know about how the model was brought in, a rounding of its weights for instance.
    pub notes: Vec<String>,
}

/// Counters and levels of an engine at one moment. Counters start at 0 with the engine and only grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Pages of the pool, which are free, retained or live.
    pub n_pages: usize,
    /// Pages that hold nothing.
    pub free_pages: usize,
    /// Pages of finished prefixes, kept until someone needs the room.
    pub retained_pages: usize,
    /// Pages of live sessions.
    pub live_pages: usize,
    /// Open sessions.
    pub live_sessions: usize,
    /// Requests being served.
    pub running_requests: usize,
    /// Steps run, failed ones included.
    pub steps: u64,
    /// Steps that failed as a whole.
    pub failed_steps: u64,
    /// Time spent in steps.
    pub step_ns: u64,
    /// Prompt tokens computed.
    pub prefilled_tokens: u64,
    /// Generated tokens computed, each to draw the next.
    pub decoded_tokens: u64,
    /// Prompt tokens found computed.
    pub cached_tokens: u64,
    /// Retained pages taken back for others, or by [`Engine::drop_retained`](super::Engine::drop_retained).
    pub evicted_pages: u64,
    /// Pages copied because two contexts went apart inside them.
    pub copied_pages: u64,
}
