//! How many KV pages a budget makes.

use crate::backend::Caps;
use crate::error::{Error, Result};
use crate::spec::{KvDtype, KvSpec, ModelConfig};

/// Contexts of full length that the default KV budget has room for.
const DEFAULT_CONTEXTS: u64 = 4;
/// The default KV budget takes at most this part of the memory.
const MEMORY_SHARE: u64 = 4;

/// Pages of `dtype` that the budget has room for.
///
/// # Errors
/// [`Error::Unavailable`] where the backend has no such pages, [`Error::Argument`] for a budget below one page.
pub(super) fn n_pages(config: &ModelConfig, caps: &Caps, dtype: KvDtype, budget_bytes: Option<u64>) -> Result<usize> {
    if !caps.kv_dtypes.contains(&dtype) {
        let known: Vec<_> = caps.kv_dtypes.iter().map(|dtype| dtype.name()).collect();
        let why = format!("{} stores keys and values as {}", caps.name, known.join(" or "));
        return Err(Error::Unavailable { what: format!("a KV cache of {dtype}"), why });
    }
    let ModelConfig { n_layers, n_kv_heads, head_dim, .. } = *config;
    let spec = KvSpec { n_layers, n_kv_heads, head_dim, dtype };
    let page_bytes = (caps.page_len * spec.bytes_per_token()) as u64;
    let context_bytes = config.max_len.div_ceil(caps.page_len) as u64 * page_bytes;
    let share = if caps.memory_bytes == 0 { u64::MAX } else { caps.memory_bytes / MEMORY_SHARE };
    let default_bytes = DEFAULT_CONTEXTS.saturating_mul(context_bytes).min(share);
    let bytes = budget_bytes.unwrap_or(default_bytes);
    match bytes / page_bytes {
        0 => Err(Error::Argument(format!(
            "a KV budget of {bytes} bytes is less than one page, {} tokens or {page_bytes} bytes",
            caps.page_len
        ))),
        n_pages => Ok(n_pages.min(u64::from(u32::MAX)) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Architecture, RopeConfig, RopeScaling, WeightDtype};

    /// 2 layers of one KV head of 8 elements, in bf16: 64 bytes a token, 4,096 a page, 16 pages for a full context.
    fn pages(budget_bytes: Option<u64>, memory_bytes: u64) -> Result<usize> {
        pages_of(KvDtype::Bf16, budget_bytes, memory_bytes)
    }

    fn pages_of(dtype: KvDtype, budget_bytes: Option<u64>, memory_bytes: u64) -> Result<usize> {
        let config = ModelConfig {
            architecture: Architecture::Llama,
            d_model: 8,
            n_layers: 2,
            n_heads: 1,
            n_kv_heads: 1,
            head_dim: 8,
            d_ff: 8,
            vocab: 8,
            max_len: 1_000,
            norm_eps: 1e-5,
            rope: RopeConfig { theta: 1e4, scaling: RopeScaling::None },
            sliding_window: None,
            qkv_bias: false,
            qk_norm: false,
            tied_embeddings: true,
            end_tokens: Vec::new(),
        };
        let caps = Caps {
            name: "none".into(),
            page_len: 64,
            chunk_len: 256,
            head_dims: None,
            weight_dtypes: vec![WeightDtype::F32],
            kv_dtypes: vec![KvDtype::Bf16],
            n_threads: 1,
            memory_bytes,
        };
        n_pages(&config, &caps, dtype, budget_bytes)
    }

    #[test]
    fn a_type_that_the_backend_has_not_is_an_error() {
        let error = pages_of(KvDtype::Int8, None, u64::MAX).unwrap_err();
        assert!(matches!(&error, Error::Unavailable { what, .. } if what.contains("int8")), "{error}");
    }

    #[test]
    fn the_budget_is_counted_in_whole_pages() {
        assert_eq!(pages(Some(3 * 4_096 - 1), 0).unwrap(), 2);
        assert!(matches!(pages(Some(4_095), 0), Err(Error::Argument(why)) if why.contains("4096 bytes")));
    }

    #[test]
    fn the_default_budget_is_four_contexts_or_a_quarter_of_the_memory() {
        assert_eq!(pages(None, u64::MAX).unwrap(), 64);
        assert_eq!(pages(None, 40 * 4_096).unwrap(), 10);
        assert_eq!(pages(None, 0).unwrap(), 64, "memory that nobody knows is no limit");
    }
}
