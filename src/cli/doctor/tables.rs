//! Backends, and the kernel tables of the CPU backend.

use comfy_table::Table;
use serde::Serialize;

/// A backend.
#[derive(Serialize)]
pub struct BackendFinding {
    name: &'static str,
    available: bool,
    why: &'static str,
}

/// A kernel table of the CPU backend.
#[derive(Serialize)]
pub struct TableFinding {
    name: &'static str,
    available: bool,
    chosen: bool,
    why: String,
}

/// The backends that there are.
pub fn backends() -> Vec<BackendFinding> {
    let neuron = "models run on CPUs only; the Trainium backend has the two kernels and no model yet";
    vec![
        BackendFinding { name: "cpu", available: true, why: "" },
        BackendFinding { name: "neuron", available: false, why: neuron },
    ]
}

/// The kernel tables that there are.
pub fn find() -> Vec<TableFinding> {
    let finding = |t: longhaul::cpu::TableStatus| TableFinding {
        name: t.name,
        available: t.available,
        chosen: t.chosen,
        why: t.why,
    };
    longhaul::cpu::tables().into_iter().map(finding).collect()
}

/// Both, for people.
pub fn table(backends: &[BackendFinding], tables: &[TableFinding]) -> Table {
    let mut out = super::new_table();
    out.set_header(["backend or kernel table", "here", "why"]);
    for backend in backends {
        out.add_row([backend.name, if backend.available { "available" } else { "missing" }, backend.why]);
    }
    for table in tables {
        let here = match (table.available, table.chosen) {
            (_, true) => "chosen",
            (true, false) => "available",
            (false, false) => "missing",
        };
        out.add_row([&format!("cpu/{}", table.name), here, &table.why]);
    }
    out
}
