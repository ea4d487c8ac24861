//! Which program is chosen, and what is said when there is none.

use std::process::Command;

use longhaul::Error;
use longhaul::neuron::catalog::{Catalog, CatalogError, Fit, Request};
use longhaul::neuron::neff::{Argument, KernelCall, Target, write::Program};

use crate::{folder, matmul, open};

fn request(m: u64) -> Request {
    Request::matmul("matmul", Target::Trn2, 1, [m, 576, 192], "bfloat16")
}

fn bucket(catalog: &Catalog, m: u64) -> Option<u64> {
    catalog.find(&request(m)).ok().and_then(|fit| fit.entry.count("m"))
}

/// An attention of two counts that may be larger.
fn attention(n_seqs: u64, q_len: u64, window: u64) -> Program {
    let arguments = [("n_seqs", n_seqs), ("q_len", q_len), ("window", window)];
    let arguments = arguments.into_iter().map(|(name, n)| (name.into(), Argument::Count(n))).collect();
    let call = KernelCall { kernel: "attention".into(), arguments };
    Program { name: format!("attention-{n_seqs}-{q_len}-{window}"), call, ..matmul(1, "bfloat16") }
}

#[test]
fn the_smallest_bucket_that_fits_is_chosen() {
    // In an order that is none, as a manifest sorts by text: 1, 1024, 16, 4.
    let folder = folder(&[1, 1024, 16, 4].map(|m| matmul(m, "bfloat16")));
    let catalog = open(&folder);
    let chosen = [1, 2, 4, 5, 16, 17, 1024, 1025].map(|m| bucket(&catalog, m));
    assert_eq!(chosen, [Some(1), Some(4), Some(4), Some(16), Some(16), Some(1024), Some(1024), None]);
    let Fit { padding, .. } = catalog.find(&request(17)).unwrap();
    assert_eq!(padding.len(), 1);
    assert_eq!(
        (padding[0].name.as_str(), padding[0].wanted, padding[0].bucket, padding[0].n_padded()),
        ("m", 17, 1024, 1007)
    );
    assert_eq!(catalog.find(&request(16)).unwrap().padding[0].n_padded(), 0);
    let buckets: Vec<_> = catalog.buckets(&request(2000)).iter().map(|e| e.count("m").unwrap()).collect();
    assert_eq!(buckets, [1, 4, 16, 1024], "for who cuts 2,000 rows in pieces");
}

#[test]
fn several_counts_are_weighed_by_their_product() {
    let folder = folder(&[(1, 1024), (8, 1), (4, 1), (1, 128), (4, 64)].map(|(s, q)| attention(s, q, 0)));
    let catalog = open(&folder);
    let find = |n_seqs, q_len| {
        let request = Request::new("attention", Target::Trn2, 1).exactly("window", 0);
        let fit = catalog.find(&request.at_least("n_seqs", n_seqs).at_least("q_len", q_len)).ok()?;
        Some((fit.entry.count("n_seqs")?, fit.entry.count("q_len")?))
    };
    assert_eq!(find(1, 1), Some((4, 1)));
    assert_eq!(find(5, 1), Some((8, 1)));
    assert_eq!(find(1, 2), Some((1, 128)));
    assert_eq!(find(2, 2), Some((4, 64)));
    assert_eq!(find(1, 129), Some((1, 1024)));
    assert_eq!(find(2, 65), None);
}

#[test]
fn what_differs_in_anything_but_the_bucket_does_not_fit() {
    let lnc2 = Program { lnc: 2, ..matmul(64, "bfloat16") };
    let trn3 = Program { target: Target::Trn3, ..matmul(32, "bfloat16") };
    let folder = folder(&[matmul(16, "float8_e4m3"), lnc2, trn3, attention(1, 1, 7)]);
    let catalog = open(&folder);
    assert_eq!(bucket(&catalog, 1), None);
    let found = |request: Request| catalog.find(&request).is_ok();
    assert!(found(Request { lnc: 2, ..request(1) }) && found(Request { target: Target::Trn3, ..request(1) }));
    assert!(found(Request::matmul("matmul", Target::Trn2, 1, [1, 576, 192], "float8_e4m3")));
    for (k, n) in [(575, 192), (577, 192), (576, 191), (576, 193)] {
        assert!(!found(Request::matmul("matmul", Target::Trn2, 1, [1, k, n], "float8_e4m3")), "{k} {n}");
    }
    assert!(!found(Request::matmul("matmul_silu_gate", Target::Trn2, 1, [1, 576, 192], "float8_e4m3")));
    // A window that nobody spoke of could be any.
    let attention = || Request::new("attention", Target::Trn2, 1).at_least("n_seqs", 1).at_least("q_len", 1);
    assert!(!found(attention()) && !found(attention().exactly("window", 0)));
    assert!(found(attention().exactly("window", 7)) && found(attention().any("window")));
    assert!(!found(attention().exactly("window", 7).exactly("pages", 1)), "an argument that it does not have");
    assert!(!found(request(1).at_least("weights", 1)), "a name is no count");
}

#[test]
fn a_missing_bucket_is_named_with_the_command_that_builds_it() {
    let folder = folder(&[4, 16].map(|m| matmul(m, "bfloat16")));
    let catalog = open(&folder);
    let dir = folder.path().display();
    let error = catalog.find(&request(100)).unwrap_err();
    assert!(matches!(&error, CatalogError::Missing { nearest, .. } if nearest.len() == 2));
    assert_eq!(
        error.to_string(),
        format!(
            "there is no program for matmul with k = 576, n = 192, weights = bfloat16, m of at least 100 on trn2, LNC 1 in {dir} (there is \
             m = 4; m = 16); this builds it: python -m kernels.compile --program matmul k=576 n=192 weights=bfloat16 m=100 --target trn2 \
             --lnc 1 --out {dir}"
        )
    );
    assert!(matches!(Error::from(error), Error::Unavailable { why, .. } if why.contains("--program matmul k=576")));
    let error = catalog.find(&Request::new("attention", Target::Trn3, 2)).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("there is no program for attention on trn3, LNC 2 in {dir}; this builds it")),
        "{error}"
    );
}

/// The command of the error, run as it stands but for the interpreter and the stand-in compiler, makes the bucket that
/// was missing.
#[test]
fn the_command_of_the_error_builds_the_bucket() {
    let Some(python) = crate::python::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("manifest.json"), "{\"schema\":1,\"programs\":[]}").unwrap();
    for request in [
        request(100),
        Request::matmul("matmul_silu_gate", Target::Trn3, 2, [3, 200, 300], "float8_e4m3"),
        Request::new("attention", Target::Trn2, 1)
            .exactly("n_heads", 4)
            .exactly("n_kv_heads", 2)
            .exactly("head_dim", 64)
            .exactly("page_len", 1024)
            .exactly("n_pages", 6)
            .exactly("window", 16)
            .exactly("static_pages", 0)
            .at_least("n_seqs", 3)
            .at_least("q_len", 5)
            .at_least("max_pages", 4)
            .any("unroll"),
    ] {
        let Err(CatalogError::Missing { command, .. }) = open(&folder).find(&request) else {
            panic!("{request:?} is there")
        };
        let (interpreter, words) = command.split_once(' ').unwrap();
        assert_eq!(interpreter, "python");
        let mut run = Command::new(&python);
        run.args(words.split(' ')).arg("--stand-in").current_dir(env!("CARGO_MANIFEST_DIR"));
        let out = run.output().unwrap();
        assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
        let catalog = open(&folder);
        let fit = catalog.find(&request).unwrap();
        assert!(fit.padding.iter().all(|p| p.n_padded() == 0), "{:?}", fit.padding);
        catalog.verify(fit.entry).unwrap();
    }
    assert_eq!(open(&folder).entries().len(), 3);
}
