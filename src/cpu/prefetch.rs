//! Asking for cache lines, for kernel tables and for threads that are in no kernel. An address may lie anywhere, in
//! memory or not: nothing is read.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Into all caches, to be read soon. Nothing happens where the instruction is not known.
#[inline(always)]
pub fn near<T>(address: *const T) {
    // SAFETY: SSE is part of x86-64, and a prefetch reads nothing.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(address.cast())
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Into the second cache and those behind it.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn far<T>(address: *const T) {
    // SAFETY: as above.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
}

/// To be written soon.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn write<T>(address: *const T) {
    // SAFETY: as above; processors that lack this one take it as no operation.
    unsafe { _mm_prefetch::<_MM_HINT_ET0>(address.cast()) }
}
