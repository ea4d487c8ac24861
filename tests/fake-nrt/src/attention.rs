//! The kernel `attention`, with the page layouts and the plan of `kernels/attention_plan.py`.

use longhaul::neuron::sys;
use longhaul::reference::{self, Attention};
use ndarray::{Array3, ArrayD};

use crate::arrays::{Dtype, copy_element, put_bf16};
use crate::program::{Buffers, Program, Tensor};

const P: usize = 128;

/// What a program was compiled for.
struct Bucket {
    n_seqs: usize,
    q_len: usize,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    page_len: usize,
    max_pages: usize,
    /// Pages of a step of the device's loop, over both buffers.
    step: usize,
    window: Option<usize>,
    static_pages: usize,
    n_pages: usize,
}

impl Bucket {
    fn of(program: &Program) -> Result<Self, i32> {
        let bucket = Self {
            n_seqs: program.number("n_seqs")?,
            q_len: program.number("q_len")?,
            n_heads: program.number("n_heads")?,
            n_kv_heads: program.number("n_kv_heads")?,
            head_dim: program.number("head_dim")?,
            page_len: program.number("page_len")?,
            max_pages: program.number("max_pages")?,
            step: 2 * program.number("unroll")?,
            window: Some(program.number("window")?).filter(|w| *w > 0),
            static_pages: program.number("static_pages")?,
            n_pages: program.number("n_pages")?,
        };
        let sizes = [bucket.n_seqs, bucket.q_len, bucket.n_heads, bucket.page_len, bucket.max_pages, bucket.n_pages];
        let sound = sizes.iter().all(|size| (1..1 << 20).contains(size))
            && matches!(bucket.head_dim, 64 | 128)
            && bucket.n_kv_heads > 0
            && bucket.n_heads.is_multiple_of(bucket.n_kv_heads)
            && bucket.page_len.is_multiple_of(P * P / bucket.head_dim)
            && bucket.step > 0;
        if sound { Ok(bucket) } else { Err(sys::NRT_INVALID) }
    }

    /// Pages that new tokens may touch.
    fn n_tail(&self) -> usize {
        (self.page_len - 1 + self.q_len).div_ceil(self.page_len)
    }

    /// Steps of a table.
    fn n_steps(&self) -> usize {
        self.max_pages.div_ceil(self.step) + 1
    }

    /// Where `K[slot, head, f]` of a page lies in `k_pages`.
    fn key(&self, page: usize, slot: usize, head: usize, f: usize) -> usize {
        let run = self.page_len * self.head_dim / P;
        ((page * P + slot / run * self.head_dim + f) * self.n_kv_heads + head) * run + slot % run
    }

    /// Where row `row` of `v_pages` begins: all heads of a token.
    fn value_row(&self, row: usize) -> usize {
        row * self.n_kv_heads * self.head_dim
    }

    /// The row of a page's slot.
    fn row(&self, page: usize, slot: usize) -> usize {
        (page * P + slot % P) * (self.page_len / P) + slot / P
    }
}

/// A sequence's part of a plan.
struct Sequence {
    /// Pages of the context, from the first that is seen.
    context: Vec<usize>,
    /// Pages of the new tokens; `None` where none is needed.
    tail: Vec<Option<usize>>,
    /// Slot of the first new token in the first of them.
    slot: usize,
    n_new: usize,
}

/// The tensors that a program of this kernel has.
pub fn tensors(program: &Program) -> Result<Vec<Tensor>, i32> {
    let b = Bucket::of(program)?;
    let (n_tokens, kv, d) = (b.n_seqs * b.q_len, b.n_kv_heads, b.head_dim);
    let k_pages = [b.n_pages, P, kv, b.page_len * d / P];
    let v_pages = [b.n_pages, P, b.page_len / P, kv, d];
    let [bf16, i32, f32] = [Dtype::Bf16, Dtype::I32, Dtype::F32];
    Ok(vec![
        Tensor::new("q", true, bf16, &[d, b.n_heads, n_tokens]),
        Tensor::new("k_new", true, bf16, &[d, kv, n_tokens]),
        Tensor::new("v_new", true, bf16, &[n_tokens, kv * d]),
        Tensor::new("k_pages.must_alias_input", true, bf16, &k_pages),
        Tensor::new("v_pages.must_alias_input", true, bf16, &v_pages),
        Tensor::new("counts", true, i32, &[b.n_seqs, 4 + b.step]),
        Tensor::new("tables", true, i32, &[b.n_seqs, 2, b.n_steps(), b.step]),
        Tensor::new("tails", true, i32, &[b.n_seqs, b.n_tail()]),
        Tensor::new("rows", true, i32, &[n_tokens, 1]),
        Tensor::new("bounds", true, f32, &[P, b.n_seqs, 3]),
        Tensor::new("out", false, bf16, &[n_tokens, b.n_heads, d]),
        Tensor::new("k_pages", false, bf16, &k_pages),
        Tensor::new("v_pages", false, bf16, &v_pages),
    ])
}

/// Appends and attends. Rows of padding come out as NaN.
pub fn run(program: &Program, inputs: &Buffers, outputs: &mut Buffers) -> Result<(), i32> {
    let b = Bucket::of(program)?;
    let q = program.array(inputs, "q");
    let new = ["k_new", "v_new"].map(|name| program.array(inputs, name));
    if !q.iter().chain(new.iter().flatten()).all(|x| x.is_finite()) {
        return Err(sys::NRT_EXEC_BAD_INPUT); // padding must be finite, and so is all else
    }
    let sequences = (0..b.n_seqs).map(|s| sequence(&b, program, inputs, s)).collect::<Result<Vec<_>, _>>()?;
    append(&b, &program.array(inputs, "rows"), &sequences, inputs, outputs)?;
    let [k_pages, v_pages] = ["k_pages", "v_pages"].map(|name| outputs[name].clone());
    let out = outputs.get_mut("out").expect("checked when it was loaded");
    out.fill(0xff);
    for (s, sequence) in sequences.iter().enumerate() {
        let result = attend(&b, &q, s * b.q_len, sequence, &k_pages, &v_pages);
        for ((t, h, f), value) in result.indexed_iter() {
            put_bf16(out, ((s * b.q_len + t) * b.n_heads + h) * b.head_dim + f, *value);
        }
    }
    Ok(())
}

/// Reads a sequence's plan, and holds its parts against each other.
fn sequence(b: &Bucket, program: &Program, inputs: &Buffers, s: usize) -> Result<Sequence, i32> {
    let [counts, tables, tails, bounds] =
        ["counts", "tables", "tails", "bounds"].map(|name| program.array(inputs, name));
    let bad = Err(sys::NRT_EXEC_BAD_INPUT);
    let [n_steps, n_singles, slot, n_context] = [0, 1, 2, 3].map(|i| counts[[s, i]] as usize);
    let limit = if b.static_pages > 0 { b.static_pages } else { b.max_pages };
    if n_context > limit || n_context != n_steps * b.step + n_singles || n_singles >= b.step || slot >= b.page_len {
        return bad;
    }
    let entry = |part: usize, i: usize| tables[[s, part, i / b.step, i % b.step]];
    let context = (0..n_context).map(|i| page(b, entry(1, i))).collect::<Result<Vec<_>, _>>()?;
    let singles_agree = (0..n_singles).all(|i| counts[[s, 4 + i]] == entry(1, n_context - n_singles + i));
    let n_in_steps = if b.static_pages > 0 { n_context } else { n_context - n_singles };
    let steps_agree = (0..n_in_steps).all(|i| entry(0, i) == entry(1, i));
    let [tail_start, table_start, tail_end] = [0, 1, 2].map(|i| bounds[[0, s, i]]);
    let n_new = tail_end as usize - slot.min(tail_end as usize);
    let bounds_agree = tail_start == -(slot as f64)
        && table_start == -((n_context * b.page_len + slot) as f64)
        && (0..P).all(|p| (0..3).all(|i| bounds[[p, s, i]] == bounds[[0, s, i]]));
    if !singles_agree || !steps_agree || !bounds_agree || !(1..=b.q_len).contains(&n_new) {
        return bad;
    }
    let tail = (0..b.n_tail()).map(|i| match tails[[s, i]] {
        -1.0 => Ok(None),
        number => page(b, number).map(Some),
    });
    let tail = tail.collect::<Result<Vec<_>, _>>()?;
    let n_needed = (slot + n_new).div_ceil(b.page_len);
    if tail.iter().take(n_needed).any(Option::is_none) {
        return bad;
    }
    Ok(Sequence { context, tail, slot, n_new })
}

/// A page's number, which must be one that there is.
fn page(b: &Bucket, number: f64) -> Result<usize, i32> {
    let inside = number >= 0.0 && number < b.n_pages as f64;
    if inside { Ok(number as usize) } else { Err(sys::NRT_EXEC_OOB) }
}

/// Writes new keys through the tail, those of padding included, as the kernel does, and new values to their rows.
fn append(
    b: &Bucket,
    rows: &ArrayD<f64>,
    sequences: &[Sequence],
    inputs: &Buffers,
    outputs: &mut Buffers,
) -> Result<(), i32> {
    let n_tokens = b.n_seqs * b.q_len;
    let k_pages = outputs.get_mut("k_pages").expect("checked when it was loaded");
    for (s, sequence) in sequences.iter().enumerate() {
        for i in 0..b.q_len {
            let at = sequence.slot + i;
            let Some(page) = sequence.tail[at / b.page_len] else { continue };
            for (h, f) in (0..b.n_kv_heads).flat_map(|h| (0..b.head_dim).map(move |f| (h, f))) {
                let from = (f * b.n_kv_heads + h) * n_tokens + s * b.q_len + i;
                copy_element(&inputs["k_new"], from, k_pages, b.key(page, at % b.page_len, h, f));
            }
        }
    }
    let v_pages = outputs.get_mut("v_pages").expect("checked when it was loaded");
    let n_rows = (b.n_pages * b.page_len) as f64;
    for t in 0..n_tokens {
        let row = rows[[t, 0]];
        if row == -1.0 {
            continue;
        }
        if !(0.0..n_rows).contains(&row) {
            return Err(sys::NRT_EXEC_OOB);
        }
        for i in 0..b.n_kv_heads * b.head_dim {
            copy_element(&inputs["v_new"], b.value_row(t) + i, v_pages, b.value_row(row as usize) + i);
        }
    }
    Ok(())
}

/// Attention of a sequence's new tokens, `[n_new, n_heads, head_dim]`. Positions count from the first page that is
/// seen.
fn attend(
    b: &Bucket,
    q: &ArrayD<f64>,
    first: usize,
    sequence: &Sequence,
    k_pages: &[u8],
    v_pages: &[u8],
) -> Array3<f64> {
    let start = sequence.context.len() * b.page_len + sequence.slot;
    let pages: Vec<usize> = sequence.context.iter().copied().chain(sequence.tail.iter().copied().flatten()).collect();
    let shape = (start + sequence.n_new, b.n_kv_heads, b.head_dim);
    let element = |bytes: &[u8], i: usize| half::bf16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f64();
    let place = |j: usize| (pages[j / b.page_len], j % b.page_len);
    let k = Array3::from_shape_fn(shape, |(j, h, f)| element(k_pages, b.key(place(j).0, place(j).1, h, f)));
    let v = Array3::from_shape_fn(shape, |(j, h, f)| {
        let (page, slot) = place(j);
        element(v_pages, b.value_row(b.row(page, slot)) + h * b.head_dim + f)
    });
    let q = Array3::from_shape_fn((sequence.n_new, b.n_heads, b.head_dim), |(t, h, f)| q[[f, h, first + t]]);
    let scale = (b.head_dim as f64).powf(-0.5);
    let (q, k, v) = (q.view(), k.view(), v.view());
    reference::attention(&Attention { q, k, v, start, scale, window: b.window })
}
