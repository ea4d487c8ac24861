//! Large tables in large pages: weights and keys are read from end to end once per token, and with pages of 4 KiB the processor looks an address up
//! every 64 lines.

/// `n` times `value`, in huge pages where the operating system has them.
pub fn filled<T: Clone>(n: usize, value: T) -> Vec<T> {
    let mut data = Vec::with_capacity(n);
    prefer_huge_pages(data.spare_capacity_mut());
    data.resize(n, value);
    data
}

/// Asks the operating system to back `memory` with huge pages where it can; to be called before the memory is first written. Changes no byte.
pub fn prefer_huge_pages<T>(memory: &mut [T]) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        let range = memory.as_mut_ptr_range();
        let (start, end) = ((range.start as usize).next_multiple_of(PAGE), range.end as usize / PAGE * PAGE);
        if start < end {
            // The answer does not matter: without huge pages everything is as before.
            // SAFETY: whole pages inside of a slice that is borrowed exclusively; the advice changes how they are mapped and not what they hold.
            unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}
