//! Mooncake's form: one request a line, whose prompt is a list of 512-token blocks; equal ids at equal places are equal
//! content (Qin et al. 2024, "Mooncake", the open traces).

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

use super::super::plan::{Block, Opening, Prompt, SessionPlan, TurnKind, TurnPlan, WorkloadOptions};
use super::{Sessions, at_line, count};
use crate::error::Result;

/// Tokens that one hash id stands for.
const BLOCK_LEN: usize = 512;

/// A line as written; other fields are ignored.
#[derive(Debug, Deserialize)]
struct Line {
    timestamp: i64,
    input_length: i64,
    output_length: i64,
    hash_ids: Vec<i64>,
}

/// A line that makes sense.
#[derive(Debug, Clone)]
pub(super) struct Request {
    line: u64,
    timestamp_ms: usize,
    input_len: usize,
    output_len: usize,
    hash_ids: Vec<u64>,
}

/// Reads all requests.
///
/// # Errors
/// The first line that is garbage, negative, earlier than the one before, empty, or whose ids do not cover its prompt.
pub(super) fn parse(text: &str) -> Result<Vec<Request>> {
    let mut requests: Vec<Request> = Vec::new();
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let fields: Line = serde_json::from_str(text).map_err(|e| at_line(line, reason(&e)))?;
        let request = Request {
            line,
            timestamp_ms: count(line, "timestamp", fields.timestamp)?,
            input_len: count(line, "input_length", fields.input_length)?,
            output_len: count(line, "output_length", fields.output_length)?,
            hash_ids: fields
                .hash_ids
                .iter()
                .map(|&id| count(line, "a hash id", id).map(|id| id as u64))
                .collect::<Result<_>>()?,
        };
        let n_blocks = request.input_len.div_ceil(BLOCK_LEN);
        let last_ms = requests.last().map_or(0, |r| r.timestamp_ms);
        if request.input_len == 0 {
            return Err(at_line(line, "the prompt is empty"));
        } else if request.hash_ids.len() != n_blocks {
            let (have, len) = (request.hash_ids.len(), request.input_len);
            return Err(at_line(
                line,
                format!("{have} hash ids, where a prompt of {len} tokens has {n_blocks} blocks of 512"),
            ));
        } else if request.timestamp_ms < last_ms {
            return Err(at_line(
                line,
                format!("timestamp {} after {last_ms}: requests are out of order", request.timestamp_ms),
            ));
        }
        requests.push(request);
    }
    Ok(requests)
}

/// What is wrong with a line, without the reader's own idea of its number.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line 1").next().unwrap_or(&text).to_string()
}

/// Lays the requests out, each a session of one turn; one that would pass `cap` is left out. `n_turns` takes the first
/// so many requests.
pub(super) fn sessions(requests: &[Request], options: &WorkloadOptions, cap: usize) -> Result<Sessions> {
    let scale = options.scale;
    let mut known = KnownBlocks::default();
    let mut sessions = Vec::new();
    let mut n_left_out = 0;
    for request in requests.iter().take(options.n_turns.unwrap_or(usize::MAX)) {
        let prompt_len = scale.total(request.input_len);
        let output_len = scale.total(request.output_len).max(1);
        if prompt_len == 0 {
            return Err(at_line(request.line, format!("a scale of {scale} leaves nothing of the prompt")));
        }
        if prompt_len + output_len > cap {
            n_left_out += 1;
            continue;
        }
        let spans = request.hash_ids.iter().enumerate().map(|(i, &hash_id)| {
            let edge = |i: usize| scale.total(i * BLOCK_LEN).min(prompt_len);
            (hash_id, edge(i + 1) - edge(i), scale.span(i * BLOCK_LEN, BLOCK_LEN))
        });
        let (blocks, cached) = known.insert(spans.filter(|(_, len, _)| *len > 0));
        let mut session = SessionPlan::new(sessions.len(), "request", Opening::Own);
        session.start = Duration::from_millis(request.timestamp_ms as u64).mul_f64(options.gap_scale);
        session.turns.push(TurnPlan {
            kind: TurnKind::First,
            wait: Duration::ZERO,
            children: Vec::new(),
            prompt: Prompt::Blocks(blocks),
            prompt_len,
            ideal_cached: cached.min(prompt_len - 1),
            output_len,
        });
        sessions.push(session);
    }
    let note = format!("{n_left_out} requests are left out: they would pass {cap} tokens of context.");
    Ok(Sessions { sessions, notes: if n_left_out > 0 { vec![note] } else { Vec::new() } })
}

/// The tree of all prompts so far.
#[derive(Default)]
struct KnownBlocks {
    /// Node of a block by the node before it (0 is the root) and its hash id.
    nodes: HashMap<(usize, u64), usize>,
    /// Per node but the root: which branch it is, and how many of its tokens prompts have had.
    facts: Vec<(usize, usize)>,
    /// Branches of each node.
    n_branches: HashMap<usize, usize>,
}

impl KnownBlocks {
    /// Adds a prompt of `(hash id, tokens, tokens of a whole block)`; returns its blocks, and how many of its tokens
    /// were known.
    fn insert(&mut self, spans: impl Iterator<Item = (u64, usize, usize)>) -> (Vec<Block>, usize) {
        let (mut node, mut cached, mut all_known) = (0, 0, true);
        let mut blocks = Vec::new();
        for (hash_id, len, whole_len) in spans {
            let next = self.facts.len() + 1;
            let child = *self.nodes.entry((node, hash_id)).or_insert(next);
            if child == next {
                let branches = self.n_branches.entry(node).or_default();
                self.facts.push((*branches, 0));
                *branches += 1;
            }
            let (branch_idx, known_len) = &mut self.facts[child - 1];
            if all_known {
                cached += len.min(*known_len);
                all_known = *known_len >= whole_len;
            }
            *known_len = len.max(*known_len);
            blocks.push(Block { hash_id, branch_idx: *branch_idx, len });
            node = child;
        }
        (blocks, cached)
    }
}
