//! What instructions that multiply bf16 add to a sum, for one row and one column: `TDPBF16PS` (Intel SDM, volume 2) for
//! a tile of a product, and `VDPBF16PS` (the same; AMD's CPUs give the same bits) for a pair.
//!
//! Every operand that is denormal counts as zero, every result that is denormal becomes zero, signs kept.

/// `acc` after 16 pairs: even and odd products are summed apart, each by FMA from +0 in ascending order; then even +
/// odd; then `acc` + that.
pub fn tile_sum(acc: f32, x: &[f32], w: &[f32]) -> f32 {
    let [mut even, mut odd] = [0.0; 2];
    for (x, w) in x.as_chunks::<2>().0.iter().zip(w.as_chunks::<2>().0) {
        even = fma(x[0], w[0], even);
        odd = fma(x[1], w[1], odd);
    }
    add(acc, add(even, odd))
}

/// `acc` after a pair: by FMA, the second product first.
pub fn pair_sum(acc: f32, x: [f32; 2], w: [f32; 2]) -> f32 {
    fma(x[0], w[0], fma(x[1], w[1], acc))
}

/// `a * b + c`, rounded once, without denormals.
fn fma(a: f32, b: f32, c: f32) -> f32 {
    let (a, b, c) = (flush(a), flush(b), flush(c));
    let rounded = a.mul_add(b, c);
    if rounded.abs() == f32::MIN_POSITIVE && was_tiny(a, b, c, rounded.signum()) {
        return 0f32.copysign(rounded);
    }
    flush(rounded)
}

/// `a + b` without denormals. A sum of two f32 below the smallest normal number is exact, so it is never rounded up to
/// that.
fn add(a: f32, b: f32) -> f32 {
    flush(flush(a) + flush(b))
}

/// Whether `a * b + c`, which rounds to the smallest normal number with this sign, rounds to less with an unbounded
/// exponent: x86 calls that tiny. Exact in f64, since a product of two bf16 has 16 digits.
fn was_tiny(a: f32, b: f32, c: f32, sign: f32) -> bool {
    const LIMIT: f64 = f32::MIN_POSITIVE as f64 * (1.0 - 1.0 / (1u64 << 25) as f64);
    let (product, c, sign) = (f64::from(a) * f64::from(b), f64::from(c), f64::from(sign));
    sign * product < LIMIT - sign * c
}

/// Zero for a denormal, sign kept.
pub fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}
