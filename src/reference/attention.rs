//! Causal attention over plain arrays.

use ndarray::{Array3, ArrayView1, ArrayView3, s};

use super::softmax;

/// Arguments of [`attention`]: queries of the last tokens, keys and values of the whole context.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// `[n_tokens, n_heads, head_dim]`, RoPE applied.
    pub q: ArrayView3<'a, f64>,
    /// `[kv_len, n_kv_heads, head_dim]`, RoPE applied, as stored.
    pub k: ArrayView3<'a, f64>,
    /// `[kv_len, n_kv_heads, head_dim]`, as stored.
    pub v: ArrayView3<'a, f64>,
    /// Position of the first query; `start + n_tokens <= kv_len`.
    pub start: usize,
    /// Factor on the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f64,
    /// Sliding window: how many keys a query sees at most, its own included.
    pub window: Option<usize>,
}

/// `out[t, h] = sum_j softmax_j(scale * q[t, h] . k[j, g]) v[j, g]` with `g = h / (n_heads / n_kv_heads)`, where the
/// query at position `p = start + t` sees the keys `j` in `0..=p`, or with a window `w` in `p + 1 - w..=p` (Vaswani et
/// al. 2017, section 3.2.1; grouped queries as in Ainslie et al. 2023, section 2.2; window as in Jiang et al. 2023,
/// section 2). Returns `[n_tokens, n_heads, head_dim]`.
///
/// A key that is masked is absent: nothing of it or of its value is read, so NaN in it never reaches the result. Every
/// query sees at least its own key.
///
/// # Panics
/// If the shapes disagree, a query stands beyond the keys, or the window is 0.
pub fn attention(args: &Attention<'_>) -> Array3<f64> {
    let (n_tokens, n_heads, head_dim) = args.q.dim();
    let (kv_len, n_kv_heads, _) = args.k.dim();
    assert_eq!(args.k.dim(), args.v.dim(), "shapes of k and v");
    assert!(args.k.dim().2 == head_dim && n_heads.is_multiple_of(n_kv_heads), "heads of q and k");
    assert!(args.start + n_tokens <= kv_len, "keys of all queries");
    assert_ne!(args.window, Some(0), "a query sees its own key");

    let mut out = Array3::zeros((n_tokens, n_heads, head_dim));
    for t in 0..n_tokens {
        let end = args.start + t + 1;
        let first = args.window.map_or(0, |w| end.saturating_sub(w));
        for h in 0..n_heads {
            let g = h / (n_heads / n_kv_heads);
            let q = args.q.slice(s![t, h, ..]);
            let scores: Vec<f64> = (first..end).map(|j| args.scale * dot(q, args.k.slice(s![j, g, ..]))).collect();
            for (j, weight) in (first..end).zip(softmax(&scores)) {
                out.slice_mut(s![t, h, ..]).scaled_add(weight, &args.v.slice(s![j, g, ..]));
            }
        }
    }
    out
}

fn dot(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
