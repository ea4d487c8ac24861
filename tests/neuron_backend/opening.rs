//! Opening the backend: where its programs are, the chip, the cores, the length of a page.

use longhaul::Error;
use longhaul::neuron::backend::{NeuronOptions, open};
use longhaul::neuron::neff::Target;

use crate::compiled::{Bucket, attention, folder};
use crate::contract_programs::{heads, matrix};
use crate::isolated::{assert_clean, isolated};

/// Names the folder of programs.
const PROGRAMS_VARIABLE: &str = "LONGHAUL_PROGRAMS";

#[test]
fn the_environment_says_it_all() {
    let folder = folder(&[matrix(20, 40), heads(1, 1, 64, &[0])].concat());
    let variables = [(PROGRAMS_VARIABLE, folder.path().to_str().unwrap()), ("NEURON_LOGICAL_NC_CONFIG", "1")];
    isolated("opening::the_environment_says_it_all", "2_35", &variables, |fake| {
        // What is refused before the runtime is started leaves it to be had.
        let wrong = open(&NeuronOptions { core: 99, ..Default::default() });
        assert!(matches!(wrong.map(drop), Err(Error::Argument(_))));
        let wrong = open(&NeuronOptions { target: Some(Target::Trn1), ..Default::default() });
        assert!(matches!(wrong.map(drop), Err(Error::Unavailable { why, .. }) if why.contains("trn2 and trn3")));
        assert_eq!(fake.counters().is_open, 0);
        let backend = open(&NeuronOptions::default()).unwrap();
        let caps = backend.caps();
        assert_eq!((caps.name.as_str(), caps.page_len, caps.chunk_len, caps.n_threads), ("neuron/trn2", 256, 256, 1));
        assert_eq!((caps.head_dims, caps.memory_bytes), (Some(&[64, 128][..]), 1 << 30));
        // It has the kernels and no model, so whoever wants any backend gets the CPU.
        assert!(longhaul::backend::detect(Some(1)).unwrap().caps().name.starts_with("cpu/"));
        let wrong = open(&NeuronOptions { core: 99, ..Default::default() });
        assert!(matches!(wrong.map(drop), Err(Error::Argument(_))));
        drop(crate::contract::matmul::pack(
            &*backend,
            &ndarray::Array2::zeros((20, 40)),
            longhaul::spec::WeightDtype::Bf16,
        ));
        drop(backend);
        assert_clean(fake);
    });
}

#[test]
fn without_programs_nothing_is_started() {
    isolated("opening::without_programs_nothing_is_started", "2_34", &[(PROGRAMS_VARIABLE, "no/folder")], |fake| {
        let error = open(&NeuronOptions::default()).map(drop).unwrap_err();
        assert!(matches!(&error, Error::Io { path, .. } if path.ends_with("no/folder/manifest.json")), "{error:?}");
        let empty = tempfile::tempdir().unwrap();
        let programs = Some(empty.path().to_path_buf());
        let error = open(&NeuronOptions { programs, ..Default::default() }).map(drop).unwrap_err();
        assert!(matches!(&error, Error::Io { path, .. } if path.ends_with("manifest.json")), "{error:?}");
        assert_eq!(fake.counters().is_open, 0);
    });
}

#[test]
fn of_several_page_lengths_one_is_chosen() {
    let bucket = |page_len| Bucket {
        n_seqs: 1,
        q_len: 1,
        n_heads: 1,
        n_kv_heads: 1,
        head_dim: 64,
        page_len,
        max_pages: 2,
        unroll: 1,
        window: 0,
        n_pages: 4,
    };
    let folder = folder(&[attention(bucket(256)), attention(bucket(512))]);
    let variables = [(PROGRAMS_VARIABLE, folder.path().to_str().unwrap()), ("NEURON_LOGICAL_NC_CONFIG", "1")];
    isolated("opening::of_several_page_lengths_one_is_chosen", "2_34", &variables, |_| {
        let error = open(&NeuronOptions::default()).map(drop).unwrap_err();
        assert!(error.to_string().contains("[256, 512]"), "{error}");
        let backend = open(&NeuronOptions { page_len: Some(512), ..Default::default() }).unwrap();
        assert_eq!(backend.caps().page_len, 512);
    });
}
