//! Left operands of products with quantised weights: rows of f32 quantised to 8 bits, group by group like the weights that they meet.

use super::panels::QuantPanels;
use crate::cpu::disjoint::Disjoint;
use crate::cpu::isa::{Isa, Kernel};
use crate::cpu::matrix::Matrix;
use crate::cpu::parallel::for_each_task;
use crate::cpu::pointwise::load_padded;
use crate::spec::contract::{QUANT_TINY, TILE_DEPTH};

/// Rows that one task quantises.
const TASK_ROWS: usize = 16;

/// Quantised rows, for the matrix that they were quantised for.
#[derive(Default)]
pub struct QuantRows {
    /// `[M][depth]` codes, i8 as bytes; `depth` is K padded to whole groups.
    pub codes: Vec<u8>,
    /// `[M][n_groups]`
    pub groups: Vec<Group>,
}

/// A group of a row.
#[derive(Clone, Copy, Default)]
pub struct Group {
    /// What a code of 1 stands for.
    pub scale: f32,
    /// Sum of the codes.
    pub sum: i32,
}

impl QuantRows {
    /// Makes room for `n_rows` rows of `k` elements, whatever the length of the groups.
    pub fn make_room(&mut self, n_rows: usize, k: usize) {
        // A group is no longer than K, padded, so whole groups are less than twice as long.
        let depth = k.next_multiple_of(TILE_DEPTH);
        self.resize(n_rows * 2 * depth, n_rows * depth / TILE_DEPTH);
    }

    fn resize(&mut self, n_codes: usize, n_groups: usize) {
        if self.codes.len() < n_codes {
            self.codes.resize(n_codes, 0);
        }
        if self.groups.len() < n_groups {
            self.groups.resize(n_groups, Group::default());
        }
    }

    /// Quantises the first `n_rows` rows of `lhs`, which are the matrix's K long, padded to a multiple of 32.
    pub fn quantise<I: Isa, S: Send>(
        &mut self,
        isa: I,
        lhs: &[f32],
        n_rows: usize,
        weights: &QuantPanels,
        states: &mut [S],
    ) {
        let QuantPanels { group_len, n_groups, .. } = *weights;
        let (k, depth) = (weights.k(), group_len * n_groups);
        self.resize(n_rows * depth, n_rows * n_groups);
        let (codes, groups) = (Disjoint::new(&mut self.codes), Disjoint::new(&mut self.groups));
        let stride = k.next_multiple_of(TILE_DEPTH);
        for_each_task(states, n_rows.div_ceil(TASK_ROWS), |_, task| {
            for row in task * TASK_ROWS..n_rows.min((task + 1) * TASK_ROWS) {
                // SAFETY: each row is one task's own.
                let (codes, groups) =
                    unsafe { (codes.slice(row * depth, depth), groups.slice(row * n_groups, n_groups)) };
                isa.run(QuantiseRow { x: &lhs[row * stride..][..k], group_len, codes, groups });
            }
        });
    }
}

/// One row: for each group the scale `max |x| / 127`, the codes `round(x * (127 / max |x|))`, and their sum.
struct QuantiseRow<'a> {
    /// `[k]`
    x: &'a [f32],
    /// A multiple of 32.
    group_len: usize,
    /// `[depth]`, padded with zeros.
    codes: &'a mut [u8],
    /// `[n_groups]`
    groups: &'a mut [Group],
}

impl<I: Isa> Kernel<I> for QuantiseRow<'_> {
    #[inline(always)]
    fn run(self, isa: I) {
        let codes = self.codes.chunks_exact_mut(self.group_len);
        for ((x, codes), group) in self.x.chunks(self.group_len).zip(codes).zip(self.groups) {
            *group = quantise_group(isa, x, codes);
        }
    }
}

#[inline(always)]
fn quantise_group<I: Isa>(isa: I, x: &[f32], codes: &mut [u8]) -> Group {
    /// 1.5 * 2^23: added, it rounds to an integer and leaves that in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let zero = isa.splat(0.0);
    let (mut max, mut invalid) = (zero, zero);
    for k in (0..x.len()).step_by(16) {
        let x = load_padded(isa, x, k);
        max = isa.max(max, isa.max(x, isa.sub(zero, x)));
        // 0, or NaN where an element is not finite.
        invalid = isa.add(invalid, isa.mul(x, zero));
    }
    let (max, invalid) = (isa.reduce_max(max), isa.reduce_add(invalid));
    let (scale, inverse) = if max < QUANT_TINY { (0.0, 0.0) } else { (max / 127.0, 127.0 / max) };
    let (inverse, round) = (isa.splat(inverse), isa.splat(ROUND));
    let mut sum = 0;
    for (i, codes) in codes.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let x = load_padded(isa, x, i * 16);
        isa.store_low_bytes(isa.add(isa.mul(x, inverse), round), codes);
        for code in *codes {
            sum += i32::from(code as i8);
        }
    }
    Group { scale: scale + invalid, sum }
}
