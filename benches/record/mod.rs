//! Records of benches: rows, printed as a table and written to `benches/records/` (schema in BENCHMARKS.md).

use std::path::Path;
use std::process::Command;

use longhaul::cpu;

/// A row of a record.
pub struct Row {
    pub what: String,
    /// The bar, a number in `unit` or words; null where there is none.
    pub at_least: serde_json::Value,
    pub measured: f64,
    pub unit: &'static str,
    pub note: String,
}

/// Prints the rows.
pub fn print(rows: &[Row]) {
    for row in rows {
        println!("{:<55} {:>10.4} {:<9} (at least {}) {}", row.what, row.measured, row.unit, row.at_least, row.note);
    }
}

/// Writes `benches/records/NAME.json` if the arguments say `--record NAME`.
pub fn write_if_asked(rows: &[Row], table: &str, n_threads: usize) {
    let Some(name) = std::env::args().skip_while(|a| a != "--record").nth(1) else { return };
    let machine = cpu::machine();
    let gib = machine.memory_bytes as f64 / f64::from(1 << 30);
    let rows: Vec<_> = rows
        .iter()
        .map(|r| {
            let measured = (r.measured * 1e4).round() / 1e4;
            serde_json::json!({ "what": r.what, "at_least": r.at_least, "measured": measured, "unit": r.unit, "note": r.note })
        })
        .collect();
    let record = serde_json::json!({
        "name": name,
        "machine": format!("{}, {} cores, {gib:.0} GiB, virtual", machine.model_name, machine.n_cores),
        "commit": commit(),
        "date": output("date", &["+%Y-%m-%d"]),
        "table": table,
        "threads": n_threads,
        "rows": rows,
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("benches/records/{name}.json"));
    let text = serde_json::to_string_pretty(&record).expect("a record is plain data") + "\n";
    std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    println!("wrote {}", path.display());
}

/// The commit, with `-dirty` if what was measured differs from it. Records that were written before do not count.
fn commit() -> String {
    let code = ["src", "benches", ":!benches/records", "Cargo.toml", "Cargo.lock"];
    let clean = Command::new("git").args(["diff", "--quiet", "HEAD", "--"]).args(code).status();
    output("git", &["rev-parse", "--short", "HEAD"]) + if clean.is_ok_and(|s| s.success()) { "" } else { "-dirty" }
}

/// What a command prints, or `unknown`.
fn output(command: &str, args: &[&str]) -> String {
    let output = Command::new(command).args(args).output().ok().filter(|o| o.status.success());
    output.map_or("unknown".into(), |o| String::from_utf8_lossy(&o.stdout).trim().to_string())
}
