//! Buffers from their first whole cache line on. The allocator aligns to less, and a tile's row or a vector that lies across lines costs two:
//! for int8 tiles that is a sixth to a quarter of the speed.

/// Bytes of a cache line, of a row of a tile, and of the widest vector.
const LINE_BYTES: usize = 64;

/// Elements that a buffer needs beyond those that it is to hold.
pub const fn spare<T>() -> usize {
    LINE_BYTES / size_of::<T>()
}

/// The buffer without what lies before its first line.
#[inline(always)]
pub fn aligned<T>(buffer: &[T]) -> &[T] {
    buffer.get(buffer.as_ptr().align_offset(LINE_BYTES)..).unwrap_or_default()
}

/// As [`aligned`].
#[inline(always)]
pub fn aligned_mut<T>(buffer: &mut [T]) -> &mut [T] {
    buffer.get_mut(buffer.as_ptr().align_offset(LINE_BYTES)..).unwrap_or_default()
}
