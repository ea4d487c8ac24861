//! The shape of the crate: who may import whom, where `unsafe` and instruction sets may stand, how long a file may be,
//! and that the README shows the code that is tested.

mod scan;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use scan::{code_only, has_unsafe, paths, tokens, unsafe_without_reason, without_function};

/// Everybody may import these.
const FOUNDATION: [&str; 3] = ["spec", "dtype", "error"];

/// What else each module of the crate may import: `main -> workload -> engine -> kv, text, backend <- cpu, neuron`.
/// Backends never see each other. `main`, which `cli` is a part of, may also look past the workloads at what it shows:
/// sessions, texts, kernel tables, compiled programs.
const MAY_IMPORT: [(&str, &[&str]); 13] = [
    ("main", &["workload", "engine", "text", "cpu", "neuron"]),
    ("workload", &["engine"]),
    ("engine", &["kv", "text", "backend"]),
    ("kv", &[]),
    ("text", &[]),
    ("backend", &[]),
    ("cpu", &["backend"]),
    ("neuron", &["backend"]),
    ("reference", &[]),
    ("emulation", &[]),
    ("spec", &[]),
    ("dtype", &[]),
    ("error", &[]),
];

/// The files that may say `unsafe`: the kernels, which share slices between tasks and call instructions; the memory
/// map; and the two layers over libnrt.
const UNSAFE_FILES: [&str; 43] = [
    "src/cpu/arch/x86_64/amx.rs",
    "src/cpu/arch/x86_64/amx_int8/channel.rs",
    "src/cpu/arch/x86_64/amx_int8/groups.rs",
    "src/cpu/arch/x86_64/amx_int8/mod.rs",
    "src/cpu/arch/x86_64/amx_product.rs",
    "src/cpu/arch/x86_64/amx_sweep/ahead.rs",
    "src/cpu/arch/x86_64/amx_sweep/blocks.rs",
    "src/cpu/arch/x86_64/amx_sweep/mod.rs",
    "src/cpu/arch/x86_64/amx_sweep/sums.rs",
    "src/cpu/arch/x86_64/avx2/integers.rs",
    "src/cpu/arch/x86_64/avx2/mod.rs",
    "src/cpu/arch/x86_64/avx512/bf16.rs",
    "src/cpu/arch/x86_64/avx512/mod.rs",
    "src/cpu/arch/x86_64/avx512/vnni.rs",
    "src/cpu/arch/x86_64/tile.rs",
    "src/cpu/attention/block.rs",
    "src/cpu/attention/parts.rs",
    "src/cpu/buffer.rs",
    "src/cpu/disjoint.rs",
    "src/cpu/forward.rs",
    "src/cpu/kernels.rs",
    "src/cpu/matmul.rs",
    "src/cpu/pages/store.rs",
    "src/cpu/parallel.rs",
    "src/cpu/pointwise.rs",
    "src/cpu/prefetch.rs",
    "src/cpu/quant/panels.rs",
    "src/cpu/quant/rows.rs",
    "src/cpu/quant/tile.rs",
    "src/cpu/team/crew.rs",
    "src/cpu/team/mod.rs",
    "src/cpu/trial/pointwise.rs",
    "src/neuron/device/element.rs",
    "src/neuron/device/program.rs",
    "src/neuron/device/runtime.rs",
    "src/neuron/device/set.rs",
    "src/neuron/device/tensor.rs",
    "src/neuron/nrt/model.rs",
    "src/neuron/nrt/open.rs",
    "src/neuron/nrt/runtime.rs",
    "src/neuron/nrt/symbols.rs",
    "src/neuron/nrt/tensor.rs",
    "src/spec/checkpoint/shard.rs",
];

const MAX_LINES: usize = 600;
const MAX_COLUMNS: usize = 120;

/// A source file.
struct File {
    /// From the crate's folder: `src/engine/plan.rs`.
    path: String,
    text: String,
}

impl File {
    /// Where it stands in the module tree: `["engine", "plan"]`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').filter(|part| !matches!(*part, "mod" | "lib")).collect()
    }
}

/// All Rust files under `src`, in order.
fn sources() -> Vec<File> {
    files("src")
}

/// All Rust files under a folder, in order.
fn files(folder: &str) -> Vec<File> {
    fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    collect(&root.join(folder), &mut found);
    found.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        File { path: path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/"), text }
    };
    found.into_iter().map(read).collect()
}

/// The module of the crate that a path leads to. What the root exports again are errors; `cli` is a part of `main`.
fn target(path: &[String]) -> &str {
    match path.first().map_or("", String::as_str) {
        "Error" | "Result" => "error",
        "cli" => "main",
        first => first,
    }
}

/// What a module's source imports and may not.
fn forbidden(source: &str, module: &[&str]) -> Vec<String> {
    let from = if module[0] == "cli" { "main" } else { module[0] };
    let Some((_, may)) = MAY_IMPORT.iter().find(|(name, _)| *name == from) else {
        return vec![format!("the module {from} is not in MAY_IMPORT: say what it may import")];
    };
    let allowed = |to: &str| to == from || may.contains(&to) || FOUNDATION.contains(&to);
    let paths = paths(source, module);
    paths.iter().filter(|p| !allowed(target(p))).map(|p| format!("{from} imports {}", p.join("::"))).collect()
}

#[test]
fn imports_go_in_one_direction() {
    let mut problems = Vec::new();
    for file in sources().iter().filter(|f| f.path != "src/lib.rs") {
        // `detect` is the one place where the seam names a backend: somebody must know which there are.
        let text =
            if file.path == "src/backend.rs" { without_function(&file.text, "detect") } else { file.text.clone() };
        problems.extend(forbidden(&text, &file.module()).into_iter().map(|p| format!("{}: {p}", file.path)));
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn a_forbidden_import_is_found() {
    assert_eq!(forbidden("use crate::cpu::open; // crate::engine", &["engine", "plan"]), ["engine imports cpu::open"]);
    assert_eq!(forbidden("use super::super::backend::Caps;", &["kv", "pool"]), ["kv imports backend::Caps"]);
    assert_eq!(forbidden("use longhaul::backend::Caps;", &["cli", "doctor"]), ["main imports backend::Caps"]);
    assert_eq!(forbidden("use crate::neuron;", &["cpu"]), ["cpu imports neuron"]);
    assert_eq!(forbidden("mod tests { use super::*; use crate::Error; }", &["kv"]), [""; 0]);
    assert_eq!(forbidden("", &["helper"]).len(), 1);
}

/// The layers over libnrt see the one below them, and no other.
#[test]
fn only_the_result_layer_sees_the_c_interface() {
    let mut problems = Vec::new();
    for file in
        sources().iter().filter(|f| !f.path.starts_with("src/neuron/nrt/") && !f.path.starts_with("src/neuron/sys/"))
    {
        let sees =
            paths(&file.text, &file.module()).into_iter().any(|p| p.starts_with(&["neuron".into(), "sys".into()]));
        problems.extend(sees.then(|| file.path.clone()));
    }
    assert_eq!(problems, [""; 0]);
    let device = files("src/neuron/nrt").into_iter().chain(files("src/neuron/sys"));
    let upwards =
        |f: &File| paths(&f.text, &f.module()).into_iter().any(|p| p.starts_with(&["neuron".into(), "device".into()]));
    assert_eq!(device.filter(upwards).map(|f| f.path).collect::<Vec<_>>(), [""; 0]);
}

/// The kernels' backend stands on device and catalog: it does not look below them, and nothing of Neuron looks up to
/// it.
#[test]
fn the_neuron_backend_stands_on_device_and_catalog() {
    let sees = |f: &File, module: &str| {
        paths(&f.text, &f.module()).into_iter().any(|p| p.starts_with(&["neuron".into(), module.into()]))
    };
    let is_backend = |f: &File| f.path.starts_with("src/neuron/backend/");
    let (backend, below): (Vec<File>, Vec<File>) = files("src/neuron").into_iter().partition(is_backend);
    assert!(backend.iter().any(|f| sees(f, "device")) && backend.iter().any(|f| sees(f, "catalog")));
    let downwards = backend.iter().filter(|f| sees(f, "nrt") || sees(f, "sys"));
    let upwards = below.iter().filter(|f| f.path != "src/neuron/mod.rs" && sees(f, "backend"));
    assert_eq!(downwards.chain(upwards).map(|f| f.path.as_str()).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn pages_are_integers_only() {
    for file in sources().iter().filter(|f| f.path.starts_with("src/kv/")) {
        let code = code_only(&file.text);
        let float = tokens(&code).into_iter().find(|t| ["f32", "f64", "f16", "bf16", "half", "Dtype"].contains(t));
        assert_eq!(float, None, "{} knows of floats", file.path);
    }
}

/// And asking for memory in a file that imports nothing: threads do so which know no kernel table, and tables do.
#[test]
fn instruction_sets_stand_in_arch() {
    let may_name = |f: &File| f.path.starts_with("src/cpu/arch/") || f.path == "src/cpu/prefetch.rs";
    for file in sources().iter().filter(|f| !may_name(f)) {
        let code = code_only(&file.text);
        let found = tokens(&code).into_iter().find(|t| ["target_arch", "target_feature", "x86_64"].contains(t));
        assert_eq!(found, None, "{} names an instruction set", file.path);
    }
}

#[test]
fn files_are_short() {
    let too_long = |f: &File| (f.text.lines().count() > MAX_LINES).then(|| f.path.clone());
    assert_eq!(sources().iter().filter_map(too_long).collect::<Vec<_>>(), [""; 0]);
}

/// Lines of code are rustfmt's business, which leaves comments alone. Tables and commands stand in one line.
#[test]
fn comments_fit_their_column() {
    let mut problems = Vec::new();
    for file in ["src", "tests", "benches", "examples"].into_iter().flat_map(files) {
        let is_long = |line: &str| {
            let text = line.trim_start().trim_start_matches(['/', '!']);
            let is_comment = line.trim_start().starts_with("//");
            is_comment && line.chars().count() > MAX_COLUMNS && !text.starts_with(" |") && !text.starts_with("     ")
        };
        let long = file.text.lines().enumerate().filter(|(_, line)| is_long(line));
        problems.extend(long.map(|(i, _)| format!("{}:{}", file.path, i + 1)));
    }
    assert!(problems.is_empty(), "comments of more than {MAX_COLUMNS} columns at {problems:?}");
}

#[test]
fn unsafe_stands_where_it_must() {
    let says_unsafe = |f: &File| has_unsafe(&code_only(&f.text)).then(|| f.path.clone());
    let found: BTreeSet<String> = sources().iter().filter_map(says_unsafe).collect();
    assert_eq!(found, UNSAFE_FILES.map(String::from).into());
}

#[test]
fn every_unsafe_has_its_reason() {
    let mut problems = Vec::new();
    for file in sources().into_iter().chain(files("tests/fake-nrt")) {
        problems
            .extend(unsafe_without_reason(&file.text).into_iter().map(|line| format!("{}:{}", file.path, line + 1)));
    }
    assert!(problems.is_empty(), "no reason given for `unsafe` at {problems:?}");
}

#[test]
fn the_readme_shows_the_examples() {
    let read = |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    for example in ["examples/embed.rs", "examples/kernels.rs"] {
        let shown = read("README.md").contains(&format!("```rust\n{}```", read(example)));
        assert!(shown, "README.md shows another text than {example}");
    }
}
