//! Finding libnrt, and what there is to say when it is not there.

use fake_nrt::client;
use longhaul::error::Error;
use longhaul::neuron::device::Runtime;
use longhaul::neuron::{NeuronError, inspect};

use crate::isolated::{assert_clean, isolated, start, text};

/// A process in which `LONGHAUL_LIBNRT` is not set.
fn without_choice(name: &str, variables: &[(&str, &str)], body: impl FnOnce()) {
    if std::env::var("LONGHAUL_ISOLATED_TEST").as_deref() == Ok(name) {
        return body();
    }
    let output = start(name, variables);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn absence_names_each_place() {
    without_choice("opening::absence_names_each_place", &[("NEURON_DIR", "/nowhere")], || {
        let Err(NeuronError::NotFound { tried }) = inspect() else { return assert!(inspect().is_ok()) };
        let places: Vec<_> = tried.iter().map(|a| (a.path.as_str(), a.from)).collect();
        let default = ("/opt/aws/neuron/lib/libnrt.so.1", "default folder");
        assert_eq!(places, [("/nowhere/lib/libnrt.so.1", "NEURON_DIR"), default, ("libnrt.so.1", "loader's path")]);
        assert_eq!(tried[0].why, "no such file");
        assert!(tried.iter().all(|a| !a.why.is_empty()), "{tried:?}");
        let error = Error::from(Runtime::start().unwrap_err());
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        let text = error.to_string();
        assert!(tried.iter().all(|a| text.contains(&a.path) && text.contains(&a.why)), "{text}");
    });
}

#[test]
fn a_library_that_is_none_says_why() {
    let none = std::env::current_exe().unwrap();
    let none = none.parent().unwrap().join("opening-test-not-a-library.so");
    std::fs::write(&none, "text").unwrap();
    let name = "opening::a_library_that_is_none_says_why";
    without_choice(name, &[("LONGHAUL_LIBNRT", none.to_str().unwrap())], || {
        let Err(NeuronError::NotFound { tried }) = inspect() else { panic!("text is no library") };
        assert_eq!(tried.len(), 1, "a library that was chosen does not turn into another: {tried:?}");
        assert!(tried[0].from == "LONGHAUL_LIBNRT" && tried[0].why.contains("too short"), "{tried:?}");
    });
}

#[test]
fn a_library_without_the_core_set_is_passed_over() {
    isolated("opening::a_library_without_the_core_set_is_passed_over", "broken", &[], |_| {
        let Err(NeuronError::NotFound { tried }) = inspect() else { panic!("it lacks nearly everything") };
        assert!(tried[0].why.starts_with("it lacks nrt_init, nrt_close, nrt_load"), "{tried:?}");
    });
}

#[test]
fn neuron_dir_is_searched() {
    let executable = std::env::current_exe().unwrap();
    let sdk = executable.parent().unwrap().join("opening-test-sdk");
    std::fs::create_dir_all(sdk.join("lib")).unwrap();
    std::fs::copy(client::library("2_34"), sdk.join("lib/libnrt.so.1")).unwrap();
    let name = "opening::neuron_dir_is_searched";
    without_choice(name, &[("NEURON_DIR", sdk.to_str().unwrap())], || {
        let found = inspect().unwrap();
        assert!(found.found_by == "NEURON_DIR" && found.path.ends_with("lib/libnrt.so.1"), "{found:?}");
    });
}

#[test]
fn inspecting_takes_no_core() {
    let variables = [("NEURON_RT_VISIBLE_CORES", "2-3,4"), ("FAKE_NRT_CORES", "16")];
    isolated("opening::inspecting_takes_no_core", "2_31", &variables, |fake| {
        let found = inspect().unwrap();
        assert_eq!(fake.counters().is_open, 0);
        assert_eq!((found.version.to_string().as_str(), found.sdk), ("2.31.24.0", Some("2.29")));
        assert_eq!((found.total_cores, found.visible_cores), (Ok(16), Ok(3)));
        assert_eq!(found.instance.unwrap().family_name(), Some("trn2"));
        assert!(found.memory.unwrap_err().contains("NRT_UNINITIALIZED (13)"));

        let runtime = Runtime::start().unwrap();
        assert_eq!(runtime.n_cores(), Some(3));
        let core = runtime.core(2).unwrap();
        let tensor = core.allocate("t", 1000).unwrap();
        let memory = runtime.inspect().memory.unwrap();
        assert_eq!(memory.iter().map(|m| m.used_bytes).collect::<Vec<_>>(), [0, 0, 1000]);
        assert_eq!(memory[2], core.memory().unwrap());
        let error = runtime.core(3).unwrap_err().to_string();
        assert!(error.contains("no Neuron core 3") && error.contains("has 3"), "{error}");
        drop((tensor, core, runtime));
        assert_clean(fake);
    });
}

#[test]
fn cores_that_cannot_be_had_are_an_error() {
    let name = "opening::cores_that_cannot_be_had_are_an_error";
    isolated(name, "2_35", &[("NEURON_RT_VISIBLE_CORES", "3,5")], |_| {
        let error = Runtime::start().unwrap_err();
        assert!(error.to_string().contains("NRT_INVALID (2)"), "{error}");
    });
}
