//! Sequences that share their first pages, as forks do: their decode rows read those pages together, once (cascade
//! attention; Ye et al. 2024, FlashInfer). The bits stay the same, since a row's states are those of its chunks, and
//! merge left to right, whoever computed them.

use super::scratch::Geometry;
use crate::spec::Ragged;
use crate::spec::contract::CHUNK_LEN;

/// Sequences of one row each whose first chunks are the same pages.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// First of its members.
    first: usize,
    /// Members; two or more, once it is formed.
    n_members: usize,
    /// Chunks that they share, at least one. Every member sees all of them.
    pub n_chunks: usize,
}

/// The groups of a step.
#[derive(Debug)]
pub struct Cascade {
    /// `[members]` sequences, group by group.
    members: Vec<u32>,
    /// `[members]` rows of the batch, as `members`.
    tokens: Vec<u32>,
    groups: Vec<Group>,
    /// `[n_seqs]` whether a sequence is in a group.
    shares: Vec<bool>,
}

impl Cascade {
    /// Room for steps of `max_step_tokens` rows.
    pub fn new(max_step_tokens: usize) -> Self {
        Self {
            members: Vec::with_capacity(max_step_tokens),
            tokens: Vec::with_capacity(max_step_tokens),
            groups: Vec::with_capacity(max_step_tokens / 2),
            shares: Vec::with_capacity(max_step_tokens),
        }
    }

    /// Finds the groups of a step, of `max_members` at most. `may_form` says whether there is room for a group of so
    /// many members that shares so many chunks and has so many chunks of their own in all.
    pub fn find(
        &mut self,
        geometry: &Geometry,
        ragged: &Ragged<'_>,
        max_members: usize,
        mut may_form: impl FnMut(usize, usize, usize) -> bool,
    ) {
        self.members.clear();
        self.tokens.clear();
        self.groups.clear();
        self.shares.clear();
        self.shares.resize(ragged.n_seqs(), false);
        // With a window, rows of different lengths see different keys of a shared chunk, and few of them.
        if geometry.window.is_some() || max_members < 2 {
            return;
        }
        self.members.extend((0..ragged.n_seqs()).filter(|seq| ragged.rows(*seq).len() == 1).map(|seq| seq as u32));
        // Neighbours share the most.
        self.members
            .sort_unstable_by(|a, b| ragged.page_table(*a as usize).cmp(ragged.page_table(*b as usize)).then(a.cmp(b)));
        self.tokens.extend(self.members.iter().map(|seq| ragged.rows(*seq as usize).start as u32));
        let mut first = 0;
        while first < self.members.len() {
            let group = self.group(ragged, first, max_members);
            first += group.n_members;
            if group.n_members == 1 {
                continue;
            }
            let n_own = self.members(&group).iter().map(|seq| n_chunks(ragged, *seq) - group.n_chunks).sum();
            if may_form(group.n_members, group.n_chunks, n_own) {
                self.groups.push(group);
                for seq in &self.members[group.first..first] {
                    self.shares[*seq as usize] = true;
                }
            }
        }
    }

    /// The group that begins with member `first`: as long as another member saves more than it costs the others in
    /// shared chunks.
    fn group(&self, ragged: &Ragged<'_>, first: usize, max_members: usize) -> Group {
        let mut group = Group { first, n_members: 1, n_chunks: usize::MAX };
        for pair in self.members[first..].windows(2).take(max_members - 1) {
            let n_chunks = group.n_chunks.min(shared_chunks(ragged, pair[0], pair[1]));
            let saved_before = if group.n_members == 1 { 0 } else { (group.n_members - 1) * group.n_chunks };
            if n_chunks == 0 || group.n_members * n_chunks < saved_before {
                break;
            }
            group = Group { n_members: group.n_members + 1, n_chunks, ..group };
        }
        group
    }

    /// The groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Sequences of a group.
    pub fn members(&self, group: &Group) -> &[u32] {
        &self.members[group.first..group.first + group.n_members]
    }

    /// Place of a group's first member in [`Cascade::tokens`].
    pub fn first_token(&self, group: &Group) -> usize {
        group.first
    }

    /// Rows of the batch, group by group.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Whether a sequence is in a group.
    pub fn shares(&self, seq: usize) -> bool {
        self.shares[seq]
    }
}

/// Chunks of a sequence.
fn n_chunks(ragged: &Ragged<'_>, seq: u32) -> usize {
    ragged.kv_len(seq as usize).div_ceil(CHUNK_LEN)
}

/// Whole chunks at the start of two sequences that lie in the same pages.
fn shared_chunks(ragged: &Ragged<'_>, a: u32, b: u32) -> usize {
    let (a, b) = (a as usize, b as usize);
    let same = ragged.page_table(a).iter().zip(ragged.page_table(b)).take_while(|(a, b)| a == b).count();
    same.min(ragged.kv_len(a) / CHUNK_LEN).min(ragged.kv_len(b) / CHUNK_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::PageId;

    const GEOMETRY: Geometry = Geometry { n_kv_heads: 1, group: 3, head_dim: 64, scale: 1.0, window: None };

    /// Members and shared chunks of each group of sequences of one row, which are `len` long and have these pages.
    fn groups(geometry: &Geometry, tables: &[&[u32]], len: usize, max_members: usize) -> Vec<(Vec<u32>, usize)> {
        let offsets = |lens: &mut dyn Iterator<Item = usize>| {
            let sums = lens.scan(0, |sum, len| {
                *sum += len as u32;
                Some(*sum)
            });
            std::iter::once(0).chain(sums).collect::<Vec<_>>()
        };
        let pages: Vec<PageId> = tables.iter().flat_map(|t| t.iter().map(|p| PageId(*p))).collect();
        let ragged = Ragged {
            row_offsets: &offsets(&mut tables.iter().map(|_| 1)),
            starts: &vec![len as u32 - 1; tables.len()],
            page_offsets: &offsets(&mut tables.iter().map(|t| t.len())),
            pages: &pages,
        };
        let mut cascade = Cascade::new(tables.len());
        cascade.find(geometry, &ragged, max_members, |_, _, _| true);
        cascade.groups().iter().map(|g| (cascade.members(g).to_vec(), g.n_chunks)).collect()
    }

    #[test]
    fn forks_are_found_wherever_they_stand_in_the_batch() {
        let (a, b) = ([1, 5], [9, 5]);
        let tables: [&[u32]; 4] = [&a, &b, &[1, 6], &[9, 7]];
        assert_eq!(groups(&GEOMETRY, &tables, 300, 8), [(vec![0, 2], 1), (vec![1, 3], 1)]);
        // What is shared must be a whole chunk, and in both contexts.
        assert_eq!(groups(&GEOMETRY, &[&a, &[8, 5]], 300, 8), []);
        assert_eq!(groups(&GEOMETRY, &[&a, &a], 255, 8), []);
    }

    #[test]
    fn groups_are_no_larger_than_asked_and_windows_share_nothing() {
        let table: &[u32] = &[1, 2];
        assert_eq!(groups(&GEOMETRY, &[table; 5], 300, 2), [(vec![0, 1], 1), (vec![2, 3], 1)]);
        assert_eq!(groups(&Geometry { window: Some(100), ..GEOMETRY }, &[table; 5], 300, 2), []);
    }

    #[test]
    fn a_distant_relative_does_not_cost_the_others_what_they_share() {
        let long: Vec<u32> = (0..10).collect();
        let short: Vec<u32> = (0..1).chain(100..109).collect();
        assert_eq!(groups(&GEOMETRY, &[&long, &short, &long], 2_560, 8), [(vec![0, 2], 10)]);
    }
}
