//! What a request used.

use std::time::Duration;

/// What a request used; all times count from when it was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the context when the request started.
    pub prompt_tokens: usize,
    /// Those of them that were found computed, in the session's own pages or in the prefix index.
    pub cached_tokens: usize,
    /// Those of them that were computed. A request that ends early may have done neither with the rest.
    pub prefilled_tokens: usize,
    /// Tokens drawn.
    pub generated_tokens: usize,
    /// When the first token was drawn.
    pub time_to_first_token: Option<Duration>,
    /// `[generated_tokens]` when each token was drawn. Empty in a session's total.
    pub token_times: Vec<Duration>,
    /// How long it waited for its first step.
    pub queue_time: Duration,
    /// How long it took.
    pub total_time: Duration,
}

impl Usage {
    /// Adds a request's counts and times to a total. The total keeps the first request's time to first token, and no
    /// token times.
    pub fn add(&mut self, request: &Usage) {
        self.prompt_tokens += request.prompt_tokens;
        self.cached_tokens += request.cached_tokens;
        self.prefilled_tokens += request.prefilled_tokens;
        self.generated_tokens += request.generated_tokens;
        self.time_to_first_token = self.time_to_first_token.or(request.time_to_first_token);
        self.queue_time += request.queue_time;
        self.total_time += request.total_time;
    }
}
