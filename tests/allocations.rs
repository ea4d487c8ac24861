//! Law 3: once warm, a step allocates nothing.

#[path = "common/tiny.rs"]
mod tiny;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use longhaul::backend::LoadOptions;
use longhaul::cpu::{self, CpuOptions};
use longhaul::spec::{KvDtype, Logits, PageId, StepBatch, Synthetic, WeightDtype};

/// The system's allocator, counting.
struct Counting;

static N_ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes on to the system's allocator with the caller's arguments, which keep its conditions.
// `realloc` and `alloc_zeroed` are the trait's own, which call these.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        N_ALLOCATIONS.fetch_add(1, SeqCst);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Decode, a chunk of a prompt behind more than a chunk of attention, both in one batch, and two families of forks that
/// share two chunks.
fn batches() -> [StepBatch; 4] {
    let pages: Vec<PageId> = (0..20).map(PageId).collect();
    let (decode, chunk) = ((vec![5], 700, &pages[..3]), (vec![6; 40], 300, &pages[3..5]));
    let batch = |sequences: &[&(Vec<u32>, usize, &[PageId])]| {
        let mut batch = StepBatch::new();
        for (tokens, start, pages) in sequences {
            batch.push(tokens, *start, pages);
            batch.logit_rows.push(batch.n_tokens() as u32 - 1);
        }
        batch
    };
    let mut forks = StepBatch::new();
    for fork in 0..4 {
        let shared = &pages[fork % 2 * 2..][..2];
        forks.push(&[7], 520, &[shared, &pages[16 + fork..][..1]].concat());
        forks.logit_rows.push(fork as u32);
    }
    [batch(&[&decode]), batch(&[&chunk]), batch(&[&decode, &chunk]), forks]
}

/// One test in this file: the counter counts for all threads.
#[test]
fn a_warm_step_allocates_nothing() {
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    for table in cpu::tables().into_iter().filter(|t| t.available) {
        let options = CpuOptions { table: Some(table.name.into()), threads: Some(2), ..Default::default() };
        check(&options, usize::MAX, |count| count());
        // Inside the embedder's pool, for entering it from outside allocates; what a model allocates does not depend on
        // whose threads these are, so one will do.
        check(&CpuOptions { pool: Some(pool.clone()), ..options }, 1, |count| pool.install(count));
    }
}

/// Counts what steps of small models allocate, `n_models` of them at most, where `place` says.
fn check(options: &CpuOptions, n_models: usize, place: impl Fn(&mut (dyn FnMut() -> usize + Send)) -> usize) {
    let backend = cpu::open(options).unwrap();
    // Short of a minute even in a debug build: then the harness says that it waits, which allocates.
    let quantised = [WeightDtype::INT8_CHANNEL, WeightDtype::Int8 { group_len: Some(128) }, WeightDtype::Int4];
    let mut all: Vec<_> = tiny::tiny().into_iter().map(|config| (config, None, KvDtype::Bf16)).collect();
    all.extend(quantised.map(|weights| (tiny::tiny().remove(0), Some(weights), KvDtype::Bf16)));
    all.push((tiny::tiny().remove(0), None, KvDtype::Int8));
    for (config, weights, kv) in all.into_iter().take(n_models) {
        let source = Synthetic::from_config(config.clone(), 1);
        let options = LoadOptions { weights, kv, n_pages: 20, max_step_tokens: 64, max_logit_rows: 8 };
        let mut model = backend.load(&config, &source, options).unwrap();
        let (batches, mut logits) = (batches(), Logits::new());
        let n_allocations = place(&mut || {
            batches.iter().for_each(|batch| model.step(batch, &mut logits).unwrap());
            let before = N_ALLOCATIONS.load(SeqCst);
            for _ in 0..3 {
                batches.iter().for_each(|batch| model.step(batch, &mut logits).unwrap());
            }
            N_ALLOCATIONS.load(SeqCst) - before
        });
        let name = &backend.caps().name;
        assert_eq!(n_allocations, 0, "{name}, {:?} in {weights:?}, KV in {kv}", config.architecture);
    }
}
