//! Integer products of the `avx512` table, where it has VNNI.

use std::arch::x86_64::*;

use super::Avx512;
use crate::cpu::isa::{Kernel, Target};
use crate::cpu::prefetch;
use crate::cpu::quant::{Dots, Line};

/// Proof of AVX-512 VNNI beside F and BW: made only where `Integers::Vnni` says so.
#[derive(Clone, Copy)]
pub struct Vnni(pub(super) Avx512);

impl Target for Vnni {
    #[inline(always)]
    fn run(self, kernel: impl Kernel<Self>) {
        /// As with [`Avx512`].
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        fn inner(dots: Vnni, kernel: impl Kernel<Vnni>) {
            kernel.run(dots);
        }
        // SAFETY: a value of `Vnni` exists only where all three were detected.
        unsafe { inner(self, kernel) }
    }
}

impl Dots for Vnni {
    type Float = Avx512;
    type Sums = __m512i;
    type Codes = __m512i;

    #[inline(always)]
    fn float(self) -> Avx512 {
        self.0
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        avx512!(_mm512_setzero_si512())
    }

    #[inline(always)]
    fn start_int8(self, lhs_sum: i32) -> __m512i {
        avx512!(_mm512_set1_epi32(-128 * lhs_sum))
    }

    #[inline(always)]
    fn codes(self, line: &Line) -> __m512i {
        // SAFETY: AVX-512 as for `avx512!`; the load is the whole line, which is aligned to 64.
        unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
    }

    #[inline(always)]
    fn prefetch(self, line: *const Line) {
        prefetch::far(line);
    }

    #[inline(always)]
    fn nibbles(self, codes: __m512i) -> (__m512i, __m512i) {
        avx512!({
            let low = _mm512_set1_epi8(15);
            (_mm512_and_si512(codes, low), _mm512_and_si512(_mm512_srli_epi16::<4>(codes), low))
        })
    }

    #[inline(always)]
    fn dot_int8(self, sums: __m512i, weights: __m512i, lhs: &[u8; 4]) -> __m512i {
        // SAFETY: a value of `Vnni` exists only where AVX-512 VNNI was detected. The instruction wraps, and
        // `start_int8` has taken off what 128 adds, so sums that fit an i32 come out right.
        unsafe { _mm512_dpbusd_epi32(sums, weights, _mm512_set1_epi32(i32::from_le_bytes(*lhs))) }
    }

    #[inline(always)]
    fn dot_int4(self, sums: __m512i, weights: __m512i, lhs: &[u8; 4]) -> __m512i {
        self.dot_int8(sums, weights, lhs)
    }

    #[inline(always)]
    fn to_f32(self, sums: __m512i) -> __m512 {
        avx512!(_mm512_cvtepi32_ps(sums))
    }
}
