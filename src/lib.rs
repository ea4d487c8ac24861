//! An inference core for long-horizon agents: attention and matmul kernels, KV pages that forks share, and sessions
//! that never compute a token twice.
//!
//! An agent's turn appends a few hundred tokens to a context of many thousands, reads back a few hundred, runs a tool
//! and comes again, a hundred times. What counts there is that nothing which was computed is computed again, that a
//! fork costs nothing until it writes, and that a context gives the same bits whether it was computed, cached, forked
//! or restored. This crate is built around these three.
//!
//! # Example
//! ```
#![doc = include_str!("../examples/embed.rs")]
//! ```
//!
//! # Modules
//! | module | what |
//! |---|---|
//! | [`engine`] | [`Engine`](engine::Engine) and [`Session`](engine::Session): what most users want; scheduler and sampler behind them |
//! | [`backend`] | the seam between engine and device; [`PackedMatrix`](backend::PackedMatrix) and [`KvPages`](backend::KvPages) alone serve an engine of your own |
//! | [`cpu`] | the backend for CPUs and its kernel tables |
//! | [`neuron`] | AWS Trainium: libnrt opened at run time, and safe device memory, programs and execution on it |
//! | [`kv`] | which page holds what: pool, page tables, prefix index; integers only, with an essay on the structure |
//! | [`spec`] | what is to be computed: configurations, checkpoints, arguments of the kernels, the constants of the numerics contract |
//! | [`reference`](mod@reference) | the definition of every operation in f64, which all kernels are tested against |
#![cfg_attr(feature = "text", doc = "| [`text`] | tokenizer and chat template (cargo feature `text`) |")]
#![cfg_attr(feature = "cli", doc = "| [`workload`] | agent workloads, replayed and measured (cargo feature `cli`) |")]
//! | [`dtype`], [`error`] | element types; the one error type |
//!
//! Imports go one way: `main -> workload -> engine -> kv, text, backend <- cpu, neuron`, and all of them `-> spec,
//! dtype, error`; `reference` knows only those three. `tests/structure` holds these lines. The reasons for the shape,
//! and the numerics contract, are in `DESIGN.md`.
//!
//! # Glossary
//! The dimensions, by the names that they have everywhere:
//!
//! | name | what |
//! |---|---|
//! | `n_tokens` | rows of a step, over all of its sequences |
//! | `n_heads`, `n_kv_heads` | heads of queries; heads of keys and values, each of which serves `n_heads / n_kv_heads` of the former |
//! | `head_dim` | elements of a head |
//! | `d_model`, `d_ff`, `vocab` | width of the residual stream, width inside the MLP, number of tokens there are |
//! | `page_len`, `n_pages` | tokens of a KV page, pages of a pool |
//! | `chunk_len` | tokens of an attention chunk, a multiple of `page_len`; on the CPU a page |
//! | `kv_len` | tokens that a query may see |
//! | M, N, K | of a matmul `y[M, N] = x[M, K] W[N, K]^T`: rows, outputs, inputs |
//!
//! `n_*` counts and `*_idx` is a position; `_bytes` and `_ns` name a unit where it is not elements. Prefill computes a
//! prompt, decode one token at a time. A page holds keys and values; a block is a piece of a product.
//!
//! # Features
//! `cli` (default) brings the command line and the workloads, and `text` with it. `default-features = false` leaves the
//! engine and the kernels, on tokens.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod backend;
pub mod cpu;
pub mod dtype;
pub mod emulation;
pub mod engine;
pub mod error;
pub mod kv;
pub mod neuron;
pub mod reference;
pub mod spec;
#[cfg(feature = "text")]
pub mod text;
#[cfg(feature = "cli")]
pub mod workload;

pub use error::{Error, Result};
