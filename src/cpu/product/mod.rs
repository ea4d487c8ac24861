//! The one product: rows times packed panels. Matmul and both halves of attention are made of it.

mod block;
mod element;
mod even;
mod factor;
mod sweeps;
mod vectors;

pub use element::Element;
pub use even::{EvenBlocks, even_blocks};
pub use factor::PairElement;

use super::disjoint::SharedRows;
use super::lhs::LhsElement;

/// How sums lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SumLayout {
    /// Row by row, `stride` elements from one to the next.
    Rows {
        /// Elements from one row to the next.
        stride: usize,
    },
    /// In tiles of 16 rows by 16 columns, one KiB each: rows of a tile never meet in a set of a cache, however wide the
    /// result is.
    Tiles {
        /// Tiles from one panel to the next.
        panel: usize,
        /// Tiles from sixteen rows to the next sixteen.
        row: usize,
    },
}

impl SumLayout {
    /// Tiles with all panels of sixteen rows together.
    #[inline(always)]
    pub fn tiles(n_panels: usize) -> Self {
        Self::Tiles { panel: 1, row: n_panels }
    }

    /// Whether sums of rows that are not there have a place too.
    #[inline(always)]
    pub fn has_whole_tiles(self) -> bool {
        matches!(self, Self::Tiles { .. })
    }

    /// Rows with room for one panel more than they have, for rows a power of two apart meet in few sets of a cache.
    pub fn rows(n_panels: usize) -> Self {
        Self::Rows { stride: (n_panels + 1) * 16 }
    }

    /// Elements from one row to the next, of sums that lie in rows.
    ///
    /// # Panics
    /// For tiles. A kernel that stores many sums asks once: were the layout looked at for each, the compiler would keep
    /// them all in memory.
    #[inline(always)]
    pub fn row_stride(self) -> usize {
        match self {
            Self::Rows { stride } => stride,
            Self::Tiles { .. } => panic!("plain vectors store rows"),
        }
    }

    /// Where the sixteen sums of a row and a panel begin.
    #[inline(always)]
    pub fn index(self, row: usize, panel: usize) -> usize {
        match self {
            Self::Rows { stride } => row * stride + panel * 16,
            Self::Tiles { panel: by_panel, row: by_row } => {
                (panel * by_panel + row / 16 * by_row) * 256 + row % 16 * 16
            }
        }
    }
}

/// What rows and panels meet along.
#[derive(Clone, Copy)]
pub struct Span<'a, E> {
    /// First element of each row of the left operand to use; a multiple of 32.
    pub first_k: usize,
    /// Depth; a multiple of 32.
    pub depth: usize,
    /// The panels, as far apart as the product says, each `depth` deep from its start.
    pub panels: &'a [E],
}

/// Rows of a tile, of a left operand as of sums.
pub const TILE_ROWS: usize = 16;

/// Rows up to which a product waits for memory more than for arithmetic: tables that ask ahead do so, and those with
/// AVX-512 multiply codes as they lie. On `avx2` up to 16 rows of a matmul gain a tenth or two by asking; 24 and 32
/// gain less, attention's strips nothing from 16 on, and hundreds of rows may lose a tenth.
pub const FEW_ROWS: usize = 16;

/// Work that is done beside a product on tiles, which leave most of a core to vectors.
pub trait Beside {
    /// A little of it, worth four products of tiles. A product may call it any number of times: often once for two by
    /// two tiles of a step along the depth, never where it goes by depth blocks. Whoever began the work ends it.
    fn step(&mut self);
}

/// `out[r, p * 16 + c] (+)= sum over k of lhs[first_row + r, first_k + k] * panels[p][k, c]`, for `n_rows` rows and
/// `n_panels` panels of 16 columns. Each sum is taken in ascending k, in steps as the table has them (one, a pair, a
/// tile), from zero or from what `out` holds.
pub struct Product<'a, L, E> {
    /// The left operand, in the layout of [`LhsElement`], rows `lhs_depth` long.
    pub lhs: &'a [L],
    /// Length of a row of `lhs`.
    pub lhs_depth: usize,
    /// First row to use; a multiple of the row block.
    pub first_row: usize,
    /// Rows to compute.
    pub n_rows: usize,
    /// The depth, and the panels.
    pub span: Span<'a, E>,
    /// Elements from one panel to the next.
    pub panel_stride: usize,
    /// Panels to compute.
    pub n_panels: usize,
    /// The result.
    pub out: &'a mut [f32],
    /// Where its elements lie; plain vectors take rows alone.
    pub layout: SumLayout,
    /// Whether to start from what `out` holds: plain vectors go by one part of the depth after the other so.
    pub accumulate: bool,
    /// What vectors have to do meanwhile, on tables that may leave them time for it
    /// ([`Isa::MULTIPLIES_BESIDE`](super::isa::Isa::MULTIPLIES_BESIDE)).
    pub beside: Option<&'a mut dyn Beside>,
    /// Where the sums go in the end, instead of `out`, which then holds what they are on the way; only where
    /// [`Isa::SUMS_IN_TILES`](super::isa::Isa::SUMS_IN_TILES) is true.
    pub finished: Option<SharedRows<'a>>,
}

impl<L: LhsElement, E> Product<'_, L, E> {
    /// Panics unless every element that the product touches lies inside its slice; tiles rest on it, which are loaded
    /// unchecked.
    #[inline(always)]
    pub fn check(&self) {
        let Span { first_k, depth, panels } = self.span;
        assert!(self.n_rows > 0 && self.n_panels > 0 && depth > 0, "an empty product");
        assert!(self.first_row.is_multiple_of(L::ROW_BLOCK));
        assert!(L::buffer_len(self.first_row + self.n_rows, self.lhs_depth) <= self.lhs.len());
        assert!(depth.is_multiple_of(32) && first_k.is_multiple_of(32) && first_k + depth <= self.lhs_depth);
        assert!((self.n_panels - 1) * self.panel_stride + depth * 16 <= panels.len());
        match self.layout {
            SumLayout::Rows { stride } => assert!(self.n_panels * 16 <= stride),
            // Tiles are whole, whatever rows are asked for.
            SumLayout::Tiles { .. } => {
                assert!(self.layout.index((self.n_rows - 1) | 15, self.n_panels - 1) + 16 <= self.out.len());
            }
        }
        assert!(self.layout.index(self.n_rows - 1, self.n_panels - 1) + 16 <= self.out.len());
        if let Some(rows) = &self.finished {
            assert_eq!(rows.dim(), [self.n_rows, 16 * self.n_panels], "finished rows");
        }
    }
}
