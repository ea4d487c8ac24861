//! The golden cases of attention.

use half::bf16;
use longhaul::neuron::Result;
use longhaul::neuron::device::Core;
use longhaul::neuron::neff::write::Program;

use super::golden::Golden;
use crate::compiled::{self, Bucket};
use crate::programs::{Bound, P};

/// A golden attention case: one sequence, whose pages lie in reverse order from the pool's end, behind a page that is
/// nobody's.
pub struct Attention {
    golden: Golden,
    start: usize,
    n_new: usize,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    page_len: usize,
    window: usize,
    n_pages: usize,
}

const UNROLL: usize = 2;
/// New tokens that the bucket takes beyond those of the case: padding.
const N_PADDING: usize = 2;

impl Attention {
    pub fn open(name: &str) -> Self {
        let golden = Golden::open(name);
        let [n_new, n_heads, head_dim] = golden.dimensions("q");
        let [kv_len, n_kv_heads, _] = golden.dimensions("k");
        let (start, window, page_len) = (golden.number("start"), golden.number("window"), golden.number("page_len"));
        let n_pages = kv_len.div_ceil(page_len) + 1;
        Self { golden, start, n_new, n_heads, n_kv_heads, head_dim, page_len, window, n_pages }
    }

    fn q_len(&self) -> usize {
        self.n_new + N_PADDING
    }

    /// The page of a position.
    fn page(&self, position: usize) -> usize {
        self.n_pages - 1 - position / self.page_len
    }

    fn n_tail(&self) -> usize {
        (self.page_len - 1 + self.q_len()).div_ceil(self.page_len)
    }

    fn key_at(&self, page: usize, slot: usize, head: usize, f: usize) -> usize {
        let run = self.page_len * self.head_dim / P;
        ((page * P + slot / run * self.head_dim + f) * self.n_kv_heads + head) * run + slot % run
    }

    fn value_row(&self, page: usize, slot: usize) -> usize {
        (page * P + slot % P) * (self.page_len / P) + slot / P
    }

    pub fn wanted(&self) -> Program {
        compiled::attention(Bucket {
            n_seqs: 1,
            q_len: self.q_len(),
            n_heads: self.n_heads,
            n_kv_heads: self.n_kv_heads,
            head_dim: self.head_dim,
            page_len: self.page_len,
            max_pages: self.n_pages,
            unroll: UNROLL,
            window: self.window,
            n_pages: self.n_pages,
        })
    }

    /// Pages with the context, everything else NaN.
    pub fn write_pages(&self, bound: &Bound) -> Result<()> {
        let (k, v, row) = (self.golden.bf16("k"), self.golden.bf16("v"), self.n_kv_heads * self.head_dim);
        let mut k_pages = vec![bf16::NAN; self.n_pages * self.page_len * row];
        let mut v_pages = k_pages.clone();
        for t in 0..self.start {
            let (page, slot) = (self.page(t), t % self.page_len);
            for i in 0..row {
                k_pages[self.key_at(page, slot, i / self.head_dim, i % self.head_dim)] = k[t * row + i];
                v_pages[self.value_row(page, slot) * row + i] = v[t * row + i];
            }
        }
        bound.write("k_pages", &k_pages)?;
        bound.write("v_pages", &v_pages)
    }

    pub fn write_tokens(&self, bound: &Bound) -> Result<()> {
        let (n, row) = (self.q_len(), self.n_kv_heads * self.head_dim);
        // `[n, width]` as `[head_dim, heads, n]`, with zeros for padding.
        let feature_major = |x: &[bf16]| {
            let width = x.len() / self.n_new;
            let heads = width / self.head_dim;
            let mut out = vec![bf16::ZERO; width * n];
            for (t, i) in (0..self.n_new).flat_map(|t| (0..width).map(move |i| (t, i))) {
                out[(i % self.head_dim * heads + i / self.head_dim) * n + t] = x[t * width + i];
            }
            out
        };
        let new = |name: &str| self.golden.bf16(name).split_off(self.start * row);
        bound.write("q", &feature_major(&self.golden.bf16("q")))?;
        bound.write("k_new", &feature_major(&new("k")))?;
        let mut v_new = new("v");
        v_new.resize(n * row, bf16::ZERO);
        bound.write("v_new", &v_new)
    }

    pub fn write_plan(&self, bound: &Bound) -> Result<()> {
        let (step, tail) = (2 * UNROLL, self.start / self.page_len);
        let first = if self.window == 0 { 0 } else { (self.start + 1).saturating_sub(self.window) / self.page_len };
        let context: Vec<i32> = (first..tail).map(|i| self.page(i * self.page_len) as i32).collect();
        let n_singles = context.len() % step;
        let slot = self.start % self.page_len;
        let mut counts = vec![(context.len() / step) as i32, n_singles as i32, slot as i32, context.len() as i32];
        counts.extend(&context[context.len() - n_singles..]);
        counts.resize(4 + step, 0);
        let n_entries = (self.n_pages.div_ceil(step) + 1) * step;
        let table = |pages: &[i32]| [pages, &vec![-1; n_entries - pages.len()]].concat();
        let tables = [table(&context[..context.len() - n_singles]), table(&context)].concat();
        let last = (self.start + self.n_new - 1) / self.page_len;
        let mut tails: Vec<i32> = (tail..=last).map(|i| self.page(i * self.page_len) as i32).collect();
        tails.resize(self.n_tail(), -1);
        let positions = self.start..self.start + self.n_new;
        let mut rows: Vec<i32> = positions.map(|t| self.value_row(self.page(t), t % self.page_len) as i32).collect();
        rows.resize(self.q_len(), -1);
        let tables_start = (first * self.page_len) as f32 - self.start as f32;
        let bounds = [-(slot as f32), tables_start, (slot + self.n_new) as f32].repeat(P);
        bound.write("counts", &counts)?;
        bound.write("tables", &tables)?;
        bound.write("tails", &tails)?;
        bound.write("rows", &rows)?;
        bound.write("bounds", &bounds)
    }

    /// Elements of the output that are not padding.
    pub fn n_out(&self) -> usize {
        self.n_new * self.n_heads * self.head_dim
    }

    pub fn bind(&self, core: &Core, neff: &[u8]) -> Result<Bound> {
        let bound = Bound::load(core, neff)?;
        self.write_pages(&bound)?;
        self.write_tokens(&bound)?;
        self.write_plan(&bound)?;
        Ok(bound)
    }

    /// The last page has the new tokens where the kernel puts them; the golden page has zeros where no token is.
    pub fn check_last_page(&self, bound: &Bound) -> Result<()> {
        let last = self.start + self.n_new - 1;
        let (page, row) = (self.page(last), self.n_kv_heads * self.head_dim);
        let (k_pages, v_pages): (Vec<bf16>, Vec<bf16>) = (bound.read("k_pages")?, bound.read("v_pages")?);
        let (k_page, v_page) = (self.golden.bf16("k_page"), self.golden.bf16("v_page"));
        for (slot, i) in (0..=last % self.page_len).flat_map(|slot| (0..row).map(move |i| (slot, i))) {
            let (h, f) = (i / self.head_dim, i % self.head_dim);
            assert_eq!(k_pages[self.key_at(page, slot, h, f)], k_page[self.key_at(0, slot, h, f)]);
            assert_eq!(v_pages[self.value_row(page, slot) * row + i], v_page[self.value_row(0, slot) * row + i]);
        }
        Ok(())
    }
}
