//! What the machine can do at most, as `--roofline` measured it.

use comfy_table::Table;
use longhaul::cpu::roofline::Roof;

/// The roofs, for people.
pub fn table(roofs: &[Roof]) -> Table {
    let mut table = super::new_table();
    table.set_header(["roof", "unit", "1 thread: median", "best", "all threads: median", "best"]);
    for roof in roofs {
        let rates = [roof.one_thread.median, roof.one_thread.best, roof.all_threads.median, roof.all_threads.best];
        table.add_row(
            [roof.name, roof.unit].map(String::from).into_iter().chain(rates.map(|rate| format!("{rate:.1}"))),
        );
    }
    table
}
