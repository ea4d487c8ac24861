//! One buffer, written by several threads in places that do not meet.

use std::marker::PhantomData;

/// A mutable slice that threads share, each writing elements of its own.
pub struct Disjoint<'a, T> {
    ptr: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: the one way to the elements is `slice`, whose caller promises that no two threads hold the same element.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}
// SAFETY: as above; it is a borrowed slice of `T`.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Shares `slice` for as long as it is borrowed.
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { ptr: slice.as_mut_ptr(), len: slice.len(), lifetime: PhantomData }
    }

    /// Elements `first..first + len`; panics beyond the end.
    ///
    /// # Safety
    /// While the result lives, no other result may hold one of these elements.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "that is the point: the caller promises that ranges do not meet")]
    pub unsafe fn slice(&self, first: usize, len: usize) -> &mut [T] {
        assert!(first <= self.len && len <= self.len - first, "a range beyond the end of a shared slice");
        // SAFETY: inside the borrowed slice by the assertion, and nobody else's by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(first), len) }
    }
}
