//! Finding libnrt.

use std::ffi::OsString;
use std::path::PathBuf;

use libloading::Library;

use super::symbols::Symbols;
use super::{AsyncAbi, Nrt, Version};
use crate::neuron::error::{Attempt, NeuronError, Result};

/// The library's file, with its ABI's number.
const FILE: &str = "libnrt.so.1";
/// Where AWS's packages put it.
const DEFAULT_DIR: &str = "/opt/aws/neuron/lib";

/// A place to look at.
struct Candidate {
    path: PathBuf,
    from: &'static str,
}

/// Where to look, in order: what `LONGHAUL_LIBNRT` names, and then nowhere else, since a library that somebody chose
/// must not turn into another one; else `NEURON_DIR/lib`, AWS's folder, and the loader's path.
fn candidates(variable: impl Fn(&str) -> Option<OsString>) -> Vec<Candidate> {
    let set = |name: &str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(path) = set("LONGHAUL_LIBNRT") {
        return vec![Candidate { path, from: "LONGHAUL_LIBNRT" }];
    }
    let sdk = set("NEURON_DIR").map(|dir| Candidate { path: dir.join("lib").join(FILE), from: "NEURON_DIR" });
    let rest = [
        Candidate { path: PathBuf::from(DEFAULT_DIR).join(FILE), from: "default folder" },
        Candidate { path: FILE.into(), from: "loader's path" },
    ];
    sdk.into_iter().chain(rest).collect()
}

/// Opens the first that can be used.
pub(super) fn open() -> Result<Nrt> {
    let mut tried = Vec::new();
    for Candidate { path, from } in candidates(|name| std::env::var_os(name)) {
        match load(path.clone(), from) {
            Ok(nrt) => return Ok(Nrt { passed_over: tried, ..nrt }),
            Err(why) => tried.push(Attempt { path: path.display().to_string(), from, why }),
        }
    }
    Err(NeuronError::NotFound { tried })
}

fn load(path: PathBuf, from: &'static str) -> Result<Nrt, String> {
    // A bare name goes to the loader; a path that is not there has a plainer reason than the loader's.
    if path.components().count() > 1 && !path.exists() {
        return Err("no such file".into());
    }
    // SAFETY: loading runs the library's initialisers. It is libnrt, named by whoever runs this process or lying where
    // AWS's packages put it; that it may run code here is what it was named or installed for.
    let library = unsafe { Library::new(&path) }.map_err(|e| describe(&e))?;
    let symbols = Symbols::resolve(&library).map_err(|missing| format!("it lacks {}", missing.join(", ")))?;
    let async_abi = async_abi(&library);
    // Never closed: it may have started threads, and its functions' pointers are kept.
    std::mem::forget(library);
    let mut nrt = Nrt { symbols, version: Version::default(), async_abi, path, from, passed_over: Vec::new() };
    nrt.version = nrt.read_version().map_err(|e| e.to_string())?;
    Ok(nrt)
}

fn async_abi(library: &Library) -> AsyncAbi {
    match super::symbols::exports(library, "nrta_error_tracker_create") {
        true => AsyncAbi::ErrorTracker,
        false if super::symbols::exports(library, "nrta_execute_schedule") => AsyncAbi::StatusPointer,
        false => AsyncAbi::Absent,
    }
}

/// What the loader says, which stands in the source of the error.
fn describe(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(variables: &[(&str, &str)]) -> Vec<(String, &'static str)> {
        let get = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        candidates(get).into_iter().map(|c| (c.path.display().to_string(), c.from)).collect()
    }

    #[test]
    fn places_are_tried_in_order() {
        let default = ("/opt/aws/neuron/lib/libnrt.so.1".to_string(), "default folder");
        let loader = ("libnrt.so.1".to_string(), "loader's path");
        assert_eq!(places(&[]), [default.clone(), loader.clone()]);
        assert_eq!(places(&[("LONGHAUL_LIBNRT", "")]), [default.clone(), loader.clone()]);
        let sdk = ("/sdk/lib/libnrt.so.1".to_string(), "NEURON_DIR");
        assert_eq!(places(&[("NEURON_DIR", "/sdk")]), [sdk, default, loader]);
        let chosen = ("/mine.so".to_string(), "LONGHAUL_LIBNRT");
        assert_eq!(places(&[("NEURON_DIR", "/sdk"), ("LONGHAUL_LIBNRT", "/mine.so")]), [chosen]);
    }
}
