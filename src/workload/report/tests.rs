use std::time::Duration;

use super::super::metrics::{Distribution, Value};
use super::super::plan::{Opening, Prompt, SessionPlan, TurnKind, TurnPlan};
use super::*;
use crate::engine::EngineStats;

/// A session of two turns as planned: 100 tokens, then 20 more.
fn plan() -> Plan {
    let mut session = SessionPlan::new(0, "coder", Opening::Own);
    for (kind, fresh, prompt_len, ideal_cached) in [(TurnKind::First, 100, 100, 0), (TurnKind::Later, 20, 125, 104)] {
        session.turns.push(TurnPlan {
            kind,
            wait: Duration::ZERO,
            children: Vec::new(),
            prompt: Prompt::Append(fresh),
            prompt_len,
            ideal_cached,
            output_len: 5,
        });
    }
    Plan {
        workload: "by <hand>".into(),
        title: "two turns".into(),
        seed: 1,
        context_cap: 1000,
        concurrency: 1,
        sessions: vec![session],
        notes: Vec::new(),
    }
}

fn turn(turn: usize, kind: TurnKind, tokens: [usize; 4], token_ms: &[f64]) -> TurnRecord {
    let [prompt_tokens, appended_tokens, cached_tokens, ideal_tokens] = tokens;
    TurnRecord {
        session: 0,
        group: "coder",
        turn,
        kind,
        wait_ms: 0.0,
        start_ms: 1000.0 * turn as f64,
        queue_ms: 0.5,
        ttft_ms: token_ms.first().copied(),
        total_ms: token_ms.last().copied().unwrap_or(1.0),
        prompt_tokens,
        appended_tokens,
        cached_tokens,
        ideal_tokens,
        prefilled_tokens: prompt_tokens - cached_tokens,
        generated_tokens: token_ms.len(),
        token_ms: token_ms.to_vec(),
        outcome: Outcome::Done,
    }
}

fn replayed() -> Replayed {
    let pages = |free_pages| EngineStats { n_pages: 8, free_pages, ..EngineStats::default() };
    let session = SessionRecord {
        session: 0,
        group: "coder",
        start_ms: 0.0,
        end_ms: 1800.0,
        completed_turns: 2,
        planned_turns: 2,
    };
    Replayed {
        turns: vec![
            turn(0, TurnKind::First, [100, 100, 0, 0], &[40.0, 50.0, 60.0, 70.0, 80.0]),
            turn(1, TurnKind::Later, [125, 20, 94, 104], &[10.0, 20.0, 40.0, 60.0, 90.0]),
        ],
        sessions: vec![session],
        wall: Duration::from_secs(2),
        before: pages(8),
        after: pages(5),
        emptied: pages(8),
        interrupted: false,
    }
}

fn identity() -> Identity {
    Identity {
        version: "0",
        commit: "unknown",
        workload: "by <hand>".into(),
        title: "two turns".into(),
        seed: 1,
        scale: "1/16".into(),
        gap_scale: 0.0,
        n_sessions: 1,
        concurrency: 1,
        n_turns: 2,
        context_cap: 1000,
        model: "none & nothing".into(),
        synthetic: true,
        weights_sha256: None,
        weights_dtype: "bf16".into(),
        kernels: "cpu/portable".into(),
        n_threads: 1,
        kv_dtype: "bf16".into(),
        kv_budget_bytes: 1 << 20,
        kv_bytes_per_token: 10,
        max_step_tokens: 512,
        machine: MachineIdentity {
            cpu: "c".into(),
            n_cores: 1,
            threads_allowed: 1,
            memory_bytes: 1,
            memory_limit_bytes: 1,
        },
        began_unix_s: 0,
    }
}

fn report() -> Report {
    Report::new(identity(), &plan(), Scale::ONE, replayed(), vec!["a note".into()])
}

fn value(report: &Report, key: &str) -> Value {
    report.metrics.iter().find(|m| m.key == key).unwrap_or_else(|| panic!("no metric {key}")).value
}

fn number(report: &Report, key: &str) -> f64 {
    match value(report, key) {
        Value::Number(Some(v)) => v,
        other => panic!("{key}: {other:?}"),
    }
}

fn distribution(report: &Report, key: &str) -> Distribution {
    match value(report, key) {
        Value::Distribution(d) => d,
        other => panic!("{key}: {other:?}"),
    }
}

#[test]
fn metrics_follow_their_formulas() {
    let report = report();
    assert_eq!(number(&report, "prefix_hit"), 94.0 / 225.0);
    assert_eq!(number(&report, "prefix_hit_ideal"), 104.0 / 225.0);
    assert_eq!(number(&report, "prefill_amplification"), 131.0 / 121.0);
    assert_eq!(number(&report, "completion"), 1.0);
    assert_eq!(number(&report, "jobs"), 1800.0);
    assert_eq!(number(&report, "generated"), 5.0);
    assert_eq!(distribution(&report, "ttft_first").max, 40.0);
    assert_eq!(distribution(&report, "ttft_later").p50, 10.0);
    assert_eq!(distribution(&report, "tpot").mean, 15.0);
    let gaps = distribution(&report, "gap");
    assert_eq!((gaps.count, gaps.max, gaps.p50), (8, 30.0, 10.0));
    let appends: Vec<_> =
        report.metrics.iter().filter(|m| m.key == "ttft_append").filter_map(|m| m.part.clone()).collect();
    assert_eq!(appends, ["append 0 to 255"]);
}

#[test]
fn percentiles_lie_between_ranks() {
    let d = Distribution::of((1..=5).map(f64::from).rev().collect()).unwrap();
    assert_eq!((d.mean, d.p50, d.max, d.count), (3.0, 3.0, 5.0, 5));
    assert!((d.p90 - 4.6).abs() < 1e-12 && (d.p99 - 4.96).abs() < 1e-12);
    assert_eq!(Distribution::of(Vec::new()), None);
}

#[test]
fn errors_and_interruptions_count_where_their_formulas_say() {
    let mut replayed = replayed();
    replayed.turns[1].outcome = Outcome::Failed("broken & <torn>".into());
    replayed.turns[1].ttft_ms = None;
    replayed.sessions[0].completed_turns = 1;
    replayed.interrupted = true;
    let report = Report::new(identity(), &plan(), Scale::ONE, replayed, Vec::new());
    assert_eq!(number(&report, "completion"), 0.5);
    assert_eq!(number(&report, "goodput"), 0.5);
    assert_eq!(number(&report, "jobs"), 0.0);
    assert_eq!(report.prompt_tokens.prompt, 100);
    assert_eq!(report.failures().count(), 1);
    let html = report.html().unwrap();
    assert!(html.contains("broken &amp; &lt;torn&gt;") && html.contains("Interrupted"));
}

#[test]
fn json_has_the_members_of_the_schema() {
    let json: serde_json::Value = serde_json::to_value(report()).unwrap();
    assert_eq!(json["schema_version"], 1);
    for (member, kind) in [
        ("identity", "object"),
        ("interrupted", "bool"),
        ("wall_s", "number"),
        ("notes", "array"),
        ("prompt_tokens", "object"),
        ("memory", "object"),
        ("metrics", "array"),
        ("sessions", "array"),
        ("turns", "array"),
    ] {
        let value = &json[member];
        let fits = match kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "bool" => value.is_boolean(),
            _ => value.is_number(),
        };
        assert!(fits, "{member}: {value}");
    }
    for metric in json["metrics"].as_array().unwrap() {
        assert!(metric["formula"].is_string() && metric["unit"].is_string(), "{metric}");
        assert!(
            metric["value"]["number"].is_number() || metric["value"]["distribution"]["p95"].is_number(),
            "{metric}"
        );
    }
    assert_eq!(json["turns"][0]["outcome"], serde_json::json!({"is": "done"}));
    assert_eq!(json["turns"][1]["kind"], "later");
    assert_eq!(json["memory"]["back_to_start"], true);
    assert!(json["notes"][0].as_str().unwrap().contains("noise"));
}

#[test]
fn the_page_stands_alone_and_its_style_knows_every_colour() {
    let html = report().html().unwrap();
    assert!(html.contains("by &lt;hand&gt;") && html.contains("none &amp; nothing"));
    for outside in ["http:", "https:", "src=", "href=", "@import", "url("] {
        let own = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!own.contains(outside), "{outside} leads out of the page");
    }
    let style = include_str!("report.css");
    for attribute in ["fill=\"#", "stroke=\"#"] {
        for (at, _) in html.match_indices(attribute) {
            let selector = format!("svg [{}\"]", &html[at..at + attribute.len() + 6]);
            assert!(style.contains(&selector), "no theme for {selector}");
        }
    }
    assert_eq!(html.matches("<svg").count(), 6);
}

#[test]
fn a_report_of_nothing_is_still_a_report() {
    let empty = Replayed { turns: Vec::new(), sessions: Vec::new(), interrupted: true, ..replayed() };
    let report = Report::new(identity(), &plan(), Scale::ONE, empty, Vec::new());
    let folder = tempfile::tempdir().unwrap();
    let [json, html] = ReportFolder::open(folder.path()).unwrap().write(&report).unwrap();
    assert!(json.is_file() && html.is_file());
    assert!(report.table().contains("INTERRUPTED"));
}
