//! A call of attention, cut in launches of programs (`launch`).
//!
//! A sequence whose rows were just appended is *fresh*: its new tokens go with the launch, which writes them to their
//! pages. Decode rows of fresh sequences share launches. The rows of any other sequence lie in pages already, and the
//! kernel wants them as new tokens all the same: they are read, and go alone. The kernel writes whole pages of keys
//! from the first new token on, zero after the last; those pages' keys are put back afterwards, so that asking again
//! about the middle of a context changes nothing.

use std::collections::HashMap;
use std::ops::Range;

use half::bf16;
use ndarray::ArrayViewMut3;

use super::launch::{self, Piece, RESIDENT};
use super::layout::Page;
use super::pages::{Layer, NeuronPages, pages_request};
use super::plan::context;
use super::programs::Programs;
use crate::error::{Error, Result};
use crate::neuron::catalog::Request;
use crate::spec::{AttentionArgs, PageId, Ragged};

/// Page and slot of a position.
fn place(table: &[PageId], position: usize, page_len: usize) -> (PageId, usize) {
    (table[position / page_len], position % page_len)
}

/// Pages of the rows from position `start` on.
fn tail(table: &[PageId], start: usize, n_rows: usize, page_len: usize) -> &[PageId] {
    &table[start / page_len..(start + n_rows).div_ceil(page_len)]
}

/// Attention over `pages`, whose arguments were validated.
pub fn attention(pages: &mut NeuronPages, args: &AttentionArgs<'_>, mut out: ArrayViewMut3<'_, f32>) -> Result<()> {
    let (ragged, page_len) = (args.ragged, pages.layout.page_len);
    let call = Call { request: request(pages, args), programs: &pages.programs, args, page_len };
    let layer = &mut pages.layers[args.layer];
    let seqs = (0..ragged.n_seqs()).filter(|seq| !ragged.rows(*seq).is_empty());
    let fresh = fresh(layer, &ragged, page_len);
    let (fresh, settled): (Vec<usize>, Vec<usize>) = seqs.partition(|seq| fresh[*seq]);

    let fresh_pages: Vec<PageId> = fresh.iter().flat_map(|seq| call.tail_of(*seq)).copied().collect();
    for page in layer.pending.pages().into_iter().filter(|page| !fresh_pages.contains(page)) {
        layer.settle(page)?;
    }
    let (decode, prompts): (Vec<usize>, Vec<usize>) = fresh.into_iter().partition(|seq| ragged.rows(*seq).len() == 1);
    for group in decode.chunks(call.at_once(&decode, "n_seqs", decode.len())) {
        let pieces = group.iter().map(|seq| call.fresh_piece(layer, *seq, ragged.rows(*seq)));
        call.launch_fresh(layer, pieces.collect::<Result<Vec<_>>>()?, &mut out)?;
    }
    for seq in prompts {
        for rows in call.cut(seq) {
            let piece = call.fresh_piece(layer, seq, rows)?;
            call.launch_fresh(layer, vec![piece], &mut out)?;
        }
    }
    for seq in settled {
        call.cut(seq).into_iter().try_for_each(|rows| call.launch_settled(layer, seq, rows, &mut out))?;
    }
    Ok(())
}

/// What the programs of a call have in common.
fn request(pages: &NeuronPages, args: &AttentionArgs<'_>) -> Request {
    let request = pages_request(&pages.programs, pages.layout).exactly("n_heads", args.q.dim().1 as u64);
    request.exactly("window", args.window.unwrap_or(0) as u64).exactly("n_pages", pages.n_device_pages as u64)
}

/// Which sequences are fresh: all of their rows are pending, nothing else is on the pages of these, and those pages are
/// listed once in the call.
fn fresh(layer: &Layer, ragged: &Ragged<'_>, page_len: usize) -> Vec<bool> {
    let mut times_listed = HashMap::<PageId, usize>::new();
    for seq in 0..ragged.n_seqs() {
        let table = &ragged.page_table(seq)[..ragged.kv_len(seq).div_ceil(page_len)];
        table.iter().for_each(|page| *times_listed.entry(*page).or_default() += 1);
    }
    let is_fresh = |seq: usize| {
        let (start, table, n_rows) = (ragged.start(seq), ragged.page_table(seq), ragged.rows(seq).len());
        let is_pending = |position| {
            let (page, slot_idx) = place(table, position, page_len);
            layer.pending.token(page, slot_idx).is_some()
        };
        let tail = tail(table, start, n_rows, page_len);
        n_rows > 0
            && tail.iter().all(|page| times_listed[page] == 1)
            && (start..start + n_rows).all(is_pending)
            && tail.iter().map(|page| layer.pending.on_page(*page).count()).sum::<usize>() == n_rows
    };
    (0..ragged.n_seqs()).map(is_fresh).collect()
}

/// What the launches of a call have in common.
struct Call<'a, 'b> {
    request: Request,
    programs: &'a Programs,
    args: &'a AttentionArgs<'b>,
    page_len: usize,
}

impl Call<'_, '_> {
    fn tail_of(&self, seq: usize) -> &[PageId] {
        let ragged = self.args.ragged;
        tail(ragged.page_table(seq), ragged.start(seq), ragged.rows(seq).len(), self.page_len)
    }

    /// The request for launches of `n_seqs` and `q_len`, of which the last begins at `start`.
    fn request(&self, n_seqs: usize, q_len: usize, start: usize) -> Request {
        let n_context = context(start, self.args.window, self.page_len).len();
        let request = self.request.clone().at_least("n_seqs", n_seqs as u64).at_least("q_len", q_len as u64);
        request.at_least("max_pages", n_context.max(1) as u64)
    }

    /// The most of an argument that launches for these sequences take, and `wanted` at most; also if no program takes
    /// them, which the launch says.
    fn at_once(&self, seqs: &[usize], argument: &str, wanted: usize) -> usize {
        let last = seqs.iter().map(|seq| self.args.ragged.kv_len(*seq) - 1).max().unwrap_or(0);
        self.programs.largest(&self.request(1, 1, last), argument).unwrap_or(wanted).clamp(1, wanted.max(1))
    }

    /// The rows of a sequence in pieces that programs take.
    fn cut(&self, seq: usize) -> Vec<Range<usize>> {
        let rows = self.args.ragged.rows(seq);
        let at_once = self.at_once(&[seq], "q_len", rows.len());
        rows.clone().step_by(at_once).map(|first| first..rows.end.min(first + at_once)).collect()
    }

    /// Rows of a sequence, with tokens to come.
    fn piece(&self, seq: usize, rows: Range<usize>) -> Piece<'_> {
        let ragged = self.args.ragged;
        let start = ragged.start(seq) + rows.start - ragged.rows(seq).start;
        Piece { rows, start, table: ragged.page_table(seq), k: Vec::new(), v: Vec::new() }
    }

    /// Rows with the tokens that wait.
    fn fresh_piece(&self, layer: &Layer, seq: usize, rows: Range<usize>) -> Result<Piece<'_>> {
        let mut piece = self.piece(seq, rows);
        for row in 0..piece.rows.len() {
            let (page, slot_idx) = place(piece.table, piece.start + row, self.page_len);
            let (k, v) = layer.pending.token(page, slot_idx).expect("all rows of a fresh sequence are pending");
            piece.k.extend_from_slice(k);
            piece.v.extend_from_slice(v);
            check_finite(k.iter().chain(v), page, slot_idx)?;
        }
        Ok(piece)
    }

    /// Launches pieces of fresh sequences; their tokens wait no longer then.
    fn launch_fresh(&self, layer: &mut Layer, pieces: Vec<Piece<'_>>, out: &mut ArrayViewMut3<'_, f32>) -> Result<()> {
        self.launch(layer, &pieces, out)?;
        for piece in &pieces {
            for row in 0..piece.rows.len() {
                let (page, slot_idx) = place(piece.table, piece.start + row, self.page_len);
                layer.pending.forget_slot(page, slot_idx);
            }
        }
        Ok(())
    }

    /// Launches rows whose tokens lie in pages, and leaves those as they were.
    fn launch_settled(
        &self,
        layer: &mut Layer,
        seq: usize,
        rows: Range<usize>,
        out: &mut ArrayViewMut3<'_, f32>,
    ) -> Result<()> {
        let mut piece = self.piece(seq, rows);
        let tail = tail(piece.table, piece.start, piece.rows.len(), self.page_len);
        let before: Vec<Page> = tail.iter().map(|page| layer.read(*page)).collect::<Result<_>>()?;
        for row in 0..piece.rows.len() {
            let (page, slot_idx) = place(piece.table, piece.start + row, self.page_len);
            let read = &before[(piece.start + row) / self.page_len - piece.start / self.page_len];
            let first = piece.k.len();
            piece.k.extend(read.key(slot_idx));
            piece.v.extend_from_slice(read.value(slot_idx));
            check_finite(piece.k[first..].iter().chain(read.value(slot_idx)), page, slot_idx)?;
        }
        let launched = self.launch(layer, &[piece], out);
        // Whether it ran or not: it may have got that far.
        let put_back = tail.iter().zip(&before).try_for_each(|(page, before)| layer.write_keys(*page, before));
        launched.and(put_back)
    }

    /// Runs the smallest program that takes the pieces.
    fn launch(&self, layer: &mut Layer, pieces: &[Piece<'_>], out: &mut ArrayViewMut3<'_, f32>) -> Result<()> {
        let q_len = pieces.iter().map(|p| p.rows.len()).max().unwrap_or(0);
        let start = pieces.iter().map(|p| p.start).max().unwrap_or(0);
        let loaded = self.programs.find(&self.request(pieces.len(), q_len, start), &RESIDENT)?;
        launch::run(&loaded, self.args, layer, pieces, out)
    }
}

/// The kernel takes finite new tokens alone: sums run over all of them, weighted with zero where a query does not look.
fn check_finite<'a>(mut token: impl Iterator<Item = &'a bf16>, page: PageId, slot_idx: usize) -> Result<()> {
    if token.all(|x| x.is_finite()) {
        return Ok(());
    }
    let reason =
        format!("the new key or value in slot {slot_idx} is not finite, which the Neuron kernel does not take");
    Err(Error::Page { page, reason })
}
