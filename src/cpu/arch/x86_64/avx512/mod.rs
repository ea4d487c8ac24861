//! The `avx512` table: one register to a vector. It computes the same bits as `avx2`.

use std::arch::x86_64::*;

use self::vnni::Vnni;
use super::{Avx2, require};
use crate::cpu::isa::{Isa, Kernel, Target};
use crate::cpu::prefetch;
use crate::cpu::product::{Element, FEW_ROWS, Product};
use crate::cpu::quant::QuantProduct;

/// Proof that this CPU has AVX-512 F and BW: only [`Isa::detect`] makes one.
#[derive(Clone, Copy)]
pub struct Avx512 {
    integers: Integers,
}

/// What multiplies quantised weights. Integers are exact, so the bits are the same.
#[derive(Clone, Copy)]
enum Integers {
    /// AVX-512 VNNI was detected.
    Vnni,
    /// The first CPUs with AVX-512 lack it.
    Avx2(Avx2),
}

/// Calls intrinsics of AVX-512 F and BW; as in the `avx2` table, `self` is proof of the features.
macro_rules! avx512 {
    ($e:expr) => {
        // SAFETY: a value of `Avx512` exists only where AVX-512 F and BW were detected.
        unsafe { $e }
    };
}

mod bf16;
// Behind the macro, which it uses.
mod vnni;

pub use bf16::Avx512Bf16;

impl Target for Avx512 {
    #[inline(always)]
    fn run(self, kernel: impl Kernel<Self>) {
        /// Where the instruction set is enabled: `kernel` is inlined here, and what it calls.
        #[target_feature(enable = "avx512f,avx512bw")]
        fn inner(isa: Avx512, kernel: impl Kernel<Avx512>) {
            kernel.run(isa);
        }
        avx512!(inner(self, kernel));
    }
}

impl Avx512 {
    /// Two rows of codes as sixteen pairs of bf16.
    #[inline(always)]
    fn pairs_of_codes(self, codes: &[u8; 32]) -> __m512i {
        let (first, second) = <u8 as Element>::rows(self, codes);
        avx512!({
            // As f32 their lower halves are zero.
            let first = _mm512_srli_epi32::<16>(_mm512_castps_si512(first));
            _mm512_or_si512(first, _mm512_castps_si512(second))
        })
    }
}

impl Isa for Avx512 {
    type V = __m512;
    type Lhs = f32;
    const NAME: &'static str = "avx512";
    const REGISTER_ROOF: &'static str = "fma512";
    const L1_ROOF: &'static str = "fma512-l1";
    const ACCUMULATORS: usize = 24;
    const ATTENTION_ROWS: usize = 24;
    const ATTENTION_STRIPS: usize = 4;
    const CODE_ROWS: usize = FEW_ROWS;
    const TASK_PANELS: usize = 6;
    const TASK_ROWS: usize = 96;

    fn detect() -> Result<Self, String> {
        require(&[
            ("AVX-512 F", is_x86_feature_detected!("avx512f")),
            ("AVX-512 BW", is_x86_feature_detected!("avx512bw")),
        ])?;
        let vnni = is_x86_feature_detected!("avx512vnni");
        Ok(Self { integers: if vnni { Integers::Vnni } else { Integers::Avx2(Avx2::detect()?) } })
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        avx512!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn load(self, x: &[f32; 16]) -> __m512 {
        // SAFETY: AVX-512 as above; the load is the whole array, and needs no alignment.
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, x: __m512, out: &mut [f32; 16]) {
        // SAFETY: AVX-512 as above; the store is the whole array, and needs no alignment.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn load_pairs(self, x: &[u16; 32]) -> (__m512, __m512) {
        // SAFETY: AVX-512 as above; the load is the array's 64 bytes, and needs no alignment.
        let raw = unsafe { _mm512_loadu_si512(x.as_ptr().cast()) };
        avx512!((
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(raw)),
            _mm512_castsi512_ps(_mm512_and_si512(raw, _mm512_set1_epi32(0xffff_0000u32 as i32)))
        ))
    }

    #[inline(always)]
    fn store_bf16(self, x: __m512, out: &mut [u16; 16]) {
        // In integers as in the `avx2` table, not VCVTNEPS2BF16, which flushes denormals.
        // SAFETY: AVX-512 as above; the store is the array's 32 bytes, and needs no alignment.
        unsafe {
            let bits = _mm512_castps_si512(x);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
            let kept = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x0040_0000));
            _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(kept)));
        }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        avx512!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn select_lt(self, x: __m512, limit: __m512, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, limit), b, a))
    }

    #[inline(always)]
    fn store_low_bytes(self, x: __m512, out: &mut [u8; 16]) {
        // SAFETY: AVX-512 as above; the store is the whole array, and needs no alignment.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(_mm512_castps_si512(x))) }
    }

    #[inline(always)]
    fn load_codes(self, codes: &[u8; 16]) -> __m512 {
        // SAFETY: AVX-512 as above; the load is the whole array, and needs no alignment.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(codes.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn widen_codes(self, codes: &[u8; 32], out: &mut [u16; 32]) {
        // SAFETY: AVX-512 as above; the store is the array's 64 bytes, and needs no alignment.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), self.pairs_of_codes(codes)) }
    }

    #[inline(always)]
    fn scale_unless_lt(self, x: __m512, limit: __m512, p: __m512, n: __m512, _biased: __m512) -> __m512 {
        avx512!(_mm512_maskz_scalef_ps(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, limit), p, n))
    }

    #[inline(always)]
    fn reduce_add(self, x: __m512) -> f32 {
        avx512!({
            let x = _mm512_add_ps(x, _mm512_shuffle_f32x4::<0b01_00_11_10>(x, x));
            let x = _mm512_add_ps(x, _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x));
            let x = _mm512_castps512_ps128(x);
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
        })
    }

    #[inline(always)]
    fn reduce_max(self, x: __m512) -> f32 {
        avx512!(_mm512_reduce_max_ps(x))
    }

    #[inline(always)]
    fn prefetch<T>(self, x: &T) {
        prefetch::near(x);
    }

    #[inline(always)]
    fn prefetch_far<T>(self, x: &T) {
        prefetch::far(x);
    }

    #[inline(always)]
    fn prefetch_write(self, x: &f32) {
        prefetch::write(x);
    }

    #[inline(always)]
    fn product(self, args: Product<'_, f32, u16>) {
        self.run(args);
    }

    #[inline(always)]
    fn code_product(self, args: Product<'_, f32, u8>) {
        self.run(args);
    }

    #[inline(always)]
    fn quant_product(self, args: QuantProduct<'_>) {
        match self.integers {
            Integers::Vnni => Vnni(self).run(args),
            Integers::Avx2(avx2) => avx2.quant_product(args),
        }
    }
}
