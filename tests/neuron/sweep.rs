//! Everything that can fail fails once: each call of a scenario returns each status, one process for each pair. The
//! error must be of the right class, nothing panics or hangs, what can be freed is freed, and a session on the CPU in
//! the same process gives the same bits.

use std::collections::BTreeMap;
use std::sync::Mutex;

use fake_nrt::client::{self, Fake};
use longhaul::engine::Engine;
use longhaul::error::Fault;
use longhaul::neuron::nrt::STATUSES;
use longhaul::neuron::{NeuronError, Result};

use crate::isolated::{assert_clean, isolated, start, text};
use crate::tiny;
use crate::{scenario, tiny::Drawn};

const VERSION: &str = "2_34";
/// What a case's process is told.
const CASE: &str = "LONGHAUL_SWEEP_CASE";

/// What each status must be taken for, written again beside the table that is tested, from the same pages of AWS's.
const EXPECTED: [(i32, Fault); 29] = [
    (1, Fault::Failed),
    (2, Fault::Caller),
    (3, Fault::Caller),
    (4, Fault::OutOfMemory),
    (5, Fault::Process),
    (6, Fault::Instance),
    (7, Fault::Backpressure),
    (9, Fault::Caller),
    (10, Fault::Caller),
    (11, Fault::OutOfMemory),
    (13, Fault::Caller),
    (14, Fault::Caller),
    (15, Fault::Backpressure),
    (101, Fault::Process),
    (1002, Fault::Caller),
    (1003, Fault::Failed),
    (1004, Fault::Process),
    (1005, Fault::Backpressure),
    (1006, Fault::Caller),
    (1100, Fault::Backpressure),
    (1200, Fault::Instance),
    (1201, Fault::Instance),
    (1202, Fault::Instance),
    (1203, Fault::Instance),
    (1204, Fault::Process),
    (1205, Fault::Instance),
    (1206, Fault::Process),
    // Two that nobody documents: one among those of executions that hang, one elsewhere.
    (1299, Fault::Process),
    (77, Fault::Failed),
];

/// Functions that return no status: they are made to leave what they should free.
const VOID: [&str; 2] = ["nrt_tensor_free", "nrt_destroy_tensor_set"];

#[test]
fn the_table_is_what_is_expected() {
    let table: BTreeMap<_, _> = STATUSES.iter().map(|s| (s.code, s.fault)).collect();
    let expected: BTreeMap<_, _> = EXPECTED.into_iter().filter(|(code, _)| ![1299, 77].contains(code)).collect();
    assert_eq!(table, expected);
    assert_eq!(STATUSES.len(), table.len(), "no status twice");
    let named = |s: &&longhaul::neuron::nrt::StatusInfo| s.name.starts_with("NRT_") && !s.meaning.is_empty();
    assert_eq!(STATUSES.iter().filter(named).count(), STATUSES.len());
}

/// The calls of the scenario.
#[test]
fn calls_are_counted() {
    isolated("sweep::calls_are_counted", VERSION, &[], |fake| {
        fake.plan("");
        scenario::run().unwrap();
        println!(); // the test runner has begun a line
        for (function, n) in fake.calls() {
            println!("CALL {function} {n}");
        }
        assert_clean(fake);
    });
}

#[test]
fn every_call_fails_with_every_status() {
    let path = client::library(VERSION);
    let library = path.to_str().unwrap();
    let listing = text(&start("sweep::calls_are_counted", &[("LONGHAUL_LIBNRT", library)]));
    let mut cases = Vec::new();
    for line in listing.lines().filter_map(|l| l.strip_prefix("CALL ")) {
        let (function, n) = line.split_once(' ').unwrap();
        for n in 1..=n.parse::<u64>().unwrap() {
            match function {
                "nrt_close" => {} // it returns nothing, and frees nothing that is left to see
                _ if VOID.contains(&function) => cases.push(format!("{function}#{n}=keep")),
                _ => cases.extend(EXPECTED.iter().map(|(status, _)| format!("{function}#{n}={status}"))),
            }
        }
    }
    assert!(cases.len() > 20 * EXPECTED.len(), "only {} cases:\n{listing}", cases.len());
    println!("{} cases", cases.len());
    let (queue, failed) = (Mutex::new(cases.into_iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(case) = { queue.lock().unwrap().next() } {
                    let variables = [("LONGHAUL_LIBNRT", library), (CASE, &case)];
                    let output = start("sweep::one_case", &variables);
                    if !output.status.success() {
                        failed.lock().unwrap().push(format!("{case}: {}\n{}", output.status, text(&output)));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} cases failed; the first:\n{}", failed.len(), failed[0]);
}

/// One case, which [`every_call_fails_with_every_status`] starts.
#[test]
#[ignore = "started by every_call_fails_with_every_status"]
fn one_case() {
    let Ok(case) = std::env::var(CASE) else { return };
    let fake = Fake::open(&client::library(VERSION));
    let (function, action) = (case.split('#').next().unwrap(), case.split('=').next_back().unwrap());
    let engine = tiny::engine(8);
    let expected = tokens(&engine, 6);

    fake.plan(&case);
    let (first, meanwhile) = std::thread::scope(|scope| {
        let session = scope.spawn(|| tokens(&engine, 6));
        (scenario::run(), session.join().unwrap())
    });
    let status: i32 = action.parse().unwrap_or(1);
    let fault = EXPECTED.iter().find(|(code, _)| *code == status).unwrap().1;
    check_error(first, function, status, fault);
    check_afterwards(&fake, function, fault);

    assert_eq!(meanwhile, expected, "a session that ran meanwhile");
    assert_eq!(tokens(&engine, 6), expected, "a session afterwards");
    engine.shutdown().unwrap();
}

/// The error names the call and the status, and is of the right class.
fn check_error(result: Result<()>, function: &str, status: i32, fault: Fault) {
    let error = result.expect_err("the scenario cannot succeed");
    let described = error.to_string();
    if function == "nrt_get_version" {
        // Without its version a library is not used.
        assert!(matches!(error, NeuronError::NotFound { .. }), "{error:?}");
        return assert!(described.contains("nrt_get_version failed"), "{described}");
    }
    let in_drop = VOID.contains(&function) || function == "nrt_unload";
    let failure = match &error {
        NeuronError::Status(failure) => failure,
        // Fatal in a drop: the next call learns of the loss.
        NeuronError::Lost { cause, .. } if in_drop && fault.is_fatal() => cause,
        other => panic!("not a status: {other:?}"),
    };
    assert_eq!((failure.operation, failure.status.0, failure.in_drop), (function, status, in_drop));
    assert_eq!((error.fault(), fault.is_fatal()), (fault, matches!(fault, Fault::Process | Fault::Instance)));
    assert!(described.contains(function) && described.contains(&format!("{status}")), "{described}");
}

/// After a fatal status nothing is called, and every call returns that failure; after any other the same works, and
/// leaves nothing.
fn check_afterwards(fake: &Fake, function: &str, fault: Fault) {
    if fault.is_fatal() && function != "nrt_get_version" {
        let n_calls = fake.calls();
        // Started anew, it is the same failure, or, if everything has been dropped, that the runtime is gone.
        match scenario::run() {
            Err(NeuronError::Lost { cause, .. }) => assert_eq!(cause.operation, function),
            Err(NeuronError::Closed) => {}
            other => panic!("after a fatal status: {other:?}"),
        }
        assert_eq!(fake.calls(), n_calls, "something was called after the device was lost");
        assert_eq!(fake.counters().n_calls_after_loss, 0);
        return assert_eq!(fake.violations(), [""; 0]);
    }
    if fault.is_fatal() {
        return assert_eq!(fake.violations(), [""; 0]); // the stand-in is lost, and nothing was ever initialised
    }
    let c = fake.counters();
    let left = (c.programs, c.sets, c.descriptions, c.tensors);
    let expected = match function {
        // What was made not to free, and that alone, is still there.
        "nrt_unload" => (1, 0, 0, 0),
        "nrt_destroy_tensor_set" => (0, 1, 0, 0),
        "nrt_free_model_tensor_info" => (0, 0, 1, 0),
        "nrt_tensor_free" => (0, 0, 0, 1),
        _ => (0, 0, 0, 0),
    };
    assert_eq!(left, expected, "{c:?}");
    match scenario::run() {
        Ok(()) => assert_clean(fake),
        // It was started, so it is closed, or left open over what could not be freed.
        Err(NeuronError::Closed) => {
            assert_eq!(c.is_open, u64::from(matches!(function, "nrt_unload") || VOID.contains(&function)));
        }
        other => panic!("after a status that is not fatal: {other:?}"),
    }
}

/// Greedy tokens of a session on the CPU.
fn tokens(engine: &Engine, n: usize) -> Vec<Drawn> {
    tiny::alone(engine, &tiny::prompt(1, 5), n)
}
