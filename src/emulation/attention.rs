//! Causal attention over plain arrays, folded in chunks.

use std::ops::Range;

use ndarray::{Array3, ArrayView2, ArrayView3, Axis, s};

use super::Arithmetic;
use super::ops::reduce;
use crate::dtype::Dtype;
use crate::spec::contract::{CHUNK_LEN, TILE_DEPTH};

/// Arguments of [`Arithmetic::attention`]: queries of some tokens, keys and values of the context.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// `[n_tokens, n_heads, head_dim]`, RoPE applied.
    pub q: ArrayView3<'a, f32>,
    /// `[kv_len, n_kv_heads, head_dim]`, RoPE applied, rounded to bf16 as stored.
    pub k: ArrayView3<'a, f32>,
    /// `[kv_len, n_kv_heads, head_dim]`, rounded to bf16 as stored.
    pub v: ArrayView3<'a, f32>,
    /// Position of the first query; `start + n_tokens <= kv_len`.
    pub start: usize,
    /// Factor on the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Sliding window: how many keys a query sees at most, its own included.
    pub window: Option<usize>,
}

/// What a query has gathered: the largest score, and relative to it the sum of `e^score` and of `e^score` times value.
struct State {
    max: f32,
    sum: f32,
    values: Vec<f32>,
}

/// One query and the head that it reads.
struct Row<'a> {
    /// `[head_dim]`, padded: a left operand.
    q: Vec<f32>,
    /// `[kv_len, head_dim]`
    k: ArrayView2<'a, f32>,
    /// `[kv_len, head_dim]`
    v: ArrayView2<'a, f32>,
    scale: f32,
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
        let mut out = Array3::zeros(args.q.dim());
        for t in 0..n_tokens {
            let end = args.start + t + 1;
            let first = args.window.map_or(0, |w| end.saturating_sub(w));
            for h in 0..n_heads {
                let kv_head = h / (n_heads / n_kv_heads);
                let row = Row {
                    q: self.left_operand(args.q.slice(s![t, h, ..]), Dtype::Bf16),
                    k: args.k.index_axis(Axis(1), kv_head),
                    v: args.v.index_axis(Axis(1), kv_head),
                    scale: args.scale,
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
        let empty = State { max: f32::NEG_INFINITY, sum: 0.0, values: vec![0.0; row.v.ncols()] };
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
            let k = row.k.row(j).iter().copied().chain(std::iter::repeat(0.0)).take(row.q.len()).collect::<Vec<_>>();
            self.dot(&row.q, &k, Dtype::Bf16) * row.scale
        };
        let scores: Vec<f32> = seen.clone().map(score).collect();
        let max = scores.iter().copied().fold(f32::NEG_INFINITY, maximum);
        let mut p = ndarray::Array1::zeros(tiles.len());
        p.iter_mut().skip(seen.start - tiles.start).zip(&scores).for_each(|(p, score)| *p = self.exp(score - max));
        // Tiles begin at multiples of the number of lanes, so lanes count from the chunk's first key.
        let sum = reduce(p.iter().copied(), |sum, p| sum + p);
        let p = self.left_operand(p.view(), Dtype::Bf16);
        let value = |dim: usize| {
            let v: Vec<f32> = tiles.clone().map(|j| if seen.contains(&j) { row.v[[j, dim]] } else { 0.0 }).collect();
            self.dot(&p, &v, Dtype::Bf16)
        };
        State { max, sum, values: (0..row.v.ncols()).map(value).collect() }
    }

    fn merge(self, left: State, right: State) -> State {
        let max = maximum(left.max, right.max);
        let (a, b) = (self.exp(left.max - max), self.exp(right.max - max));
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
