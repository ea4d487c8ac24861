//! Codes on their way to bf16, in which they are exact: so they meet the same products as keys and values of bf16.

use super::keys::CHUNK_PAGES;
use super::scratch::Geometry;
use crate::cpu::buffer::Buffer;
use crate::cpu::isa::{Isa, Kernel};
use crate::cpu::product::Beside;
use crate::spec::contract::{PAGE_LEN, TILE_DEPTH};

/// Codes of a cache line.
const LINE: usize = 64;

/// Lines that are widened beside four products of tiles: 8 to 40 were as fast within a few percent.
const STEP_LINES: usize = 16;

/// Room for keys and values that were codes, in the order of a page of bf16; it takes no memory before it is used.
pub struct Widened {
    /// `[place_len]` each: a page's key panels or its value panels, of which one is multiplied while the other is filled. Both fit into a first
    /// cache of 48 KiB for heads of up to 128.
    pub turns: [Buffer<u16>; 2],
    /// `[CHUNK_PAGES][2][place_len]` key panels and value panels of a chunk.
    chunk: Buffer<u16>,
    /// Elements of a page's key panels, and as many for its value panels, which are no more.
    place_len: usize,
}

impl Widened {
    /// Room for a head's keys and values.
    pub fn new(geometry: &Geometry) -> Self {
        let place_len = PAGE_LEN * geometry.head_dim.next_multiple_of(TILE_DEPTH);
        Self {
            turns: std::array::from_fn(|_| Buffer::zeroed(place_len)),
            chunk: Buffer::zeroed(2 * CHUNK_PAGES * place_len),
            place_len,
        }
    }

    /// Key panels and value panels of a page of the chunk.
    #[inline(always)]
    pub fn page(&self, page_in_chunk: usize) -> (&[u16], &[u16]) {
        self.chunk[2 * page_in_chunk * self.place_len..][..2 * self.place_len].split_at(self.place_len)
    }

    /// [`Widened::page`], to be filled.
    #[inline(always)]
    pub fn page_mut(&mut self, page_in_chunk: usize) -> (&mut [u16], &mut [u16]) {
        self.chunk[2 * page_in_chunk * self.place_len..][..2 * self.place_len].split_at_mut(self.place_len)
    }
}

/// Keys or values of a page that are being widened.
pub struct Widening<'a> {
    codes: &'a [u8],
    out: &'a mut [u16],
    /// Codes that are read later, asked for line by line meanwhile, since products read nothing from memory. Asked for between products by
    /// steps that widen nothing, they held up the loads of tiles: 10 to 40% slower.
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
