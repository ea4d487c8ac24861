//! Well-formed NEFFs, changed in their inside: the archive is changed before it is compressed, the checksums of its
//! headers are made right again more often than not, and the hash is sealed again, so that nothing outside stops what
//! is wrong inside.
//!
//! `LONGHAUL_NEFF_CASES=1000000 cargo test --release --test neff mutated` runs a million; DESIGN.md (Neuron) has the
//! last result.

use std::collections::{BTreeMap, BTreeSet};

use longhaul::neuron::neff::write::{self, Program};
use longhaul::neuron::neff::{HashState, Neff, NeffError};

use crate::allocator::measured;
use crate::{MAX_BYTES, stand_in, two_cores};

/// What is put into an archive: numbers at the edges, and words of the format where they do not belong.
const WORDS: [&str; 26] = [
    "0",
    "-1",
    "99999999999999999999",
    "18446744073709551615",
    "1e999",
    "[]",
    "[[[[[[[[",
    "{}",
    "{\"",
    "\"",
    "}",
    ",",
    ":",
    "null",
    "true",
    "\\u0000",
    "\\ud800",
    "\"kind\"",
    "\"output\"",
    "\"tf_shape\"",
    "kelf-0.json",
    "info.json",
    "sg00/tensor_map.json",
    "sg01/tensor_map.json",
    "ustar",
    "77777777777",
];

/// A generator of numbers: SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Makes one change anywhere.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    let longest = if random.one_in(4) { 1024 } else { 16 };
    let range = at..bytes.len().min(at + 1 + random.below(longest));
    match random.below(6) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
        2 => bytes[range].fill([0, b' ', b'0', b'7', 0xff][random.below(5)]),
        3 => drop(bytes.drain(range)),
        4 => {
            let copy = bytes[range].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, copy);
        }
        _ => {
            let word = WORDS[random.below(WORDS.len())];
            let end = bytes.len().min(at + if random.one_in(2) { word.len() } else { 0 });
            bytes.splice(at..end, word.bytes());
        }
    }
}

/// Makes one change to an archive that keeps its blocks: to a field of a header, or a few blocks more or less.
fn mutate_blocks(archive: &mut Vec<u8>, random: &mut Random) {
    let n_blocks = archive.len() / 512;
    let block = random.below(n_blocks) * 512;
    let range = block..archive.len().min(block + 512 * (1 + random.below(3)));
    match random.below(4) {
        0 => drop(archive.drain(range)),
        1 => {
            let copy = archive[range].to_vec();
            let to = random.below(n_blocks) * 512;
            archive.splice(to..to, copy);
        }
        _ => {
            // Name, size, type.
            let (field, length) = [(0, 20), (124, 12), (156, 1)][random.below(3)];
            let value: Vec<u8> = match random.below(4) {
                0 => archive[random.below(n_blocks) * 512 + field..][..length].to_vec(),
                1 => WORDS[random.below(WORDS.len())].bytes().chain([0; 20]).take(length).collect(),
                2 => vec![b"015xgLKS27"[random.below(10)]; length],
                _ => (0..length).map(|_| random.next() as u8).collect(),
            };
            archive[block + field..][..length].copy_from_slice(&value);
        }
    }
}

/// Makes the checksums of what look like headers right.
fn recheck(archive: &mut [u8]) {
    for block in archive.as_chunks_mut::<512>().0.iter_mut().filter(|b| b[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// The NEFF of a seed, and whether its header is as it was sealed.
fn mutant(programs: &[Program], seed: u64) -> (Vec<u8>, bool) {
    let mut random = Random(seed);
    let program = &programs[random.below(programs.len())];
    let (mut members, n_changes) = (program.members(), 1 + random.below(4));
    let where_to = random.below(3);
    if where_to == 0 {
        for _ in 0..n_changes {
            let member = random.below(members.len());
            mutate(&mut members[member].1, &mut random);
        }
    }
    let mut archive = write::archive(&members);
    for _ in 0..n_changes {
        match where_to {
            0 => {}
            1 => mutate_blocks(&mut archive, &mut random),
            _ => mutate(&mut archive, &mut random),
        }
        if archive.len() < 1024 {
            archive.resize(1024, 0);
        }
    }
    if !random.one_in(4) {
        recheck(&mut archive);
    }
    if random.one_in(4) {
        archive = write::gzip(&archive);
        if random.one_in(4) {
            mutate(&mut archive, &mut random);
        }
    }
    let mut neff = program.seal(&archive);
    let sealed = !random.one_in(8);
    if !sealed {
        let at = [0, 8, 16, 24, 32, 168, 544, 552][random.below(8)];
        neff[at + random.below(8)] = random.next() as u8;
    }
    (neff, sealed)
}

/// All that can become of a mutant.
const OUTCOMES: [&str; 10] = [
    "archive",
    "conflict",
    "duplicate",
    "member",
    "missing",
    "not a NEFF",
    "read",
    "too large",
    "truncated",
    "version",
];

/// What became of a mutant, in a word.
fn outcome(result: &Result<Neff, NeffError>) -> &'static str {
    match result {
        Ok(_) => "read",
        Err(NeffError::NotNeff(_)) => "not a NEFF",
        Err(NeffError::Version { .. }) => "version",
        Err(NeffError::Truncated { .. }) => "truncated",
        Err(NeffError::TooLarge { .. }) => "too large",
        Err(NeffError::Archive { .. }) => "archive",
        Err(NeffError::Member { .. }) => "member",
        Err(NeffError::Missing(_)) => "missing",
        Err(NeffError::Duplicate(_)) => "duplicate",
        Err(NeffError::Conflict { .. }) => "conflict",
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn mutated_neffs_do_no_harm() {
    let n_cases = match std::env::var("LONGHAUL_NEFF_CASES") {
        Ok(n) => n.parse().expect("LONGHAUL_NEFF_CASES is a number"),
        Err(_) => 20_000,
    };
    let programs = [stand_in(), two_cores()];
    let (mut outcomes, mut largest) = (BTreeMap::<_, u64>::new(), 0);
    for seed in 0..n_cases {
        let (neff, sealed) = mutant(&programs, seed);
        let read = || measured(|| Neff::read(&neff[..]));
        let (result, peak) = std::panic::catch_unwind(read).unwrap_or_else(|_| panic!("seed {seed} panics"));
        assert!(peak <= MAX_BYTES, "seed {seed} takes {peak} bytes");
        if let Ok(neff) = &result {
            let names: BTreeSet<_> = neff.tensors.iter().map(|t| &t.name).collect();
            assert!(names.len() == neff.tensors.len() && neff.n_cores > 0, "seed {seed}");
            assert!(!sealed || neff.hash == HashState::Right, "seed {seed} was sealed");
        }
        *outcomes.entry(outcome(&result)).or_default() += 1;
        largest = largest.max(peak);
    }
    println!("{n_cases} mutants, at most {largest} bytes allocated: {outcomes:?}");
    let found: Vec<_> = outcomes.into_keys().collect();
    assert_eq!(found, OUTCOMES, "mutants that all end the same way prove little");
}
