//! Quantised weights in panels.
//!
//! A panel is 16 columns of `W^T` in lines of 64 bytes, four bytes to a column. Group by group of inputs come the
//! codes, then one line of scales, so a product reads one stream.
//!
//! | | a line of codes holds | code of input `k` of its group | scales |
//! |---|---|---|---|
//! | 8 bits | 4 inputs | byte `k % 4` of line `k / 4`, 128 added | f32 |
//! | 4 bits | 8 inputs | byte `k % 4` of line `k / 8`, the low half for the first four | bf16 scale, bf16 minimum |
//!
//! 128 is added because the dot products of the instruction sets take one operand without a sign. 16 lines of 8-bit
//! codes are one AMX tile.

use std::io;

use rayon::prelude::*;

use super::product::QuantProduct;
use super::rows::{QuantRows, TILE_CODES};
use crate::cpu::buffer::{Arena, Buffer, Plain};
use crate::cpu::columns::Columns;
use crate::cpu::disjoint::SharedRows;
use crate::cpu::isa::Isa;
use crate::cpu::math::ROUNDING;
use crate::cpu::matrix::{Block, Matrix};
use crate::cpu::product::SumLayout;
use crate::cpu::team::NextReads;
use crate::error::Result;
use crate::spec::WeightDtype;
use crate::spec::contract::{PANEL_COLS, QUANT_TINY, TILE_DEPTH};

/// Lines behind the last panel, of 4 inputs each: a tile of 8-bit codes is read whole, of whose 64 inputs K may fill 32
/// alone.
const SPARE_LINES: usize = (TILE_CODES - TILE_DEPTH) / 4;

/// Four bytes for each of sixteen columns, a cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct Line(pub [u32; PANEL_COLS]);

// SAFETY: sixteen integers.
unsafe impl Plain for Line {}

impl Line {
    /// The lanes as f32.
    #[inline(always)]
    pub fn as_f32(&self) -> &[f32; PANEL_COLS] {
        // SAFETY: 64 bytes either way, aligned to 64, and every bit pattern is an f32.
        unsafe { &*(&raw const self.0).cast() }
    }

    /// Each lane as two bf16, the low half first.
    #[inline(always)]
    pub fn as_pairs(&self) -> &[u16; 2 * PANEL_COLS] {
        // SAFETY: as above; kernel tables exist on little-endian machines alone, where the low half is the first.
        unsafe { &*(&raw const self.0).cast() }
    }
}

const _: () = assert!(cfg!(target_endian = "little"), "the layout of packed weights is little-endian");

/// How many bits a code has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// Symmetric.
    Int8,
    /// Asymmetric.
    Int4,
}

/// Quantised weights `W[N, K]` in panels.
pub struct QuantPanels {
    n: usize,
    k: usize,
    dtype: WeightDtype,
    /// How many bits a code has.
    pub width: Width,
    /// Inputs of a group; K is padded to a multiple.
    pub group_len: usize,
    /// Groups of a column.
    pub n_groups: usize,
    /// `[ceil(n / 16)][n_groups][lines of codes, scales]`, and some to spare
    pub lines: Buffer<Line>,
}

impl QuantPanels {
    /// Lines of codes of a group.
    #[inline(always)]
    pub fn code_lines(&self) -> usize {
        match self.width {
            Width::Int8 => self.group_len / 4,
            Width::Int4 => self.group_len / 8,
        }
    }

    /// Lines of a panel.
    #[inline(always)]
    pub fn panel_lines(&self) -> usize {
        self.n_groups * (self.code_lines() + 1)
    }

    /// Quantises a column, `[k]`, into lane `lane` of a panel.
    fn pack_column(&self, column: &[f32], lane: usize, panel: &mut [Line]) {
        let groups = panel.chunks_exact_mut(self.code_lines() + 1);
        for (weights, group) in column.chunks(self.group_len).zip(groups) {
            let (scales, codes) = group.split_last_mut().expect("a line of scales");
            scales.0[lane] = match self.width {
                Width::Int8 => {
                    let (scale, inverse) = symmetric(weights);
                    for (k, w) in weights.iter().enumerate() {
                        let code = (w * inverse + ROUNDING).to_bits() as u8 ^ 0x80;
                        codes[k / 4].0[lane] |= u32::from(code) << (8 * (k % 4));
                    }
                    scale.to_bits()
                }
                Width::Int4 => {
                    let (scale, minimum) = asymmetric(weights);
                    let inverse = if scale.to_f32() > 0.0 { 1.0 / scale.to_f32() } else { 0.0 };
                    for (k, w) in weights.iter().enumerate() {
                        let code = ((w - minimum.to_f32()) * inverse).clamp(0.0, 15.0);
                        let code = (code + ROUNDING).to_bits() & 15;
                        codes[k / 8].0[lane] |= code << (8 * (k % 4) + 4 * (k / 4 % 2));
                    }
                    u32::from(scale.to_bits()) | u32::from(minimum.to_bits()) << 16
                }
            };
        }
    }
}

/// Scale of a group, and what its elements are multiplied with to become codes.
fn symmetric(group: &[f32]) -> (f32, f32) {
    let max = group.iter().fold(0.0, |max: f32, w| max.max(w.abs()));
    // 0, or NaN where an element is not finite.
    let invalid: f32 = group.iter().map(|w| w * 0.0).sum();
    if max < QUANT_TINY { (invalid + 0.0, 0.0) } else { (max / 127.0 + invalid, 127.0 / max) }
}

/// Scale and minimum of a group.
fn asymmetric(group: &[f32]) -> (half::bf16, half::bf16) {
    let minimum = group.iter().fold(f32::INFINITY, |min, w| min.min(*w));
    let maximum = group.iter().fold(f32::NEG_INFINITY, |max, w| max.max(*w));
    let invalid: f32 = group.iter().map(|w| w * 0.0).sum();
    let scale = (maximum - minimum) / 15.0;
    let scale = if scale < QUANT_TINY { 0.0 } else { scale };
    (half::bf16::from_f32(scale + invalid), half::bf16::from_f32(minimum))
}

impl Matrix for QuantPanels {
    type Lhs<I: Isa> = f32;
    type Operand = QuantRows;

    fn pack(columns: &Columns<'_>, dtype: WeightDtype, arena: &mut Arena) -> Result<Self> {
        dtype.validate(columns.k)?;
        let (n, k) = (columns.n, columns.k);
        let group_len = dtype.group_len(k).expect("a quantised type");
        let width = if dtype == WeightDtype::Int4 { Width::Int4 } else { Width::Int8 };
        let mut packed =
            Self { n, k, dtype, width, group_len, n_groups: k.div_ceil(group_len), lines: Buffer::zeroed(0) };
        let panel_lines = packed.panel_lines();
        let n_lines = columns.n_panels() * panel_lines;
        let mut lines: Buffer<Line> = arena.zeroed(n_lines + SPARE_LINES)?;
        lines[..n_lines].par_chunks_mut(panel_lines).enumerate().for_each_init(
            || vec![0.0; k],
            |column, (panel_idx, panel)| {
                for lane in 0..PANEL_COLS {
                    if columns.read(panel_idx * PANEL_COLS + lane, column) {
                        packed.pack_column(column, lane, panel);
                    }
                }
            },
        );
        packed.lines = lines;
        Ok(packed)
    }

    fn n(&self) -> usize {
        self.n
    }

    fn k(&self) -> usize {
        self.k
    }

    fn dtype(&self) -> WeightDtype {
        self.dtype
    }

    fn reads(&self, panel: usize) -> NextReads {
        NextReads::of(&self.lines[panel * self.panel_lines()..])
    }

    fn row(&self, n: usize, out: &mut [f32]) {
        let (panel, lane) = (n / PANEL_COLS, n % PANEL_COLS);
        let panel = &self.lines[panel * self.panel_lines()..][..self.panel_lines()];
        let groups = panel.chunks_exact(self.code_lines() + 1);
        for (out, group) in out.chunks_mut(self.group_len).zip(groups) {
            let (scales, codes) = group.split_last().expect("a line of scales");
            let bits = scales.0[lane];
            for (k, o) in out.iter_mut().enumerate() {
                *o = match self.width {
                    Width::Int8 => {
                        let code = (codes[k / 4].0[lane] >> (8 * (k % 4))) as u8 ^ 0x80;
                        f32::from(code as i8) * f32::from_bits(bits)
                    }
                    Width::Int4 => {
                        let code = codes[k / 8].0[lane] >> (8 * (k % 4) + 4 * (k / 4 % 2)) & 15;
                        code as f32 * f32::from_bits(bits << 16) + f32::from_bits(bits & 0xffff_0000)
                    }
                };
            }
        }
    }

    #[inline(always)]
    fn sum_layout<I: Isa>(&self, isa: I, n_rows: usize, n_panels: usize) -> SumLayout {
        if isa.quant_sums_in_tiles(n_rows, self) { SumLayout::tiles(n_panels) } else { SumLayout::rows(n_panels) }
    }

    fn make_room(operand: &mut QuantRows, n_rows: usize, k: usize) -> io::Result<()> {
        operand.make_room(n_rows, k)
    }

    fn prepare<I: Isa, S: Send>(&self, isa: I, lhs: &[f32], n_rows: usize, operand: &mut QuantRows, states: &mut [S]) {
        operand.quantise(isa, lhs, n_rows, self, states);
    }

    #[inline(always)]
    fn product<I: Isa>(
        &self,
        isa: I,
        _: &[f32],
        operand: &QuantRows,
        block: &Block,
        out: &mut [f32],
        finished: Option<SharedRows<'_>>,
    ) {
        isa.quant_product(QuantProduct { rows: operand, weights: self, block, out, finished });
    }
}
