use super::*;
use crate::spec::PageId;

/// Sequences that share `shared` chunks and have `own` more each.
struct Forks {
    n_seqs: usize,
    n_rows: usize,
    shared: usize,
    own: usize,
}

/// Makes the plan, and asks of it that every row meets every chunk once and that there was room for everything.
fn check(geometry: &Geometry, n_threads: usize, block_rows: usize, forks: &Forks) {
    let Forks { n_seqs, n_rows, shared, own } = *forks;
    let n_pages = shared + own;
    let page = |seq: usize, i: usize| PageId((if i < shared { i } else { i + seq * n_pages }) as u32);
    let pages: Vec<PageId> = (0..n_seqs).flat_map(|seq| (0..n_pages).map(move |i| page(seq, i))).collect();
    let offsets = |step: usize| (0..=n_seqs).map(|seq| (seq * step) as u32).collect::<Vec<_>>();
    let len = (shared + own) * CHUNK_LEN;
    let ragged = Ragged {
        row_offsets: &offsets(n_rows),
        starts: &vec![(len - n_rows) as u32; n_seqs],
        page_offsets: &offsets(n_pages),
        pages: &pages,
    };
    let (max_step_tokens, min_block_rows) = (n_seqs * n_rows, block_rows / 2);
    let limits = PlanLimits { max_step_tokens, max_len: len, n_threads, block_rows, min_block_rows };
    let mut plan = AttentionPlan::new(geometry, limits);
    let capacities = (plan.tasks.capacity(), plan.splits.capacity());
    plan.make(geometry, &ragged);
    assert!(plan.n_taken <= plan.parts.len(), "room for states");
    assert_eq!((plan.tasks.capacity(), plan.splits.capacity()), capacities, "nothing is allocated");
    let mut met = vec![0; n_seqs * n_rows * geometry.n_kv_heads * (shared + own)];
    for task in &plan.tasks {
        let tokens = (0..task.n_tokens).map(|i| task.first_token as usize + i as usize);
        for token in tokens.map(|i| if task.shared { plan.cascade.tokens()[i] as usize } else { i }) {
            let first = (token * geometry.n_kv_heads + task.kv_head as usize) * (shared + own);
            met[first + task.first_chunk as usize..first + task.end_chunk as usize].iter_mut().for_each(|n| *n += 1);
        }
    }
    assert!(met.iter().all(|n| *n == 1), "each chunk once");
    let n_in_splits: usize = plan.splits.iter().map(Split::n_tasks).sum();
    assert_eq!(n_in_splits, plan.tasks.iter().filter(|task| task.part.is_some()).count());
}

#[test]
fn every_row_meets_every_chunk_once_and_there_is_room() {
    for (n_kv_heads, group) in [(1, 8), (3, 3), (8, 4), (16, 1)] {
        let geometry = Geometry { n_kv_heads, group, head_dim: 64, scale: 1.0, window: None };
        for (n_threads, block_rows) in [(1, 24), (2, 256), (5, 24)] {
            for (n_seqs, n_rows) in [(1, 1), (2, 1), (9, 1), (40, 1), (3, 70)] {
                for (shared, own) in [(0, 3), (1, 1), (20, 2), (2, 40)] {
                    check(&geometry, n_threads, block_rows, &Forks { n_seqs, n_rows, shared, own });
                }
            }
        }
    }
}

#[test]
fn a_short_context_goes_to_one_thread() {
    let geometry = Geometry { n_kv_heads: 3, group: 3, head_dim: 64, scale: 1.0, window: None };
    let limits = PlanLimits { max_step_tokens: 1, max_len: 256, n_threads: 2, block_rows: 32, min_block_rows: 32 };
    let mut plan = AttentionPlan::new(&geometry, limits);
    for (len, n_threads) in [(1, 1), (64, 1), (65, 2), (1, 1)] {
        let pages = [PageId(0), PageId(1)];
        let ragged = Ragged { row_offsets: &[0, 1], starts: &[len - 1], page_offsets: &[0, 2], pages: &pages };
        plan.make(&geometry, &ragged);
        assert_eq!((plan.n_threads, plan.tasks.len()), (n_threads, 3), "{len} tokens");
    }
}
