//! The engine over a toy model: sessions, prefixes, scheduling, failures.

mod faults;
mod flow;
mod generating;
mod prefixes;
mod properties;
#[cfg(feature = "text")]
mod text;
mod toy;
