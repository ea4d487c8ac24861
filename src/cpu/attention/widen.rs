//! Codes on their way to bf16, in which they are exact: so they meet the same products as keys and values of bf16.

use std::ops::Range;

use super::scratch::Geometry;
use crate::cpu::buffer::{Buffer, LINE};
use crate::cpu::isa::{Isa, Kernel};
use crate::cpu::pages::{Int8Head, PageLayout};
use crate::cpu::product::Beside;
use crate::spec::contract::{PAGE_LEN, PANEL_COLS, TILE_DEPTH};

/// Lines that are widened beside four products of tiles: 8 to 40 were as fast within a few percent.
const STEP_LINES: usize = 16;

/// Room for keys and values that were codes, in the order of a page of bf16; it takes no memory before it is used.
pub struct Widened {
    /// A piece of a page's keys or of its values each ([`Piece`]), of which one is multiplied while the other is
    /// filled. Both fit into a first cache of 48 KiB for heads of up to 128.
    pub turns: [Buffer<u16>; 2],
    /// Key panels and value panels of a page.
    pub page: [Buffer<u16>; 2],
}

impl Widened {
    /// Room for a head's keys and values.
    pub fn new(geometry: &Geometry) -> Self {
        let (head_dim, k_depth) = (geometry.head_dim, geometry.head_dim.next_multiple_of(TILE_DEPTH));
        let piece_len = (PIECE_KEYS * k_depth).max(PIECE_PANELS * PAGE_LEN * PANEL_COLS);
        Self {
            turns: std::array::from_fn(|_| Buffer::zeroed(piece_len)),
            page: [PAGE_LEN * k_depth, PAGE_LEN * head_dim].map(Buffer::zeroed),
        }
    }
}

/// Keys of a piece.
const PIECE_KEYS: usize = 64;

/// Panels of values of a piece.
const PIECE_PANELS: usize = 2;

/// What of a page is widened at a time, beside the product with the piece before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Keys of the chunk: whole tiles.
    Keys(Range<usize>),
    /// Panels of the values.
    Values(Range<usize>),
}

impl Piece {
    /// The pieces of a unit's tiles: its keys, then its values.
    #[inline(always)]
    pub fn all(tiles: Range<usize>, n_panels: usize) -> impl Iterator<Item = Self> {
        let keys = (tiles.start / PIECE_KEYS..tiles.end.div_ceil(PIECE_KEYS))
            .map(move |i| Self::Keys((i * PIECE_KEYS).max(tiles.start)..((i + 1) * PIECE_KEYS).min(tiles.end)));
        let values =
            (0..n_panels).step_by(PIECE_PANELS).map(move |i| Self::Values(i..(i + PIECE_PANELS).min(n_panels)));
        keys.chain(values)
    }
}

/// A head's part of a page of codes, to be widened piece by piece.
pub struct Source<'a> {
    pub layout: PageLayout,
    /// Keys that are read.
    pub tiles: Range<usize>,
    pub head: Int8Head<'a>,
    /// The page whose keys are read after this page's values.
    pub next: Option<Int8Head<'a>>,
}

impl<'a> Source<'a> {
    /// All pieces in order: the keys, then the values.
    #[inline(always)]
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + use<> {
        Piece::all(self.tiles.clone(), self.layout.head_dim / PANEL_COLS)
    }

    /// Begins with a piece, so that it lies from the beginning of `out` on as in the page. Meanwhile the page's values
    /// are asked for, or the next page's keys, as far on in them.
    #[inline(always)]
    pub fn begin<'w>(&self, piece: &Piece, out: &'w mut [u16]) -> Widening<'w>
    where
        'a: 'w,
    {
        match piece {
            Piece::Keys(keys) => {
                let [first, end] = [keys.start, keys.end].map(|key| key * self.layout.k_depth);
                Widening::new(&self.head.keys[first..end], out, self.head.values.get(first..).unwrap_or_default())
            }
            Piece::Values(panels) => {
                // The panels as they lie: from the first one's tiles to the end of the last one's.
                let [first, last] = [panels.start, panels.end - 1].map(|panel| panel * PAGE_LEN * PANEL_COLS);
                let within = self.tiles.start * PANEL_COLS..last - first + self.tiles.end * PANEL_COLS;
                let ahead = self.next.as_ref().and_then(|next| next.keys.get(first..)).unwrap_or_default();
                Widening::new(&self.head.values[first..][within.clone()], &mut out[within], ahead)
            }
        }
    }
}

/// Keys or values of a page that are being widened.
pub struct Widening<'a> {
    codes: &'a [u8],
    out: &'a mut [u16],
    /// Codes that are read later, asked for line by line meanwhile, since products read nothing from memory. Asked for
    /// between products by steps that widen nothing, they held up the loads of tiles: 10 to 40% slower.
    ahead: &'a [u8],
    /// The line that is next.
    line: usize,
}

impl<'a> Widening<'a> {
    /// Begins: whole lines of `codes` go to the beginning of `out`.
    #[inline(always)]
    pub fn new(codes: &'a [u8], out: &'a mut [u16], ahead: &'a [u8]) -> Self {
        Self { codes, out, ahead, line: 0 }
    }

    /// Widens up to `n` lines.
    #[inline(always)]
    fn lines<I: Isa>(&mut self, isa: I, n: usize) {
        let (codes, out) = (self.codes.as_chunks::<LINE>().0, self.out.as_chunks_mut::<LINE>().0);
        let end = codes.len().min(self.line.saturating_add(n));
        let (codes, out) = (&codes[self.line..end], &mut out[self.line..end]);
        let ahead = self.ahead.as_chunks::<LINE>().0.get(self.line..).unwrap_or_default();
        for (i, (codes, out)) in codes.iter().zip(out).enumerate() {
            if let Some(ahead) = ahead.get(i) {
                isa.prefetch_far(ahead);
            }
            let ((low, high), (out_low, out_high)) = (codes.split_at(LINE / 2), out.split_at_mut(LINE / 2));
            isa.widen_codes(low.first_chunk().unwrap(), out_low.first_chunk_mut().unwrap());
            isa.widen_codes(high.first_chunk().unwrap(), out_high.first_chunk_mut().unwrap());
        }
        self.line = end;
    }

    /// All that is left.
    #[inline(always)]
    pub fn finish<I: Isa>(&mut self, isa: I) {
        self.lines(isa, usize::MAX);
    }

    /// This, as work beside products.
    #[inline(always)]
    pub fn beside<I: Isa>(self, isa: I) -> WidensBeside<'a, I> {
        WidensBeside { isa, widening: self }
    }
}

/// A [`Widening`] beside products on tiles.
pub struct WidensBeside<'a, I> {
    isa: I,
    widening: Widening<'a>,
}

impl<I: Isa> WidensBeside<'_, I> {
    /// All that is left.
    #[inline(always)]
    pub fn finish(&mut self) {
        self.widening.finish(self.isa);
    }
}

impl<I: Isa> Beside for WidensBeside<'_, I> {
    fn step(&mut self) {
        self.isa.run(Lines(&mut self.widening));
    }
}

/// The lines of one step.
struct Lines<'a, 'b>(&'a mut Widening<'b>);

impl<I: Isa> Kernel<I> for Lines<'_, '_> {
    #[inline(always)]
    fn run(self, isa: I) {
        self.0.lines(isa, STEP_LINES);
    }
}

#[cfg(test)]
mod tests {
    use super::Piece;

    #[test]
    fn pieces_are_all_keys_and_all_panels() {
        let pieces: Vec<_> = Piece::all(32..160, 5).collect();
        let keys = [32..64, 64..128, 128..160].map(Piece::Keys);
        let values = [0..2, 2..4, 4..5].map(Piece::Values);
        assert_eq!(pieces, [keys, values].concat());
    }
}
