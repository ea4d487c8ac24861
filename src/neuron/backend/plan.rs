//! The plan of a launch of `attention`: lengths and page tables as the kernel wants them (`kernels/attention_plan.py`).

use half::bf16;

use super::layout::{PARTITIONS, PageLayout};
use super::programs::Loaded;
use crate::error::Result;

/// The page of the device that belongs to nobody: padding is appended there.
pub const NOBODYS_PAGE: i32 = 0;

/// What a program was compiled for.
pub struct Bucket {
    pub n_seqs: usize,
    pub q_len: usize,
    pub n_heads: usize,
    pub layout: PageLayout,
    max_pages: usize,
    /// Pages of a step of the device's loop, over both of its buffers.
    step: usize,
    window: usize,
}

impl Bucket {
    /// The bucket of a loaded program, whose activations are held against it.
    pub fn of(program: &Loaded, layout: PageLayout) -> Result<Self> {
        let count = |name| program.count(name);
        let (max_pages, window) = (count("max_pages")?, count("window")?);
        let (n_seqs, q_len, n_heads) = (count("n_seqs")?, count("q_len")?, count("n_heads")?);
        let bucket = Self { n_seqs, q_len, n_heads, layout, max_pages, step: 2 * count("unroll")?.max(1), window };
        let (d, kv, n_tokens) = (layout.head_dim, layout.n_kv_heads, n_seqs.saturating_mul(q_len));
        program.check_len::<bf16>("q", &[d, n_heads, n_tokens])?;
        program.check_len::<bf16>("k_new", &[d, kv, n_tokens])?;
        program.check_len::<bf16>("v_new", &[n_tokens, kv * d])?;
        program.check_len::<bf16>("out", &[n_tokens, n_heads, d])?;
        program.check_len::<i32>("counts", &[n_seqs, 4 + bucket.step])?;
        program.check_len::<i32>("tables", &[n_seqs, 2, bucket.n_steps(), bucket.step])?;
        program.check_len::<i32>("tails", &[n_seqs, bucket.n_tail()])?;
        program.check_len::<i32>("rows", &[n_tokens])?;
        program.check_len::<f32>("bounds", &[PARTITIONS, n_seqs, 3])?;
        Ok(bucket)
    }

    /// Rows of a launch.
    pub fn n_tokens(&self) -> usize {
        self.n_seqs * self.q_len
    }

    /// Pages that new tokens may touch, at any offset in the first.
    fn n_tail(&self) -> usize {
        (self.layout.page_len - 1 + self.q_len).div_ceil(self.layout.page_len)
    }

    /// Steps of a table.
    fn n_steps(&self) -> usize {
        self.max_pages.div_ceil(self.step) + 1
    }
}

/// Where the new tokens of a sequence stand, and its pages on the device.
pub struct Span {
    /// Position of the first.
    pub start: usize,
    pub n_new: usize,
    /// Pages of the context and of the new tokens.
    pub table: Vec<i32>,
}

impl Span {
    /// One token of nobody's.
    pub fn padding() -> Self {
        Self { start: 0, n_new: 1, table: vec![NOBODYS_PAGE] }
    }
}

/// Pages of the context that are read before `start`'s own: from the first that the window of the first new token sees.
pub fn context(start: usize, window: Option<usize>, page_len: usize) -> std::ops::Range<usize> {
    let first = window.map_or(0, |window| (start + 1).saturating_sub(window) / page_len);
    first..start / page_len
}

/// The plan's tensors.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// `[n_seqs, 4 + step]`: whole steps, single pages, slot of the first new token in its page, context pages; then
    /// the single pages.
    pub counts: Vec<i32>,
    /// `[n_seqs, 2, steps, step]`: context pages of whole steps; all of them. The rest is -1.
    pub tables: Vec<i32>,
    /// `[n_seqs, n_tail]`: pages of the new tokens; -1 where none is needed.
    pub tails: Vec<i32>,
    /// `[n_seqs * q_len]`: the row of each new token in the pages of values; -1 for padding.
    pub rows: Vec<i32>,
    /// `[128, n_seqs, 3]`: first slot of the tail and of the tables, relative to the first new token; slots used in the
    /// tail.
    pub bounds: Vec<f32>,
}

impl Plan {
    /// The plan of as many spans as the bucket has sequences, each of which fits.
    pub fn new(bucket: &Bucket, spans: &[Span]) -> Self {
        let page_len = bucket.layout.page_len;
        let (step, table_len) = (bucket.step, bucket.n_steps() * bucket.step);
        let [mut counts, mut tables, mut tails, mut rows] = [const { Vec::new() }; 4];
        let mut bounds = Vec::new();
        for Span { start, n_new, table } in spans {
            let context = context(*start, Some(bucket.window).filter(|w| *w > 0), page_len);
            let (first, tail) = (context.start, context.end);
            let pages = &table[context];
            let (n_steps, n_singles, slot) = (pages.len() / step, pages.len() % step, start % page_len);
            let (whole, singles) = pages.split_at(n_steps * step);

            counts.extend([n_steps, n_singles, slot, pages.len()].map(|n| n as i32));
            extend_to(&mut counts, singles, step, 0);
            extend_to(&mut tables, whole, table_len, -1);
            extend_to(&mut tables, pages, table_len, -1);
            extend_to(&mut tails, &table[tail..(start + n_new).div_ceil(page_len)], bucket.n_tail(), -1);
            let row = |t: usize| {
                let page = table[t / page_len] as usize;
                (page * page_len + bucket.layout.value_row(t % page_len)) as i32
            };
            let new_rows: Vec<i32> = (*start..start + n_new).map(row).collect();
            extend_to(&mut rows, &new_rows, bucket.q_len, -1);
            bounds.extend([-(slot as f32), (first * page_len) as f32 - *start as f32, (slot + n_new) as f32]);
        }
        Self { counts, tables, tails, rows, bounds: bounds.repeat(PARTITIONS) }
    }
}

/// Adds `values`, and as many of `filler` as make it `len` elements more.
fn extend_to(out: &mut Vec<i32>, values: &[i32], len: usize, filler: i32) {
    let end = out.len() + len;
    out.extend_from_slice(values);
    out.resize(end, filler);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `attention_plan.plan(Bucket(2, 3, 2, 1, 128, 128, 5, unroll=1), [513, 126], [2, 3], [[9, 8, 7, 6, 5], [3, 4]])`,
    /// written out.
    #[test]
    fn a_plan_is_that_of_the_python_side() {
        let layout = PageLayout { page_len: 128, n_kv_heads: 1, head_dim: 128 };
        let bucket = Bucket { n_seqs: 2, q_len: 3, n_heads: 2, layout, max_pages: 5, step: 2, window: 0 };
        let spans = [
            Span { start: 513, n_new: 2, table: vec![9, 8, 7, 6, 5] },
            Span { start: 126, n_new: 3, table: vec![3, 4] },
        ];
        let plan = Plan::new(&bucket, &spans);
        assert_eq!(plan.counts, [2, 0, 1, 4, 0, 0, 0, 0, 126, 0, 0, 0]);
        let none = [-1; 8];
        assert_eq!(plan.tables, [[9, 8, 7, 6, -1, -1, -1, -1].repeat(2), [none, none].concat()].concat());
        assert_eq!(plan.tails, [5, -1, 3, 4]);
        assert_eq!(plan.rows, [641, 642, -1, 510, 511, 512]);
        assert_eq!((&plan.bounds[..6], plan.bounds.len()), (&[-1.0, -513.0, 3.0, -126.0, -126.0, 129.0][..], 768));

        let window = Plan::new(&Bucket { window: 300, ..bucket }, &spans);
        assert_eq!(window.counts[..6], [1, 1, 1, 3, 6, 0], "from position 214, on page 1");
        assert_eq!(window.bounds[..2], [-1.0, -385.0]);
    }
}
