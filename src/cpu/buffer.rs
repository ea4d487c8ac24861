//! Memory that kernels work in: zeroed, and from the start of a cache line.
//!
//! A row of a tile is a cache line. From an address inside of a line every row lies in two, and a product on tiles
//! takes twice as long (DESIGN.md, "One layout"); `Vec` gives addresses 16 beyond a line. Large buffers ask for huge
//! pages: weights and keys are read from end to end once per token, and with pages of 4 KiB the processor looks an
//! address up every 64 lines.

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use memmap2::{MmapMut, MmapRaw};

use crate::error::{Error, Result};

/// An element of a [`Buffer`].
///
/// # Safety
/// All bytes zero are a value, as is any other bytes; alignment is 64 at most, and there is no padding.
pub unsafe trait Plain: Copy + Send + Sync + 'static {}

// SAFETY: bf16 as its bits, codes and floats: any bits are a value.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}

/// A slice of f32, of bytes, of bf16 as their bits, or of lines of packed weights, that begins at a cache line, zeroed;
/// the operating system gives it memory when it is first written. Activations in one are up to a fifth faster to
/// multiply than in a `Vec`:
///
/// ```
/// # use longhaul::cpu::Buffer;
/// let mut y: Buffer<f32> = Buffer::zeroed(3 * 256);
/// let y = ndarray::ArrayViewMut2::from_shape((3, 256), &mut y).unwrap();
/// ```
pub struct Buffer<T> {
    /// Shared with the neighbours that an [`Arena`] put there; nobody else has this buffer's part.
    mapping: Arc<MmapRaw>,
    /// Bytes before it, a multiple of a cache line.
    first: usize,
    len: usize,
    elements: PhantomData<T>,
}

/// Bytes from which a mapping asks for huge pages.
const HUGE: usize = 1 << 20;

/// Zeroed memory, at least a byte.
fn map(bytes: usize) -> io::Result<Arc<MmapRaw>> {
    let memory = MmapMut::map_anon(bytes.max(1))?;
    #[cfg(target_os = "linux")]
    if bytes >= HUGE {
        // The answer does not matter: without huge pages everything is as before.
        let _ = memory.advise(memmap2::Advice::HugePage);
    }
    Ok(Arc::new(memory.into()))
}

impl<T: Plain> Buffer<T> {
    /// `len` zeros.
    ///
    /// # Panics
    /// Where the operating system has no memory for them; [`Buffer::try_zeroed`] is for lengths that a caller chose.
    pub fn zeroed(len: usize) -> Self {
        Self::try_zeroed(len).expect("the operating system has no memory for a buffer")
    }

    /// `len` zeros.
    ///
    /// # Errors
    /// What the operating system says where it has no memory for them.
    pub fn try_zeroed(len: usize) -> io::Result<Self> {
        Ok(Self { mapping: map(Self::bytes(len)?)?, first: 0, len, elements: PhantomData })
    }

    fn bytes(len: usize) -> io::Result<usize> {
        len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory.into())
    }
}

/// No elements.
impl<T: Plain> Default for Buffer<T> {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl<T: Plain> Deref for Buffer<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: the mapping has `len` elements' bytes from `first` on, which are a value whatever they are, says
        // `Plain`; it begins at a page and `first` is a multiple of 64, so they are aligned; it lives as long as `self`
        // and is borrowed with it. Other buffers have other parts of it.
        unsafe { std::slice::from_raw_parts(self.mapping.as_ptr().add(self.first).cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Buffer<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.as_mut_ptr().add(self.first).cast(), self.len) }
    }
}

/// Memory for buffers that live as long as each other, one behind the other: the matrices of a model. A huge page is
/// larger than most matrices of a small model, which would have none in mappings of their own.
#[derive(Default)]
pub struct Arena {
    chunk: Option<Arc<MmapRaw>>,
    /// Bytes of the chunk that are buffers'.
    used: usize,
}

/// Bytes of a chunk.
const CHUNK: usize = 32 << 20;

/// Bytes beyond which a buffer has a mapping of its own, so that little of a chunk is left over.
const LARGE: usize = CHUNK / 8;

/// Bytes of a cache line, the alignment of a buffer.
pub const LINE: usize = 64;

impl Arena {
    /// `len` zeros.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the operating system has no memory for them.
    pub fn zeroed<T: Plain>(&mut self, len: usize) -> Result<Buffer<T>> {
        self.try_zeroed(len).map_err(|e| Error::Unavailable {
            what: format!("memory for {len} elements of {} bytes of packed weights", size_of::<T>()),
            why: e.to_string(),
        })
    }

    fn try_zeroed<T: Plain>(&mut self, len: usize) -> io::Result<Buffer<T>> {
        let bytes = Buffer::<T>::bytes(len)?;
        if bytes > LARGE {
            return Buffer::try_zeroed(len);
        }
        let (chunk, first) = match &self.chunk {
            Some(chunk) if self.used + bytes <= CHUNK => (chunk.clone(), self.used),
            _ => (map(CHUNK)?, 0),
        };
        self.used = (first + bytes).next_multiple_of(LINE);
        self.chunk = Some(chunk.clone());
        Ok(Buffer { mapping: chunk, first, len, elements: PhantomData })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_an_arena_are_zeroed_apart_and_outlive_it() {
        let mut arena = Arena::default();
        // Odd lengths, and more than a chunk holds.
        let lens = [1, 63, 65, 0, 1_000_003, LARGE / 4, LARGE / 4 + 1];
        let mut buffers: Vec<Buffer<f32>> =
            (0..12).flat_map(|_| lens).map(|len| arena.zeroed(len).expect("a few MiB")).collect();
        drop(arena);
        for (i, buffer) in buffers.iter_mut().enumerate() {
            assert!(buffer.as_ptr().addr().is_multiple_of(LINE) && buffer.iter().all(|x| *x == 0.0));
            buffer.fill(i as f32);
        }
        for (i, buffer) in buffers.iter().enumerate() {
            assert!(buffer.len() == lens[i % lens.len()] && buffer.iter().all(|x| *x == i as f32));
        }
    }

    #[test]
    fn memory_beyond_all_addresses_is_unavailable() {
        for len in [usize::MAX / 16, usize::MAX] {
            let error = Arena::default().zeroed::<f32>(len).map(drop).unwrap_err();
            assert!(matches!(&error, Error::Unavailable { what, .. } if what.contains(&len.to_string())), "{error}");
        }
    }
}
