//! Asking for cache lines. An address may lie anywhere, in memory or not: nothing is read.

use std::arch::x86_64::*;

/// Into all caches, to be read soon.
#[inline(always)]
pub fn near<T>(address: *const T) {
    // SAFETY: SSE is part of x86-64, and a prefetch reads nothing.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

/// Into the second cache and those behind it.
#[inline(always)]
pub fn far<T>(address: *const T) {
    // SAFETY: as above.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
}

/// To be written soon.
#[inline(always)]
pub fn write<T>(address: *const T) {
    // SAFETY: as above; processors that lack this one take it as no operation.
    unsafe { _mm_prefetch::<_MM_HINT_ET0>(address.cast()) }
}
