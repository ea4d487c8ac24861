//! Packed panels: the layout of the right operand of every product, weights and keys and values alike.
//!
//! A panel is 16 columns of `W^T`, contiguous along the depth, which is padded with zeros to a multiple of 32. bf16 comes in pairs of depth,
//! `[depth / 2][16 columns][2]`: 32 of depth are one AMX tile as `TDPBF16PS` takes it, one KiB; and for plain vectors one load of 64
//! bytes widens with a shift and a mask into two vectors. f32 is `[depth][16 columns]`.

use rayon::prelude::*;

use super::isa::{Isa, LhsElement};
use super::product::Product;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::spec::WeightView;
use crate::spec::contract::{PANEL_COLS, TILE_DEPTH};

/// An element of a packed panel.
pub trait PanelElement: Copy + Default + Send + Sync + 'static {
    /// Its name in files and reports.
    const DTYPE: Dtype;

    /// What the left operand of a product with it is rounded to.
    type Lhs<I: Isa>: LhsElement;

    /// Rows times panels.
    fn product<I: Isa>(isa: I, args: Product<'_, Self::Lhs<I>, Self>);

    /// Two consecutive rows of a panel, widened.
    fn pair<I: Isa>(isa: I, x: &[Self; 32]) -> (I::V, I::V);

    /// Where element `k` of column `col` lies in panels of `depth`.
    fn index(col: usize, k: usize, depth: usize) -> usize;

    /// Rounds to nearest even.
    fn from_f32(x: f32) -> Self;

    /// Widens, exactly.
    fn to_f32(self) -> f32;
}

/// bf16, as its bits.
impl PanelElement for u16 {
    const DTYPE: Dtype = Dtype::Bf16;
    type Lhs<I: Isa> = I::Lhs;

    #[inline(always)]
    fn product<I: Isa>(isa: I, args: Product<'_, I::Lhs, u16>) {
        isa.product(args);
    }

    #[inline(always)]
    fn pair<I: Isa>(isa: I, x: &[u16; 32]) -> (I::V, I::V) {
        isa.load_pairs(x)
    }

    #[inline(always)]
    fn index(col: usize, k: usize, depth: usize) -> usize {
        (col / PANEL_COLS) * PANEL_COLS * depth + (k / 2) * 2 * PANEL_COLS + (col % PANEL_COLS) * 2 + k % 2
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
    const DTYPE: Dtype = Dtype::F32;
    type Lhs<I: Isa> = f32;

    #[inline(always)]
    fn product<I: Isa>(isa: I, args: Product<'_, f32, f32>) {
        isa.run(args);
    }

    #[inline(always)]
    fn pair<I: Isa>(isa: I, x: &[f32; 32]) -> (I::V, I::V) {
        let (even, odd) = x.split_at(16);
        (isa.load(even.first_chunk().unwrap()), isa.load(odd.first_chunk().unwrap()))
    }

    #[inline(always)]
    fn index(col: usize, k: usize, depth: usize) -> usize {
        (col / PANEL_COLS) * PANEL_COLS * depth + k * PANEL_COLS + col % PANEL_COLS
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
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// `k`, padded.
    pub depth: usize,
    /// `[ceil(n / 16)][depth * 16]`
    pub data: Vec<E>,
}

impl<E: PanelElement> Panels<E> {
    /// Packs matrices of the same K, one below the other.
    pub fn stacked(parts: &[&WeightView<'_>]) -> Result<Self> {
        let n = parts.iter().map(|w| w.n).sum();
        Self::pack(parts, n, |mut col| {
            parts.iter().find_map(|w| {
                if col < w.n {
                    Some((*w, col))
                } else {
                    col -= w.n;
                    None
                }
            })
        })
    }

    /// Packs two matrices of the same shape panel by panel in turn: panel `2i` is of the first, panel `2i + 1` of the second.
    pub fn alternating(first: &WeightView<'_>, second: &WeightView<'_>) -> Result<Self> {
        let n_each = first.n.max(second.n).next_multiple_of(PANEL_COLS);
        Self::pack(&[first, second], 2 * n_each, |col| {
            let (panel, lane) = (col / PANEL_COLS, col % PANEL_COLS);
            let part = if panel % 2 == 0 { first } else { second };
            let row = panel / 2 * PANEL_COLS + lane;
            (row < part.n).then_some((part, row))
        })
    }

    fn pack<'w>(
        parts: &[&'w WeightView<'w>],
        n: usize,
        source: impl Fn(usize) -> Option<(&'w WeightView<'w>, usize)> + Sync,
    ) -> Result<Self> {
        let k = parts.first().map_or(0, |w| w.k);
        if k == 0 || n == 0 {
            return Err(Error::argument("a matrix to pack needs at least one row and one column"));
        }
        if let Some(w) = parts.iter().find(|w| w.k != k || w.bytes.len() != w.n * w.k * w.dtype.size_bytes()) {
            let (bytes, n, dtype) = (w.bytes.len(), w.n, w.dtype);
            return Err(Error::argument(format!("{}: {bytes} bytes are no [{n}, {k}] matrix of {dtype}", w.name)));
        }
        let depth = k.next_multiple_of(TILE_DEPTH);
        let mut data = vec![E::default(); n.next_multiple_of(PANEL_COLS) * depth];
        data.par_chunks_mut(PANEL_COLS * depth).enumerate().for_each_init(
            || vec![0.0; k],
            |row, (panel_idx, panel)| {
                for lane in 0..PANEL_COLS {
                    let Some((w, w_row)) = source(panel_idx * PANEL_COLS + lane) else { continue };
                    let row_bytes = k * w.dtype.size_bytes();
                    w.dtype.widen(&w.bytes[w_row * row_bytes..][..row_bytes], row);
                    for (k, x) in row.iter().enumerate() {
                        panel[E::index(lane, k, depth)] = E::from_f32(*x);
                    }
                }
            },
        );
        Ok(Self { n, k, depth, data })
    }

    /// Number of panels.
    pub fn n_panels(&self) -> usize {
        self.n.div_ceil(PANEL_COLS)
    }

    /// Row `n` of `W`, widened, `[k]`: how an embedding is read that is the output matrix too.
    pub fn row(&self, n: usize, out: &mut [f32]) {
        for (k, o) in out.iter_mut().enumerate() {
            *o = self.data[E::index(n, k, self.depth)].to_f32();
        }
    }
}
