//! Manifests that lie, and files that are not what they say.

use std::path::Path;

use longhaul::Error;
use longhaul::neuron::catalog::{Catalog, CatalogError, MANIFEST, Problem};
use longhaul::neuron::neff::write::Program;
use longhaul::neuron::neff::{Kind, Target};
use serde_json::{Value, json};

use crate::{entry, folder, matmul, open, write_manifest};

/// What opening a folder says that has this manifest.
#[track_caller]
fn refused(manifest: &str) -> Problem {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(MANIFEST), manifest).unwrap();
    match Catalog::open(folder.path()).unwrap_err() {
        CatalogError::Unsound { path, problem } if path == folder.path().join(MANIFEST) => problem,
        other => panic!("{other}"),
    }
}

/// What opening says of an entry that was changed.
#[track_caller]
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let (mut entry, _) = entry(&matmul(4, "bfloat16"));
    change(&mut entry);
    refused(&json!({"schema": 1, "programs": [entry]}).to_string()).to_string()
}

#[test]
fn what_is_no_manifest_is_refused() {
    for (manifest, said) in [
        ("", "EOF while parsing"),
        ("[]", "invalid length 0"),
        ("{}", "missing field `schema`"),
        ("{\"schema\": \"1\", \"programs\": []}", "invalid type: string \"1\""),
        ("{\"schema\": 2, \"programs\": [{\"new\": 1}]}", "schema 2, and only schema 1 is known"),
        ("{\"schema\": 1}", "missing field `programs`"),
        ("{\"schema\": 1, \"programs\": {}}", "invalid type: map"),
        ("{\"schema\": 1, \"programs\": [], \"more\": 0}", "unknown field `more`"),
        ("{\"schema\": 1, \"programs\": []} trailing", "trailing characters"),
        ("{\"schema\": 1, \"schema\": 1, \"programs\": []}", "duplicate field `schema`"),
        (&format!("{{\"schema\": 1, \"programs\": {}", "[".repeat(100_000)), "line 1"),
        (&format!("{{\"schema\": 1, \"programs\": []{}}}", " ".repeat(16 << 20)), "larger than 16 MiB"),
    ] {
        let found = refused(manifest).to_string();
        assert!(found.contains(said), "{found}, not {said}");
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(
        matches!(Catalog::open(folder.path()).unwrap_err(), CatalogError::Io { path, .. } if path.ends_with(MANIFEST))
    );
    std::fs::create_dir(folder.path().join(MANIFEST)).unwrap();
    let error = Error::from(Catalog::open(folder.path()).unwrap_err());
    assert!(matches!(&error, Error::Io { reason, .. } if reason == "not a regular file"), "{error}");
}

#[test]
fn fields_of_a_wrong_type_are_named() {
    for (field, value, said) in [
        ("kernel", json!(7), "invalid type: integer `7`"),
        ("kernel", json!(""), "the kernel has no name"),
        ("arguments", json!([]), "expected values by name"),
        ("arguments", json!({"m": -1}), "an argument that is neither a count nor a text"),
        ("arguments", json!({"m": 1.5}), "an argument that is neither a count nor a text"),
        ("tensors", json!([{"name": "x"}]), "missing field"),
        ("tensors", json!([{"name": "x", "kind": "both", "dtype": "f", "shape": []}]), "unknown variant `both`"),
        (
            "tensors",
            json!([{"name": "x", "kind": "input", "dtype": "f", "shape": [1e30]}]),
            "invalid type: floating point",
        ),
        (
            "tensors",
            json!([{"name": "x", "kind": "input", "dtype": "f", "shape": vec![1; 33]}]),
            "more than 32 dimensions",
        ),
        ("tensors", json!([{"name": "x", "kind": "input", "dtype": "f", "shape": [], "at": 0}]), "unknown field `at`"),
        ("target", json!("trn9"), "unknown variant `trn9`"),
        ("lnc", json!(0), "lnc is 0, and there are 1 and 2"),
        ("lnc", json!(3), "lnc is 3"),
        ("lnc", json!(4_294_967_296_u64), "invalid value"),
        ("key", json!("abc"), "key is \"abc\", which is no SHA-256"),
        ("sha256", json!("A".repeat(64)), "which is none"),
        ("sha256", json!("../../../../../../../../../../../../../../../../../../../../../."), "which is none"),
        ("more", json!(1), "unknown field `more`"),
    ] {
        let found = changed(|e| e[field] = value.clone());
        assert!(found.contains(said), "{field} = {value}: {found}, not {said}");
    }
    let tensor = json!({"name": "x", "kind": "input", "dtype": "f", "shape": []});
    let found = changed(|e| e["tensors"] = json!([tensor, tensor]));
    assert_eq!(found, "program 0 (matmul): the tensor \"x\" is there twice");
    for field in ["kernel", "arguments", "tensors", "target", "lnc", "compiler", "nki", "key", "neff", "sha256"] {
        let found = changed(|e| drop(e.as_object_mut().unwrap().shift_remove(field)));
        assert!(found.contains(&format!("missing field `{field}`")), "{found}");
    }
    let text = json!({"schema": 1, "programs": [entry(&matmul(4, "bfloat16")).0]}).to_string();
    let twice = text.replacen("\"m\":4", "\"m\":4,\"m\":5", 1);
    assert!(twice != text && refused(&twice).to_string().contains("\"m\" is there twice"));
}

#[test]
fn a_file_outside_of_the_folder_is_refused() {
    for name in [
        "../a.neff",
        "/etc/passwd",
        "a/b.neff",
        "./a.neff",
        "a.neff/",
        "a.neff/.",
        "..",
        ".",
        "",
        "a\\b.neff",
        "C:a.neff",
        "a\0b",
    ] {
        let found = changed(|e| e["neff"] = json!(name));
        assert_eq!(found, format!("program 0 (matmul): {name:?} is not the name of a file in the manifest's folder"));
    }
}

#[test]
fn what_is_there_twice_is_refused() {
    let entries = || [matmul(4, "bfloat16"), matmul(16, "bfloat16")].map(|p| entry(&p).0);
    for (field, said) in [("key", "its key"), ("neff", "its file"), ("arguments", "its bucket")] {
        let [first, mut second] = entries();
        second[field] = first[field].clone();
        let problem = refused(&json!({"schema": 1, "programs": [first, second]}).to_string());
        assert!(
            matches!(&problem, Problem::Entry { idx: 1, reason, .. } if *reason == format!("{said} is there twice")),
            "{problem}"
        );
    }
}

/// Opens a catalog of one program whose file was changed, and loads it.
#[track_caller]
fn load(change: impl FnOnce(&Path), named: &Program) -> CatalogError {
    let folder = folder(std::slice::from_ref(named));
    let catalog = open(&folder);
    let entry = &catalog.entries()[0];
    assert!(catalog.verify(entry).is_ok() && catalog.load(entry).is_ok());
    change(&folder.path().join(&entry.neff));
    let error = catalog.load(entry).unwrap_err();
    assert_eq!(catalog.verify(entry).unwrap_err(), error);
    error
}

#[test]
fn a_file_that_was_changed_is_refused() {
    let program = matmul(4, "bfloat16");
    let rewrite = |bytes: Vec<u8>| move |path: &Path| std::fs::write(path, &bytes).unwrap();
    let neff = program.neff();
    let mut flipped = neff.clone();
    flipped[5000] ^= 1;
    for bytes in
        [flipped, neff[..neff.len() - 1].to_vec(), [&neff[..], b"\0"].concat(), vec![], matmul(16, "bfloat16").neff()]
    {
        let error = load(rewrite(bytes), &program);
        let CatalogError::Unsound { path, problem: Problem::Sha256 { wanted, found } } = &error else {
            panic!("{error}")
        };
        assert!(path.extension().is_some_and(|e| e == "neff") && wanted != found);
        assert!(error.to_string().contains("compile it again"), "{error}");
    }
    let error = load(|path| std::fs::remove_file(path).unwrap(), &program);
    assert!(matches!(&error, CatalogError::Io { path, .. } if path.extension().is_some()), "{error}");
    let replaced = |path: &Path| {
        std::fs::remove_file(path).unwrap();
        std::fs::create_dir(path).unwrap();
    };
    assert!(matches!(load(replaced, &program), CatalogError::Io { .. }), "a folder in its place");
}

/// What verifying says of a file whose SHA-256 the manifest has, and which is not what the manifest says else.
#[track_caller]
fn at_odds(named: &Program, bytes: Vec<u8>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (mut entry, _) = entry(named);
    entry["sha256"] =
        json!(<sha2::Sha256 as sha2::Digest>::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect::<String>());
    std::fs::write(folder.path().join(entry["neff"].as_str().unwrap()), bytes).unwrap();
    write_manifest(folder.path(), &json!({"schema": 1, "programs": [entry]}));
    let catalog = open(&folder);
    let CatalogError::Unsound { problem, .. } = catalog.verify(&catalog.entries()[0]).unwrap_err() else { panic!() };
    problem.to_string()
}

#[test]
fn a_file_that_says_something_else_than_the_manifest_is_refused() {
    let program = matmul(4, "bfloat16");
    let with = |change: &dyn Fn(&mut Program)| {
        let mut other = program.clone();
        change(&mut other);
        at_odds(&program, other.neff())
    };
    assert_eq!(with(&|p| p.target = Target::Trn3), "the target is mariana there, and cayman in the manifest");
    assert_eq!(with(&|p| p.lnc = 2), "the LNC is 2 there, and 1 in the manifest");
    assert_eq!(
        with(&|p| p.tensors[0].shape[2] = 5),
        "the tensor \"x\" is input bfloat16 [128, 5, 5] there, and input bfloat16 [128, 5, 4] in the manifest"
    );
    assert!(with(&|p| p.tensors[2].kind = Kind::Input).starts_with("the tensor \"out\" is input"));
    assert!(with(&|p| p.tensors[1].dtype = "float32".into()).starts_with("the tensor \"weights\" is input float32"));
    assert_eq!(
        with(&|p| drop(p.tensors.pop())),
        "the tensor \"out\" is nothing there, and output bfloat16 [128, 2, 4] in the manifest"
    );
    assert!(with(&|p| p.tensors[0].name = "y".into()).starts_with("the tensor \"x\" is nothing there"));
    assert!(with(&|p| p.call.kernel = "attention".into()).starts_with("the kernel is attention"));
    assert!(with(&|p| drop(p.call.arguments.pop_last())).starts_with("the kernel is matmul"));

    let mut neff = program.neff();
    neff[172] ^= 1;
    assert_eq!(at_odds(&program, neff), "the hash is wrong there, and right in the manifest");
    assert!(at_odds(&program, b"no NEFF".into()).starts_with("cut off: the header"));
    let problem = Problem::Neff(longhaul::neuron::neff::NeffError::Missing("x"));
    let error = Error::from(CatalogError::Unsound { path: "p".into(), problem });
    assert!(matches!(&error, Error::Program { .. }) && error.to_string() == "p: there is no x", "{error}");
}
