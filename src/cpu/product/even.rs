//! Rows in blocks that are as even as can be.

use std::ops::Range;

/// Rows that go in blocks of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvenBlocks {
    /// Rows of each block.
    pub len: usize,
    /// The rows of all of them; empty where there is no block of this length.
    pub rows: Range<usize>,
}

/// `n_rows` rows, at least one, in as few blocks of `tall` at most as there can be, none more than a row longer than
/// another: a block of fewer rows takes about as long. The longer ones come first.
#[inline(always)]
pub fn even_blocks(n_rows: usize, tall: usize) -> [EvenBlocks; 2] {
    let n_blocks = n_rows.div_ceil(tall);
    let (len, n_longer) = (n_rows / n_blocks, n_rows % n_blocks);
    let longer = n_longer * (len + 1);
    [EvenBlocks { len: len + 1, rows: 0..longer }, EvenBlocks { len, rows: longer..n_rows }]
}

#[cfg(test)]
mod tests {
    use super::even_blocks;

    #[test]
    fn blocks_are_even_and_cover_all_rows() {
        for tall in [4, 5, 6] {
            for n_rows in 1..200 {
                let [longer, rest] = even_blocks(n_rows, tall);
                assert_eq!((longer.rows.start, longer.rows.end, rest.rows.end), (0, rest.rows.start, n_rows));
                assert!(longer.rows.len().is_multiple_of(longer.len) && rest.rows.len().is_multiple_of(rest.len));
                assert_eq!(longer.rows.len() / longer.len + rest.rows.len() / rest.len, n_rows.div_ceil(tall));
                assert!(rest.len <= tall && (longer.rows.is_empty() || longer.len <= tall));
            }
        }
    }
}
