//! What a plain run gives: the bits of the emulation, close to the reference.

use longhaul::emulation::Arithmetic;
use longhaul::reference;
use longhaul::spec::{KvDtype, ModelConfig, Synthetic, WeightDtype};

use crate::common::backends;
use crate::tiny::tiny;
use crate::{load, plain, prompt, same_bits};

/// More than the window of the one that has a window, and more than a tile of keys.
const N_TOKENS: usize = 40;

#[test]
fn every_family_has_the_bits_of_the_emulation_and_is_close_to_the_reference() {
    for config in tiny() {
        KvDtype::ALL.into_iter().for_each(|kv| check(&config, WeightDtype::Bf16, kv));
    }
}

#[test]
fn f32_weights_have_the_bits_of_the_emulation_and_are_close_to_the_reference() {
    check(&tiny()[3], WeightDtype::F32, KvDtype::Bf16);
}

#[test]
fn quantised_weights_have_the_bits_of_the_emulation_and_are_close_to_the_reference() {
    for (i, config) in tiny().iter().enumerate() {
        check(config, [WeightDtype::INT8_CHANNEL, WeightDtype::INT8][i % 2], KvDtype::ALL[i / 2 % 2]);
        check(config, WeightDtype::Int4, KvDtype::ALL[i % 2]);
    }
}

/// What rounding the operands of one product costs, in the root mean square.
///
/// bf16 and f32: the coarsest roundings on the way are to bf16, of keys and values (which falls the other way where the
/// f32 is a little off a tie) and on one table of the left operands of products. Quantised: the error is spread evenly
/// over a step, which is `step / sqrt(12)`. The random weights end at 5 standard deviations, so that a step is `5 /
/// 127` of one, or `10 / 15`; the largest of `len` activations is at most `sqrt(len)` times their root mean square.
fn rounding(config: &ModelConfig, dtype: WeightDtype, kv: KvDtype) -> f64 {
    let (bf16, spread) = (1.0 / 256.0, 12f64.sqrt());
    let bf16 = match kv {
        KvDtype::Bf16 => bf16,
        // An element that is off by `e` gets another code with probability `e / step`, and is off by a step then: `e
        // step` in the mean square.
        KvDtype::Int8 => bf16 + (bf16 * (config.head_dim as f64).sqrt() / 127.0).sqrt(),
    };
    let Some(group_len) = dtype.group_len(config.d_ff) else { return bf16 };
    let lhs = (group_len as f64).sqrt() / 127.0 / spread;
    let weights = if dtype == WeightDtype::Int4 { 10.0 / 15.0 } else { 5.0 / 127.0 } / spread;
    (lhs * lhs + weights * weights).sqrt() + bf16
}

/// Tolerance: there are four products in a row in every layer and one behind; errors that know nothing of each other
/// add in squares. So `sqrt(4 n_layers + 1)` roundings, relative, in the root mean square over all logits.
fn check(config: &ModelConfig, dtype: WeightDtype, kv: KvDtype) {
    let (tokens, source) = (prompt(config, N_TOKENS, 3), Synthetic::from_config(config.clone(), 7));
    let exact = reference::step(config, &source, &tokens, Some(kv)).unwrap().concat();
    let tolerance = ((4 * config.n_layers + 1) as f64).sqrt() * rounding(config, dtype, kv);
    let mut emulations: Vec<(Arithmetic, Vec<Vec<f32>>)> = Vec::new();
    for backend in backends() {
        let name = &backend.caps().name;
        let arithmetic = Arithmetic::of_table(name.strip_prefix("cpu/").unwrap()).unwrap();
        if !emulations.iter().any(|(a, _)| *a == arithmetic) {
            emulations.push((arithmetic, arithmetic.step(config, &source, &tokens, dtype, kv).unwrap()));
        }
        let (_, emulated) = emulations.iter().find(|(a, _)| *a == arithmetic).unwrap();
        let found = plain(&mut *load(&*backend, config, Some(dtype), kv), &tokens);
        for (position, (found, emulated)) in found.iter().zip(emulated).enumerate() {
            assert!(
                same_bits(found, emulated),
                "{name}, {:?} in {dtype}, KV in {kv}, position {position}",
                config.architecture
            );
        }
        let square = |x: f64| x * x;
        let error: f64 = found.concat().iter().zip(&exact).map(|(f, e)| square(f64::from(*f) - e)).sum();
        let size: f64 = exact.iter().map(|e| square(*e)).sum();
        let relative = (error / size).sqrt();
        assert!(
            relative <= tolerance,
            "{name}, {:?} in {dtype}, KV in {kv}: off by {relative:e}, not {tolerance:e}",
            config.architecture
        );
    }
}
