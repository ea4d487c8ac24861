//! What a call allocates on its thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which keeps count for each thread.
struct Measuring;

thread_local! {
    /// Bytes allocated now; tests free what others allocated, so it may be below zero.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator with the caller's arguments, which keep its conditions.
// `realloc` and `alloc_zeroed` are the trait's own, which call these. The counters are plain cells, which allocate
// nothing and need no destructor.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.get() + layout.size() as isize;
        LIVE.set(live);
        PEAK.set(PEAK.get().max(live));
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Measuring = Measuring;

/// The result of a call, and the most bytes that it had allocated at a time.
pub fn measured<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = call();
    (result, (PEAK.get() - before) as usize)
}

#[test]
fn the_peak_is_measured() {
    let (n, peak) = measured(|| {
        drop(vec![1_u8; 3 << 20]);
        vec![1_u8; 1 << 20].len()
    });
    assert!(n == 1 << 20 && (3 << 20..4 << 20).contains(&peak), "{peak}");
}
