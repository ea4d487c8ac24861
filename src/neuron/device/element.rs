//! Elements of tensors as Rust has them.

use half::{bf16, f16};

/// A type whose values are what a tensor's bytes are: every pattern of bits is a value, and there is no padding.
pub trait Element: sealed::Sealed + Copy {}

mod sealed {
    pub trait Sealed: 'static {}
}

macro_rules! elements {
    ($($type:ty),*) => {$(
        impl sealed::Sealed for $type {}
        impl Element for $type {}
    )*};
}
elements!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64, f16, bf16);

/// The bytes of elements, in the order that memory has them.
pub(super) fn bytes<T: Element>(elements: &[T]) -> &[u8] {
    // SAFETY: the memory is the slice's own, `size_of_val` bytes, all initialised: the types above have no padding. A
    // byte needs no alignment.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
}

/// The same to write to.
pub(super) fn bytes_mut<T: Element>(elements: &mut [T]) -> &mut [u8] {
    // SAFETY: as in `bytes`, and borrowed alone; whatever bytes are written are values, since every pattern of bits is
    // one in the types above.
    unsafe { std::slice::from_raw_parts_mut(elements.as_mut_ptr().cast(), size_of_val(elements)) }
}
