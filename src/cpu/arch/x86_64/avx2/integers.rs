//! Integer products of the `avx2` table.

use std::arch::x86_64::*;

use super::Avx2;
use crate::cpu::prefetch;
use crate::cpu::quant::{Dots, Line};
use crate::spec::contract::INT4_GROUP_LEN;

impl Avx2 {
    /// Adds pairs of i16 to the lanes of i32.
    #[inline(always)]
    fn add_pairs(self, sums: __m256i, pairs: __m256i) -> __m256i {
        avx2!(_mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))))
    }
}

const _: () = assert!(INT4_GROUP_LEN / 4 * (2 * 15 * 127) <= i16::MAX as usize);

/// `VPMADDUBSW` adds two products into an i16 and saturates: `2 * 127 * 127` and `2 * 15 * 127` fit. So do all of the
/// latter that a group adds to a lane, and sums with 4-bit weights stay pairs of i16 until it is done.
impl Dots for Avx2 {
    type Float = Self;
    type Sums = [__m256i; 2];
    type Codes = [__m256i; 2];

    #[inline(always)]
    fn float(self) -> Self {
        self
    }

    #[inline(always)]
    fn zero(self) -> [__m256i; 2] {
        avx2!([_mm256_setzero_si256(); 2])
    }

    #[inline(always)]
    fn start_int8(self, _: i32) -> [__m256i; 2] {
        // The codes are multiplied with their sign.
        self.zero()
    }

    #[inline(always)]
    fn codes(self, line: &Line) -> [__m256i; 2] {
        let p = line.0.as_ptr().cast::<__m256i>();
        // SAFETY: AVX2 as for `avx2!`; both loads lie inside the line's 64 bytes, which are aligned to 64.
        unsafe { [_mm256_load_si256(p), _mm256_load_si256(p.add(1))] }
    }

    #[inline(always)]
    fn prefetch(self, line: *const Line) {
        prefetch::near(line);
    }

    #[inline(always)]
    fn nibbles(self, codes: [__m256i; 2]) -> ([__m256i; 2], [__m256i; 2]) {
        avx2!({
            let low = _mm256_set1_epi8(15);
            (
                [_mm256_and_si256(codes[0], low), _mm256_and_si256(codes[1], low)],
                [
                    _mm256_and_si256(_mm256_srli_epi16::<4>(codes[0]), low),
                    _mm256_and_si256(_mm256_srli_epi16::<4>(codes[1]), low),
                ],
            )
        })
    }

    #[inline(always)]
    fn dot_int8(self, sums: [__m256i; 2], weights: [__m256i; 2], lhs: &[u8; 4]) -> [__m256i; 2] {
        avx2!({
            // The sign goes over to the weight: |x| * (w * sign of x).
            let x = _mm256_set1_epi32(i32::from_le_bytes(*lhs));
            let (size, offset) = (_mm256_abs_epi8(x), _mm256_set1_epi8(-128));
            let low = _mm256_sign_epi8(_mm256_xor_si256(weights[0], offset), x);
            let high = _mm256_sign_epi8(_mm256_xor_si256(weights[1], offset), x);
            [
                self.add_pairs(sums[0], _mm256_maddubs_epi16(size, low)),
                self.add_pairs(sums[1], _mm256_maddubs_epi16(size, high)),
            ]
        })
    }

    #[inline(always)]
    fn dot_int4(self, sums: [__m256i; 2], weights: [__m256i; 2], lhs: &[u8; 4]) -> [__m256i; 2] {
        avx2!({
            let x = _mm256_set1_epi32(i32::from_le_bytes(*lhs));
            [
                _mm256_add_epi16(sums[0], _mm256_maddubs_epi16(weights[0], x)),
                _mm256_add_epi16(sums[1], _mm256_maddubs_epi16(weights[1], x)),
            ]
        })
    }

    #[inline(always)]
    fn int4_to_f32(self, sums: [__m256i; 2]) -> [__m256; 2] {
        self.to_f32([self.add_pairs(self.zero()[0], sums[0]), self.add_pairs(self.zero()[1], sums[1])])
    }

    #[inline(always)]
    fn to_f32(self, sums: [__m256i; 2]) -> [__m256; 2] {
        avx2!([_mm256_cvtepi32_ps(sums[0]), _mm256_cvtepi32_ps(sums[1])])
    }
}
