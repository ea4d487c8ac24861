//! The report as a table for a terminal, 80 columns wide where its numbers allow it; the formulas stand below.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table};

use super::super::metrics::{Metric, Value};
use super::Report;

pub(super) fn render(report: &Report) -> String {
    let mut table = Table::new();
    table
        .load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()))
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["metric", "mean", "p50", "p90", "p95", "p99", "max", "count"]);
    for metric in &report.metrics {
        table.add_row(row(metric));
    }
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, u16::from(i < 7)));
        column.set_cell_alignment(if i == 0 { CellAlignment::Left } else { CellAlignment::Right });
    }
    let mut out = heading(report) + &table.to_string() + "\n" + &formulas(&report.metrics);
    for note in &report.notes {
        out.push_str(&format!("Note: {note}\n"));
    }
    out
}

fn heading(report: &Report) -> String {
    let id = &report.identity;
    let interrupted = if report.interrupted { ", INTERRUPTED" } else { "" };
    format!(
        "{}: {}\n{} ({}), {} on {}, {} threads; seed {}, scale {}; {:.1} s{interrupted}\n",
        id.workload,
        id.title,
        id.model,
        id.weights_dtype,
        id.kernels,
        id.machine.cpu,
        id.n_threads,
        id.seed,
        id.scale,
        report.wall_s,
    )
}

fn row(metric: &Metric) -> Vec<Cell> {
    let part = metric.part.as_ref().map_or(String::new(), |part| format!(", {part}"));
    let unit = if metric.unit == "ratio" { String::new() } else { format!(" ({})", metric.unit) };
    let mut cells = vec![Cell::new(format!("{}{part}{unit}", metric.name))];
    match metric.value {
        Value::Number(value) => {
            cells.push(Cell::new(value.map_or("-".into(), |v| number(v, metric.unit))));
            cells.extend((0..6).map(|_| Cell::new("")));
        }
        Value::Distribution(d) => {
            cells.extend([d.mean, d.p50, d.p90, d.p95, d.p99, d.max].map(|v| Cell::new(number(v, metric.unit))));
            cells.push(Cell::new(d.count));
        }
    }
    cells
}

/// Every formula once, by the name that all its metrics begin with.
fn formulas(metrics: &[Metric]) -> String {
    let mut out = String::new();
    let mut last = "";
    for metric in metrics.iter().filter(|m| m.part.is_none()) {
        let name = if metric.key.starts_with("ttft") { "TTFT" } else { metric.name };
        if metric.formula != last {
            out.push_str(&format!("  {name} = {}\n", metric.formula));
        }
        last = metric.formula;
    }
    out
}

/// A value with the digits that its unit bears.
pub(super) fn number(value: f64, unit: &str) -> String {
    match unit {
        "ratio" => format!("{value:.4}"),
        _ if value.abs() >= 1000.0 => format!("{value:.0}"),
        _ if value.abs() >= 100.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
