//! Sessions on the CPU backend, as an embedder uses them: the real model's answers, long contexts, and what is refused.

#[cfg(all(unix, feature = "text"))]
mod damaged;
#[path = "../common/tiny.rs"]
mod families;
mod long;
mod many;
#[cfg(feature = "text")]
mod real;
mod refused;
#[cfg(feature = "text")]
#[path = "../smollm2/mod.rs"]
mod smollm2;
mod tiny;
