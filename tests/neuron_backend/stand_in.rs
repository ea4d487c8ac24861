//! A backend on the stand-in.

use std::path::Path;

use fake_nrt::client::{Fake, VERSIONS};
use longhaul::backend::Backend;
use longhaul::neuron::backend::{NeuronOptions, open};
use longhaul::neuron::neff::Target;
use longhaul::neuron::neff::write::Program;

use crate::compiled::folder;
use crate::contract::Backends;
use crate::contract_programs;
use crate::isolated::{assert_clean, isolated};

/// The backend with the programs of a folder, in a process whose libnrt is the stand-in.
pub fn backend(programs: &Path) -> Box<dyn Backend> {
    let (programs, target, lnc) = (Some(programs.into()), Some(Target::Trn2), Some(1));
    open(&NeuronOptions { programs, target, lnc, ..Default::default() }).unwrap()
}

/// Runs a case of the contract with the programs that it needs, under every version and with the core set alone, and
/// asserts that nothing is left of it. `name` is that of the test, at the root of this executable, and `path` that of
/// the case.
pub fn contract(name: &str, path: &str, case: fn(&Backends)) {
    let programs = contract_programs::of(path);
    for version in VERSIONS.into_iter().chain(["minimal"]) {
        on_the_stand_in(name, version, &programs, |backend, _| {
            let backends = [backend];
            case(&backends);
        });
    }
}

/// Runs `body` in a process of its own with a backend on a version of the stand-in, and asserts that nothing is left of
/// it.
pub fn on_the_stand_in(name: &str, version: &str, programs: &[Program], body: impl FnOnce(Box<dyn Backend>, &Fake)) {
    isolated(name, version, &[], |fake| {
        let folder = folder(programs);
        body(backend(folder.path()), fake);
        assert_clean(fake);
    });
}
