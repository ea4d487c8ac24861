//! The report as one page: no script, no font, no link that leaves it.

use super::super::metrics::{Metric, Value};
use super::table::number;
use super::{Report, plots};
use crate::error::Result;

const STYLE: &str = include_str!("report.css");

pub(super) fn render(report: &Report) -> Result<String> {
    let id = &report.identity;
    let mut body =
        format!("<h1>longhaul bench {}</h1>\n<p class=\"lead\">{}</p>\n", escape(&id.workload), escape(&id.title));
    if report.interrupted {
        body.push_str("<p class=\"warn\">Interrupted: this report is about what ran until then.</p>\n");
    }
    body.push_str(&tiles(report));
    if !report.notes.is_empty() {
        let items: String = report.notes.iter().map(|n| format!("<li>{}</li>", escape(n))).collect();
        body.push_str(&format!("<ul class=\"notes\">{items}</ul>\n"));
    }
    for plot in plots::all(report)? {
        body.push_str(&figure(&plot));
    }
    body.push_str(&metrics_table(&report.metrics));
    body.push_str(&failures(report));
    body.push_str(&identity_table(report));
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>longhaul bench {}</title>\n<style>\n{STYLE}</style></head>\n<body><main>\n{body}</main></body></html>\n",
        escape(&id.workload)
    ))
}

fn figure(plot: &plots::Plot) -> String {
    let key = |(i, name): &(usize, &str)| format!("<span><i style=\"background:var(--s{i})\"></i>{name}</span>");
    let legend: String = plot.legend.iter().map(key).collect();
    let (title, svg, caption) = (plot.title, &plot.svg, escape(&plot.caption));
    format!(
        "<figure><h2>{title}</h2><p class=\"legend\">{legend}</p>\n{svg}\n<figcaption>{caption}</figcaption></figure>\n"
    )
}

/// The few numbers to see first.
fn tiles(report: &Report) -> String {
    let find = |key: &str| report.metrics.iter().find(|m| m.key == key).map(|m| m.value);
    let median = |key: &str| match find(key) {
        Some(Value::Distribution(d)) => format!("{} ms", number(d.p50, "ms")),
        _ => "-".into(),
    };
    let value = |key: &str, unit: &str| match find(key) {
        Some(Value::Number(Some(v))) => number(v, unit),
        _ => "-".into(),
    };
    let percent = |key: &str| match find(key) {
        Some(Value::Number(Some(v))) => format!("{:.2}%", v * 100.0),
        _ => "-".into(),
    };
    let hit = format!("{} of ideal {}", percent("prefix_hit"), percent("prefix_hit_ideal"));
    let tiles = [
        ("TTFT, later turns, median", median("ttft_later")),
        ("TTFT, first turns, median", median("ttft_first")),
        ("time per output token, median", median("tpot")),
        ("prefix hit", hit),
        ("generated", format!("{} tokens/s", value("generated", "tokens/s"))),
        ("turns completed", percent("completion")),
    ];
    let tiles: String = tiles.iter().map(|(name, v)| format!("<div><b>{v}</b><span>{name}</span></div>")).collect();
    format!("<section class=\"tiles\">{tiles}</section>\n")
}

fn metrics_table(metrics: &[Metric]) -> String {
    let rows: String = metrics.iter().map(metric_row).collect();
    format!(
        "<h2>Metrics</h2><div class=\"wide\"><table><thead><tr><th>metric</th><th>mean</th><th>p50</th><th>p90</th><th>p95</th>\
         <th>p99</th><th>max</th><th>count</th><th>unit</th><th class=\"text\">formula</th></tr></thead><tbody>{rows}</tbody></table></div>\n"
    )
}

fn metric_row(metric: &Metric) -> String {
    let part = metric.part.as_ref().map_or(String::new(), |p| format!(", {}", escape(p)));
    let cells = match metric.value {
        Value::Number(v) => {
            format!("<td>{}</td>{}", v.map_or("-".into(), |v| number(v, metric.unit)), "<td></td>".repeat(6))
        }
        Value::Distribution(d) => {
            let values =
                [d.mean, d.p50, d.p90, d.p95, d.p99, d.max].map(|v| format!("<td>{}</td>", number(v, metric.unit)));
            format!("{}<td>{}</td>", values.concat(), d.count)
        }
    };
    let (name, unit, formula) = (metric.name, metric.unit, escape(metric.formula));
    format!("<tr><th>{name}{part}</th>{cells}<td>{unit}</td><td class=\"text\">{formula}</td></tr>\n")
}

fn failures(report: &Report) -> String {
    let line = |(t, reason): (&super::TurnRecord, &str)| {
        format!("<li>session {}, turn {}: {}</li>", t.session, t.turn, escape(reason))
    };
    let items: String = report.failures().map(line).collect();
    if items.is_empty() { items } else { format!("<h2>Failed turns</h2><ul class=\"notes\">{items}</ul>\n") }
}

fn identity_table(report: &Report) -> String {
    let (id, memory) = (&report.identity, &report.memory);
    let gib = |bytes: u64| format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30));
    let hash = id
        .weights_sha256
        .clone()
        .unwrap_or_else(|| if id.synthetic { "none: random weights".into() } else { "unknown".into() });
    let machine = &id.machine;
    let pages = format!(
        "{} in all; free before {}, after {}, with retained prefixes dropped {}; {} evicted",
        memory.n_pages, memory.free_before, memory.free_after, memory.free_emptied, memory.evicted_pages
    );
    let rows = [
        ("longhaul", format!("{}, commit {}", id.version, id.commit)),
        ("workload", format!("{}, seed {}, scale {}, gap scale {}", id.workload, id.seed, id.scale, id.gap_scale)),
        (
            "size",
            format!(
                "{} sessions, {} at once, {} turns, contexts up to {}",
                id.n_sessions, id.concurrency, id.n_turns, id.context_cap
            ),
        ),
        ("model", format!("{}, running as {}", id.model, id.weights_dtype)),
        ("weights SHA-256", hash),
        ("kernels", format!("{}, {} threads, steps of up to {} tokens", id.kernels, id.n_threads, id.max_step_tokens)),
        ("KV", format!("{}, {} bytes a token, budget {}", id.kv_dtype, id.kv_bytes_per_token, gib(id.kv_budget_bytes))),
        ("KV pages", pages),
        (
            "machine",
            format!(
                "{}, {} cores ({} usable), {} of memory ({} usable)",
                machine.cpu,
                machine.n_cores,
                machine.threads_allowed,
                gib(machine.memory_bytes),
                gib(machine.memory_limit_bytes)
            ),
        ),
        ("wall time", format!("{:.1} s", report.wall_s)),
    ];
    let rows: String =
        rows.iter().map(|(name, v)| format!("<tr><th>{name}</th><td class=\"text\">{}</td></tr>", escape(v))).collect();
    format!(
        "<h2>What ran, on what</h2><div class=\"wide\"><table class=\"identity\"><tbody>{rows}</tbody></table></div>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
