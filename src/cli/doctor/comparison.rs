//! The kernel tables of this machine against each other, as `--tables` measured them.

use comfy_table::{Cell, Table};
use longhaul::cpu::trial::{Bound, Comparison, TableRate};
use serde::Serialize;

/// A shape on every table, and what to conclude.
#[derive(Serialize)]
pub struct ComparisonFinding {
    #[serde(flatten)]
    comparison: Comparison,
    /// How much longer the chosen table takes than the best.
    chosen_is_behind_by: f64,
    /// Whether that is more than 5%.
    chosen_is_slow: bool,
}

impl From<Comparison> for ComparisonFinding {
    fn from(comparison: Comparison) -> Self {
        let (chosen_is_behind_by, chosen_is_slow) = (comparison.chosen_is_behind_by(), comparison.chosen_is_slow());
        Self { comparison, chosen_is_behind_by, chosen_is_slow }
    }
}

/// All of them, for people.
pub fn table(findings: &[ComparisonFinding]) -> Table {
    let mut table = super::new_table();
    let tables = findings.first().map_or(&[][..], |finding| &finding.comparison.rates);
    let name = |rate: &TableRate| format!("{}{}", rate.table, if rate.chosen { " (chosen)" } else { "" });
    table.set_header(["shape".to_string()].into_iter().chain(tables.iter().map(name)).chain([String::new()]));
    for finding in findings {
        let mut row = vec![Cell::new(&finding.comparison.shape)];
        row.extend(finding.comparison.rates.iter().map(|rate| Cell::new(text(rate))));
        let late = format!("CHOSEN TABLE {:.0}% SLOWER THAN THE BEST", 100.0 * finding.chosen_is_behind_by);
        row.push(Cell::new(if finding.chosen_is_slow { late } else { String::new() }));
        table.add_row(row);
    }
    table
}

/// `28.1 GB/s, 93% of dram` or `1403.1 GFLOP/s, 31% of its arithmetic`.
fn text(rate: &TableRate) -> String {
    match rate.share {
        Some(share) if share.of == Bound::Memory => {
            format!("{:.1} GB/s, {:.0}% of dram", rate.gbytes, 100.0 * share.share)
        }
        Some(share) => format!("{:.1} GFLOP/s, {:.0}% of its roof", rate.gflops, 100.0 * share.share),
        None => format!("{:.1} GOP/s", rate.gflops),
    }
}

#[cfg(test)]
mod tests {
    use longhaul::cpu::trial::{Cost, Share};

    use super::*;

    #[test]
    fn a_chosen_table_that_is_slow_can_be_seen() {
        let rate = |table, chosen, seconds| TableRate {
            table,
            chosen,
            seconds,
            gflops: 9.0,
            gbytes: 1.5,
            share: Some(Share { of: Bound::Memory, share: 0.5 }),
        };
        let finding = |chosen, other| {
            let cost = Cost { flops: 1, bytes: 1, integers: false, from_memory: true };
            let rates = vec![rate("amx", true, chosen), rate("avx2", false, other)];
            ComparisonFinding::from(Comparison { shape: "matmul/o".into(), cost, rates })
        };
        let (slow, good) = (finding(1.5, 1.0), finding(1.0, 1.5));
        let text = table(&[slow]).to_string();
        assert!(text.contains("matmul/o") && text.contains("amx (chosen)") && text.contains("50% SLOWER"), "{text}");
        assert!(text.contains("1.5 GB/s, 50% of dram"), "{text}");
        assert!(!table(&[good]).to_string().contains("SLOWER"));
        let json = serde_json::to_value(finding(1.5, 1.0)).unwrap();
        assert_eq!(
            (&json["chosen_is_slow"], &json["shape"], &json["rates"][0]["share"]["of"]),
            (&true.into(), &"matmul/o".into(), &"memory".into())
        );
    }
}
