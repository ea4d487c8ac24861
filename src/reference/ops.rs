//! The operations other than attention.

use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut3, s};

use crate::spec::RopeConfig;

/// `out[m, n] = sum_k x[m, k] w[n, k] + bias[n]`, from `x[M, K]`, `w[N, K]` and perhaps `bias[N]` to `out[M, N]`: a
/// linear layer with its weights as Hugging Face stores them.
///
/// # Panics
/// If K or N disagree.
pub fn matmul(x: ArrayView2<'_, f64>, w: ArrayView2<'_, f64>, bias: Option<ArrayView1<'_, f64>>) -> Array2<f64> {
    assert_eq!(x.ncols(), w.ncols(), "K of x and of w");
    assert!(bias.is_none_or(|b| b.len() == w.nrows()), "N of w and of the bias");
    Array2::from_shape_fn((x.nrows(), w.nrows()), |(m, n)| {
        let dot: f64 = x.row(m).iter().zip(w.row(n)).map(|(x, w)| x * w).sum();
        dot + bias.map_or(0.0, |b| b[n])
    })
}

/// `out[i] = weight[i] x[i] / sqrt(mean(x^2) + eps)` for every row of `x[M, D]`, with `weight[D]` (Zhang and Sennrich
/// 2019, section 3, with the epsilon of Llama).
///
/// # Panics
/// If D disagrees.
pub fn rms_norm(x: ArrayView2<'_, f64>, weight: ArrayView1<'_, f64>, eps: f64) -> Array2<f64> {
    assert_eq!(x.ncols(), weight.len(), "D of x and of the weight");
    let mut out = x.to_owned();
    for mut row in out.rows_mut() {
        let mean_square = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
        let scale = 1.0 / (mean_square + eps).sqrt();
        row.zip_mut_with(&weight, |x, w| *x *= scale * w);
    }
    out
}

/// Rotary position embedding in place, on `x[n_tokens, n_heads, head_dim]` whose token `t` stands at `positions[t]` (Su
/// et al. 2021, section 3.4.2, in the half-rotated order of Hugging Face): pair `i` is the elements `i` and
/// `i + head_dim / 2`, and turns by `position * frequencies[i]`:
///
/// `(a, b) <- (a cos - b sin, b cos + a sin)`
///
/// # Panics
/// If there are not as many positions as tokens.
pub fn rope(mut x: ArrayViewMut3<'_, f64>, positions: &[usize], config: &RopeConfig) {
    let (n_tokens, n_heads, head_dim) = x.dim();
    assert_eq!(positions.len(), n_tokens, "positions and tokens");
    let frequencies = config.frequencies(head_dim);
    for (t, &position) in positions.iter().enumerate() {
        for h in 0..n_heads {
            let mut head = x.slice_mut(s![t, h, ..]);
            for (i, frequency) in frequencies.iter().enumerate() {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                let (a, b) = (head[i], head[i + head_dim / 2]);
                head[i] = a * cos - b * sin;
                head[i + head_dim / 2] = b * cos + a * sin;
            }
        }
    }
}

/// `out = silu(gate) * up`, element by element over `[M, D]`, with `silu(z) = z / (1 + e^-z)` (SwiGLU; Shazeer 2020,
/// equation 6).
///
/// # Panics
/// If the shapes disagree.
pub fn silu_gate(gate: ArrayView2<'_, f64>, up: ArrayView2<'_, f64>) -> Array2<f64> {
    assert_eq!(gate.dim(), up.dim(), "shapes of gate and up");
    let mut out = gate.to_owned();
    out.zip_mut_with(&up, |g, u| *g = *g / (1.0 + (-*g).exp()) * u);
    out
}

/// `out[i] = e^(x[i]) / sum_j e^(x[j])`, taken relative to the largest so that nothing overflows.
pub fn softmax(x: &[f64]) -> Vec<f64> {
    log_softmax(x).into_iter().map(f64::exp).collect()
}

/// `out[i] = x[i] - ln(sum_j e^(x[j]))`: log-probabilities from logits.
pub fn log_softmax(x: &[f64]) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = x.iter().map(|x| (x - max).exp()).sum::<f64>().ln() + max;
    x.iter().map(|x| x - log_sum).collect()
}
