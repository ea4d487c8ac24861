//! One ragged step as plain integers, and the logits that come back.

use super::{PageId, TokenId};
use crate::error::{Error, Result};

/// One ragged batch of rows: some sequences append a chunk of a prompt, some decode one token.
///
/// Sequence `s` owns rows `row_offsets[s]..row_offsets[s + 1]` of `tokens`; its first row stands at position
/// `starts[s]` of its context, and `pages[page_offsets[s]..page_offsets[s + 1]]` are the pages of the whole context,
/// those that this step writes included. After the step its context is `starts[s] + rows` tokens long. A page that a
/// step writes belongs to one sequence alone; pages that are only read may be shared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepBatch {
    /// `[n_tokens]` the tokens to append.
    pub tokens: Vec<TokenId>,
    /// `[n_seqs + 1]` first row of each sequence, then the number of rows.
    pub row_offsets: Vec<u32>,
    /// `[n_seqs]` position of each sequence's first row, which is the number of tokens that its pages already hold.
    pub starts: Vec<u32>,
    /// `[n_seqs + 1]` first entry of each sequence in `pages`, then the number of entries.
    pub page_offsets: Vec<u32>,
    /// `[page_offsets[n_seqs]]` page tables, one after the other.
    pub pages: Vec<PageId>,
    /// Rows whose logits are wanted, ascending.
    pub logit_rows: Vec<u32>,
}

impl StepBatch {
    /// An empty batch with room for its first sequence.
    pub fn new() -> Self {
        Self { row_offsets: vec![0], page_offsets: vec![0], ..Self::default() }
    }

    /// Forgets all sequences and keeps the memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.row_offsets.clear();
        self.row_offsets.push(0);
        self.starts.clear();
        self.page_offsets.clear();
        self.page_offsets.push(0);
        self.pages.clear();
        self.logit_rows.clear();
    }

    /// Adds a sequence that appends `tokens` at position `start` of the context in `pages`. The caller pushes
    /// to `logit_rows` what it wants of it (rows count over the whole batch).
    ///
    /// # Panics
    /// If `start`, or all rows or page table entries of the batch, are more than a `u32` counts: cut off they would
    /// name others.
    pub fn push(&mut self, tokens: &[TokenId], start: usize, pages: &[PageId]) {
        self.starts.push(counted(start, "position"));
        self.tokens.extend_from_slice(tokens);
        self.row_offsets.push(counted(self.tokens.len(), "row"));
        self.pages.extend_from_slice(pages);
        self.page_offsets.push(counted(self.pages.len(), "page table entry"));
    }

    /// Rows of this step.
    pub fn n_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// The lengths and page tables, without the tokens.
    pub fn ragged(&self) -> Ragged<'_> {
        Ragged {
            row_offsets: &self.row_offsets,
            starts: &self.starts,
            page_offsets: &self.page_offsets,
            pages: &self.pages,
        }
    }

    /// Checks every index against the others and against the pool: what passes cannot make a step read outside of it.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] for a token that there is not, [`Error::Page`] for a page that there is not or that is
    /// written in two places, [`Error::Argument`] for what else does not fit.
    pub fn validate(&self, vocab: usize, n_pages: usize, page_len: usize) -> Result<()> {
        if let Some(&token) = self.tokens.iter().find(|&&t| t as usize >= vocab) {
            return Err(Error::Vocabulary { token, vocab });
        }
        if self.row_offsets.last().map(|&n_rows| n_rows as usize) != Some(self.tokens.len()) {
            return Err(Error::argument("row_offsets must end with the number of tokens"));
        }
        let ordered = self.logit_rows.windows(2).all(|w| w[0] < w[1]);
        if !ordered || self.logit_rows.last().is_some_and(|&r| r as usize >= self.tokens.len()) {
            return Err(Error::argument("logit_rows must ascend and lie inside the batch"));
        }
        let ragged = self.ragged();
        ragged.validate(n_pages, page_len)?;
        ragged.check_written_once(page_len)
    }
}

/// A number as a batch keeps it.
fn counted(n: usize, what: &str) -> u32 {
    u32::try_from(n).unwrap_or_else(|_| panic!("{what} {n} of a batch: it counts to {}", u32::MAX))
}

/// The shape of a ragged batch over paged KV: row offsets, positions and page tables as compressed sparse rows
/// (FlashInfer, "KV-cache layout"). Fields as in [`StepBatch`].
#[derive(Debug, Clone, Copy)]
pub struct Ragged<'a> {
    /// `[n_seqs + 1]`
    pub row_offsets: &'a [u32],
    /// `[n_seqs]`
    pub starts: &'a [u32],
    /// `[n_seqs + 1]`
    pub page_offsets: &'a [u32],
    /// `[page_offsets[n_seqs]]`
    pub pages: &'a [PageId],
}

impl<'a> Ragged<'a> {
    /// Number of sequences.
    pub fn n_seqs(&self) -> usize {
        self.starts.len()
    }

    /// Rows of sequence `seq`, as a range over the batch.
    pub fn rows(&self, seq: usize) -> std::ops::Range<usize> {
        self.row_offsets[seq] as usize..self.row_offsets[seq + 1] as usize
    }

    /// Position of the first row of sequence `seq`.
    pub fn start(&self, seq: usize) -> usize {
        self.starts[seq] as usize
    }

    /// Tokens in the context of sequence `seq` once this batch is appended.
    pub fn kv_len(&self, seq: usize) -> usize {
        self.start(seq) + self.rows(seq).len()
    }

    /// Page table of sequence `seq`.
    pub fn page_table(&self, seq: usize) -> &'a [PageId] {
        &self.pages[self.page_offsets[seq] as usize..self.page_offsets[seq + 1] as usize]
    }

    /// Checks the offsets, that each page table covers its context, and that every page exists.
    ///
    /// # Errors
    /// [`Error::Page`] for a page that there is not, [`Error::Argument`] for what else does not fit.
    pub fn validate(&self, n_pages: usize, page_len: usize) -> Result<()> {
        let n = self.n_seqs();
        let ascends = |o: &[u32]| o.len() == n + 1 && o[0] == 0 && o.windows(2).all(|w| w[0] <= w[1]);
        if !ascends(self.row_offsets) || !ascends(self.page_offsets) {
            return Err(Error::argument(
                "offsets must start at 0, ascend, and have one entry more than there are sequences",
            ));
        }
        if self.page_offsets[n] as usize != self.pages.len() {
            return Err(Error::argument("page_offsets must end with the number of page table entries"));
        }
        if let Some(page) = self.pages.iter().find(|p| p.idx() >= n_pages) {
            return Err(Error::Page { page: *page, reason: format!("the pool has {n_pages} pages") });
        }
        for seq in 0..n {
            let (have, need) = (self.page_table(seq).len(), self.kv_len(seq).div_ceil(page_len));
            if have < need {
                return Err(Error::argument(format!(
                    "sequence {seq} holds {} tokens and lists {have} pages where it needs {need}",
                    self.kv_len(seq)
                )));
            }
        }
        Ok(())
    }

    /// That no page is written in two places: two threads would write one slot. (A page that one sequence writes and
    /// another reads gives the reader garbage, and nothing worse.) A step writes few pages, so all pairs are compared,
    /// without memory for it.
    fn check_written_once(&self, page_len: usize) -> Result<()> {
        let written = || (0..self.n_seqs()).flat_map(|seq| self.written_pages(seq, page_len));
        for (i, page) in written().enumerate() {
            if written().skip(i + 1).any(|other| other == page) {
                return Err(Error::Page { page: *page, reason: "the batch writes it in two places".into() });
            }
        }
        Ok(())
    }

    /// Pages that the rows of sequence `seq` go to.
    fn written_pages(&self, seq: usize, page_len: usize) -> &'a [PageId] {
        if self.rows(seq).is_empty() {
            return &[];
        }
        &self.page_table(seq)[self.start(seq) / page_len..self.kv_len(seq).div_ceil(page_len)]
    }
}

/// The logits of a step, in a buffer that is kept from step to step.
#[derive(Debug, Clone, Default)]
pub struct Logits {
    vocab: usize,
    values: Vec<f32>,
}

impl Logits {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for `n_rows` rows of `vocab` logits and hands it out, `[n_rows][vocab]`; called by backends.
    pub fn reset(&mut self, n_rows: usize, vocab: usize) -> &mut [f32] {
        self.vocab = vocab;
        self.values.resize(n_rows * vocab, 0.0);
        &mut self.values
    }

    /// Logits of the `i`-th wanted row, `[vocab]`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.vocab..(i + 1) * self.vocab]
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.values.len().checked_div(self.vocab).unwrap_or(0)
    }
}
