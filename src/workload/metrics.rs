//! What a replay comes to: every metric with its formula beside its name.

use std::collections::BTreeSet;

use serde::Serialize;

use super::plan::{Plan, TurnKind};
use super::record::{Outcome, TurnRecord};
use super::replay::Replayed;
use super::scale::Scale;

/// One number, or one distribution, and how it is computed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// Stable key: `ttft_later`, `prefix_hit`.
    pub key: &'static str,
    /// Name for people.
    pub name: &'static str,
    /// The part of the turns that it is about, if not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// How it is computed.
    pub formula: &'static str,
    /// `ms`, `ratio`, `tokens/s`, `1/h`.
    pub unit: &'static str,
    /// What came out.
    pub value: Value,
}

/// What a metric came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// One number; `None` where there was nothing to divide by.
    Number(Option<f64>),
    /// Many.
    Distribution(Distribution),
}

/// Percentiles are interpolated linearly between the two nearest ranks.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Distribution {
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
    /// How many samples.
    pub count: usize,
}

impl Distribution {
    /// Of `samples`, in any order; `None` without any.
    pub fn of(mut samples: Vec<f64>) -> Option<Self> {
        samples.sort_by(f64::total_cmp);
        let max = *samples.last()?;
        let count = samples.len();
        let at = |p: f64| {
            let rank = p * (count - 1) as f64;
            let (below, above) = (samples[rank.floor() as usize], samples[rank.ceil() as usize]);
            below + (above - below) * rank.fract()
        };
        let mean = samples.iter().sum::<f64>() / count as f64;
        Some(Self { mean, p50: at(0.5), p90: at(0.9), p95: at(0.95), p99: at(0.99), max, count })
    }
}

/// Lower edges of the classes of appends, before scaling; the last class has no upper edge.
const APPEND_EDGES: [usize; 8] = [0, 256, 512, 1_000, 2_000, 4_000, 16_000, 64_000];

const TTFT: &str = "first token - request accepted";

/// All metrics of a replay; those without a sample are left out.
pub fn metrics(plan: &Plan, replayed: &Replayed, scale: Scale) -> Vec<Metric> {
    let turns: Vec<&TurnRecord> = replayed.turns.iter().filter(|t| t.ttft_ms.is_some()).collect();
    let mut out = ttft(&turns, scale);
    out.extend(token_times(&turns));
    out.extend(reuse(&turns));
    out.extend(outcomes(plan, replayed));
    out
}

/// Cached, ideally cached and all prompt tokens of the turns that got a first token.
pub fn prompt_totals(turns: &[TurnRecord]) -> (usize, usize, usize) {
    let measured = turns.iter().filter(|t| t.ttft_ms.is_some());
    measured.fold((0, 0, 0), |(c, i, p), t| (c + t.cached_tokens, i + t.ideal_tokens, p + t.prompt_tokens))
}

fn ttft(turns: &[&TurnRecord], scale: Scale) -> Vec<Metric> {
    let of = |key, name, part, pick: &dyn Fn(&TurnRecord) -> bool| {
        let samples = turns.iter().filter(|t| pick(t)).filter_map(|t| t.ttft_ms).collect();
        distribution(key, name, part, (TTFT, "ms"), samples)
    };
    let mut out = vec![
        of("ttft_first", "TTFT, first turns", None, &|t| t.kind == TurnKind::First),
        of("ttft_later", "TTFT, later turns", None, &|t| t.kind != TurnKind::First),
    ];
    let groups = groups(turns);
    if groups.len() > 1 {
        for group in groups {
            let first = format!("{group}, first");
            out.push(of("ttft_group", "TTFT", Some(first), &|t| t.group == group && t.kind == TurnKind::First));
            let later = format!("{group}, later");
            out.push(of("ttft_group", "TTFT", Some(later), &|t| t.group == group && t.kind != TurnKind::First));
        }
    }
    let edges = APPEND_EDGES.map(|edge| scale.total(edge));
    for (i, &low) in edges.iter().enumerate() {
        let high = edges.get(i + 1).copied().unwrap_or(usize::MAX);
        let part = if high == usize::MAX {
            format!("append {low} and more")
        } else {
            format!("append {low} to {}", high.max(1) - 1)
        };
        out.push(of("ttft_append", "TTFT", Some(part), &|t| (low..high).contains(&t.appended_tokens)));
    }
    out.into_iter().flatten().collect()
}

fn token_times(turns: &[&TurnRecord]) -> Vec<Metric> {
    let tpot = turns.iter().filter_map(|t| t.tpot_ms()).collect();
    let gaps = turns.iter().flat_map(|t| t.gaps_ms()).collect();
    let tpot_formula = "(last token - first token) / (output tokens - 1), per request";
    let queue = turns.iter().map(|t| t.queue_ms).collect();
    [
        distribution("tpot", "TPOT", None, (tpot_formula, "ms"), tpot),
        distribution("gap", "inter-token gap", None, ("time between following tokens, pooled", "ms"), gaps),
        distribution("queue", "queue time", None, ("taken up - request accepted", "ms"), queue),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn reuse(turns: &[&TurnRecord]) -> Vec<Metric> {
    let sum = |of: &dyn Fn(&TurnRecord) -> usize| turns.iter().map(|t| of(t)).sum::<usize>() as f64;
    let prompt = sum(&|t| t.prompt_tokens);
    let fresh = prompt - sum(&|t| t.ideal_tokens);
    let hit = |part: Option<&'static str>| {
        let of = |t: &TurnRecord| part.is_none_or(|group| t.group == group);
        let cached = sum(&|t| if of(t) { t.cached_tokens } else { 0 });
        let value = ratio(cached, sum(&|t| if of(t) { t.prompt_tokens } else { 0 }));
        let metric = number("prefix_hit", "prefix hit", ("cached / prompt tokens", "ratio"), value);
        Metric { part: part.map(String::from), ..metric }
    };
    let mut out = vec![hit(None)];
    out.push(number(
        "prefix_hit_ideal",
        "prefix hit, ideal",
        ("prompt tokens that an infinite cache has / prompt tokens", "ratio"),
        ratio(prompt - fresh, prompt),
    ));
    let groups = groups(turns);
    if groups.len() > 1 {
        out.extend(groups.into_iter().map(|group| hit(Some(group))));
    }
    out.push(number(
        "prefill_amplification",
        "prefill amplification",
        ("prefilled / fresh tokens; fresh = prompt - ideal", "ratio"),
        ratio(sum(&|t| t.prefilled_tokens), fresh),
    ));
    out
}

/// The roles of the sessions, each once.
fn groups(turns: &[&TurnRecord]) -> BTreeSet<&'static str> {
    turns.iter().map(|t| t.group).collect()
}

fn outcomes(plan: &Plan, replayed: &Replayed) -> Vec<Metric> {
    let turns = &replayed.turns;
    let good = turns.iter().filter(|t| t.is_done()).count() as f64;
    let errors = turns.iter().filter(|t| matches!(t.outcome, Outcome::Failed(_))).count() as f64;
    let ended: Vec<_> = replayed.sessions.iter().filter(|s| s.completed_turns == s.planned_turns).collect();
    let wall_s = replayed.wall.as_secs_f64();
    let sum = |of: &dyn Fn(&TurnRecord) -> usize| turns.iter().map(of).sum::<usize>() as f64;
    let mut out = vec![
        number(
            "completion",
            "turn completion",
            ("completed / planned turns", "ratio"),
            ratio(good, plan.n_turns() as f64),
        ),
        number("goodput", "goodput", ("good / (good + errors) turns", "ratio"), ratio(good, good + errors)),
    ];
    let durations = ended.iter().map(|s| s.end_ms - s.start_ms).collect();
    let formula = "last turn's end - first turn's start, of complete sessions";
    out.extend(distribution("session", "session duration", None, (formula, "ms"), durations));
    out.extend([
        number(
            "jobs",
            "jobs per hour",
            ("complete sessions / hours of the run", "1/h"),
            ratio(ended.len() as f64, wall_s / 3600.0),
        ),
        number(
            "prefilled",
            "prefilled",
            ("prefilled tokens / seconds of the run", "tokens/s"),
            ratio(sum(&|t| t.prefilled_tokens), wall_s),
        ),
        number(
            "generated",
            "generated",
            ("generated tokens / seconds of the run", "tokens/s"),
            ratio(sum(&|t| t.generated_tokens), wall_s),
        ),
    ]);
    out
}

fn distribution(
    key: &'static str,
    name: &'static str,
    part: Option<String>,
    (formula, unit): (&'static str, &'static str),
    samples: Vec<f64>,
) -> Option<Metric> {
    let value = Value::Distribution(Distribution::of(samples)?);
    Some(Metric { key, name, part, formula, unit, value })
}

fn number(
    key: &'static str,
    name: &'static str,
    (formula, unit): (&'static str, &'static str),
    value: Option<f64>,
) -> Metric {
    Metric { key, name, part: None, formula, unit, value: Value::Number(value) }
}

fn ratio(a: f64, b: f64) -> Option<f64> {
    (b > 0.0).then(|| a / b)
}
