use ndarray::{Array3, array, s};

use super::*;
use crate::dtype::Dtype;
use crate::error::Error;
use crate::spec::{KvDtype, ModelConfig, Preset, RopeConfig, RopeScaling, Synthetic};

/// Allowed error of a few dozen operations in f64 on numbers around 1.
const TOLERANCE: f64 = 1e-12;

#[track_caller]
fn assert_close<'a>(found: impl IntoIterator<Item = &'a f64>, wanted: impl IntoIterator<Item = &'a f64>) {
    let (found, wanted): (Vec<_>, Vec<_>) = (found.into_iter().collect(), wanted.into_iter().collect());
    assert_eq!(found.len(), wanted.len());
    let is_close = |(a, b): (&&f64, &&f64)| (**a - **b).abs() <= TOLERANCE * b.abs().max(1.0);
    assert!(found.iter().zip(&wanted).all(is_close), "{found:?} should be {wanted:?}");
}

/// Numbers between -1 and 1 without a pattern, different for every `salt`.
fn noise(shape: (usize, usize, usize), salt: usize) -> Array3<f64> {
    let mut i = 1000 * salt;
    Array3::from_shape_simple_fn(shape, || {
        i += 1;
        ((i * i) as f64 * 0.7123).sin()
    })
}

#[test]
fn matmul_by_hand() {
    let x = array![[1.0, 2.0], [3.0, 4.0]];
    let w = array![[1.0, 0.0], [0.5, -1.0], [10.0, 100.0]];
    assert_eq!(matmul(x.view(), w.view(), None), array![[1.0, -1.5, 210.0], [3.0, -2.5, 430.0]]);
    let bias = array![1.0, 2.0, 3.0];
    assert_eq!(matmul(x.view(), w.view(), Some(bias.view())), array![[2.0, 0.5, 213.0], [4.0, -0.5, 433.0]]);
}

#[test]
fn rms_norm_by_hand() {
    // mean(3^2, 4^2, 0, 0) = 25 / 4, so the root mean square is 2.5.
    let x = array![[3.0, 4.0, 0.0, 0.0]];
    let weight = array![1.0, 2.0, 3.0, 4.0];
    assert_close(&rms_norm(x.view(), weight.view(), 0.0), &array![[1.2, 3.2, 0.0, 0.0]]);
    // With eps = 39 / 4 the root is 4.
    assert_close(&rms_norm(x.view(), weight.view(), 9.75), &array![[0.75, 2.0, 0.0, 0.0]]);
}

#[test]
fn silu_gate_by_hand() {
    // silu(ln 3) = ln 3 * 3 / 4
    let ln3 = 3f64.ln();
    let out = silu_gate(array![[ln3, 0.0, -ln3]].view(), array![[4.0, 5.0, 4.0]].view());
    assert_close(&out, &array![[3.0 * ln3, 0.0, -ln3]]);
}

#[test]
fn softmax_by_hand() {
    let x = [2f64.ln(), 3f64.ln(), 5f64.ln()];
    assert_close(&softmax(&x), &[0.2, 0.3, 0.5]);
    assert_close(&log_softmax(&x), &[0.2f64.ln(), 0.3f64.ln(), 0.5f64.ln()]);
    // Shifting all does not change anything, and nothing overflows.
    assert_close(&softmax(&x.map(|x| x - 700.0)), &[0.2, 0.3, 0.5]);
    assert_eq!(softmax(&[1e300, -1e300, f64::NEG_INFINITY]), [1.0, 0.0, 0.0]);
}

#[test]
fn rope_by_hand() {
    // head_dim 4 and theta 100: frequencies 1 and 1/10, pairs (0, 2) and (1, 3).
    let config = RopeConfig { theta: 100.0, scaling: RopeScaling::None };
    let mut x = array![[[1.0, 1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0, 2.0]]];
    rope(x.view_mut(), &[0, 3], &config);
    let [(s0, c0), (s1, c1)] = [3f64.sin_cos(), 0.3f64.sin_cos()];
    assert_close(&x, &array![[[1.0, 1.0, 0.0, 0.0]], [[-s0, -2.0 * s1, c0, 2.0 * c1]]]);
}

#[test]
fn rope_depends_on_distances_alone() {
    let llama3 =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_len: 64.0 };
    for scaling in [RopeScaling::None, RopeScaling::Linear { factor: 4.0 }, llama3] {
        let config = RopeConfig { theta: 10_000.0, scaling };
        let score = |q_position: usize, k_position: usize| {
            let mut qk = noise((2, 1, 16), 3);
            rope(qk.view_mut(), &[q_position, k_position], &config);
            (0..16).map(|i| qk[[0, 0, i]] * qk[[1, 0, i]]).sum::<f64>()
        };
        assert_close(&[score(1017, 1005)], &[score(12, 0)]);
        assert!((score(13, 0) - score(12, 0)).abs() > 1e-3, "and they do depend on them");
    }
}

#[test]
fn llama3_frequencies_are_kept_divided_or_between() {
    // Wavelengths: tau for pair 0, and tau * theta^(1/2) for pair 1.
    let scaled = |original_max_len: f64| {
        let scaling =
            RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_len };
        RopeConfig { theta: 1e4, scaling }.frequencies(4)
    };
    let tau = std::f64::consts::TAU;
    assert_close(&scaled(4.0 * tau), &[1.0, 0.01 / 8.0]);
    assert_close(&scaled(2.5 * tau), &[0.5 + 0.5 / 8.0, 0.01 / 8.0]);
    assert_close(&scaled(tau * 500.0), &[1.0, 0.01]);
}

/// Two query heads on one KV head of two elements, two keys.
#[test]
fn attention_by_hand() {
    let ln3 = 3f64.ln();
    let q = array![[[2.0 * ln3, 0.0], [0.0, 2.0 * ln3]]];
    let k = array![[[1.0, 0.0]], [[0.0, 1.0]]];
    let v = array![[[4.0, 8.0]], [[0.0, 16.0]]];
    let args = Attention { q: q.view(), k: k.view(), v: v.view(), start: 1, scale: 0.5, window: None };
    // Scores are (ln 3, 0) and (0, ln 3), hence weights (3/4, 1/4) and (1/4, 3/4).
    assert_close(&attention(&args), &array![[[3.0, 10.0], [1.0, 14.0]]]);
    // A window of one leaves the query its own key.
    assert_close(&attention(&Attention { window: Some(1), ..args }), &array![[[0.0, 16.0], [0.0, 16.0]]]);
}

#[test]
fn heads_of_a_group_share_their_keys() {
    let (q, k, v) = (noise((5, 6, 8), 1), noise((5, 3, 8), 2), noise((5, 3, 8), 3));
    let grouped = Attention { q: q.view(), k: k.view(), v: v.view(), start: 0, scale: 0.3, window: None };
    // The same with every KV head written out twice.
    let twice = |x: &Array3<f64>| Array3::from_shape_fn((5, 6, 8), |(t, h, i)| x[[t, h / 2, i]]);
    let (k2, v2) = (twice(&k), twice(&v));
    assert_eq!(attention(&grouped), attention(&Attention { k: k2.view(), v: v2.view(), ..grouped }));
}

#[test]
fn what_is_masked_never_reaches_the_result() {
    let (q, k, v) = (noise((2, 2, 4), 1), noise((9, 2, 4), 2), noise((9, 2, 4), 3));
    for (start, window, seen) in [(4, None, 0..6), (4, Some(3), 2..6), (0, None, 0..2), (7, Some(1), 7..9)] {
        let args = Attention { q: q.view(), k: k.view(), v: v.view(), start, scale: 0.5, window };
        let clean = attention(&args);
        let poisoned = |x: &Array3<f64>, poison: f64| {
            Array3::from_shape_fn(x.dim(), |(j, g, i)| if seen.contains(&j) { x[[j, g, i]] } else { poison })
        };
        for poison in [f64::NAN, f64::INFINITY] {
            let (k, v) = (poisoned(&k, poison), poisoned(&v, poison));
            assert_eq!(attention(&Attention { k: k.view(), v: v.view(), ..args }), clean, "start {start}, {window:?}");
        }
        assert!(clean.iter().all(|x| x.is_finite()));
    }
    // What is seen does reach it.
    let mut k = k;
    k[[3, 0, 0]] = f64::NAN;
    let args = Attention { q: q.view(), k: k.view(), v: v.view(), start: 4, scale: 0.5, window: Some(3) };
    assert!(attention(&args).iter().any(|x| x.is_nan()));
}

#[test]
fn a_window_as_long_as_the_context_changes_nothing() {
    let (q, k, v) = (noise((6, 2, 4), 1), noise((6, 1, 4), 2), noise((6, 1, 4), 3));
    let args = Attention { q: q.view(), k: k.view(), v: v.view(), start: 0, scale: 0.5, window: None };
    assert_eq!(attention(&args), attention(&Attention { window: Some(6), ..args }));
    assert_ne!(attention(&args), attention(&Attention { window: Some(5), ..args }));
}

#[test]
fn stored_rounds_to_the_type_of_the_cache() {
    let x = array![[[1.0 + 1.0 / 512.0, 1.0 + 3.0 / 512.0, 1e-3]]];
    // bf16 has steps of 1/128 at 1, and ties go to even.
    assert_eq!(stored(x.clone(), Some(KvDtype::Bf16)).slice(s![0, 0, ..2]), array![1.0, 1.0 + 1.0 / 128.0]);
    assert_eq!(stored(x.clone(), None), x);
}

#[test]
fn stored_quantises_each_token_and_head_by_its_largest_element() {
    let x = array![[[127.0, -1.5, 0.4], [2.0, -4.0, 1e-3]], [[0.0, 1e-31, -1e-31], [1.0, f64::INFINITY, 3.0]]];
    let found = stored(x, Some(KvDtype::Int8));
    let scale = f64::from(4f32 / 127.0);
    assert_eq!(found.slice(s![0, 0, ..]), array![127.0, -2.0, 0.0], "ties go to even");
    assert_eq!(found.slice(s![0, 1, ..]), array![64.0 * scale, -127.0 * scale, 0.0]);
    assert_eq!(found.slice(s![1, 0, ..]), array![0.0, 0.0, 0.0], "below 2^-100");
    assert!(found.slice(s![1, 1, ..]).iter().all(|x| x.is_nan()));
}

fn tiny_config() -> ModelConfig {
    ModelConfig {
        d_model: 24,
        n_layers: 2,
        n_heads: 6,
        n_kv_heads: 2,
        head_dim: 8,
        d_ff: 40,
        vocab: 50,
        ..Preset::SmolLm2_135m.config()
    }
}

fn logits(config: ModelConfig, tokens: &[u32]) -> Vec<Vec<f64>> {
    step(&config.clone(), &Synthetic::from_config(config, 5), tokens, None).unwrap()
}

#[test]
fn logits_depend_on_earlier_tokens_alone() {
    let (short, long) = (logits(tiny_config(), &[3, 1, 4]), logits(tiny_config(), &[3, 1, 4, 1, 5]));
    assert_eq!(short, long[..3]);
    let other = logits(tiny_config(), &[2, 1, 4, 1, 5]);
    assert!(long.iter().zip(&other).all(|(a, b)| a != b), "the first token reaches every position");
}

#[test]
fn a_window_forgets_what_lies_beyond_all_layers() {
    // Two layers with a window of 2 see back 2 tokens in all.
    let config = ModelConfig { sliding_window: Some(2), ..tiny_config() };
    let (a, b) = (logits(config.clone(), &[3, 1, 4, 1, 5]), logits(config, &[2, 1, 4, 1, 5]));
    assert!(a[2] != b[2]);
    assert_eq!(a[3..], b[3..]);
}

#[test]
fn every_variation_changes_the_result() {
    let variations = [
        ModelConfig { qkv_bias: true, ..tiny_config() },
        ModelConfig { qk_norm: true, ..tiny_config() },
        ModelConfig { tied_embeddings: false, ..tiny_config() },
        ModelConfig { norm_eps: 0.1, ..tiny_config() },
        ModelConfig { rope: RopeConfig { theta: 100.0, ..tiny_config().rope }, ..tiny_config() },
    ];
    let tokens = [7, 8, 9];
    let plain = logits(tiny_config(), &tokens);
    for config in variations {
        let found = logits(config.clone(), &tokens);
        assert!(found != plain && found.iter().flatten().all(|x| x.is_finite()), "{config:?}");
    }
}

#[test]
fn rounded_keys_and_values_change_logits_a_little() {
    let (config, tokens) = (tiny_config(), [7, 8, 9, 10]);
    let weights = Synthetic::from_config(config.clone(), 5);
    let exact = step(&config, &weights, &tokens, None).unwrap().concat();
    let rounded = step(&config, &weights, &tokens, Some(KvDtype::Bf16)).unwrap().concat();
    let error = exact.iter().zip(&rounded).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let largest = exact.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    assert!(error > 0.0 && error < 0.02 * largest, "{error} of {largest}");
}

/// One layer that adds nothing, so that the logits are those of the normed embedding.
#[test]
fn a_model_by_hand() {
    struct ByHand;
    impl crate::spec::WeightSource for ByHand {
        fn tensor<'a>(&'a self, name: &'a str) -> crate::Result<crate::spec::WeightView<'a>> {
            let (n, k, values): (_, _, &[f32]) = match name {
                "model.embed_tokens.weight" => (3, 2, &[3.0, 4.0, 0.0, 2.0, -1.0, 0.0]),
                "model.norm.weight" => (2, 1, &[1.0, 2.0]),
                name if name.ends_with("norm.weight") => (2, 1, &[1.0, 1.0]),
                _ => (2, 2, &[0.0; 4]),
            };
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            Ok(crate::spec::WeightView { name, n, k, dtype: Dtype::F32, bytes: bytes.into() })
        }
    }
    let config = ModelConfig {
        d_model: 2,
        n_layers: 1,
        n_heads: 1,
        n_kv_heads: 1,
        head_dim: 2,
        d_ff: 2,
        vocab: 3,
        norm_eps: 0.0,
        ..Preset::SmolLm2_135m.config()
    };
    let logits = step(&config, &ByHand, &[0, 2], None).unwrap();
    // Root mean squares are 5 / sqrt 2 and 1 / sqrt 2.
    let r = std::f64::consts::SQRT_2;
    assert_close(&logits[0], &[r / 5.0 * (9.0 + 32.0), r / 5.0 * 16.0, r / 5.0 * -3.0]);
    assert_close(&logits[1], &[r * -3.0, 0.0, r]);
}

#[test]
fn a_token_outside_the_vocabulary_is_an_error() {
    let weights = Synthetic::from_config(tiny_config(), 5);
    let error = step(&tiny_config(), &weights, &[1, 50], None).unwrap_err();
    assert!(matches!(error, Error::Vocabulary { token: 50, vocab: 50 }), "{error}");
}
