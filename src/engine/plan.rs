//! Who is in the next step, and with how many rows.

use std::sync::atomic::Ordering::Relaxed;

use super::request::{Request, Work};
use super::scheduler::{Planned, Scheduler, guarded};
use crate::error::Result;
use crate::kv::PageCache;

/// With decode rows in a step, prompts get this part of its rows.
const PROMPT_SHARE: usize = 4;

/// Rows of a prompt in a step that are worth its place there, where pages are not shorter.
const PROMPT_ROWS: usize = 64;

impl Scheduler {
    /// Fills `batch` and `planned`; what cannot go on is left in `ending`.
    pub(super) fn plan(&mut self) {
        self.batch.clear();
        self.turn += 1;
        let max_rows = self.model.options().max_step_tokens;
        let prompt_rows = (max_rows / PROMPT_SHARE).max(1);
        let prompts_wait = self.running.iter().any(|request| !request.is_decoding());
        if prompts_wait {
            self.plan_decodes(max_rows - prompt_rows, self.model.options().max_logit_rows - 1);
        } else {
            self.plan_decodes(max_rows, self.model.options().max_logit_rows);
        }
        let budget = if self.planned.is_empty() { max_rows } else { prompt_rows };
        self.choose_prompts(budget.div_ceil(self.shared.info.page_len.min(PROMPT_ROWS)));
        self.plan_prompts(budget);
    }

    fn plan_decodes(&mut self, max_rows: usize, max_logit_rows: usize) {
        for i in 0..self.running.len() {
            let idx = (self.turn + i) % self.running.len();
            let request = &self.running[idx];
            let has_room = self.batch.n_tokens() < max_rows.min(max_logit_rows);
            if has_room && request.is_decoding() && !request.is_paused() {
                self.place(idx, 1, max_logit_rows);
            }
        }
    }

    /// Lists up to `at_most` prompts that have something to compute in this step.
    fn choose_prompts(&mut self, at_most: usize) {
        self.prompts.clear();
        for i in 0..self.running.len() {
            let idx = (self.turn + i) % self.running.len();
            if self.running[idx].is_decoding() || self.prompts.len() == at_most {
                continue;
            }
            self.reuse(idx);
            match self.running[idx].context.pending() {
                0 => self.ending.push((idx, Ok(None))),
                _ if self.has_twin(&self.running[idx]) => {}
                pending => self.prompts.push((pending, idx)),
            }
        }
    }

    /// Shares `budget` rows evenly among the chosen prompts, the shortest first so that what it leaves goes to the
    /// others.
    fn plan_prompts(&mut self, mut budget: usize) {
        self.prompts.sort_unstable();
        for i in 0..self.prompts.len() {
            let (_, idx) = self.prompts[i];
            let logit_room = self.logit_room(i);
            budget -= self.place(idx, budget.div_ceil(self.prompts.len() - i), logit_room);
        }
    }

    /// Logits that a chosen prompt may ask for. Scores want one for each row and share what there is, but for one that
    /// each generation behind them wants for its prompt's end.
    fn logit_room(&self, prompt_idx: usize) -> usize {
        let room = self.model.options().max_logit_rows - self.batch.logit_rows.len();
        let (_, idx) = self.prompts[prompt_idx];
        let Work::Score(_) = self.running[idx].work else { return room };
        let left = || self.prompts[prompt_idx..].iter().map(|&(_, idx)| &self.running[idx].work);
        let n_scores = left().filter(|work| matches!(work, Work::Score(_))).count();
        let n_generations = left().filter(|work| matches!(work, Work::Generate(_))).count();
        // One at least, if there is one, lest generations that keep coming hold it up for good.
        room.saturating_sub(n_generations).max(1).div_ceil(n_scores).min(room)
    }

    /// Puts up to `max_rows` rows of a request into the batch, and asks for up to `logit_room` of their logits. Returns
    /// how many rows; none if it has to end.
    fn place(&mut self, idx: usize, max_rows: usize, logit_room: usize) -> usize {
        let request = &self.running[idx];
        let n_rows = rows_within(request, max_rows, logit_room, self.shared.info.page_len);
        let kv_len = request.context.table.len() + n_rows;
        if n_rows == 0 {
            return 0;
        }
        if let Err(error) = self.make_room(idx, kv_len) {
            self.ending.push((idx, Err(error)));
            return 0;
        }
        self.push(idx, n_rows);
        n_rows
    }

    /// Takes what others have computed of the prompt meanwhile.
    fn reuse(&mut self, idx: usize) {
        let request = &mut self.running[idx];
        let reusable = request.reusable();
        let len = request.context.table.len();
        let found = self.shared.kv().reuse(&mut request.context.table, &request.context.tokens[..reusable]);
        if found > 0 {
            request.usage.cached_tokens += found;
            if request.sound_len == len {
                request.sound_len += found;
            }
            self.shared.counters.cached_tokens.fetch_add(found as u64, Relaxed);
            tracing::debug!(session = request.session, cached_tokens = found, "prefix found");
        }
    }

    /// Whether a chosen prompt computes this one's next token, after the same tokens; then it will be found.
    fn has_twin(&self, request: &Request) -> bool {
        let (context, len) = (&request.context, request.context.table.len());
        let page_start = len / self.shared.info.page_len * self.shared.info.page_len;
        len < request.reusable()
            && self.prompts.iter().any(|&(_, idx)| {
                let other = &self.running[idx].context;
                other.table.same_path(&context.table)
                    && other.table.len() == len
                    && other.tokens[page_start..].starts_with(&context.tokens[page_start..=len])
            })
    }

    /// Makes the request's next slots, up to `kv_len`, its own.
    fn make_room(&mut self, idx: usize, kv_len: usize) -> Result<()> {
        let request = &mut self.running[idx];
        let decoding = request.is_decoding();
        let table = &mut request.context.table;
        let mut kv = self.shared.kv();
        let n_evicted = kv.evicted_pages();
        let copy = kv.reserve(table, kv_len).inspect_err(|_| {
            // A prompt gives back what it has got so far; what a reader has seen of a generation stays.
            if !decoding {
                kv.truncate(table, request.accepted_len);
            }
        })?;
        log_eviction(&kv, n_evicted);
        drop(kv);
        let Some(copy) = copy else { return Ok(()) };
        tracing::trace!(session = request.session, ?copy, "shared page copied");
        let pages = self.model.kv();
        let copied = guarded(|| pages.copy_page(copy.from, copy.to, copy.n_slots));
        if copied.is_err() {
            let page_start = table.len() - copy.n_slots;
            self.shared.kv().truncate(table, page_start);
        }
        copied
    }

    /// Adds the request's next `n_rows` rows to the batch.
    fn push(&mut self, idx: usize, n_rows: usize) {
        let request = &self.running[idx];
        let start = request.context.table.len();
        let kv_len = start + n_rows;
        let first_row = self.batch.n_tokens();
        let first_logit_row = self.batch.logit_rows.len();
        let pages = &request.context.table.pages()[..kv_len.div_ceil(self.shared.info.page_len)];
        self.batch.push(&request.context.tokens[start..kv_len], start, pages);
        let wanted = request.wanted.start.max(start)..request.wanted.end.min(kv_len);
        self.batch.logit_rows.extend(wanted.map(|position| (first_row + position - start) as u32));
        let n_logit_rows = self.batch.logit_rows.len() - first_logit_row;
        self.planned.push(Planned { request_idx: idx, kv_len, first_logit_row, n_logit_rows });
    }
}

/// Rows of the request's pending tokens that fit into the budget, and their wanted logits into `logit_room`. What does
/// not fit whole is cut by [`cut_at_page`].
fn rows_within(request: &Request, max_rows: usize, logit_room: usize, page_len: usize) -> usize {
    let start = request.context.table.len();
    let mut n_rows = request.context.pending().min(max_rows);
    let first_wanted = request.wanted.start.max(start);
    let n_wanted = request.wanted.end.min(start + n_rows).saturating_sub(first_wanted);
    if n_wanted > logit_room {
        n_rows = first_wanted - start + logit_room;
    }
    if n_rows < request.context.pending() { cut_at_page(start, n_rows, page_len) } else { n_rows }
}

/// How many of `n_rows` rows from position `start` on to compute, if more are to follow: those up to where a page ends,
/// if that leaves half of them at least. A full page is shared by reference, a part of one by copy.
fn cut_at_page(start: usize, n_rows: usize, page_len: usize) -> usize {
    let page_end = (start + n_rows) / page_len * page_len;
    let to_page_end = page_end.saturating_sub(start);
    if 2 * to_page_end >= n_rows { to_page_end } else { n_rows }
}

fn log_eviction(kv: &PageCache, n_evicted_before: u64) {
    let evicted_pages = kv.evicted_pages() - n_evicted_before;
    if evicted_pages > 0 {
        tracing::debug!(evicted_pages, retained_pages = kv.retained_pages(), free_pages = kv.free_pages(), "eviction");
    }
}

#[cfg(test)]
mod tests {
    use super::cut_at_page;

    #[test]
    fn a_prompt_is_cut_where_a_page_ends_if_half_of_its_rows_are_left() {
        for (start, n_rows, cut) in [
            (0, 512, 512),
            (0, 600, 512),
            (200, 512, 312),
            (192, 128, 64), // half of them is enough
            (193, 128, 128),
            (250, 128, 128),
            (256, 64, 64), // no page ends among them
            (300, 64, 64),
            (512, 0, 0),
        ] {
            assert_eq!(cut_at_page(start, n_rows, 256), cut, "{n_rows} rows from {start} on");
        }
    }
}
