//! Left operands: rows of activations as a product with bf16 panels wants them.

use super::buffer::Plain;
use super::isa::Isa;
use crate::spec::contract::TILE_DEPTH;

/// An element of a product's left operand, and how rows of it are laid out.
pub trait LhsElement: Plain {
    /// Rows come in blocks of this many; a buffer has whole blocks.
    const ROW_BLOCK: usize;

    /// How long rows of `k` elements are as the left operand of a matmul: padded with zeros to whole tiles at least.
    fn row_len(k: usize) -> usize {
        k.next_multiple_of(TILE_DEPTH)
    }

    /// Where element `k` of row `row` lies, in a buffer whose rows are `depth` long; sixteen elements from a multiple
    /// of sixteen on are contiguous, and it ascends with k.
    fn index(row: usize, k: usize, depth: usize) -> usize;

    /// Elements from a row to the next, whatever k is: in the same row block, where that has several.
    fn row_distance(depth: usize) -> usize;

    /// Whether the first `k` elements of different rows lie apart in a buffer whose rows are `depth` long.
    fn rows_lie_apart(k: usize, depth: usize) -> bool {
        // Places ascend with the row and with k, so the last element of a row block decides.
        k == 0 || Self::index(Self::ROW_BLOCK - 1, k - 1, depth) < Self::index(Self::ROW_BLOCK, 0, depth)
    }

    /// Stores sixteen elements, rounded if need be.
    fn store<I: Isa>(isa: I, x: I::V, out: &mut [Self; 16]);

    /// Stores 32 elements that begin at a multiple of 32.
    #[inline(always)]
    fn store_pair<I: Isa>(isa: I, a: I::V, b: I::V, out: &mut [Self; 32]) {
        let (low, high) = out.split_at_mut(16);
        Self::store(isa, a, low.first_chunk_mut().unwrap());
        Self::store(isa, b, high.first_chunk_mut().unwrap());
    }

    /// Elements of a buffer of `n_rows` rows.
    fn buffer_len(n_rows: usize, depth: usize) -> usize {
        n_rows.next_multiple_of(Self::ROW_BLOCK) * depth
    }
}

/// Plain rows.
impl LhsElement for f32 {
    const ROW_BLOCK: usize = 1;

    /// With a tile more where rows would be whole pages of 4 KiB: the rows of a product met in the same few places of
    /// the first cache.
    fn row_len(k: usize) -> usize {
        let len = k.next_multiple_of(TILE_DEPTH);
        if len.is_multiple_of(4096 / size_of::<f32>()) { len + TILE_DEPTH } else { len }
    }

    #[inline(always)]
    fn index(row: usize, k: usize, depth: usize) -> usize {
        row * depth + k
    }

    #[inline(always)]
    fn row_distance(depth: usize) -> usize {
        depth
    }

    #[inline(always)]
    fn store<I: Isa>(isa: I, x: I::V, out: &mut [f32; 16]) {
        isa.store(x, out);
    }
}

/// bf16 in tiles of 16 rows by 32, as AMX takes them, one after the other along the row: each tile is one contiguous
/// KiB.
impl LhsElement for u16 {
    const ROW_BLOCK: usize = 16;

    #[inline(always)]
    fn index(row: usize, k: usize, depth: usize) -> usize {
        (row / 16) * 16 * depth + (k / 32) * 512 + (row % 16) * 32 + k % 32
    }

    #[inline(always)]
    fn row_distance(_: usize) -> usize {
        TILE_DEPTH
    }

    #[inline(always)]
    fn store<I: Isa>(isa: I, x: I::V, out: &mut [u16; 16]) {
        isa.store_lhs(x, out);
    }

    #[inline(always)]
    fn store_pair<I: Isa>(isa: I, a: I::V, b: I::V, out: &mut [u16; 32]) {
        isa.store_lhs_pair(a, b, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_meet_where_they_are_too_short() {
        assert!(f32::rows_lie_apart(48, 48) && !f32::rows_lie_apart(49, 48));
        assert!(u16::rows_lie_apart(64, 64) && u16::rows_lie_apart(33, 64) && !u16::rows_lie_apart(65, 64));
        // The second tile of a row begins behind the first of fifteen others.
        assert!(!u16::rows_lie_apart(48, 48));
    }
}
