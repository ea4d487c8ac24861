//! One launch of an attention program: rows go in with their tokens, and their results come out.

use std::ops::Range;
use std::sync::Arc;

use half::bf16;
use ndarray::{ArrayViewMut3, s};

use super::pages::{Layer, device_page};
use super::plan::{Bucket, Plan, Span};
use super::programs::Loaded;
use crate::error::{Error, Result};
use crate::spec::{AttentionArgs, PageId};

/// The tensors of `attention` that are the layer's: keys and values.
pub const RESIDENT: [&str; 2] = ["k_pages", "v_pages"];

/// Rows of a sequence that go in one launch, with their tokens.
pub struct Piece<'a> {
    /// Rows of the batch.
    pub rows: Range<usize>,
    /// Position of the first.
    pub start: usize,
    pub table: &'a [PageId],
    /// `[n_rows][kv_head][head_dim]`
    pub k: Vec<bf16>,
    pub v: Vec<bf16>,
}

/// Runs a program that takes the pieces.
pub fn run(
    loaded: &Arc<Loaded>,
    args: &AttentionArgs<'_>,
    layer: &mut Layer,
    pieces: &[Piece<'_>],
    out: &mut ArrayViewMut3<'_, f32>,
) -> Result<()> {
    let bucket = Bucket::of(loaded, layer.layout)?;
    let (token_len, head_dim) = (layer.layout.token_len(), layer.layout.head_dim);
    let q = queries(args, pieces, &bucket)?;
    let (mut k_new, mut v_new) =
        (FeatureMajor::new(token_len, &bucket), vec![bf16::ZERO; bucket.n_tokens() * token_len]);
    for (s, piece) in pieces.iter().enumerate() {
        let first = s * bucket.q_len;
        piece.k.chunks_exact(token_len).enumerate().for_each(|(t, k)| k_new.store(first + t, k, head_dim));
        v_new[first * token_len..][..piece.v.len()].copy_from_slice(&piece.v);
    }
    let span = |p: &Piece<'_>| {
        let table = p.table.iter().map(|page| device_page(*page) as i32).collect();
        Span { start: p.start, n_new: p.rows.len(), table }
    };
    let padding = std::iter::repeat_with(Span::padding);
    let spans: Vec<Span> = pieces.iter().map(span).chain(padding).take(bucket.n_seqs).collect();
    let plan = Plan::new(&bucket, &spans);

    bind(layer, loaded)?;
    let turn = layer.bound[loaded.key()].turn();
    turn.write("q", &q.elements)?;
    turn.write("k_new", &k_new.elements)?;
    turn.write("v_new", &v_new)?;
    turn.write("counts", &plan.counts)?;
    turn.write("tables", &plan.tables)?;
    turn.write("tails", &plan.tails)?;
    turn.write("rows", &plan.rows)?;
    turn.write("bounds", &plan.bounds)?;
    turn.execute()?;
    let row_len = bucket.n_heads * head_dim;
    let result = turn.read("out", bucket.n_tokens() * row_len)?;
    for (s, piece) in pieces.iter().enumerate() {
        let of_piece = result[s * bucket.q_len * row_len..].iter();
        let rows = out.slice_mut(s![piece.rows.clone(), .., ..]);
        rows.into_iter().zip(of_piece).for_each(|(o, x)| *o = x.to_f32());
    }
    Ok(())
}

/// The queries of the pieces, zero for padding. The programs scale scores by `1 / sqrt(head_dim)`; what the call wants
/// beyond goes into the queries before they are rounded.
fn queries(args: &AttentionArgs<'_>, pieces: &[Piece<'_>], bucket: &Bucket) -> Result<FeatureMajor> {
    let head_dim = bucket.layout.head_dim;
    let factor = (f64::from(args.scale) * (head_dim as f64).sqrt()) as f32;
    let mut q = FeatureMajor::new(bucket.n_heads * head_dim, bucket);
    for (s, piece) in pieces.iter().enumerate() {
        for (t, row) in piece.rows.clone().enumerate() {
            let query: Vec<bf16> = args.q.slice(s![row, .., ..]).iter().map(|x| bf16::from_f32(x * factor)).collect();
            if !query.iter().all(|x| x.is_finite()) {
                let what =
                    format!("the query in row {row} is not finite in bf16, which the Neuron kernel does not take");
                return Err(Error::argument(what));
            }
            q.store(s * bucket.q_len + t, &query, head_dim);
        }
    }
    Ok(q)
}

/// Binds the layer's pages to a program, once.
fn bind(layer: &mut Layer, loaded: &Arc<Loaded>) -> Result<()> {
    let [k, v] = RESIDENT;
    if !layer.bound.contains_key(loaded.key()) {
        let bound = loaded.bind(&[(k, &layer.k), (v, &layer.v)])?;
        layer.bound.insert(loaded.key().into(), bound);
    }
    Ok(())
}

/// Rows of heads as `[head_dim, heads, n_tokens]`.
struct FeatureMajor {
    n_tokens: usize,
    elements: Vec<bf16>,
}

impl FeatureMajor {
    fn new(row_len: usize, bucket: &Bucket) -> Self {
        let n_tokens = bucket.n_tokens();
        Self { n_tokens, elements: vec![bf16::ZERO; row_len * n_tokens] }
    }

    /// Stores row `t`, `[heads][head_dim]`.
    fn store(&mut self, t: usize, row: &[bf16], head_dim: usize) {
        let n_heads = row.len() / head_dim;
        for (i, x) in row.iter().enumerate() {
            self.elements[(i % head_dim * n_heads + i / head_dim) * self.n_tokens + t] = *x;
        }
    }
}
