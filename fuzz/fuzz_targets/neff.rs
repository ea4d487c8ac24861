//! The reader of NEFFs on anything. The first byte says what the rest is: a file, or the inside of one, whose checksums
//! and hash are made right, so that nothing outside stops what is wrong inside.
//!
//! The reader's sources are compiled here by themselves: in seconds, and coverage is of them alone.

#![no_main]
#![allow(dead_code)]

#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/neuron"]
mod neuron {
    pub mod neff;
}
mod spec {
    /// What the crate's errors name.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct PageId(pub u32);
}

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;

use crate::neuron::neff::write::{Program, gzip};
use crate::neuron::neff::{HashState, KernelCall, Neff, Target};

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 3 {
        0 => drop(Neff::read(data)),
        1 => sealed(&rechecked(data)),
        _ => sealed(&gzip(&rechecked(data))),
    }
});

/// Reads a NEFF with this data.
fn sealed(data: &[u8]) {
    let call = KernelCall { kernel: String::new(), arguments: BTreeMap::new() };
    let (name, compiler, tensors) = (String::new(), String::new(), Vec::new());
    let neff = Program { name, call, tensors, target: Target::Trn2, lnc: 1, compiler }.seal(data);
    if let Ok(neff) = Neff::read(&neff[..]) {
        assert_eq!(neff.hash, HashState::Right);
    }
}

/// An archive with the checksums of what look like headers made right.
fn rechecked(archive: &[u8]) -> Vec<u8> {
    let mut archive = archive.to_vec();
    for block in archive.as_chunks_mut::<512>().0.iter_mut().filter(|b| b[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    archive
}
