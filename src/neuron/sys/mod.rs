//! The C interface of libnrt: types, constants and function types, made by bindgen from `src/neuron/nrt_abi.h`, which
//! says where each fact is from. Nothing is linked; [`nrt`](super::nrt) opens the library and is the only module that
//! sees this one.
#![allow(missing_docs, non_camel_case_types)]

// The committed ones, which CI compares with fresh ones; and the fresh ones of a build that asked for them (cargo
// feature `bindgen`).
#[cfg(not(longhaul_fresh_bindings))]
include!("bindings.rs");
#[cfg(longhaul_fresh_bindings)]
include!(concat!(env!("OUT_DIR"), "/nrt_bindings.rs"));

#[cfg(test)]
mod tests;
