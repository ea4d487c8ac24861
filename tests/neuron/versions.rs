//! Every version that we know: what it lacks, and that everything works all the same and leaves nothing.

use fake_nrt::client::VERSIONS;
use longhaul::neuron::NeuronError;
use longhaul::neuron::device::Runtime;
use longhaul::neuron::nrt::{AsyncAbi, CORE_SYMBOLS, KNOWN_VERSIONS, Nrt, OPTIONAL_SYMBOLS, Status};

use crate::isolated::{assert_clean, isolated};
use crate::scenario::{self, is_missing};

/// Makes one test for each version, so that each has its name and its process.
macro_rules! versions {
    ($($test:ident: $version:literal,)*) => {$(
        #[test]
        fn $test() {
            isolated(concat!("versions::", stringify!($test)), $version, &[], |fake| {
                interface($version);
                scenario::run().unwrap();
                assert_clean(fake);
                assert!(matches!(Runtime::start(), Err(NeuronError::Closed)), "the runtime starts once per process");
            });
        }
    )*};
}

versions! {
    runtime_2_30: "2_30",
    runtime_2_31: "2_31",
    runtime_2_32: "2_32",
    runtime_2_33: "2_33",
    runtime_2_34: "2_34",
    runtime_2_35: "2_35",
}

/// What a version tells of itself, and what it lacks.
fn interface(version: &str) {
    let nrt = Nrt::open().unwrap();
    let known = nrt.version().known().expect("a known version");
    assert_eq!(format!("{}_{}", known.runtime.0, known.runtime.1), version);
    let old = version == "2_30";
    assert_eq!(nrt.async_abi(), if old { AsyncAbi::ErrorTracker } else { AsyncAbi::StatusPointer });
    let text = nrt.status_text(Status(2));
    if version >= "2_34" {
        assert_eq!((text.unwrap(), nrt.missing_symbols()), ("NRT_INVALID".to_string(), vec![]));
    } else {
        let error = text.unwrap_err();
        assert!(is_missing(&error, "nrt_get_status_as_str"));
        assert_eq!(error.to_string(), format!("libnrt {} has no nrt_get_status_as_str", nrt.version()));
        assert_eq!(nrt.missing_symbols(), ["nrt_get_status_as_str"]);
    }
}

#[test]
fn all_known_versions_are_tested() {
    let known: Vec<_> = KNOWN_VERSIONS.iter().map(|k| format!("{}_{}", k.runtime.0, k.runtime.1)).collect();
    assert_eq!(known, VERSIONS);
    assert!(KNOWN_VERSIONS.is_sorted_by_key(|k| k.runtime));
    let names = CORE_SYMBOLS.iter().chain(OPTIONAL_SYMBOLS);
    assert_eq!(names.collect::<std::collections::BTreeSet<_>>().len(), CORE_SYMBOLS.len() + OPTIONAL_SYMBOLS.len());
}

/// With nothing optional the core set still loads, runs and frees; each other function is an error when it is called.
#[test]
fn the_core_set_is_enough() {
    isolated("versions::the_core_set_is_enough", "minimal", &[], |fake| {
        let nrt = Nrt::open().unwrap();
        assert_eq!(nrt.missing_symbols(), OPTIONAL_SYMBOLS);
        assert_eq!((nrt.async_abi(), nrt.version().known()), (AsyncAbi::Absent, None));
        assert!(is_missing(&nrt.total_core_count().unwrap_err(), "nrt_get_total_vnc_count"));
        let runtime = Runtime::start().unwrap();
        assert_eq!(runtime.n_cores(), None);
        let core = runtime.core(0).unwrap();
        assert!(is_missing(&core.memory().unwrap_err(), "nrt_get_vnc_memory_stats"));
        let tensor = core.allocate("t", 16).unwrap();
        assert!(is_missing(&tensor.slice("s", 0, 8).unwrap_err(), "nrt_tensor_allocate_slice"));
        assert!(is_missing(&tensor.fill(0, 1, 16).unwrap_err(), "nrt_tensor_memset"));
        assert!(is_missing(&tensor.copy_from(0, &tensor, 8, 8).unwrap_err(), "nrt_tensor_copy"));
        crate::golden::matmul_runs(&core);
        drop((tensor, core, runtime));
        assert_clean(fake);
    });
}
