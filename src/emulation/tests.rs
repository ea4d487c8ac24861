use super::Arithmetic;
use super::dots::{pair_sum, tile_sum};

const ALL: [Arithmetic; 4] = [Arithmetic::Unfused, Arithmetic::Fused, Arithmetic::Pairs, Arithmetic::Amx];

#[test]
fn exp_is_close_and_exact_at_its_ends() {
    for arithmetic in ALL {
        for i in -8700..=8800 {
            let x = i as f32 / 100.0;
            let (found, wanted) = (f64::from(arithmetic.exp(x)), f64::from(x).exp());
            assert!((found - wanted).abs() <= 3e-7 * wanted, "{arithmetic:?}: e^{x} = {found}, not {wanted}");
        }
        assert_eq!(arithmetic.exp(0.0).to_bits(), 1f32.to_bits());
        assert_eq!(arithmetic.exp(f32::NEG_INFINITY).to_bits(), 0);
        assert_eq!(arithmetic.exp(-88.0).to_bits(), 0);
        assert_eq!(arithmetic.exp(f32::INFINITY), arithmetic.exp(88.0));
        assert!(arithmetic.exp(f32::NAN).is_nan());
    }
}

#[test]
fn exp2_is_close_and_exact_where_attention_needs_it() {
    for arithmetic in ALL {
        for i in -12600..=0 {
            let x = i as f32 / 100.0;
            let (found, wanted) = (f64::from(arithmetic.exp2(x)), f64::from(x).exp2());
            assert!((found - wanted).abs() <= 2e-7 * wanted, "{arithmetic:?}: 2^{x} = {found}, not {wanted}");
        }
        assert_eq!(arithmetic.exp2(0.0).to_bits(), 1f32.to_bits());
        assert_eq!(arithmetic.exp2(f32::NEG_INFINITY).to_bits(), 0);
        assert_eq!(arithmetic.exp2(-126.5).to_bits(), 0);
        assert!(arithmetic.exp2(f32::NAN).is_nan());
    }
}

#[test]
fn a_pair_adds_its_second_product_first() {
    let small = 2f32.powi(-24);
    // Each of two additions to 1 rounds away; 2^-23 at once would not.
    assert_eq!(pair_sum(1.0, [small, small], [1.0, 1.0]), 1.0);
    assert_eq!(pair_sum(1.0, [-1.0, small], [1.0, 1.0]), 0.0);
    assert_eq!(pair_sum(1.0, [small, -1.0], [1.0, 1.0]), small);
    // A denormal operand is zero, and so is a denormal sum.
    assert_eq!(pair_sum(0.0, [1e-39, f32::MIN_POSITIVE], [1.0, 0.5]), 0.0);
}

#[test]
fn a_tile_sums_even_and_odd_apart_and_the_accumulator_last() {
    let (mut x, w) = ([0.0; 32], [1.0; 32]);
    // Even: 1, then 2^-24 four times, each lost; odd: 2^-24 four times, all kept.
    x[0] = 1.0;
    x[2..10].fill(2f32.powi(-24));
    assert_eq!(tile_sum(0.0, &x, &w), 1.0 + 2f32.powi(-22));
    assert_eq!(tile_sum(-1.0, &x, &w), 2f32.powi(-22));
}

#[test]
fn a_tile_knows_no_denormals() {
    let small = f32::MIN_POSITIVE;
    let alone = |x0: f32, w0: f32, acc: f32| {
        let (mut x, mut w) = ([0.0; 32], [0.0; 32]);
        (x[0], w[0]) = (x0, w0);
        tile_sum(acc, &x, &w)
    };
    assert_eq!(alone(small / 2.0, 1e30, 0.0), 0.0, "operand");
    assert_eq!(alone(small, 0.5, 0.0), 0.0, "result");
    assert_eq!(alone(0.0, 0.0, small / 2.0), 0.0, "accumulator");
    assert_eq!(alone(small, 1.0, 0.0), small, "the smallest normal number is none");
}
