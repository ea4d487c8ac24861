//! The step: a ragged batch through a decoder-only transformer of the Llama family (Touvron et al. 2023, section 2).

use tracing::trace_span;

use super::attention::{Attention, Geometry};
use super::disjoint::Disjoint;
use super::isa::Isa;
use super::lhs::LhsElement;
use super::matmul::{Epilogue, Matmul};
use super::matrix::Matrix;
use super::pages::{Pages, StoreToken};
use super::parallel::for_each_task;
use super::pointwise::{LhsRow, RmsNorm, RotateHeads};
use super::state::State;
use super::weights::{Layer, Weights};
use crate::spec::contract::PAGE_LEN;
use crate::spec::{Logits, ModelConfig, Slot, StepBatch};

/// Rows of a pointwise task.
const TASK_ROWS: usize = 16;

/// One step, while it runs.
pub struct Forward<'a, I: Isa, W: Matrix> {
    /// The kernel table.
    pub isa: I,
    /// The model's shape.
    pub config: &'a ModelConfig,
    /// Heads and scale.
    pub geometry: Geometry,
    /// `[head_dim / 2]` angle per position.
    pub frequencies: &'a [f64],
    /// The weights.
    pub weights: &'a Weights<W>,
    /// The KV cache.
    pub pages: &'a mut Pages,
    /// Activations.
    pub state: &'a mut State<I, W>,
    /// What to compute.
    pub batch: &'a StepBatch,
}

impl<I: Isa, W: Matrix> Forward<'_, I, W> {
    /// Runs the step. Each phase is a span at level trace, which costs nothing while nobody listens; the bench `step`
    /// does.
    pub fn run(mut self, logits: &mut Logits) {
        let weights = self.weights;
        self.plan();
        self.embed();
        for (i, layer) in weights.layers.iter().enumerate() {
            let after = weights.layers.get(i + 1).map_or(&weights.lm_head, |next| &next.qkv);
            self.norm(&layer.attention_norm);
            self.qkv(layer);
            self.rotate_and_append(i, layer);
            self.attend(i);
            self.project_back(&layer.o, Source::Attended, &layer.gate_up);
            self.norm(&layer.ffn_norm);
            self.gate_up(layer);
            self.project_back(&layer.down, Source::Gated, after);
        }
        self.logits(logits);
    }

    /// Positions, slots, angles and the tasks of attention: lengths only.
    fn plan(&mut self) {
        let _phase = trace_span!("plan").entered();
        let (state, ragged) = (&mut *self.state, self.batch.ragged());
        state.plan.make(&self.geometry, &ragged);
        state.positions.clear();
        state.slots.clear();
        for seq in 0..ragged.n_seqs() {
            let table = ragged.page_table(seq);
            for position in ragged.start(seq)..ragged.kv_len(seq) {
                state.positions.push(position as u32);
                let at = Slot { page: table[position / PAGE_LEN], slot_idx: position % PAGE_LEN };
                if at.slot_idx == 0 {
                    self.pages.begin(at.page);
                }
                state.slots.push(at);
            }
        }
    }

    /// `x = embedding[token]`, and the angles of RoPE.
    fn embed(&mut self) {
        let _phase = trace_span!("embed").entered();
        let (d_model, half) = (self.config.d_model, self.config.head_dim / 2);
        let State { x, cos, sin, positions, threads, .. } = &mut *self.state;
        let (x, cos, sin) = (Disjoint::new(x), Disjoint::new(cos), Disjoint::new(sin));
        let (weights, batch, frequencies) = (self.weights, self.batch, self.frequencies);
        for_each_row(threads, batch.n_tokens(), |row| {
            // SAFETY: each row is one task's own.
            let (x, cos, sin) =
                unsafe { (x.slice(row * d_model, d_model), cos.slice(row * half, half), sin.slice(row * half, half)) };
            weights.embed(batch.tokens[row] as usize, x);
            for (i, frequency) in frequencies.iter().enumerate() {
                let (s, c) = (f64::from(positions[row]) * frequency).sin_cos();
                (sin[i], cos[i]) = (s as f32, c as f32);
            }
        });
    }

    /// `normed = rms_norm(x)`
    fn norm(&mut self, weight: &[f32]) {
        let _phase = trace_span!("norm").entered();
        let d_model = self.config.d_model;
        let State { x, normed, threads, .. } = &mut *self.state;
        let lhs = Disjoint::new(normed);
        let (isa, eps) = (self.isa, self.config.norm_eps);
        for_each_row(threads, self.batch.n_tokens(), |row| {
            // SAFETY: each row is one task's own, and all are as long.
            let out = unsafe { LhsRow::new(&lhs, row, <W::Lhs<I>>::row_len(d_model)) };
            isa.run(RmsNorm { x: &x[row * d_model..][..d_model], weight, eps, out });
        });
    }

    /// `qkv = normed W^T + bias`
    fn qkv(&mut self, layer: &Layer<W>) {
        let _phase = trace_span!("qkv").entered();
        let State { normed, qkv, operand, threads, .. } = &mut *self.state;
        let epilogue =
            Epilogue::Store { out: Disjoint::new(qkv), stride: layer.qkv.n(), bias: layer.qkv_bias.as_deref() };
        let matmul =
            Matmul { lhs: normed, n_rows: self.batch.n_tokens(), weights: &layer.qkv, epilogue, next: Some(&layer.o) };
        matmul.run(self.isa, operand, threads, |t| &mut t.sums);
    }

    /// Norms of heads where the model has them, RoPE on q and k, and keys and values into their pages.
    fn rotate_and_append(&mut self, layer_idx: usize, layer: &Layer<W>) {
        let _phase = trace_span!("rotate_append").entered();
        let State { qkv, threads, cos, sin, slots, .. } = &mut *self.state;
        let (stride, half) = (layer.qkv.n(), self.config.head_dim / 2);
        let (d_q, d_kv, eps) = (self.config.d_q(), self.config.d_kv(), self.config.norm_eps);
        let qkv = Disjoint::new(qkv);
        let writer = self.pages.writer(layer_idx);
        let isa = self.isa;
        for_each_row(threads, self.batch.n_tokens(), |row| {
            // SAFETY: each row is one task's own.
            let qkv = unsafe { qkv.slice(row * stride, stride) };
            let (q, kv) = qkv.split_at_mut(d_q);
            let (k, v) = kv.split_at_mut(d_kv);
            let (cos, sin) = (&cos[row * half..][..half], &sin[row * half..][..half]);
            for (x, norm) in [(&mut *q, &layer.q_norm), (&mut *k, &layer.k_norm)] {
                isa.run(RotateHeads { x, norm: norm.as_deref().map(|weight| (weight, eps)), cos, sin });
            }
            // SAFETY: each row is one task's own, and `StepBatch::validate` lets no two rows write one slot.
            let token = unsafe { StoreToken::new(&writer, slots[row], k, v) };
            isa.run(token);
        });
    }

    /// `attended = softmax(q k^T) v`
    fn attend(&mut self, layer_idx: usize) {
        let _phase = trace_span!("attention").entered();
        let d_q = self.config.d_q();
        let State { qkv, attended, plan, threads, .. } = &mut *self.state;
        let attention = Attention {
            geometry: self.geometry,
            q: qkv,
            q_stride: d_q + 2 * self.config.d_kv(),
            layer: self.pages.layer(layer_idx),
            ragged: self.batch.ragged(),
            out: Disjoint::new(attended),
            out_depth: <W::Lhs<I>>::row_len(d_q),
        };
        attention.run(self.isa, plan, threads, |t| &mut t.attention);
    }

    /// `gated = silu(normed Wg^T) * (normed Wu^T)`
    fn gate_up(&mut self, layer: &Layer<W>) {
        let _phase = trace_span!("gate_up").entered();
        let State { normed, gated, operand, threads, .. } = &mut *self.state;
        let epilogue = Epilogue::SiluGate { out: Disjoint::new(gated), depth: <W::Lhs<I>>::row_len(layer.down.k()) };
        let matmul = Matmul {
            lhs: normed,
            n_rows: self.batch.n_tokens(),
            weights: &layer.gate_up,
            epilogue,
            next: Some(&layer.down),
        };
        matmul.run(self.isa, operand, threads, |t| &mut t.sums);
    }

    /// `x += source W^T`, before a product with `next`
    fn project_back(&mut self, weights: &W, source: Source, next: &W) {
        let State { x, attended, gated, operand, threads, .. } = &mut *self.state;
        let (lhs, span) = match source {
            Source::Attended => (attended, trace_span!("project")),
            Source::Gated => (gated, trace_span!("down")),
        };
        let _phase = span.entered();
        let epilogue = Epilogue::Add { out: Disjoint::new(x), stride: self.config.d_model };
        let matmul = Matmul { lhs, n_rows: self.batch.n_tokens(), weights, epilogue, next: Some(next) };
        matmul.run(self.isa, operand, threads, |t| &mut t.sums);
    }

    /// Logits of the rows that want them.
    fn logits(&mut self, logits: &mut Logits) {
        let vocab = self.config.vocab;
        let out = logits.reset(self.batch.logit_rows.len(), vocab);
        if out.is_empty() {
            return;
        }
        self.final_norm();
        let _phase = trace_span!("logits").entered();
        let State { normed, operand, threads, .. } = &mut *self.state;
        let epilogue = Epilogue::Store { out: Disjoint::new(out), stride: vocab, bias: None };
        let n_rows = self.batch.logit_rows.len();
        let matmul = Matmul { lhs: normed, n_rows, weights: &self.weights.lm_head, epilogue, next: None };
        matmul.run(self.isa, operand, threads, |t| &mut t.sums);
    }

    /// `normed[i] = rms_norm(x[row])` of the rows whose logits are wanted.
    fn final_norm(&mut self) {
        let _phase = trace_span!("norm").entered();
        let State { x, normed, threads, .. } = &mut *self.state;
        let (isa, eps, weight) = (self.isa, self.config.norm_eps, &self.weights.final_norm);
        let (lhs, d_model, rows) = (Disjoint::new(normed), self.config.d_model, &self.batch.logit_rows);
        for_each_row(threads, rows.len(), |i| {
            // SAFETY: each row is one task's own, and all are as long.
            let out = unsafe { LhsRow::new(&lhs, i, <W::Lhs<I>>::row_len(d_model)) };
            isa.run(RmsNorm { x: &x[rows[i] as usize * d_model..][..d_model], weight, eps, out });
        });
    }
}

/// Which left operand goes back into the residual stream.
enum Source {
    Attended,
    Gated,
}

/// Runs `f` for each row, sixteen to a task.
fn for_each_row<S: Send>(threads: &mut [S], n_rows: usize, f: impl Fn(usize) + Sync) {
    for_each_task(threads, n_rows.div_ceil(TASK_ROWS), |_, i| {
        (i * TASK_ROWS..n_rows.min((i + 1) * TASK_ROWS)).for_each(&f);
    });
}
