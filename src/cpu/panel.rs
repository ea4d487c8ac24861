//! Packed panels: the layout of the right operand of every product, weights and keys and values alike.
//!
//! A panel is 16 columns of `W^T`, contiguous along the depth, which is padded with zeros to a multiple of 32. bf16
//! comes in pairs of depth, `[depth / 2][16 columns][2]`: 32 of depth are one AMX tile as `TDPBF16PS` takes it, one
//! KiB; and for plain vectors one load of 64 bytes widens with a shift and a mask into two vectors. f32 is `[depth][16
//! columns]`, and so are codes of keys and values.

use std::io;

use rayon::prelude::*;

use super::buffer::{Arena, Buffer};
use super::columns::Columns;
use super::disjoint::SharedRows;
use super::isa::Isa;
use super::lhs::LhsElement;
use super::matrix::{Block, Matrix};
use super::product::{Element, Product, Span, SumLayout};
use super::team::NextReads;
use crate::error::Result;
use crate::spec::WeightDtype;
use crate::spec::contract::{PANEL_COLS, TILE_DEPTH};

/// An element of a packed panel.
pub trait PanelElement: Element {
    /// Its name in files and reports.
    const DTYPE: WeightDtype;

    /// What the left operand of a product with it is rounded to.
    type Lhs<I: Isa>: LhsElement;

    /// How a product lays its sums down, where the caller has no wish.
    fn sum_layout<I: Isa>(n_panels: usize) -> SumLayout;

    /// Rows times panels.
    fn product<I: Isa>(isa: I, args: Product<'_, Self::Lhs<I>, Self>);

    /// Rounds to nearest even.
    fn from_f32(x: f32) -> Self;

    /// Widens, exactly.
    fn to_f32(self) -> f32;
}

/// bf16, as its bits.
impl PanelElement for u16 {
    const DTYPE: WeightDtype = WeightDtype::Bf16;
    type Lhs<I: Isa> = I::Lhs;

    #[inline(always)]
    fn sum_layout<I: Isa>(n_panels: usize) -> SumLayout {
        if I::SUMS_IN_TILES { SumLayout::tiles(n_panels) } else { SumLayout::rows(n_panels) }
    }

    #[inline(always)]
    fn product<I: Isa>(isa: I, args: Product<'_, I::Lhs, u16>) {
        isa.begin_products(args.n_rows);
        isa.product(args);
        isa.end_products();
    }

    #[inline(always)]
    fn from_f32(x: f32) -> u16 {
        half::bf16::from_f32(x).to_bits()
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        half::bf16::from_bits(self).to_f32()
    }
}

impl PanelElement for f32 {
    const DTYPE: WeightDtype = WeightDtype::F32;
    type Lhs<I: Isa> = f32;

    #[inline(always)]
    fn sum_layout<I: Isa>(n_panels: usize) -> SumLayout {
        SumLayout::rows(n_panels)
    }

    #[inline(always)]
    fn product<I: Isa>(isa: I, args: Product<'_, f32, f32>) {
        isa.run(args);
    }

    #[inline(always)]
    fn from_f32(x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

/// Weights `W[N, K]` in panels.
pub struct Panels<E> {
    /// Outputs.
    n: usize,
    /// Inputs.
    k: usize,
    /// `k`, padded.
    depth: usize,
    /// `[ceil(n / 16)][depth * 16]`
    data: Buffer<E>,
}

impl<E: PanelElement> Matrix for Panels<E> {
    type Lhs<I: Isa> = E::Lhs<I>;
    type Operand = ();

    fn pack(columns: &Columns<'_>, _: WeightDtype, arena: &mut Arena) -> Result<Self> {
        let depth = columns.k.next_multiple_of(TILE_DEPTH);
        let mut data: Buffer<E> = arena.zeroed(columns.n_panels() * PANEL_COLS * depth)?;
        data.par_chunks_mut(PANEL_COLS * depth).enumerate().for_each_init(
            || vec![0.0; columns.k],
            |row, (panel_idx, panel)| {
                for lane in 0..PANEL_COLS {
                    if columns.read(panel_idx * PANEL_COLS + lane, row) {
                        for (k, x) in row.iter().enumerate() {
                            panel[E::index(lane, k, depth)] = E::from_f32(*x);
                        }
                    }
                }
            },
        );
        Ok(Self { n: columns.n, k: columns.k, depth, data })
    }

    fn n(&self) -> usize {
        self.n
    }

    fn k(&self) -> usize {
        self.k
    }

    fn dtype(&self) -> WeightDtype {
        E::DTYPE
    }

    fn reads(&self, panel: usize) -> NextReads {
        NextReads::of(&self.data[panel * PANEL_COLS * self.depth..])
    }

    fn row(&self, n: usize, out: &mut [f32]) {
        for (k, o) in out.iter_mut().enumerate() {
            *o = self.data[E::index(n, k, self.depth)].to_f32();
        }
    }

    #[inline(always)]
    fn sum_layout<I: Isa>(&self, _: I, _: usize, n_panels: usize) -> SumLayout {
        E::sum_layout::<I>(n_panels)
    }

    fn make_room(_: &mut (), _: usize, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn prepare<I: Isa, S: Send>(&self, _: I, _: &[E::Lhs<I>], _: usize, _: &mut (), _: &mut [S]) {}

    #[inline(always)]
    fn product<I: Isa>(
        &self,
        isa: I,
        lhs: &[E::Lhs<I>],
        _: &(),
        block: &Block,
        out: &mut [f32],
        finished: Option<SharedRows<'_>>,
    ) {
        let panel_stride = self.depth * PANEL_COLS;
        E::product(
            isa,
            Product {
                lhs,
                lhs_depth: <E::Lhs<I>>::row_len(self.k),
                first_row: block.first_row,
                n_rows: block.n_rows,
                span: Span { first_k: 0, depth: self.depth, panels: &self.data[block.first_panel * panel_stride..] },
                panel_stride,
                n_panels: block.n_panels,
                out,
                layout: block.layout,
                accumulate: false,
                beside: None,
                finished,
            },
        );
    }
}
