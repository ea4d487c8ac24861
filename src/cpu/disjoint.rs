//! One buffer, written by several threads in places that do not meet.

use std::marker::PhantomData;

/// A mutable slice that threads share, each writing elements of its own.
pub struct Disjoint<'a, T> {
    ptr: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: the ways to the elements are `slice` and `SharedRows::new`, and whoever calls either promises that nobody
// else holds one of the same elements.
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

/// Some columns of some rows of a shared matrix, for one thread to write.
pub struct SharedRows<'a> {
    first: *mut f32,
    /// Elements from one row to the next.
    stride: usize,
    n_rows: usize,
    n_cols: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

impl<'a> SharedRows<'a> {
    /// `n_rows` rows of `n_cols` elements, `stride` apart, from element `first` of `shared` on; panics beyond its end.
    ///
    /// # Safety
    /// While the result lives, nobody else may hold one of these elements.
    #[inline(always)]
    pub unsafe fn new(shared: &Disjoint<'a, f32>, first: usize, stride: usize, [n_rows, n_cols]: [usize; 2]) -> Self {
        assert!(n_rows > 0 && n_cols <= stride, "rows that meet");
        let end = (n_rows - 1).checked_mul(stride).and_then(|last| last.checked_add(first)?.checked_add(n_cols));
        assert!(end.is_some_and(|end| end <= shared.len), "rows beyond the end of a shared slice");
        Self { first: shared.ptr.wrapping_add(first), stride, n_rows, n_cols, lifetime: PhantomData }
    }

    /// Where columns `16 panel..16 (panel + 1)` of row `row` begin; those that there are may be written.
    #[inline(always)]
    pub fn at(&self, row: usize, panel: usize) -> *mut f32 {
        self.first.wrapping_add(row * self.stride + panel * 16)
    }

    /// Elements from one row to the next.
    #[inline(always)]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Rows and columns.
    #[inline(always)]
    pub fn dim(&self) -> [usize; 2] {
        [self.n_rows, self.n_cols]
    }
}
