//! The suite on the stand-in: that it passes there, and that whatever misbehaves ends as a line of the report.

use std::path::Path;
use std::time::Duration;

use fake_nrt::client;
use longhaul::neuron::catalog::MANIFEST;
use longhaul::neuron::neff::write::Program;
use serde_json::Value;
use tempfile::TempDir;

use crate::cases::{self, Case};
use crate::child::STAND_IN;
use crate::compile::Compiler;
use crate::report::{CaseReport, Outcome, Report};
use crate::run::{Options, run};
use crate::{compiled, kernel_cases};

/// Options for the library `version`, with these faults, and its folder.
fn options(version: &str, faults: &str, only: &[&str]) -> (Options, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let library = client::library(version).to_str().unwrap().to_string();
    let options = Options {
        out: folder.path().join("out"),
        programs: folder.path().join("programs"),
        compiler: Compiler::None,
        only: (!only.is_empty()).then(|| only.iter().map(|name| name.to_string()).collect()),
        time_limit: Duration::from_secs(300),
        variables: vec![("LONGHAUL_LIBNRT", library), ("FAKE_NRT_FAULTS", faults.into()), (STAND_IN, "1".into())],
        removed: &["NEURON", "FAKE_NRT"],
    };
    (options, folder)
}

/// A catalog of all programs that the cases need.
fn write_programs(folder: &Path, lnc: u32) {
    std::fs::create_dir_all(folder).unwrap();
    let mut programs: Vec<Program> = Vec::new();
    for wanted in cases::all().flat_map(Case::wanted) {
        if !programs.iter().any(|p| p.call == wanted.call) {
            programs.push(Program { lnc, ..wanted });
        }
    }
    compiled::write(folder, &programs);
}

fn case<'a>(report: &'a Report, name: &str) -> &'a CaseReport {
    report.cases.iter().find(|case| case.name == name).unwrap()
}

fn assert_all_passed(report: &Report, n: usize) {
    let passed = report.cases.iter().filter(|case| case.outcome == Outcome::Passed).count();
    assert!(passed == n && report.cases.len() == n && !report.failed(), "{}", report.text());
}

#[test]
fn every_case_passes() {
    for (version, lnc) in [("2_35", 1), ("2_30", 2)] {
        let (mut options, _folder) = options(version, "", &[]);
        options.variables.push(("NEURON_LOGICAL_NC_CONFIG", lnc.to_string()));
        write_programs(&options.programs, lnc);
        let report = run(&options).unwrap();
        assert_all_passed(&report, cases::all().count());
        let written: Value = serde_json::from_slice(&std::fs::read(options.out.join("report.json")).unwrap()).unwrap();
        assert_eq!(written["cases"].as_array().unwrap().len(), cases::all().count());
        assert_eq!(
            (&written["target"], &written["lnc"], &written["library"]["family"]),
            (&"trn2".into(), &lnc.into(), &"trn2".into())
        );
        assert_eq!(written["library"]["version"]["minor"].to_string(), version[2..]);
        let times: Vec<_> = report.cases.iter().flat_map(|c| &c.measured).collect();
        assert!(times.len() == 14 && times.iter().all(|t| t.n > 0 && t.median > 0.0 && t.best > 0.0), "{times:?}");
        let text = std::fs::read_to_string(options.out.join("report.txt")).unwrap();
        assert!(text.contains("two-cores") && text.contains("execute attention-decode"), "{text}");
    }
}

#[test]
fn a_function_that_is_missing_is_named() {
    let (options, _folder) = options("minimal", "", &["slices", "tensors", "matmul-decode"]);
    let report = run(&options).unwrap();
    assert!(report.failed());
    assert_eq!(case(&report, "tensors").outcome, Outcome::Passed);
    let slices = case(&report, "slices");
    assert!(
        slices.outcome == Outcome::Failed
            && slices.error.as_ref().unwrap().contains("has no nrt_tensor_allocate_slice")
    );
    let matmul = case(&report, "matmul-decode");
    assert!(matmul.outcome == Outcome::NotRun && matmul.error.as_ref().unwrap().contains("chip"), "{matmul:?}");
}

#[test]
fn without_a_library_nothing_else_runs() {
    let (mut options, _folder) = options("2_35", "", &[]);
    options.variables[0].1 = "/nowhere/libnrt.so.1".into();
    let report = run(&options).unwrap();
    assert!(report.failed());
    assert!(
        report.cases[0].outcome == Outcome::Failed
            && report.cases[0].error.as_ref().unwrap().contains("/nowhere/libnrt.so.1")
    );
    assert!(
        report.cases.len() == cases::all().count() && report.cases[1..].iter().all(|c| c.outcome == Outcome::NotRun)
    );
}

#[test]
fn without_programs_the_rest_runs() {
    let (options, _folder) = options("2_34", "", &["fill", "matmul-decode"]);
    let report = run(&options).unwrap();
    assert!(!report.failed(), "what is not run has not failed");
    assert_eq!(case(&report, "fill").outcome, Outcome::Passed);
    assert_eq!(case(&report, "matmul-decode").outcome, Outcome::NotRun);
}

#[test]
fn a_crash_is_a_line_of_the_report() {
    let (options, _folder) = options("2_34", "nrt_tensor_read#2=crash", &["tensors", "fill", "no-program"]);
    let report = run(&options).unwrap();
    for name in ["tensors", "fill"] {
        let crashed = case(&report, name);
        assert!(
            crashed.outcome == Outcome::Crashed && crashed.error.as_ref().unwrap().contains("signal"),
            "{crashed:?}"
        );
    }
    assert_eq!(case(&report, "no-program").outcome, Outcome::Passed);
    assert!(report.failed());
}

#[test]
fn a_crash_of_the_library_at_its_first_call_is_too() {
    let (options, _folder) = options("2_34", "nrt_get_instance_info#1=crash", &["tensors"]);
    let report = run(&options).unwrap();
    assert_eq!(
        (case(&report, "library").outcome, case(&report, "tensors").outcome),
        (Outcome::Crashed, Outcome::NotRun)
    );
}

#[test]
fn after_two_cases_that_hang_the_rest_is_not_run() {
    let (mut options, _folder) = options("2_34", "nrt_tensor_write#1=delay:100000", &["tensors", "slices", "copy"]);
    options.time_limit = Duration::from_secs(2);
    let report = run(&options).unwrap();
    let outcomes = report.cases.iter().map(|c| c.outcome).collect::<Vec<_>>();
    assert_eq!(outcomes, [Outcome::Passed, Outcome::TimedOut, Outcome::TimedOut, Outcome::NotRun]);
    assert!(case(&report, "slices").error.as_ref().unwrap().contains("2 s, and was killed"));
}

#[test]
fn a_broken_instance_ends_the_suite() {
    let (options, _folder) = options("2_34", "nrt_tensor_write#1=1203", &["tensors", "fill"]);
    let report = run(&options).unwrap();
    let first = case(&report, "tensors");
    assert!(first.outcome == Outcome::Failed && first.error.as_ref().unwrap().contains("1203"), "{first:?}");
    assert_eq!(first.fault.as_deref(), Some("instance"));
    assert!(case(&report, "fill").error.as_ref().unwrap().contains("tensors said that the instance is broken"));
}

#[test]
fn wrong_answers_are_found() {
    // Calls that return success and do nothing.
    for (faults, name) in [
        ("nrt_execute#*=0", "matmul-tails"),
        ("nrt_execute#*=0", "attention-append"),
        ("nrt_tensor_memset#2=0", "fill"),
        ("nrt_tensor_copy#4=0", "copy"),
        ("nrt_tensor_write#5=0", "tensors"),
    ] {
        let (options, _folder) = options("2_34", faults, &[name]);
        write_programs(&options.programs, 1);
        let report = run(&options).unwrap();
        assert_eq!(case(&report, name).outcome, Outcome::Failed, "{faults}: {}", report.text());
    }
}

#[test]
fn what_is_left_allocated_is_found() {
    let (options, _folder) = options("2_34", "nrt_tensor_free#1=keep", &["fill"]);
    let report = run(&options).unwrap();
    assert_eq!(case(&report, "fill").outcome, Outcome::Failed, "{}", report.text());
}

#[test]
fn a_file_that_differs_from_the_manifest_is_described() {
    let (options, _folder) = options("2_34", "", &["files", "matmul-decode"]);
    write_programs(&options.programs, 1);
    let path = options.programs.join(MANIFEST);
    let manifest = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, manifest.replacen("\"float8_e4m3\",\"shape", "\"float8e4\",\"shape", 1)).unwrap();
    let report = run(&options).unwrap();
    let files = case(&report, "files");
    assert_eq!(files.outcome, Outcome::Failed);
    assert!(files.error.as_ref().unwrap().contains("the tensor \"weights\" is input float8_e4m3"), "{files:?}");
    assert!(files.notes.len() == 1 && files.notes[0].contains("cayman"), "{files:?}");
    assert_eq!(case(&report, "matmul-decode").outcome, Outcome::Passed);
}

#[test]
fn a_case_that_is_none_is_refused() {
    let (options, _folder) = options("2_34", "", &["no-such-case"]);
    assert!(run(&options).err().unwrap().contains("no-such-case"));
}

/// From sources to a report, as on an instance, with the stand-in in the place of compiler and library.
#[test]
fn programs_are_compiled_and_run() {
    let Some(python) = crate::python::python() else { return };
    let (mut options, _folder) = options("2_35", "", &kernel_cases::CASES);
    options.compiler = Compiler::StandIn(python);
    let report = run(&options).unwrap();
    let compiled = report.compilation.as_ref().unwrap();
    let n = kernel_cases::CASES.len();
    assert_eq!((compiled.n_wanted, compiled.n_compiled, &compiled.error), (n, n, &None));
    assert_all_passed(&report, 1 + kernel_cases::CASES.len());
    assert!(run(&options).unwrap().compilation.is_none(), "nothing is compiled twice");
}

#[test]
fn a_compiler_that_fails_is_quoted() {
    let (mut options, _folder) = options("2_35", "", &["matmul-decode"]);
    options.compiler = Compiler::StandIn("/nowhere/python3".into());
    let report = run(&options).unwrap();
    let compilation = report.compilation.as_ref().unwrap();
    assert_eq!((compilation.n_wanted, compilation.n_compiled), (1, 0));
    assert!(compilation.error.as_ref().unwrap().contains("/nowhere/python3"));
    assert_eq!(case(&report, "matmul-decode").outcome, Outcome::NotRun);
}
