//! What a plain run gives: the bits of the emulation, close to the reference.

use longhaul::dtype::Dtype;
use longhaul::emulation::Arithmetic;
use longhaul::reference;
use longhaul::spec::{ModelConfig, Synthetic};

use crate::common::backends;
use crate::tiny::tiny;
use crate::{load, plain, prompt, same_bits};

/// More than the window of the one that has a window, and more than a tile of keys.
const N_TOKENS: usize = 40;

#[test]
fn every_family_has_the_bits_of_the_emulation_and_is_close_to_the_reference() {
    for config in tiny() {
        check(&config, Dtype::Bf16);
    }
}

#[test]
fn f32_weights_have_the_bits_of_the_emulation_and_are_close_to_the_reference() {
    check(&tiny()[3], Dtype::F32);
}

/// Tolerance: the coarsest roundings on the way are to bf16, of keys and values (which falls the other way where the f32 is a little off a
/// tie) and on one table of the left operands of products. There are four products in a row in every layer and one behind; errors that know
/// nothing of each other add in squares. So `sqrt(4 n_layers + 1) 2^-8`, relative, in the root mean square over all logits.
fn check(config: &ModelConfig, dtype: Dtype) {
    let (tokens, source) = (prompt(config, N_TOKENS, 3), Synthetic::from_config(config.clone(), 7));
    let exact = reference::step(config, &source, &tokens, Some(Dtype::Bf16)).unwrap().concat();
    let tolerance = ((4 * config.n_layers + 1) as f64).sqrt() / 256.0;
    let mut emulations: Vec<(Arithmetic, Vec<Vec<f32>>)> = Vec::new();
    for backend in backends() {
        let name = &backend.caps().name;
        let arithmetic = Arithmetic::of_table(name.strip_prefix("cpu/").unwrap()).unwrap();
        if !emulations.iter().any(|(a, _)| *a == arithmetic) {
            emulations.push((arithmetic, arithmetic.step(config, &source, &tokens, dtype).unwrap()));
        }
        let (_, emulated) = emulations.iter().find(|(a, _)| *a == arithmetic).unwrap();
        let found = plain(&mut *load(&*backend, config, Some(dtype)), &tokens);
        for (position, (found, emulated)) in found.iter().zip(emulated).enumerate() {
            assert!(same_bits(found, emulated), "{name}, {:?} in {dtype}, position {position}", config.architecture);
        }
        let square = |x: f64| x * x;
        let error: f64 = found.concat().iter().zip(&exact).map(|(f, e)| square(f64::from(*f) - e)).sum();
        let size: f64 = exact.iter().map(|e| square(*e)).sum();
        let relative = (error / size).sqrt();
        assert!(relative <= tolerance, "{name}, {:?}: off by {relative:e}", config.architecture);
    }
}
