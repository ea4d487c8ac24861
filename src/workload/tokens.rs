//! Token ids for lengths: minted so that two prompts share exactly the prefix that the workload says and no more.
//!
//! A run of tokens is a function of the seed and of what it stands for. Where two prompts part, the very next token
//! differs: the first token of a run is chosen against those that other prompts have in its place.

use super::plan::Block;
use super::quantiles::Rng;
use crate::error::{Error, Result};
use crate::spec::TokenId;

/// Makes token ids below the vocabulary's size.
#[derive(Debug, Clone, Copy)]
pub struct Minter {
    seed: u64,
    vocab: usize,
}

/// What a run of tokens stands for.
#[derive(Debug, Clone, Copy)]
pub enum Run {
    /// The system prompt and tools, the same for all sessions.
    System,
    /// What is new in turn `turn_idx` of session `session_idx`.
    Turn(usize, usize),
    /// The block of a hash id.
    Block(u64),
}

impl Minter {
    /// For a vocabulary of `vocab` tokens.
    pub fn new(seed: u64, vocab: usize) -> Self {
        Self { seed, vocab }
    }

    /// `len` tokens of a run.
    pub fn run(&self, run: Run, len: usize) -> Vec<TokenId> {
        let mut rng = match run {
            Run::System => Rng::new(self.seed, &[0]),
            Run::Turn(session_idx, turn_idx) => Rng::new(self.seed, &[1, session_idx as u64, turn_idx as u64]),
            Run::Block(hash_id) => Rng::new(self.seed, &[2, hash_id]),
        };
        (0..len).map(|_| rng.below(self.vocab) as TokenId).collect()
    }

    /// As [`Minter::run`], with a first token that is none of `taken`.
    ///
    /// # Errors
    /// When `taken` leaves no token of the vocabulary.
    pub fn run_apart(&self, run: Run, len: usize, taken: &[TokenId]) -> Result<Vec<TokenId>> {
        let mut tokens = self.run(run, len);
        if let Some(first) = tokens.first_mut() {
            let start = *first as usize;
            let candidates = (0..self.vocab).map(|i| ((start + i) % self.vocab) as TokenId);
            *first =
                candidates.into_iter().find(|t| !taken.contains(t)).ok_or_else(|| self.too_small(taken.len() + 1))?;
        }
        Ok(tokens)
    }

    /// As [`Minter::run`], as branch `branch_idx` of all that follow the same tokens: each branch has a first token of
    /// its own.
    ///
    /// # Errors
    /// When there are more branches than tokens.
    pub fn branch(&self, run: Run, len: usize, branch_idx: usize) -> Result<Vec<TokenId>> {
        if branch_idx >= self.vocab {
            return Err(self.too_small(branch_idx + 1));
        }
        let mut tokens = self.run(run, len);
        if let Some(first) = tokens.first_mut() {
            *first = branch_idx as TokenId;
        }
        Ok(tokens)
    }

    /// A prompt of blocks.
    ///
    /// # Errors
    /// When there are more branches than tokens.
    pub fn blocks(&self, blocks: &[Block]) -> Result<Vec<TokenId>> {
        let mut tokens = Vec::with_capacity(blocks.iter().map(|b| b.len).sum());
        for block in blocks {
            tokens.extend(self.branch(Run::Block(block.hash_id), block.len, block.branch_idx)?);
        }
        Ok(tokens)
    }

    fn too_small(&self, wanted: usize) -> Error {
        let vocab = self.vocab;
        Error::Workload(format!(
            "{wanted} prompts part at one token, and the vocabulary has only {vocab} to tell them apart"
        ))
    }
}

/// All prompts that a client without state has sent in one session: each is a prefix of an earlier one and a run of its
/// own.
#[derive(Debug, Default)]
pub struct Transcript {
    turns: Vec<Sent>,
}

#[derive(Debug)]
struct Sent {
    source: Option<usize>,
    prefix_len: usize,
    fresh: Vec<TokenId>,
    /// The first token that the model answered, which follows the prompt in the cache.
    answer: Option<TokenId>,
}

impl Transcript {
    /// Mints the prompt of the next turn of session `session_idx`: the first `prefix_len` tokens of turn `source`, then
    /// `fresh_len` new ones, which part at once from everything else that the session has sent or got at that place.
    ///
    /// # Errors
    /// When the vocabulary is too small to part.
    pub fn push(
        &mut self,
        minter: &Minter,
        session_idx: usize,
        (source, prefix_len): (Option<usize>, usize),
        fresh_len: usize,
    ) -> Result<Vec<TokenId>> {
        let run = Run::Turn(session_idx, self.turns.len());
        let fresh = if prefix_len == 0 && self.turns.is_empty() {
            minter.branch(run, fresh_len, session_idx)?
        } else {
            let taken: Vec<_> = (0..self.turns.len()).filter_map(|t| self.token_after(t, prefix_len)).collect();
            minter.run_apart(run, fresh_len, &taken)?
        };
        self.turns.push(Sent { source, prefix_len, fresh, answer: None });
        Ok(self.prompt(self.turns.len() - 1))
    }

    /// Notes the first token that came back for the last prompt.
    pub fn answered(&mut self, token: Option<TokenId>) {
        if let Some(turn) = self.turns.last_mut() {
            turn.answer = token;
        }
    }

    /// The whole prompt of turn `turn_idx`.
    fn prompt(&self, turn_idx: usize) -> Vec<TokenId> {
        let mut pieces = Vec::new();
        let (mut turn, mut end) = (&self.turns[turn_idx], usize::MAX);
        loop {
            let own = end.saturating_sub(turn.prefix_len).min(turn.fresh.len());
            pieces.push(&turn.fresh[..own]);
            end = end.min(turn.prefix_len);
            match turn.source {
                Some(source) => turn = &self.turns[source],
                None => break,
            }
        }
        pieces.into_iter().rev().flatten().copied().collect()
    }

    /// The token at `pos` of a turn's prompt and of the answer's first token.
    fn token_after(&self, turn_idx: usize, pos: usize) -> Option<TokenId> {
        let mut turn = &self.turns[turn_idx];
        if pos == turn.prefix_len + turn.fresh.len() {
            return turn.answer;
        }
        while pos < turn.prefix_len {
            turn = &self.turns[turn.source?];
        }
        turn.fresh.get(pos - turn.prefix_len).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(a: &[TokenId], b: &[TokenId]) -> usize {
        a.iter().zip(b).take_while(|(a, b)| a == b).count()
    }

    #[test]
    fn prompts_share_their_prefix_and_no_more_even_in_a_tiny_vocabulary() {
        // Seven tokens: without care, one fresh token in seven would go on as its source does.
        for seed in 0..50 {
            let minter = Minter::new(seed, 7);
            let mut transcript = Transcript::default();
            let first = transcript.push(&minter, 3, (None, 0), 10).unwrap();
            transcript.answered(Some(5));
            let second = transcript.push(&minter, 3, (Some(0), 6), 9).unwrap();
            let third = transcript.push(&minter, 3, (Some(1), 12), 4).unwrap();
            let back = transcript.push(&minter, 3, (Some(0), 10), 3).unwrap();
            assert_eq!([first.len(), second.len(), third.len(), back.len()], [10, 15, 16, 13]);
            assert_eq!(first[0], 3);
            assert_eq!(shared(&first, &second), 6);
            assert_eq!(shared(&second, &third), 12);
            assert_eq!(shared(&first, &third), 6);
            assert_eq!(shared(&first, &back), 10);
            assert_ne!(back[10], 5, "the prompt must not go on as the model's answer did");
        }
    }

    #[test]
    fn tokens_repeat_from_their_seed() {
        let minter = Minter::new(9, 1_000);
        assert_eq!(minter.run(Run::Turn(1, 2), 50), minter.run(Run::Turn(1, 2), 50));
        assert_eq!(minter.run(Run::Turn(1, 2), 50)[..20], minter.run(Run::Turn(1, 2), 20));
        assert_ne!(minter.run(Run::Turn(1, 2), 50), minter.run(Run::Turn(2, 1), 50));
        assert_ne!(minter.run(Run::System, 50), Minter::new(8, 1_000).run(Run::System, 50));
    }

    #[test]
    fn a_vocabulary_that_cannot_tell_prompts_apart_is_an_error() {
        let minter = Minter::new(0, 2);
        assert!(minter.branch(Run::System, 4, 2).is_err());
        assert!(minter.run_apart(Run::System, 4, &[0, 1]).is_err());
    }
}
