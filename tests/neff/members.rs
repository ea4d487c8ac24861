//! Members that lie: each gives the error that names member and lie, in little memory.

use std::fmt::Write as _;

use longhaul::neuron::neff::write::archive;

use crate::hostile::refused;
use crate::{stand_in, two_cores};

/// A NEFF of these members besides those of [`stand_in`], which they take the place of.
fn with(members: &[(&str, &str)]) -> Vec<u8> {
    let program = stand_in();
    let mut all = program.members();
    all.retain(|(path, _)| members.iter().all(|(other, _)| other != path));
    all.extend(members.iter().map(|(path, content)| ((*path).to_owned(), content.as_bytes().to_vec())));
    program.seal(&archive(&all))
}

#[test]
fn members_that_say_nonsense_are_named() {
    let map = |entry: &str| with(&[("sg00/tensor_map.json", &format!("{{\"x\":{entry}}}"))]);
    let entry = |dtype: &str, kind: &str, shape: &str| {
        map(&format!("{{\"dtype\":{dtype},\"kind\":{kind},\"tf_shape\":{shape}}}"))
    };
    let long = format!("\"{}\"", "a".repeat(1000));
    let named = |name: &str| {
        with(&[("sg00/tensor_map.json", &format!("{{{name}:{{\"dtype\":\"\",\"kind\":\"input\",\"tf_shape\":[]}}}}"))])
    };
    for (neff, said) in [
        (with(&[("kelf-0.json", "{\"target\": 2}")]), "kelf-0.json: invalid type: integer `2`"),
        (with(&[("kelf-0.json", &format!("{{\"target\":{long}}}"))]), "kelf-0.json: a text of 1000 bytes"),
        (with(&[("kelf-0.json", "{}")]), "there is no target in kelf-0.json"),
        (with(&[("kelf-0.json", "{\"target\": \"cayman\"")]), "kelf-0.json: EOF while parsing"),
        (
            with(&[("kelf-0.json", "{\"target\": \"cayman\", \"target\": \"sunda\"}")]),
            "kelf-0.json: duplicate field `target`",
        ),
        (with(&[("info.json", "\u{feff}{}")]), "info.json: expected value"),
        (
            with(&[("sg00/tensor_map.json", "[]")]),
            "sg00/tensor_map.json: invalid type: sequence, expected tensors by name",
        ),
        (map("{\"kind\":\"input\"}"), "sg00/tensor_map.json: missing field `dtype`"),
        (map("{\"kind\":\"input\",\"dtype\":\"f\"}"), "sg00/tensor_map.json: missing field `tf_shape`"),
        (map("[[]]"), "sg00/tensor_map.json: "),
        (entry("\"f\"", "\"inout\"", "[]"), "sg00/tensor_map.json: unknown variant `inout`"),
        (entry("\"f\"", "\"input\"", "[-1]"), "sg00/tensor_map.json: invalid value: integer `-1`"),
        (entry("\"f\"", "\"input\"", "[1e99]"), "sg00/tensor_map.json: invalid type: floating point"),
        (entry("\"f\"", "\"input\"", "[18446744073709551616]"), "sg00/tensor_map.json: invalid type: floating point"),
        (
            entry("\"f\"", "\"input\"", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"),
            "more than 32 dimensions",
        ),
        (entry(&long, "\"input\"", "[]"), "a text of 1000 bytes"),
        (named("\"\""), "a tensor's name of 0 bytes"),
        (named("\"a\\u0000b\""), "or with a NUL in it"),
        (named(&long), "a tensor's name of 1000 bytes"),
        (with(&[("longhaul.json", "{\"kernel\":\"k\"}")]), "longhaul.json: missing field `arguments`"),
        (
            with(&[("longhaul.json", "{\"kernel\":\"k\",\"arguments\":{},\"run\":1}")]),
            "longhaul.json: unknown field `run`",
        ),
        (
            with(&[("longhaul.json", "{\"kernel\":\"k\",\"arguments\":{\"m\":1,\"m\":2}}")]),
            "longhaul.json: \"m\" is there twice",
        ),
        (
            with(&[("longhaul.json", "{\"kernel\":\"k\",\"arguments\":{\"m\":[]}}")]),
            "an argument that is neither a count nor a text",
        ),
    ] {
        let found = refused(&neff[..]);
        assert!(found.contains(said), "{found}, not {said}");
    }
}

#[test]
fn what_is_missing_twice_or_at_odds_is_named() {
    let program = two_cores();
    let without = |path: &str| {
        let mut members = program.members();
        members.retain(|(other, _)| !other.ends_with(path));
        program.seal(&archive(&members))
    };
    assert_eq!(refused(&without("kelf-0.json")[..]), "there is no target in kelf-0.json");
    assert_eq!(
        refused(&without("tensor_map.json")[..]),
        "there is no sgNN/tensor_map.json, a core's inputs and outputs"
    );
    for path in ["kelf-0.json", "info.json", "longhaul.json", "sg01/tensor_map.json"] {
        let mut members = program.members();
        let again = members.iter().find(|(other, _)| other == path).unwrap().clone();
        members.push(again);
        assert_eq!(refused(&program.seal(&archive(&members))[..]), format!("{path} is there twice"));
    }
    let twice = "{\"x\":{\"dtype\":\"a\",\"kind\":\"input\",\"tf_shape\":[]},\"x\":{\"dtype\":\"a\",\"kind\":\"input\",\"tf_shape\":[]}}";
    assert!(refused(&with(&[("sg00/tensor_map.json", twice)])[..]).contains("the tensor \"x\" is there twice"));
    let differs = "{\"x\":{\"dtype\":\"bfloat16\",\"kind\":\"input\",\"tf_shape\":[128,2,5]}}";
    let said = refused(&with(&[("sg01/tensor_map.json", differs)])[..]);
    assert_eq!(said, "sg01/tensor_map.json: the tensor \"x\" differs from that of another core");
}

#[test]
fn json_that_is_all_structure_stays_small() {
    let entries = |n: usize, prefix: &str| {
        let mut map = String::from("{");
        for i in 0..n {
            write!(
                map,
                "{}\"{prefix}{i}\":{{\"dtype\":\"\",\"kind\":\"input\",\"tf_shape\":[]}}",
                if i == 0 { "" } else { "," }
            )
            .unwrap();
        }
        map + "}"
    };
    let nested = format!("{{\"graphs\":{}", "[".repeat(2_000_000));
    let wide = format!("{{\"graphs\":[{}0]}}", "0,".repeat(1_000_000));
    let dimensions =
        format!("{{\"x\":{{\"dtype\":\"\",\"kind\":\"input\",\"tf_shape\":[{}0]}}}}", "0,".repeat(1_000_000));
    let arguments: String = (0..5000).map(|i| format!("\"{i}\":0,")).collect();
    for (path, content, said) in [
        ("kelf-0.json", &nested, "kelf-0.json: "),
        ("kelf-0.json", &wide, "there is no target"),
        ("sg00/tensor_map.json", &dimensions, "more than 32 dimensions"),
        ("sg00/tensor_map.json", &entries(20_000, ""), "more than 16384 tensors"),
        ("longhaul.json", &format!("{{\"kernel\":\"k\",\"arguments\":{{{arguments}\"x\":0}}"), "longhaul.json: EOF"),
    ] {
        let found = refused(&with(&[(path, content)])[..]);
        assert!(found.contains(said), "{found}, not {said}");
    }
    // Many cores, each with as many tensors as one may have.
    let maps: Vec<_> =
        (0..70).map(|core| (format!("sg{core:02}/tensor_map.json"), entries(10_000, &format!("{core}-")))).collect();
    let maps: Vec<_> = maps.iter().map(|(path, map)| (path.as_str(), map.as_str())).collect();
    assert_eq!(refused(&with(&maps)[..]), "tensors of the program: 20000, and at most 16384 are read");
    let maps: Vec<_> = (0..70).map(|core| (format!("sg{core:02}/tensor_map.json"), "{}")).collect();
    let maps: Vec<_> = maps.iter().map(|(path, map)| (path.as_str(), *map)).collect();
    assert_eq!(refused(&with(&maps)[..]), "cores with a tensor map: 65, and at most 64 are read");
}
