//! The `avx2` table: AVX2 and FMA, two registers to a vector.

use std::arch::x86_64::*;

use super::require;
use crate::cpu::isa::{Isa, Kernel, Target};
use crate::cpu::prefetch;
use crate::cpu::product::Product;
use crate::cpu::quant::QuantProduct;

/// Proof that this CPU has AVX2 and FMA: only [`Isa::detect`] makes one.
#[derive(Clone, Copy)]
pub struct Avx2(());

/// Calls intrinsics of AVX2 and FMA.
///
/// The macro keeps the one reason in one place: it stands in methods of `Avx2` alone, and their `self` is proof of the
/// features.
macro_rules! avx2 {
    ($e:expr) => {
        // SAFETY: a value of `Avx2` exists only where AVX2 and FMA were detected.
        unsafe { $e }
    };
}

// Behind the macro, which it uses.
mod integers;

impl Avx2 {
    /// The upper halves of eight pairs of bf16, widened.
    #[inline(always)]
    fn second_of_pairs(self, x: __m256i) -> __m256 {
        avx2!(_mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32(0xffff_0000u32 as i32))))
    }

    /// The lower halves of eight pairs of bf16, widened.
    #[inline(always)]
    fn first_of_pairs(self, x: __m256i) -> __m256 {
        avx2!(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(x)))
    }

    /// Eight codes, i8 as bytes, as f32.
    #[inline(always)]
    fn widen_i8(self, codes: &[u8; 8]) -> __m256 {
        // SAFETY: AVX2 as for `avx2!`; the load is the whole array, and needs no alignment.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(codes.as_ptr().cast()))) }
    }

    /// Rounds to bf16, in the low half of each lane: adds half an ulp, less one where the kept part is even; a NaN is
    /// made quiet instead, lest the carry turn it into infinity.
    #[inline(always)]
    fn round_to_bf16(self, x: __m256) -> __m256i {
        avx2!({
            let bits = _mm256_castps_si256(x);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
            let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
            _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan))
        })
    }
}

impl Target for Avx2 {
    #[inline(always)]
    fn run(self, kernel: impl Kernel<Self>) {
        /// Where the instruction set is enabled: `kernel` is inlined here, and what it calls.
        #[target_feature(enable = "avx2,fma")]
        fn inner(isa: Avx2, kernel: impl Kernel<Avx2>) {
            kernel.run(isa);
        }
        avx2!(inner(self, kernel));
    }
}

impl Isa for Avx2 {
    type V = [__m256; 2];
    type Lhs = f32;
    const NAME: &'static str = "avx2";
    const REGISTER_ROOF: &'static str = "fma256";
    const L1_ROOF: &'static str = "fma256-l1";
    const ACCUMULATORS: usize = 6;
    const ATTENTION_ROWS: usize = 32;
    const ASKS_AHEAD: bool = true;
    const CODE_ROWS: usize = usize::MAX;
    const TASK_PANELS: usize = 12;
    const MIN_TASK_PANELS: usize = 6;
    const TASK_ROWS: usize = 320;

    fn detect() -> Result<Self, String> {
        require(&[("AVX2", is_x86_feature_detected!("avx2")), ("FMA", is_x86_feature_detected!("fma"))])?;
        Ok(Self(()))
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [__m256; 2] {
        avx2!([_mm256_set1_ps(x); 2])
    }

    #[inline(always)]
    fn load(self, x: &[f32; 16]) -> [__m256; 2] {
        // SAFETY: AVX2 as above; both loads lie inside the array, and need no alignment.
        unsafe { [_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))] }
    }

    #[inline(always)]
    fn store(self, x: [__m256; 2], out: &mut [f32; 16]) {
        // SAFETY: AVX2 as above; both stores lie inside the array, and need no alignment.
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), x[0]);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), x[1]);
        }
    }

    #[inline(always)]
    fn load_pairs(self, x: &[u16; 32]) -> ([__m256; 2], [__m256; 2]) {
        let p = x.as_ptr().cast::<__m256i>();
        // SAFETY: AVX2 as above; both loads lie inside the array's 64 bytes, and need no alignment.
        let raw = unsafe { [_mm256_loadu_si256(p), _mm256_loadu_si256(p.add(1))] };
        (
            [self.first_of_pairs(raw[0]), self.first_of_pairs(raw[1])],
            [self.second_of_pairs(raw[0]), self.second_of_pairs(raw[1])],
        )
    }

    #[inline(always)]
    fn store_bf16(self, x: [__m256; 2], out: &mut [u16; 16]) {
        let (low, high) = (self.round_to_bf16(x[0]), self.round_to_bf16(x[1]));
        // SAFETY: AVX2 as above; the store fills the array's 32 bytes, and needs no alignment.
        unsafe {
            let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(low, high));
            _mm256_storeu_si256(out.as_mut_ptr().cast(), packed);
        }
    }

    #[inline(always)]
    fn add(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        avx2!([_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn sub(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        avx2!([_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn mul(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        avx2!([_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn div(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        avx2!([_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn mul_add(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        avx2!([_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])])
    }

    #[inline(always)]
    fn max(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        avx2!([_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn select_lt(self, x: [__m256; 2], limit: [__m256; 2], a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        avx2!([
            _mm256_blendv_ps(b[0], a[0], _mm256_cmp_ps::<_CMP_LT_OQ>(x[0], limit[0])),
            _mm256_blendv_ps(b[1], a[1], _mm256_cmp_ps::<_CMP_LT_OQ>(x[1], limit[1])),
        ])
    }

    #[inline(always)]
    fn scale_unless_lt(
        self,
        x: [__m256; 2],
        limit: [__m256; 2],
        p: [__m256; 2],
        _n: [__m256; 2],
        biased: [__m256; 2],
    ) -> [__m256; 2] {
        let powers = avx2!([
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(biased[0]))),
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(biased[1]))),
        ]);
        self.select_lt(x, limit, self.splat(0.0), self.mul(p, powers))
    }

    #[inline(always)]
    fn store_low_bytes(self, x: [__m256; 2], out: &mut [u8; 16]) {
        let low = avx2!({
            let byte = _mm256_set1_epi32(0xff);
            let lanes = [_mm256_castps_si256(x[0]), _mm256_castps_si256(x[1])];
            let words = _mm256_packus_epi32(_mm256_and_si256(lanes[0], byte), _mm256_and_si256(lanes[1], byte));
            // Each instruction packs halves of a register apart, so the fours come out as 0, 8, 4, 12.
            let bytes = _mm256_packus_epi16(words, words);
            let fours = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5));
            _mm256_castsi256_si128(fours)
        });
        // SAFETY: AVX2 as above; the store fills the array's 16 bytes, and needs no alignment.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), low) }
    }

    #[inline(always)]
    fn load_codes(self, codes: &[u8; 16]) -> [__m256; 2] {
        let [low, high] = *codes.as_chunks::<8>().0 else { unreachable!("sixteen are twice eight") };
        [self.widen_i8(&low), self.widen_i8(&high)]
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
    fn product(self, args: Product<'_, f32, u16>) {
        self.run(args);
    }

    #[inline(always)]
    fn code_product(self, args: Product<'_, f32, u8>) {
        self.run(args);
    }

    #[inline(always)]
    fn quant_product(self, args: QuantProduct<'_>) {
        self.run(args);
    }
}
