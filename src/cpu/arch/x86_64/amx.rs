//! The `amx` table: products with bf16 panels on AMX tiles, everything else as in `avx512`.
//!
//! The left operand is rounded to bf16 because `TDPBF16PS` takes nothing else. A row's sums do not depend on the other rows of its tile, so one row and a
//! thousand get the same bits.

use std::arch::asm;
use std::arch::x86_64::*;

use super::amx_int8::Int8Tiles;
use super::avx512::Avx512;
use super::require;
use super::tile::{self, TILE, dot};
use crate::cpu::isa::{Isa, Kernel, Target};
use crate::cpu::product::Product;
use crate::cpu::quant::{QuantPanels, QuantProduct};

/// Proof that this CPU has AMX-BF16, AVX-512 and AVX-512 BF16, and that the kernel lets us use tiles; and of int8 tiles where it has them: only
/// [`Isa::detect`] makes one.
#[derive(Clone, Copy)]
pub struct Amx(Avx512, Option<Int8Tiles>);

impl Target for Amx {
    #[inline(always)]
    fn run(self, kernel: impl Kernel<Self>) {
        /// As with [`Avx512`], with conversion to bf16.
        #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
        fn inner(isa: Amx, kernel: impl Kernel<Amx>) {
            kernel.run(isa);
        }
        // SAFETY: a value of `Amx` exists only where all three were detected.
        unsafe { inner(self, kernel) }
    }
}

impl Isa for Amx {
    type V = <Avx512 as Isa>::V;
    type Lhs = u16;
    const NAME: &'static str = "amx";
    const REGISTER_ROOF: &'static str = "amx-reg";
    const L1_ROOF: &'static str = "amx-l1";
    const ACCUMULATORS: usize = Avx512::ACCUMULATORS;
    const ATTENTION_ROWS: usize = 128;
    const ATTENTION_STRIPS: usize = 4;
    // A task's sums are 0.5 MiB at most, a quarter of the second cache.
    const TASK_PANELS: usize = 32;
    const MIN_TASK_PANELS: usize = 4;
    const TASK_ROWS: usize = 256;
    const SUMS_IN_TILES: bool = true;
    const MULTIPLIES_BESIDE: bool = true;

    fn detect() -> Result<Self, String> {
        let vectors = Avx512::detect()?;
        require(&[("AVX-512 BF16", is_x86_feature_detected!("avx512bf16"))])?;
        tile::permitted()?;
        Ok(Self(vectors, Int8Tiles::detect(vectors)))
    }

    #[inline(always)]
    fn product(self, args: Product<'_, u16, u16>) {
        self.run(args);
    }

    #[inline(always)]
    fn quant_tiles(self, n_rows: usize, weights: &QuantPanels) -> bool {
        self.1.is_some_and(|tiles| tiles.pay(n_rows, weights))
    }

    #[inline(always)]
    fn quant_sums_in_tiles(self, n_rows: usize, weights: &QuantPanels) -> bool {
        self.1.is_some_and(|tiles| tiles.sums_in_tiles(n_rows, weights))
    }

    // Where tiles do not pay, the integer kernel of `avx512`; both give the same bits.
    #[inline(always)]
    fn quant_product(self, args: QuantProduct<'_>) {
        match self.1 {
            Some(tiles) if args.rows.tiled => tiles.quant_product(args),
            _ => self.0.quant_product(args),
        }
    }

    #[inline(always)]
    fn begin_products(self, n_rows: usize) {
        // SAFETY: `self` is proof that tiles are permitted.
        unsafe { tile::configure(n_rows) }
    }

    #[inline(always)]
    fn end_products(self) {
        // SAFETY: as above.
        unsafe { tile::release() }
    }

    fn register_loop(self) -> usize {
        const TIMES: usize = 5_000;
        // SAFETY: `self` is proof that tiles are permitted; they are configured here, and zeroed by that.
        unsafe {
            tile::configure(TILE);
            for _ in 0..TIMES {
                dot!("0", "4", "6");
                dot!("1", "4", "7");
                dot!("2", "5", "6");
                dot!("3", "5", "7");
            }
            tile::release();
        }
        TIMES * 4 * 2 * TILE * TILE * 32
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        self.0.splat(x)
    }
    #[inline(always)]
    fn load(self, x: &[f32; 16]) -> Self::V {
        self.0.load(x)
    }
    #[inline(always)]
    fn store(self, x: Self::V, out: &mut [f32; 16]) {
        self.0.store(x, out);
    }
    #[inline(always)]
    fn load_pairs(self, x: &[u16; 32]) -> (Self::V, Self::V) {
        self.0.load_pairs(x)
    }
    #[inline(always)]
    fn store_bf16(self, x: Self::V, out: &mut [u16; 16]) {
        self.0.store_bf16(x, out);
    }
    #[inline(always)]
    fn store_low_bytes(self, x: Self::V, out: &mut [u8; 16]) {
        self.0.store_low_bytes(x, out);
    }
    #[inline(always)]
    fn load_codes(self, codes: &[u8; 16]) -> Self::V {
        self.0.load_codes(codes)
    }
    #[inline(always)]
    fn widen_codes(self, codes: &[u8; 32], out: &mut [u16; 32]) {
        self.0.widen_codes(codes, out);
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        self.0.add(a, b)
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        self.0.sub(a, b)
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        self.0.mul(a, b)
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        self.0.div(a, b)
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        self.0.mul_add(a, b, c)
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        self.0.max(a, b)
    }
    #[inline(always)]
    fn select_lt(self, x: Self::V, limit: Self::V, a: Self::V, b: Self::V) -> Self::V {
        self.0.select_lt(x, limit, a, b)
    }
    #[inline(always)]
    fn store_lhs(self, x: Self::V, out: &mut [u16; 16]) {
        // VCVTNEPS2BF16 takes denormals for zero, as products on tiles do.
        // SAFETY: a value of `Amx` exists only where AVX-512 BF16 was detected; the store is the array's 32 bytes, and needs no alignment.
        unsafe {
            let rounded: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(x));
            _mm256_storeu_si256(out.as_mut_ptr().cast(), rounded);
        }
    }
    #[inline(always)]
    fn store_lhs_pair(self, a: Self::V, b: Self::V, out: &mut [u16; 32]) {
        // SAFETY: a value of `Amx` exists only where AVX-512 BF16 was detected; the store is the array's 64 bytes, and needs no alignment.
        unsafe {
            let pairs: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(b, a));
            _mm512_storeu_si512(out.as_mut_ptr().cast(), pairs);
        }
    }
    #[inline(always)]
    fn scale_unless_lt(self, x: Self::V, limit: Self::V, p: Self::V, n: Self::V, biased: Self::V) -> Self::V {
        self.0.scale_unless_lt(x, limit, p, n, biased)
    }
    #[inline(always)]
    fn reduce_add(self, x: Self::V) -> f32 {
        self.0.reduce_add(x)
    }
    #[inline(always)]
    fn reduce_max(self, x: Self::V) -> f32 {
        self.0.reduce_max(x)
    }
    #[inline(always)]
    fn prefetch<T>(self, x: &T) {
        self.0.prefetch(x);
    }
    #[inline(always)]
    fn prefetch_far<T>(self, x: &T) {
        self.0.prefetch_far(x);
    }
    #[inline(always)]
    fn prefetch_write(self, x: &f32) {
        self.0.prefetch_write(x);
    }
}
