//! A model that computes nothing and remembers everything. It stores tokens in its pages, slot by slot, and its logits
//! are a hash of the whole prefix as it reads it back: a wrong page, a missing copy, a stale slot or a wrong length
//! changes them.

use std::sync::{Arc, Mutex};

use longhaul::backend::{KvPages, LoadOptions, Model};
use longhaul::engine::{Engine, GenerateOptions, Session, SessionOptions};
use longhaul::spec::{
    Architecture, AttentionArgs, KvDtype, KvSpec, Logits, ModelConfig, PageId, RopeConfig, RopeScaling, Slot,
    StepBatch, TokenId,
};
use longhaul::{Error, Result};
use ndarray::{ArrayView3, ArrayViewMut3};

pub const VOCAB: usize = 97;
pub const PAGE_LEN: usize = 16;
pub const MAX_LEN: usize = 20_000;
pub const END_TOKEN: TokenId = 96;

/// What goes wrong with a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    Panic,
    /// The logits of this row are NaN.
    Nan(usize),
    /// Rows of logits are this much shorter.
    Narrow(usize),
    Fail,
}

/// Looks at a batch before it runs, may take its time, and says what goes wrong with it.
type Hook = Box<dyn FnMut(&StepBatch) -> Fault + Send>;

/// What a test keeps of a toy model that an engine owns.
#[derive(Clone, Default)]
pub struct Remote {
    hook: Arc<Mutex<Option<Hook>>>,
    batches: Arc<Mutex<Vec<StepBatch>>>,
}

impl Remote {
    pub fn on_step(&self, hook: impl FnMut(&StepBatch) -> Fault + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }

    /// Every batch so far.
    pub fn batches(&self) -> Vec<StepBatch> {
        self.batches.lock().unwrap().clone()
    }
}

pub struct Toy {
    config: ModelConfig,
    options: LoadOptions,
    pages: Pages,
    remote: Remote,
}

struct Pages {
    spec: KvSpec,
    /// `[n_pages][PAGE_LEN]`
    slots: Vec<[Option<TokenId>; PAGE_LEN]>,
}

/// An engine over a toy model with `n_pages` pages and steps of up to 64 rows.
pub fn engine(n_pages: usize) -> (Engine, Remote) {
    let remote = Remote::default();
    let engine = Engine::builder().model(Box::new(Toy::new(n_pages, remote.clone()))).build().unwrap();
    (engine, remote)
}

pub fn session(engine: &Engine, tenant: &str) -> Session {
    engine.session(SessionOptions::tenant(tenant)).unwrap()
}

/// A session with a context that is not yet computed.
pub fn prompted(engine: &Engine, tenant: &str, prompt: &[TokenId]) -> Session {
    let mut session = session(engine, tenant);
    session.append_tokens(prompt).unwrap();
    session
}

/// `n` greedy tokens, whatever they are.
pub fn greedy(n: usize) -> GenerateOptions {
    GenerateOptions { max_tokens: n, ignore_end: true, ..Default::default() }
}

/// Some tokens, the same for the same seed, without the end token.
pub fn prompt(seed: u64, n: usize) -> Vec<TokenId> {
    (0..n as u64).map(|i| (mix(seed << 32 | i) % (VOCAB as u64 - 1)) as TokenId).collect()
}

/// The logits behind `prefix`, by definition.
pub fn logits(prefix: &[TokenId]) -> Vec<f32> {
    let state = prefix.iter().fold(prefix.len() as u64, |state, &token| mix(state ^ u64::from(token)));
    (0..VOCAB as u64).map(|v| (mix(state.wrapping_add(v)) >> 40) as f32 / (1 << 21) as f32).collect()
}

/// What greedy generation behind `prompt` has to give.
pub fn continuation(prompt: &[TokenId], n: usize) -> Vec<TokenId> {
    let mut tokens = prompt.to_vec();
    for _ in 0..n {
        let logits = logits(&tokens);
        let best = (0..VOCAB).reduce(|best, v| if logits[v] > logits[best] { v } else { best }).unwrap();
        tokens.push(best as TokenId);
    }
    tokens.split_off(prompt.len())
}

/// What scoring `token` behind `prefix` has to give.
pub fn logprob(prefix: &[TokenId], token: TokenId) -> f32 {
    let logits = logits(prefix);
    let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
    (f64::from(logits[token as usize]) - sum.ln()) as f32
}

fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Toy {
    pub fn new(n_pages: usize, remote: Remote) -> Self {
        let config = ModelConfig {
            architecture: Architecture::Llama,
            d_model: 1,
            n_layers: 1,
            n_heads: 1,
            n_kv_heads: 1,
            head_dim: 1,
            d_ff: 1,
            vocab: VOCAB,
            max_len: MAX_LEN,
            norm_eps: 1e-5,
            rope: RopeConfig { theta: 1e4, scaling: RopeScaling::None },
            sliding_window: None,
            qkv_bias: false,
            qk_norm: false,
            tied_embeddings: true,
            end_tokens: vec![END_TOKEN],
        };
        let spec = KvSpec { n_layers: 1, n_kv_heads: 1, head_dim: 2, dtype: KvDtype::Bf16 };
        let options =
            LoadOptions { weights: None, kv: KvDtype::Bf16, n_pages, max_step_tokens: 64, max_logit_rows: 48 };
        let pages = Pages { spec, slots: vec![[None; PAGE_LEN]; n_pages] };
        Self { config, options, pages, remote }
    }
}

impl Model for Toy {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn options(&self) -> &LoadOptions {
        &self.options
    }

    fn kv(&mut self) -> &mut dyn KvPages {
        &mut self.pages
    }

    fn step(&mut self, batch: &StepBatch, logits: &mut Logits) -> Result<()> {
        batch.validate(VOCAB, self.options.n_pages, PAGE_LEN)?;
        assert!(batch.n_tokens() <= self.options.max_step_tokens, "more rows than a step may have");
        assert!(batch.logit_rows.len() <= self.options.max_logit_rows, "more logits than a step may have");
        assert_written_pages_are_exclusive(batch);
        self.remote.batches.lock().unwrap().push(batch.clone());
        let fault = self.remote.hook.lock().unwrap().as_mut().map_or(Fault::None, |hook| hook(batch));
        let ragged = batch.ragged();
        for seq in 0..ragged.n_seqs() {
            for (row, position) in ragged.rows(seq).zip(ragged.start(seq)..) {
                let page = ragged.page_table(seq)[position / PAGE_LEN];
                // A failing step has written something by then.
                let token = if matches!(fault, Fault::Panic | Fault::Fail) { 0 } else { batch.tokens[row] };
                self.pages.slots[page.idx()][position % PAGE_LEN] = Some(token);
            }
        }
        match fault {
            Fault::Panic => panic!("the toy broke"),
            Fault::Fail => return Err(Error::Step("the toy refused".into())),
            Fault::None | Fault::Nan(_) | Fault::Narrow(_) => {}
        }
        let width = if let Fault::Narrow(by) = fault { VOCAB - by } else { VOCAB };
        let out = logits.reset(batch.logit_rows.len(), width);
        for (out, &row) in out.chunks_mut(width).zip(&batch.logit_rows) {
            let seq = (0..ragged.n_seqs()).find(|&seq| ragged.rows(seq).contains(&(row as usize))).unwrap();
            let kv_len = ragged.start(seq) + row as usize - ragged.rows(seq).start + 1;
            out.copy_from_slice(&self::logits(&self.pages.read(ragged.page_table(seq), kv_len))[..width]);
            if fault == Fault::Nan(row as usize) {
                out.fill(f32::NAN);
            }
        }
        Ok(())
    }
}

/// The promise of [`StepBatch`]: a page that a step writes belongs to one sequence alone.
fn assert_written_pages_are_exclusive(batch: &StepBatch) {
    let ragged = batch.ragged();
    for seq in 0..ragged.n_seqs() {
        for page_idx in ragged.start(seq) / PAGE_LEN..ragged.kv_len(seq).div_ceil(PAGE_LEN) {
            let written = ragged.page_table(seq)[page_idx];
            let n_places = ragged.pages.iter().filter(|&&page| page == written).count();
            assert_eq!(n_places, 1, "{written:?} is written by sequence {seq} and listed elsewhere");
        }
    }
}

impl Pages {
    fn read(&self, table: &[PageId], kv_len: usize) -> Vec<TokenId> {
        let slot = |p: usize| self.slots[table[p / PAGE_LEN].idx()][p % PAGE_LEN];
        // A slot that was never written is no token at all.
        (0..kv_len).map(|position| slot(position).unwrap_or(TokenId::MAX)).collect()
    }
}

impl KvPages for Pages {
    fn spec(&self) -> &KvSpec {
        &self.spec
    }

    fn n_pages(&self) -> usize {
        self.slots.len()
    }

    fn append(&mut self, _: usize, _: ArrayView3<'_, f32>, _: ArrayView3<'_, f32>, _: &[Slot]) -> Result<()> {
        Err(Error::argument("a toy has no keys and values"))
    }

    fn attention(&mut self, _: &AttentionArgs<'_>, _: ArrayViewMut3<'_, f32>) -> Result<()> {
        Err(Error::argument("a toy has no attention"))
    }

    fn copy_page(&mut self, from: PageId, to: PageId, n_slots: usize) -> Result<()> {
        let source = self.slots[from.idx()];
        self.slots[to.idx()] = [None; PAGE_LEN];
        self.slots[to.idx()][..n_slots].copy_from_slice(&source[..n_slots]);
        Ok(())
    }

    fn page_bytes(&self) -> usize {
        PAGE_LEN * self.spec.bytes_per_token()
    }

    fn export_page(&self, _: PageId, _: &mut [u8]) -> Result<()> {
        Err(Error::argument("a toy's pages stay where they are"))
    }

    fn import_page(&mut self, _: PageId, _: &[u8]) -> Result<()> {
        Err(Error::argument("a toy's pages stay where they are"))
    }
}
