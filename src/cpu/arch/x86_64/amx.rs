//! The `amx` table: products with bf16 panels on AMX tiles, left operands rounded as in `avx512bf16`, everything else
//! as in `avx512`.
//!
//! The left operand is rounded to bf16 because `TDPBF16PS` takes nothing else. A row's sums do not depend on the other
//! rows of its tile, so one row and a thousand get the same bits.

use std::arch::asm;

use super::amx_int8::Int8Tiles;
use super::avx512::{Avx512, Avx512Bf16};
use super::forward::{forward_bf16, forward_vectors};
use super::tile::{self, dot_tiles};
use crate::cpu::isa::{Isa, Kernel, Target};
use crate::cpu::product::{Product, TILE_ROWS};
use crate::cpu::quant::{QuantPanels, QuantProduct};
use crate::spec::contract::{PANEL_COLS, TILE_DEPTH};

/// Proof that this CPU has AMX-BF16, AVX-512 and AVX-512 BF16, and that the kernel lets us use tiles; and of int8 tiles
/// where it has them: only [`Isa::detect`] makes one.
#[derive(Clone, Copy)]
pub struct Amx(Avx512Bf16, Option<Int8Tiles>);

impl Target for Amx {
    #[inline(always)]
    fn run(self, kernel: impl Kernel<Self>) {
        /// As with [`Avx512`], with conversion to bf16.
        #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
        fn inner(isa: Amx, kernel: impl Kernel<Amx>) {
            kernel.run(isa);
        }
        // SAFETY: a value of `Amx` exists only where AVX-512 F, BW and BF16 were detected.
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
        let vectors = Avx512Bf16::features()?;
        tile::permitted()?;
        Ok(Self(vectors, Int8Tiles::detect(vectors.0)))
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
            tile::configure(TILE_ROWS);
            for _ in 0..TIMES {
                dot_tiles!("tdpbf16ps", 0, 4, 6);
                dot_tiles!("tdpbf16ps", 1, 4, 7);
                dot_tiles!("tdpbf16ps", 2, 5, 6);
                dot_tiles!("tdpbf16ps", 3, 5, 7);
            }
            tile::release();
        }
        TIMES * 4 * 2 * TILE_ROWS * PANEL_COLS * TILE_DEPTH
    }

    forward_vectors!(0);
    forward_bf16!(0);
}
