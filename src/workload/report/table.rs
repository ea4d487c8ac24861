//! The report as a table for a terminal.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

use super::super::metrics::{Metric, Value};
use super::Report;

pub(super) fn render(report: &Report) -> String {
    let id = &report.identity;
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["metric", "mean", "p50", "p90", "p95", "p99", "max", "count", "unit = formula"]);
    for metric in &report.metrics {
        table.add_row(row(metric));
    }
    for column in 1..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut out = format!(
        "{}: {}\n{} ({}), {} on {}, {} threads; seed {}, scale {}; {:.1} s{}\n{table}\n",
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
        if report.interrupted { ", INTERRUPTED" } else { "" },
    );
    for note in &report.notes {
        out.push_str(&format!("Note: {note}\n"));
    }
    out
}

fn row(metric: &Metric) -> Vec<Cell> {
    let name = metric.part.as_ref().map_or(metric.name.to_string(), |part| format!("{}, {part}", metric.name));
    let mut cells = vec![Cell::new(name)];
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
    cells.push(Cell::new(format!("{} = {}", metric.unit, metric.formula)));
    cells
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
