//! Memory that kernels work in: zeroed, and from the start of a cache line.
//!
//! A row of a tile is a cache line. From an address inside of a line every row lies in two, and a product on tiles takes twice as long (DESIGN.md, "One
//! layout"); `Vec` gives addresses 16 beyond a line. Large buffers ask for huge pages: weights and keys are read
//! from end to end once per token, and with pages of 4 KiB the processor looks an address up every 64 lines.

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

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

/// A slice of f32, or of bytes or bf16 as their bits, that begins at a cache line, zeroed; the operating system gives it memory when it is first
/// written. Activations in one are up to a fifth faster to multiply than in a `Vec`:
///
/// ```
/// # use longhaul::cpu::Buffer;
/// let mut y: Buffer<f32> = Buffer::zeroed(3 * 256);
/// let y = ndarray::ArrayViewMut2::from_shape((3, 256), &mut y).unwrap();
/// ```
pub struct Buffer<T> {
    memory: MmapMut,
    len: usize,
    elements: PhantomData<T>,
}

/// Bytes from which a buffer asks for huge pages.
const HUGE: usize = 1 << 20;

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
        let bytes = len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let memory = MmapMut::map_anon(bytes.max(1))?;
        #[cfg(target_os = "linux")]
        if bytes >= HUGE {
            // The answer does not matter: without huge pages everything is as before.
            let _ = memory.advise(memmap2::Advice::HugePage);
        }
        Ok(Self { memory, len, elements: PhantomData })
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
        // SAFETY: the mapping has `len` elements' bytes, which are a value whatever they are, says `Plain`; a mapping begins at a page, so it is
        // aligned; it lives as long as `self` and is borrowed with it.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Buffer<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_mut_ptr().cast(), self.len) }
    }
}
