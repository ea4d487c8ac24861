//! Well-formed NEFFs, and what readers have to put up with.

use std::io::Read;
use std::path::Path;

use longhaul::neuron::neff::write::{self, Program};
use longhaul::neuron::neff::{HEADER_BYTES, HashState, Kind, Neff, Target};
use serde_json::{Map, Value, json};

use crate::{stand_in, two_cores};

fn golden() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/golden/stand-in.neff")).unwrap()
}

fn read(neff: &[u8]) -> Neff {
    Neff::read(neff).unwrap()
}

/// What must come back of a program that was written.
fn check(neff: &Neff, program: &Program) {
    assert_eq!((neff.hash, &neff.header.name), (HashState::Right, &program.name));
    assert_eq!((neff.target, neff.header.lnc, neff.n_cores), (Some(program.target), program.lnc, program.lnc as usize));
    assert_eq!(neff.compiler.as_ref(), Some(&program.compiler));
    assert_eq!(neff.call.as_ref(), Some(&program.call));
    let mut wanted = program.tensors.clone();
    wanted.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(neff.tensors, wanted, "each once, though every core has it");
}

#[test]
fn the_writer_makes_the_golden_bytes() {
    // The Python writer makes the same file (kernels/tests/test_compile.py).
    assert!(stand_in().neff() == golden());
}

#[test]
fn the_golden_file_says_what_it_was_made_of() {
    let neff = read(&golden());
    check(&neff, &stand_in());
    assert_eq!((neff.header.package_version, neff.header.major, neff.compressed), (2, 2, false));
    assert_eq!(neff.target_name, "cayman");
    assert_eq!(neff.inputs().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["weights", "x"]);
    assert_eq!(neff.outputs().map(|t| (t.name.as_str(), t.size_bytes())).collect::<Vec<_>>(), [("out", Some(3072))]);
}

#[test]
fn a_program_comes_back_raw_and_gzipped() {
    for program in [stand_in(), two_cores(), Program { target: Target::Trn1, ..stand_in() }] {
        let (raw, gzipped) = (program.neff(), program.gzipped_neff());
        assert!(gzipped.len() < raw.len());
        for (bytes, compressed) in [(raw, false), (gzipped, true)] {
            let neff = read(&bytes);
            check(&neff, &program);
            assert_eq!(neff.compressed, compressed);
        }
    }
}

#[test]
fn a_source_that_gives_a_byte_at_a_time_is_read_as_well() {
    struct Trickle<'a>(&'a [u8]);
    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let n = buffer.len().min(1);
            self.0.read(&mut buffer[..n])
        }
    }
    let program = two_cores();
    for bytes in [program.neff(), program.gzipped_neff()] {
        check(&Neff::read(Trickle(&bytes)).unwrap(), &program);
    }
}

#[test]
fn padding_and_what_follows_the_data_do_no_harm() {
    let program = stand_in();
    for data in [program.archive(), write::gzip(&program.archive())] {
        let mut data = data;
        data.extend([0; 5000]);
        let mut neff = program.seal(&data);
        neff.extend(b"the header does not count this");
        check(&read(&neff), &program);
    }
}

#[test]
fn the_hash_is_told_right_wrong_or_unknown() {
    let program = stand_in();
    let mut neff = program.neff();
    // An older packager's, said to lie inside libnrt, has the MD5 as it is, and the digit 0 behind it.
    neff[172..188].as_chunks_mut::<4>().0.iter_mut().for_each(|word| word.reverse());
    neff[188..204].fill(b'0');
    assert_eq!(read(&neff).hash, HashState::Right);
    neff[172] ^= 1;
    assert_eq!(read(&neff).hash, HashState::Wrong);
    neff[0] = 3;
    assert_eq!(read(&neff).hash, HashState::Unknown);

    neff[0] = 1; // SHA-256
    assert_eq!(read(&neff).hash, HashState::Wrong);
    let sha256 = <sha2::Sha256 as sha2::Digest>::digest(&neff[HEADER_BYTES..]);
    neff[172..204].copy_from_slice(&sha256);
    assert_eq!(read(&neff).hash, HashState::Right);

    let mut changed = program.neff();
    let end = changed.iter().rposition(|b| *b == b'}').unwrap();
    changed[end + 1] = b' ';
    assert_eq!(read(&changed).hash, HashState::Wrong, "a byte of padding inside the archive");
}

#[test]
fn other_ways_to_name_a_member_are_understood() {
    let program = two_cores();
    let mut data = Vec::new();
    for (path, content) in program.members() {
        let size = content.len() as u64;
        let (before, path) = match path.as_str() {
            // GNU tar: the name in a member of its own, and in base 256 the size of the one that follows.
            "info.json" => (extension(b'L', b"./info.json\0"), "cut off"),
            // pax: name and size in records of a header of their own.
            "kelf-0.json" => {
                let size = format!("size={size}\n");
                let size = format!("{} {size}", size.len() + 3);
                (extension(b'x', format!("20 path=kelf-0.json\n{size}").as_bytes()), "somewhere/else")
            }
            "sg00/tensor_map.json" => (folder("sg00/"), "./sg00/tensor_map.json"),
            _ => (extension(b'g', b"18 comment=global\n"), path.as_str()),
        };
        data.extend(before);
        let mut header = write::member_header(path, if path == "somewhere/else" { 7 } else { size });
        if path == "cut off" {
            header[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, size as u8]);
            rechecked(&mut header);
        }
        data.extend(header);
        data.extend(content);
        data.resize(data.len().next_multiple_of(512), 0);
    }
    data.extend([0; 1024]);
    check(&read(&program.seal(&data)), &program);

    // ustar: a long name in two parts.
    let mut archive = program.archive();
    let at = archive.windows(20).position(|w| w == b"sg01/tensor_map.json").unwrap();
    archive[at..at + 20].fill(0);
    archive[at..at + 15].copy_from_slice(b"tensor_map.json");
    archive[at + 345..at + 349].copy_from_slice(b"sg01");
    rechecked((&mut archive[at..at + 512]).try_into().unwrap());
    check(&read(&program.seal(&archive)), &program);
}

fn extension(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut header = write::member_header("extension", content.len() as u64);
    header[156] = kind;
    rechecked(&mut header);
    let mut blocks = [&header, content].concat();
    blocks.resize(blocks.len().next_multiple_of(512), 0);
    blocks
}

fn folder(path: &str) -> Vec<u8> {
    let mut header = write::member_header(path, 0);
    header[156] = b'5';
    rechecked(&mut header);
    header.into()
}

/// Writes a header's checksum anew.
fn rechecked(header: &mut [u8; 512]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn the_compiler_is_in_the_header_where_info_json_does_not_say() {
    let program = stand_in();
    let mut members = program.members();
    members.iter_mut().find(|(path, _)| path == "info.json").unwrap().1 = b"{\"anything\": [1]}".into();
    let neff = read(&program.seal(&write::archive(&members)));
    assert_eq!(neff.compiler.as_deref(), Some("stand-in 1"));
    members.retain(|(path, _)| path != "info.json" && path != "neff.json" && path != "longhaul.json");
    let neff = read(&Program { compiler: String::new(), ..program }.seal(&write::archive(&members)));
    assert_eq!((neff.compiler, neff.call), (None, None));
}

/// As in public files of AWS's compilers 2.18 to 2.23: fields that we do not need; constants and scratch, which have no
/// `kind`, the latter on one core alone; zeros behind the gzip stream; the compiler's version nowhere but in
/// `info.json`.
#[test]
fn what_the_compiler_adds_is_passed_over() {
    let program = two_cores();
    let mut members = program.members();
    for (path, content) in members.iter_mut().filter(|(path, _)| path.ends_with("tensor_map.json")) {
        let mut map: Map<String, Value> = serde_json::from_slice(content).unwrap();
        for (name, entry) in &mut map {
            entry["is_const"] = false.into();
            entry["tf_file"] = format!("value_{name}.npy").into();
            entry["sim_shape"] = entry["tf_shape"].clone();
        }
        let constant = json!({"dtype": "float16", "is_const": true, "tf_shape": [128, 128, 1, 1], "split_axis": null});
        map.insert("sg0000_identity_82".into(), constant);
        if path.starts_with("sg00") {
            map.insert("scores".into(), json!({"dtype": "float32", "is_const": false, "tf_shape": [512, 512]}));
        }
        *content = serde_json::to_vec_pretty(&map).unwrap();
    }
    let mut data = write::gzip(&write::archive(&members));
    data.resize(data.len().next_multiple_of(10_240), 0);
    let mut neff = program.seal(&data);
    neff[40..168].fill(0); // the compiler's version
    check(&read(&neff), &program);
}

#[test]
fn a_chip_that_is_not_known_keeps_its_name() {
    let program = stand_in();
    let mut members = program.members();
    members[1].1 = b"{\"target\": \"next\", \"graphs\": []}".into();
    let neff = read(&program.seal(&write::archive(&members)));
    assert_eq!((neff.target, neff.target_name.as_str()), (None, "next"));
}

#[test]
fn sizes_are_known_or_not() {
    let tensor = |dtype, shape: &[usize]| crate::tensor("t", Kind::Input, dtype, shape).size_bytes();
    assert_eq!(tensor("bfloat16", &[2, 3]), Some(12));
    assert_eq!(tensor("float32", &[]), Some(4));
    assert_eq!(tensor("float8_e4m3", &[0, 7]), Some(0));
    assert_eq!(tensor("float32", &[usize::MAX, 2]), None);
    assert_eq!(tensor("quaternion", &[1]), None);
}
