//! The CSV form: sessions of turns, each with the length of its known prefix and of what is new.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::super::plan::{Opening, Prompt, SessionPlan, TurnKind, TurnPlan, WorkloadOptions};
use super::{Sessions, at_line, count};
use crate::error::Result;

/// A line as written.
#[derive(Debug, Deserialize)]
struct Line {
    session: u64,
    turn: i64,
    prefix_len: i64,
    input_len: i64,
    output_len: i64,
    wait_before_ms: i64,
}

/// A line that makes sense.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    line: u64,
    prefix_len: usize,
    input_len: usize,
    output_len: usize,
    wait_ms: usize,
}

/// Reads all turns, by session in the order of their ids.
///
/// # Errors
/// The first line that is garbage, negative, out of order, empty, or knows more than its session has seen.
pub(super) fn parse(text: &str) -> Result<Vec<Vec<Turn>>> {
    let mut sessions: BTreeMap<u64, (Vec<Turn>, usize)> = BTreeMap::new();
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let headers = lines.next().map(|(_, line)| record(line)).unwrap_or_default();
    for name in ["session", "turn", "prefix_len", "input_len", "output_len", "wait_before_ms"] {
        if !headers.iter().any(|h| h == name) {
            return Err(at_line(
                1,
                format!("the header has no column {name:?}; a trace is CSV with a header, or JSON lines"),
            ));
        }
    }
    for (line, text) in lines {
        let record = record(text);
        if record.len() != headers.len() {
            return Err(at_line(line, format!("{} fields where the header has {}", record.len(), headers.len())));
        }
        let fields: Line = record.deserialize(Some(&headers)).map_err(|e| at_line(line, reason(&e)))?;
        let (turns, seen_len) = sessions.entry(fields.session).or_default();
        let turn = checked(line, &fields, turns.len(), *seen_len)?;
        *seen_len = (*seen_len).max(turn.prefix_len + turn.input_len);
        turns.push(turn);
    }
    Ok(sessions.into_values().map(|(turns, _)| turns).collect())
}

/// The `turn_idx`-th turn of a session that has seen prompts of up to `seen_len` tokens.
fn checked(line: u64, fields: &Line, turn_idx: usize, seen_len: usize) -> Result<Turn> {
    let turn = Turn {
        line,
        prefix_len: count(line, "prefix_len", fields.prefix_len)?,
        input_len: count(line, "input_len", fields.input_len)?,
        output_len: count(line, "output_len", fields.output_len)?,
        wait_ms: count(line, "wait_before_ms", fields.wait_before_ms)?,
    };
    let session = fields.session;
    let problem = if fields.turn != turn_idx as i64 {
        format!("session {session} has turn {} where turn {turn_idx} must come; turns count up from 0", fields.turn)
    } else if turn.prefix_len > seen_len {
        format!("prefix_len is {}, and session {session} has seen {seen_len} tokens so far", turn.prefix_len)
    } else if turn.prefix_len + turn.input_len == 0 {
        "the prompt is empty".into()
    } else {
        return Ok(turn);
    };
    Err(at_line(line, problem))
}

/// The fields of a line; all of them are numbers, so nothing is quoted.
fn record(line: &str) -> csv::StringRecord {
    line.split(',').map(str::trim).collect::<Vec<_>>().into()
}

/// What is wrong with a field, by its number.
fn reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => {
            let field = err.field().map_or(String::new(), |f| format!("field {}: ", f + 1));
            format!("{field}{}", err.kind())
        }
        _ => error.to_string(),
    }
}

/// Lays the sessions out; one ends where a turn would pass `cap`.
pub(super) fn sessions(sessions: &[Vec<Turn>], options: &WorkloadOptions, cap: usize) -> Result<Sessions> {
    let mut plans = Vec::new();
    let (mut n_cut, mut n_left_out) = (0, 0);
    for turns in sessions {
        let (plan, n_over) = session(plans.len(), turns, options, cap)?;
        n_cut += usize::from(n_over > 0);
        n_left_out += n_over;
        if !plan.turns.is_empty() {
            plans.push(plan);
        }
    }
    let note =
        format!("{n_cut} sessions end early, {n_left_out} turns left out: they would pass {cap} tokens of context.");
    Ok(Sessions { sessions: plans, notes: if n_cut > 0 { vec![note] } else { Vec::new() } })
}

/// One session, and how many of its turns the cap leaves out.
fn session(idx: usize, turns: &[Turn], options: &WorkloadOptions, cap: usize) -> Result<(SessionPlan, usize)> {
    let scale = options.scale;
    let mut plan = SessionPlan::new(idx, "session", Opening::Own);
    let turns = &turns[..options.n_turns.unwrap_or(usize::MAX).min(turns.len())];
    let mut outputs = 0;
    for (turn_idx, turn) in turns.iter().enumerate() {
        let prefix_len = scale.total(turn.prefix_len);
        let prompt_len = scale.total(turn.prefix_len + turn.input_len);
        let output_len = scale.span(outputs, turn.output_len).max(1);
        outputs += turn.output_len;
        if prompt_len == 0 {
            return Err(at_line(turn.line, format!("a scale of {scale} leaves nothing of the prompt")));
        }
        if prompt_len + output_len > cap {
            return Ok((plan, turns.len() - turn_idx));
        }
        let source = plan.turns.iter().rposition(|t| prefix_len > 0 && t.prompt_len >= prefix_len);
        plan.turns.push(TurnPlan {
            kind: if turn_idx == 0 { TurnKind::First } else { TurnKind::Later },
            wait: Duration::from_millis(turn.wait_ms as u64).mul_f64(options.gap_scale),
            children: Vec::new(),
            prompt: Prompt::Whole { source, prefix_len, fresh_len: prompt_len - prefix_len },
            prompt_len,
            ideal_cached: prefix_len.min(prompt_len - 1),
            output_len,
        });
    }
    Ok((plan, 0))
}
