//! Kernel tables of x86-64.

mod amx;
mod amx_int8;
mod amx_product;
mod amx_sweep;
mod avx2;
mod avx512;
mod forward;
mod tile;

pub use amx::Amx;
pub use avx2::Avx2;
pub use avx512::{Avx512, Avx512Bf16};

/// Names the features that are missing, or answers that none is.
fn require(features: &[(&str, bool)]) -> Result<(), String> {
    let missing: Vec<&str> = features.iter().filter(|(_, have)| !have).map(|(name, _)| *name).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("this CPU lacks {}", missing.join(", "))) }
}
