//! The `amx` table: products with bf16 panels on AMX tiles, everything else as in `avx512`.
//!
//! The left operand is rounded to bf16 because `TDPBF16PS` takes nothing else. All tiles have 16 rows always: a product of fewer rows costs the same,
//! so one row and a thousand go the same way and get the same bits.

use std::arch::asm;

use super::amx_int8::Int8Tiles;
use super::avx512::{self, Avx512};
use super::tile::{self, dot, load, store, zero};
use crate::cpu::isa::{Isa, Kernel, LhsElement};
use crate::cpu::product::Product;
use crate::cpu::quant::{QuantPanels, QuantProduct};

/// Proof that this CPU has AMX-BF16 and AVX-512, and that the kernel lets us use tiles, and of int8 tiles where it has them: only [`Isa::detect`] makes one.
#[derive(Clone, Copy)]
pub struct Amx(Avx512, Option<Int8Tiles>);

impl Isa for Amx {
    type V = <Avx512 as Isa>::V;
    type Lhs = u16;
    const NAME: &'static str = "amx";
    const REGISTER_ROOF: &'static str = "amx-reg";
    const L1_ROOF: &'static str = "amx-l1";
    const ACCUMULATORS: usize = Avx512::ACCUMULATORS;
    const ATTENTION_ROWS: usize = 32;
    const TASK_PANELS: usize = 8;
    const TASK_ROWS: usize = 96;

    fn detect() -> Result<Self, String> {
        let vectors = Avx512::detect()?;
        tile::permitted()?;
        Ok(Self(vectors, Int8Tiles::detect(vectors)))
    }

    #[inline(always)]
    fn run(self, kernel: impl Kernel<Self>) {
        avx512::enter(self, kernel);
    }

    #[inline(always)]
    fn product(self, args: Product<'_, u16, u16>) {
        avx512::enter(self, args);
    }

    #[inline(always)]
    fn quant_tiles(self, n_rows: usize, weights: &QuantPanels) -> bool {
        self.1.is_some_and(|tiles| tiles.pay(n_rows, weights))
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
    fn begin_products(self) {
        // SAFETY: `self` is proof that tiles are permitted.
        unsafe { tile::configure() }
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
            tile::configure();
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
    fn power_of_two(self, x: Self::V) -> Self::V {
        self.0.power_of_two(x)
    }
}

/// Rows of a tile, and columns of a panel.
const TILE: usize = 16;
/// Elements of a bf16 tile; the next tile along the depth starts there.
const TILE_LEN: usize = 512;

/// The product on tiles: two row tiles by two panels while there are that many, so that four loads feed four products; up to sixteen rows go by
/// four panels, four streams of weights.
impl Kernel<Amx> for Product<'_, u16, u16> {
    #[inline(always)]
    fn run(mut self, _: Amx) {
        self.check();
        sweep(&mut self);
    }
}

#[inline(always)]
fn sweep(args: &mut Product<'_, u16, u16>) {
    // Whatever a buffer's unused rows hold goes to sums that nobody reads.
    let mut buffers = [[0.0; TILE * TILE]; 4];
    let n_tiles = args.n_rows.div_ceil(TILE);
    let mut panel = 0;
    if n_tiles == 1 {
        while panel + 4 <= args.n_panels {
            block_1x4(args, panel, &mut buffers);
            panel += 4;
        }
    }
    while panel < args.n_panels {
        let two_panels = panel + 2 <= args.n_panels;
        let mut row_tile = 0;
        while row_tile < n_tiles {
            let two_tiles = row_tile + 2 <= n_tiles;
            match (two_tiles, two_panels) {
                (true, true) => block_2x2(args, row_tile, panel, &mut buffers),
                (true, false) => {
                    block_1x1(args, row_tile, panel, &mut buffers);
                    block_1x1(args, row_tile + 1, panel, &mut buffers);
                }
                (false, true) => {
                    block_1x1(args, row_tile, panel, &mut buffers);
                    block_1x1(args, row_tile, panel + 1, &mut buffers);
                }
                (false, false) => block_1x1(args, row_tile, panel, &mut buffers),
            }
            row_tile += if two_tiles { 2 } else { 1 };
        }
        panel += if two_panels { 2 } else { 1 };
    }
}

/// First element of a row tile of the left operand.
#[inline(always)]
fn lhs_tile(args: &Product<'_, u16, u16>, row_tile: usize) -> *const u16 {
    let first = <u16 as LhsElement>::index(args.first_row + row_tile * TILE, args.first_k, args.lhs_depth);
    args.lhs[first..].as_ptr()
}

#[inline(always)]
fn panel_start(args: &Product<'_, u16, u16>, panel: usize) -> *const u16 {
    args.panels[panel * args.panel_stride..].as_ptr()
}

/// Where a tile of the result lies while it is summed: in place, or in a buffer when it has fewer rows than sixteen.
struct OutTile {
    rows: *mut f32,
    stride_bytes: usize,
    /// First element in the result, and rows to copy there from the buffer; none when in place.
    first: usize,
    n_buffered: usize,
}

impl OutTile {
    #[inline(always)]
    fn new(args: &mut Product<'_, u16, u16>, row_tile: usize, panel: usize, buffer: &mut TileBuffer) -> Self {
        let first = row_tile * TILE * args.out_stride + panel * TILE;
        let n_rows = (args.n_rows - row_tile * TILE).min(TILE);
        if n_rows == TILE {
            // Inside `out` to the end of its last row, as `Product::check` has found. By `wrapping_add`, for pointers to several tiles live
            // side by side, each from the start of `out`.
            let rows = args.out.as_mut_ptr().wrapping_add(first);
            return Self { rows, stride_bytes: 4 * args.out_stride, first, n_buffered: 0 };
        }
        if args.accumulate {
            for (r, row) in buffer.chunks_exact_mut(TILE).take(n_rows).enumerate() {
                row.copy_from_slice(&args.out[first + r * args.out_stride..][..TILE]);
            }
        }
        Self { rows: buffer.as_mut_ptr(), stride_bytes: STRIDE, first, n_buffered: n_rows }
    }

    #[inline(always)]
    fn finish(&self, args: &mut Product<'_, u16, u16>, buffer: &TileBuffer) {
        for (r, row) in buffer.chunks_exact(TILE).take(self.n_buffered).enumerate() {
            args.out[self.first + r * args.out_stride..][..TILE].copy_from_slice(row);
        }
    }
}

/// Sixteen rows of sixteen sums.
type TileBuffer = [f32; TILE * TILE];

/// Bytes from one row of a packed tile to the next.
const STRIDE: usize = 64;

/// A tile of sums starts from zero, or from what the result holds.
macro_rules! start {
    ($tile:literal, $out:expr, $args:expr) => {
        if $args.accumulate { load!($tile, $out.rows, $out.stride_bytes) } else { zero!($tile) }
    };
}

/// Starts the sums of `out` in tiles 0 to 3.
///
/// # Safety
/// The tiles are configured, and each of `out` may be read and written.
#[inline(always)]
unsafe fn start_four(args: &Product<'_, u16, u16>, out: &[OutTile; 4]) {
    // SAFETY: passed on to the caller.
    unsafe {
        start!("0", out[0], args);
        start!("1", out[1], args);
        start!("2", out[2], args);
        start!("3", out[3], args);
    }
}

/// Stores the sums of tiles 0 to 3.
///
/// # Safety
/// As [`start_four`].
#[inline(always)]
unsafe fn store_four(out: &[OutTile; 4]) {
    // SAFETY: passed on to the caller.
    unsafe {
        store!("0", out[0].rows, out[0].stride_bytes);
        store!("1", out[1].rows, out[1].stride_bytes);
        store!("2", out[2].rows, out[2].stride_bytes);
        store!("3", out[3].rows, out[3].stride_bytes);
    }
}

/// Copies what was summed in a buffer to the result.
#[inline(always)]
fn finish_four(args: &mut Product<'_, u16, u16>, out: &[OutTile; 4], buffers: &[TileBuffer; 4]) {
    for (tile, buffer) in out.iter().zip(buffers) {
        tile.finish(args, buffer);
    }
}

#[inline(always)]
fn block_2x2(args: &mut Product<'_, u16, u16>, row_tile: usize, panel: usize, buffers: &mut [TileBuffer; 4]) {
    let [o0, o1, o2, o3] = &mut *buffers;
    let out = [
        OutTile::new(args, row_tile, panel, o0),
        OutTile::new(args, row_tile, panel + 1, o1),
        OutTile::new(args, row_tile + 1, panel, o2),
        OutTile::new(args, row_tile + 1, panel + 1, o3),
    ];
    let (a0, a1) = (lhs_tile(args, row_tile), lhs_tile(args, row_tile + 1));
    let (b0, b1) = (panel_start(args, panel), panel_start(args, panel + 1));
    // SAFETY: a caller of `Isa::product` holds an `Amx` and has configured the tiles. `Product::check` has found `depth` elements of each
    // row tile and of each panel inside their slices, so tile `t < depth / 32` of each is readable; `out` are whole tiles, in the result or in
    // the buffers, and nothing else reads or writes either meanwhile.
    unsafe {
        start_four(args, &out);
        for t in 0..args.depth / 32 {
            load!("4", a0.add(t * TILE_LEN), STRIDE);
            load!("6", b0.add(t * TILE_LEN), STRIDE);
            dot!("0", "4", "6");
            load!("7", b1.add(t * TILE_LEN), STRIDE);
            dot!("1", "4", "7");
            load!("5", a1.add(t * TILE_LEN), STRIDE);
            dot!("2", "5", "6");
            dot!("3", "5", "7");
        }
        store_four(&out);
    }
    finish_four(args, &out, buffers);
}

#[inline(always)]
fn block_1x4(args: &mut Product<'_, u16, u16>, panel: usize, buffers: &mut [TileBuffer; 4]) {
    let [o0, o1, o2, o3] = &mut *buffers;
    let out = [
        OutTile::new(args, 0, panel, o0),
        OutTile::new(args, 0, panel + 1, o1),
        OutTile::new(args, 0, panel + 2, o2),
        OutTile::new(args, 0, panel + 3, o3),
    ];
    let a = lhs_tile(args, 0);
    let b = [0, 1, 2, 3].map(|p| panel_start(args, panel + p));
    // SAFETY: as in `block_2x2`.
    unsafe {
        start_four(args, &out);
        for t in 0..args.depth / 32 {
            load!("4", a.add(t * TILE_LEN), STRIDE);
            load!("5", b[0].add(t * TILE_LEN), STRIDE);
            dot!("0", "4", "5");
            load!("6", b[1].add(t * TILE_LEN), STRIDE);
            dot!("1", "4", "6");
            load!("7", b[2].add(t * TILE_LEN), STRIDE);
            dot!("2", "4", "7");
            load!("5", b[3].add(t * TILE_LEN), STRIDE);
            dot!("3", "4", "5");
        }
        store_four(&out);
    }
    finish_four(args, &out, buffers);
}

#[inline(always)]
fn block_1x1(args: &mut Product<'_, u16, u16>, row_tile: usize, panel: usize, buffers: &mut [TileBuffer; 4]) {
    let buffer = &mut buffers[0];
    let out = OutTile::new(args, row_tile, panel, buffer);
    let (a, b) = (lhs_tile(args, row_tile), panel_start(args, panel));
    // SAFETY: as in `block_2x2`.
    unsafe {
        start!("0", out, args);
        for t in 0..args.depth / 32 {
            load!("4", a.add(t * TILE_LEN), STRIDE);
            load!("6", b.add(t * TILE_LEN), STRIDE);
            dot!("0", "4", "6");
        }
        store!("0", out.rows, out.stride_bytes);
    }
    out.finish(args, buffer);
}
