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
    let mut plan = AttentionPlan::new(geometry, limits).unwrap();
    let capacities = (plan.tasks.capacity(), plan.splits.capacity());
    plan.make(geometry, &ragged);
    assert!(plan.n_taken <= plan.parts.len(), "room for states");
    assert_eq!((plan.tasks.capacity(), plan.splits.capacity()), capacities, "nothing is allocated");
    states_are_apart(geometry, &plan);
    let first_chunk = |start: usize| geometry.first_visible(start) / CHUNK_LEN;
    let mut met = vec![0; n_seqs * n_rows * geometry.n_kv_heads * (shared + own)];
    for task in &plan.tasks {
        let tokens = (0..task.n_tokens).map(|i| task.first_token as usize + i as usize);
        for token in tokens.map(|i| if task.shared { plan.cascade.tokens()[i] as usize } else { i }) {
            let first = (token * geometry.n_kv_heads + task.kv_head as usize) * (shared + own);
            met[first + task.first_chunk as usize..first + task.end_chunk as usize].iter_mut().for_each(|n| *n += 1);
        }
    }
    for (row, met) in met.chunks_exact(shared + own).enumerate() {
        let position = len - n_rows + row / geometry.n_kv_heads % n_rows;
        // Chunks behind a row, or before its window, are met where another row of its block sees them.
        let seen = first_chunk(position)..=position / CHUNK_LEN;
        let right = |(chunk, n): (usize, &i32)| if seen.contains(&chunk) { *n == 1 } else { *n <= 1 };
        assert!(met.iter().enumerate().all(right), "each chunk once");
    }
    let n_in_splits: usize = plan.splits.iter().map(Split::n_tasks).sum();
    assert_eq!(n_in_splits, plan.tasks.iter().filter(|task| task.part.is_some()).count());
}

/// What tasks write to of the parts: each has its own, for it is written without a lock.
fn states_are_apart(geometry: &Geometry, plan: &AttentionPlan) {
    let states = |task: &Task| {
        let len = task.n_states() * state_len(task.n_tokens as usize * geometry.group, geometry.head_dim);
        task.part.map(|part| (part.first, part.first + len))
    };
    let mut ranges: Vec<_> = plan.tasks.iter().filter_map(states).collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "states of two tasks overlap");
    assert!(ranges.last().is_none_or(|last| last.1 <= plan.parts.len()), "states beyond the room for them");
}

#[test]
fn every_row_meets_every_chunk_once_and_there_is_room() {
    for (n_kv_heads, group, window) in [(1, 8, None), (3, 3, None), (8, 4, None), (16, 1, None), (3, 3, Some(700))] {
        let geometry = Geometry { n_kv_heads, group, head_dim: 64, scale: 1.0, window };
        for (n_threads, block_rows) in [(1, 24), (2, 256), (5, 24)] {
            for (n_seqs, n_rows) in [(1, 1), (2, 1), (9, 1), (40, 1), (1, 4), (3, 70)] {
                for (shared, own) in [(0, 3), (1, 1), (20, 2), (2, 40)] {
                    check(&geometry, n_threads, block_rows, &Forks { n_seqs, n_rows, shared, own });
                }
            }
        }
    }
}

#[test]
fn a_few_rows_behind_a_long_context_keep_all_threads_busy() {
    let geometry = Geometry { n_kv_heads: 2, group: 4, head_dim: 64, scale: 1.0, window: None };
    let n_tokens = 8;
    let len = 40 * CHUNK_LEN;
    let pages: Vec<PageId> = (0..40).map(PageId).collect();
    let starts = [(len - n_tokens) as u32];
    let ragged = Ragged { row_offsets: &[0, 8], starts: &starts, page_offsets: &[0, 40], pages: &pages };
    let limits =
        PlanLimits { max_step_tokens: n_tokens, max_len: len, n_threads: 16, block_rows: 128, min_block_rows: 32 };
    let mut plan = AttentionPlan::new(&geometry, limits).unwrap();
    plan.make(&geometry, &ragged);
    assert!(plan.tasks.len() >= 2 * limits.n_threads, "{} tasks", plan.tasks.len());
    // With room for no more than some of them, the others are whole.
    let mut plan = AttentionPlan::new(&geometry, PlanLimits { max_len: CHUNK_LEN, ..limits }).unwrap();
    plan.make(&geometry, &ragged);
    assert!(plan.tasks.iter().any(|task| task.part.is_none()));
    states_are_apart(&geometry, &plan);
}

#[test]
fn a_short_context_goes_to_one_thread() {
    let geometry = Geometry { n_kv_heads: 3, group: 3, head_dim: 64, scale: 1.0, window: None };
    let limits = PlanLimits { max_step_tokens: 1, max_len: 256, n_threads: 2, block_rows: 32, min_block_rows: 32 };
    let mut plan = AttentionPlan::new(&geometry, limits).unwrap();
    for (len, n_threads) in [(1, 1), (64, 1), (65, 2), (1, 1)] {
        let pages = [PageId(0), PageId(1)];
        let ragged = Ragged { row_offsets: &[0, 1], starts: &[len - 1], page_offsets: &[0, 2], pages: &pages };
        plan.make(&geometry, &ragged);
        assert_eq!((plan.n_threads, plan.tasks.len()), (n_threads, 3), "{len} tokens");
    }
}
