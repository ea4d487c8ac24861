//! Causal attention over plain arrays, folded in chunks.

use std::ops::Range;

use ndarray::{Array3, ArrayView3, s};

use super::Arithmetic;
use super::ops::{reduce, rounded};
use super::quant::Group;
use crate::dtype::Dtype;
use crate::spec::KvDtype;
use crate::spec::contract::{CHUNK_LEN, TILE_DEPTH};

/// Arguments of [`Arithmetic::attention`]: queries of some tokens, keys and values of the context.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// `[n_tokens, n_heads, head_dim]`, RoPE applied.
    pub q: ArrayView3<'a, f32>,
    /// `[kv_len, n_kv_heads, head_dim]`, RoPE applied.
    pub k: ArrayView3<'a, f32>,
    /// `[kv_len, n_kv_heads, head_dim]`
    pub v: ArrayView3<'a, f32>,
    /// What keys and values are stored as, and so rounded or quantised to first.
    pub kv: KvDtype,
    /// Position of the first query; `start + n_tokens <= kv_len`.
    pub start: usize,
    /// Factor on the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Sliding window: how many keys a query sees at most, its own included.
    pub window: Option<usize>,
}

/// What a query has gathered: the largest score in units of ln 2, and relative to it the sum of `2^score` and of
/// `2^score` times value.
struct State {
    max: f32,
    sum: f32,
    values: Vec<f32>,
}

/// One query and the head that it reads.
struct Row<'a> {
    /// `[head_dim]`, padded: a left operand.
    q: Vec<f32>,
    k: &'a Stored,
    v: &'a Stored,
    /// What makes a product the exponent of a power of two.
    factor: f32,
}

/// Keys or values of a head as they are stored: bf16, or codes with a scale for each token.
struct Stored {
    /// `[kv_len][head_dim]`
    elements: Vec<Vec<f32>>,
    /// `[kv_len]`
    scales: Option<Vec<f32>>,
}

impl Stored {
    /// Those of `kv_head` in `x[kv_len, n_kv_heads, head_dim]`.
    fn new(x: ArrayView3<'_, f32>, kv_head: usize, dtype: KvDtype) -> Self {
        let tokens = x.outer_iter().map(|token| token.row(kv_head).to_owned());
        match dtype {
            KvDtype::Bf16 => {
                Self { elements: tokens.map(|x| rounded(x.view(), Dtype::Bf16).to_vec()).collect(), scales: None }
            }
            KvDtype::Int8 => {
                let groups: Vec<_> = tokens.map(|x| Group::symmetric(&x.to_vec())).collect();
                let codes = |group: &Group| group.codes.iter().map(|code| *code as f32).collect();
                let scales = Some(groups.iter().map(|group| group.scale).collect());
                Self { elements: groups.iter().map(codes).collect(), scales }
            }
        }
    }

    /// `x * scale` of token `j`, if there are scales.
    fn scaled(&self, j: usize, x: f32) -> f32 {
        self.scales.as_ref().map_or(x, |scales| x * scales[j])
    }

    fn head_dim(&self) -> usize {
        self.elements[0].len()
    }
}

impl Arithmetic {
    /// As [`reference::attention`](crate::reference::attention), `[n_tokens, n_heads, head_dim]`.
    ///
    /// # Panics
    /// If the shapes disagree or a query stands beyond the keys.
    pub fn attention(self, args: &Attention<'_>) -> Array3<f32> {
        let (n_tokens, n_heads, head_dim) = args.q.dim();
        let (kv_len, n_kv_heads, _) = args.k.dim();
        assert_eq!(args.k.dim(), args.v.dim(), "shapes of k and v");
        assert!(args.k.dim().2 == head_dim && n_heads.is_multiple_of(n_kv_heads), "heads of q and k");
        assert!(args.start + n_tokens <= kv_len, "keys of all queries");
        let stored = |x| (0..n_kv_heads).map(|head| Stored::new(x, head, args.kv)).collect::<Vec<_>>();
        let (k, v) = (stored(args.k), stored(args.v));
        let mut out = Array3::zeros(args.q.dim());
        for t in 0..n_tokens {
            let end = args.start + t + 1;
            let first = args.window.map_or(0, |w| end.saturating_sub(w));
            for h in 0..n_heads {
                let kv_head = h / (n_heads / n_kv_heads);
                let row = Row {
                    q: self.left_operand(args.q.slice(s![t, h, ..]), Dtype::Bf16),
                    k: &k[kv_head],
                    v: &v[kv_head],
                    factor: args.scale * std::f32::consts::LOG2_E,
                };
                let state = self.fold(&row, first..end);
                let factor = 1.0 / state.sum;
                out.slice_mut(s![t, h, ..]).iter_mut().zip(state.values).for_each(|(o, x)| *o = x * factor);
            }
        }
        out
    }

    /// Folds the keys `seen`, chunk by chunk, left to right.
    fn fold(self, row: &Row<'_>, seen: Range<usize>) -> State {
        let empty = State { max: f32::NEG_INFINITY, sum: 0.0, values: vec![0.0; row.v.head_dim()] };
        (seen.start / CHUNK_LEN..seen.end.div_ceil(CHUNK_LEN)).fold(empty, |state, chunk| {
            let keys = seen.start.max(chunk * CHUNK_LEN)..seen.end.min((chunk + 1) * CHUNK_LEN);
            self.merge(state, self.chunk(row, keys))
        })
    }

    /// The state of the keys `seen`, all of one chunk.
    fn chunk(self, row: &Row<'_>, seen: Range<usize>) -> State {
        // The tiles that hold them; what is unseen there counts as 0.
        let tiles = seen.start / TILE_DEPTH * TILE_DEPTH..seen.end.next_multiple_of(TILE_DEPTH);
        let score = |j: usize| {
            let mut k = row.k.elements[j].clone();
            k.resize(row.q.len(), 0.0);
            let product = self.dot(&row.q, &k, Dtype::Bf16);
            // With codes there is a factor for each key, and the score is rounded before the maximum comes off.
            if row.k.scales.is_some() { (product * row.k.scaled(j, row.factor), 1.0) } else { (product, row.factor) }
        };
        let scores: Vec<(f32, f32)> = seen.clone().map(score).collect();
        let max = scores.iter().map(|(x, factor)| x * factor).fold(f32::NEG_INFINITY, maximum);
        let mut p = ndarray::Array1::zeros(tiles.len());
        p.iter_mut()
            .skip(seen.start - tiles.start)
            .zip(&scores)
            .for_each(|(p, (x, factor))| *p = self.exp2(self.mul_add(*x, *factor, -max)));
        // Tiles begin at multiples of the number of lanes, so lanes count from the chunk's first key.
        let sum = reduce(p.iter().copied(), |sum, p| sum + p);
        p.iter_mut().zip(tiles.clone()).filter(|(_, j)| seen.contains(j)).for_each(|(p, j)| *p = row.v.scaled(j, *p));
        let p = self.left_operand(p.view(), Dtype::Bf16);
        let value = |dim: usize| {
            let v: Vec<f32> =
                tiles.clone().map(|j| if seen.contains(&j) { row.v.elements[j][dim] } else { 0.0 }).collect();
            self.dot(&p, &v, Dtype::Bf16)
        };
        State { max, sum, values: (0..row.v.head_dim()).map(value).collect() }
    }

    fn merge(self, left: State, right: State) -> State {
        let max = maximum(left.max, right.max);
        let (a, b) = (self.exp2(left.max - max), self.exp2(right.max - max));
        let values = left.values.iter().zip(&right.values);
        State {
            max,
            sum: left.sum * a + right.sum * b,
            values: values.map(|(l, r)| self.mul_add(*r, b, l * a)).collect(),
        }
    }
}

fn maximum(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}
