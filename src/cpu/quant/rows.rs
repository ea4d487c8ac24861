//! Left operands of products with quantised weights: rows of f32 quantised to 8 bits, group by group like the weights
//! that they meet.

use std::io;

use super::panels::QuantPanels;
use super::symmetric::Symmetric;
use crate::cpu::buffer::Buffer;
use crate::cpu::disjoint::Disjoint;
use crate::cpu::isa::{Isa, Kernel};
use crate::cpu::lhs::LhsElement;
use crate::cpu::matrix::Matrix;
use crate::cpu::parallel::for_each_task;
use crate::cpu::pointwise::load_padded;
use crate::cpu::product::TILE_ROWS;
use crate::spec::contract::TILE_DEPTH;

/// Rows that one task quantises: those of a tile.
const TASK_ROWS: usize = TILE_ROWS;

/// Codes of a row of an int8 tile.
pub const TILE_CODES: usize = 64;

/// Quantised rows, for the matrix that they were quantised for.
#[derive(Default)]
pub struct QuantRows {
    /// See [`QuantRows::codes`].
    buffer: Buffer<u8>,
    /// `[M][n_groups]`, or `[ceil(M / 16)][n_groups][16]` beside tiles.
    pub groups: Vec<Group>,
    /// How the codes lie: row by row, `[M][n_groups][group_len]`; or in tiles of 16 rows by 64 codes, `[ceil(M /
    /// 16)][n_groups][ceil(group_len / 64)]`, with zeros behind a group that ends within a tile.
    pub tiled: bool,
}

/// A group of a row.
#[derive(Clone, Copy, Default)]
pub struct Group {
    /// What a code of 1 stands for.
    pub scale: f32,
    /// Sum of the codes.
    pub sum: i32,
    /// Sum of what the codes stand for, `f32(sum) * scale`: what a minimum is multiplied with.
    pub total: f32,
}

impl QuantRows {
    /// Codes, i8 as bytes, in the order of [`QuantRows::tiled`], from the start of a cache line on.
    #[inline(always)]
    pub fn codes(&self) -> &[u8] {
        &self.buffer
    }

    /// Makes room for `n_rows` rows of `k` elements, whatever the length of the groups and the order.
    ///
    /// # Errors
    /// What the operating system says where it has no memory for them.
    pub fn make_room(&mut self, n_rows: usize, k: usize) -> io::Result<()> {
        // A group is no longer than K, padded, so whole groups are less than twice as long; and whole tiles no more
        // than twice.
        let (n_rows, depth) = (n_rows.next_multiple_of(TILE_ROWS), k.next_multiple_of(TILE_DEPTH));
        let (n_codes, n_groups) = (n_rows * 2 * depth, n_rows * depth / TILE_DEPTH);
        if self.buffer.len() < n_codes {
            self.buffer = Buffer::try_zeroed(n_codes)?;
        }
        let n_more = n_groups.saturating_sub(self.groups.len());
        self.groups.try_reserve_exact(n_more).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.groups.resize(n_groups.max(self.groups.len()), Group::default());
        Ok(())
    }

    /// Quantises the first `n_rows` rows of `lhs`, which are the matrix's K long, padded to a multiple of 32. There is
    /// room for them ([`QuantRows::make_room`]).
    pub fn quantise<I: Isa, S: Send>(
        &mut self,
        isa: I,
        lhs: &[f32],
        n_rows: usize,
        weights: &QuantPanels,
        states: &mut [S],
    ) {
        let (k, group_len, n_groups) = (weights.k(), weights.group_len, weights.n_groups);
        self.tiled = isa.quant_tiles(n_rows, weights);
        let order = Order { tiled: self.tiled, group_len, n_groups };
        let n_tasks = n_rows.div_ceil(TASK_ROWS);
        let (n_codes, n_scales) = (TASK_ROWS * n_groups * order.padded_len(), TASK_ROWS * n_groups);
        let (buffer, groups) = (&mut self.buffer[..n_tasks * n_codes], &mut self.groups[..n_tasks * n_scales]);
        let (codes, groups) = (Disjoint::new(buffer), Disjoint::new(groups));
        let stride = f32::row_len(k);
        for_each_task(states, n_tasks, |_, task| {
            // SAFETY: each sixteen rows are one task's own.
            let (codes, groups) =
                unsafe { (codes.slice(task * n_codes, n_codes), groups.slice(task * n_scales, n_scales)) };
            let first = task * TASK_ROWS;
            for row in 0..TASK_ROWS.min(n_rows - first) {
                isa.run(QuantiseRow { x: &lhs[(first + row) * stride..][..k], row, order, codes, groups });
            }
        });
    }
}

/// Where the codes and scales of sixteen rows lie.
#[derive(Clone, Copy)]
struct Order {
    tiled: bool,
    /// A multiple of 32.
    group_len: usize,
    n_groups: usize,
}

impl Order {
    /// Codes of a group with what is behind it.
    #[inline(always)]
    fn padded_len(&self) -> usize {
        if self.tiled { self.group_len.next_multiple_of(TILE_CODES) } else { self.group_len }
    }

    /// The place of sixteen codes from code `k` of a group on, `k` a multiple of 16.
    #[inline(always)]
    fn codes(&self, row: usize, group: usize, k: usize) -> usize {
        if self.tiled {
            let tile = (group * self.padded_len() + k) / TILE_CODES;
            (tile * TILE_ROWS + row) * TILE_CODES + k % TILE_CODES
        } else {
            (row * self.n_groups + group) * self.group_len + k
        }
    }

    /// The place of a group's scale.
    #[inline(always)]
    fn group(&self, row: usize, group: usize) -> usize {
        if self.tiled { group * TILE_ROWS + row } else { row * self.n_groups + group }
    }
}

/// One row: for each group the scale `max |x| / 127`, the codes `round(x * (127 / max |x|))`, and their sum.
struct QuantiseRow<'a> {
    /// `[k]`
    x: &'a [f32],
    /// Which of the sixteen rows it is.
    row: usize,
    order: Order,
    /// The codes of sixteen rows, padded with zeros.
    codes: &'a mut [u8],
    /// The scales of sixteen rows.
    groups: &'a mut [Group],
}

impl<I: Isa> Kernel<I> for QuantiseRow<'_> {
    #[inline(always)]
    fn run(mut self, isa: I) {
        for (group, x) in self.x.chunks(self.order.group_len).enumerate() {
            self.groups[self.order.group(self.row, group)] = self.quantise_group(isa, x, group);
        }
    }
}

impl QuantiseRow<'_> {
    #[inline(always)]
    fn quantise_group<I: Isa>(&mut self, isa: I, x: &[f32], group: usize) -> Group {
        let symmetric = Symmetric::of(isa, x);
        let mut sum = 0;
        for k in (0..self.order.padded_len()).step_by(16) {
            let first = self.order.codes(self.row, group, k);
            let codes = self.codes[first..].first_chunk_mut().unwrap();
            symmetric.codes(isa, load_padded(isa, x, k), codes);
            for code in *codes {
                sum += i32::from(code as i8);
            }
        }
        let scale = symmetric.scale;
        Group { scale, sum, total: sum as f32 * scale }
    }
}
