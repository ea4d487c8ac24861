//! Tensors.

use std::ffi::{c_char, c_int, c_void};

use longhaul::neuron::sys::{self, NRT_STATUS};

use super::{core_index, give, status, tensor_core};
use crate::state::{begin, with};

/// # Safety
/// `tensor` is null or may be written to.
pub unsafe fn nrt_tensor_allocate(
    placement: c_int,
    core: c_int,
    size: usize,
    _name: *const c_char,
    tensor: *mut *mut sys::nrt_tensor_t,
) -> NRT_STATUS {
    status(|| {
        let place = match placement {
            sys::NRT_TENSOR_PLACEMENT_DEVICE => core_index(core).map(Some),
            sys::NRT_TENSOR_PLACEMENT_HOST if core == -1 => Ok(None),
            _ => Err(sys::NRT_INVALID),
        };
        let _occupied = begin("nrt_tensor_allocate", place.ok().flatten())?;
        let place = place?;
        // SAFETY: as the caller promises.
        unsafe { give(tensor, |state| Ok(std::ptr::without_provenance_mut(state.allocate(place, size)?))) }
    })
}

/// # Safety
/// `slice` is null or may be written to.
pub unsafe fn nrt_tensor_allocate_slice(
    source: *const sys::nrt_tensor_t,
    offset: usize,
    size: usize,
    _name: *const c_char,
    slice: *mut *mut sys::nrt_tensor_t,
) -> NRT_STATUS {
    status(|| {
        let _occupied = begin("nrt_tensor_allocate_slice", tensor_core(source))?;
        // SAFETY: as the caller promises.
        unsafe { give(slice, |state| Ok(std::ptr::without_provenance_mut(state.slice(source.addr(), offset, size)?))) }
    })
}

/// # Safety
/// `tensor` may be read and written.
pub unsafe fn nrt_tensor_free(tensor: *mut *mut sys::nrt_tensor_t) {
    // SAFETY: as the caller promises.
    let Some(pointer) = (unsafe { tensor.as_mut() }) else { return };
    let Ok(_occupied) = begin("nrt_tensor_free", tensor_core(*pointer)) else { return };
    with(|state| state.free(pointer.addr()));
    *pointer = std::ptr::null_mut();
}

/// # Safety
/// `buffer` is null, or `size` bytes may be written to it.
pub unsafe fn nrt_tensor_read(
    tensor: *const sys::nrt_tensor_t,
    buffer: *mut c_void,
    offset: usize,
    size: usize,
) -> NRT_STATUS {
    status(|| {
        let _occupied = begin("nrt_tensor_read", tensor_core(tensor))?;
        with(|state| {
            let bytes = state.region(tensor.addr(), offset, size)?;
            if buffer.is_null() {
                return Err(sys::NRT_INVALID);
            }
            // SAFETY: not null, so `size` bytes may be written; device memory is elsewhere.
            unsafe { buffer.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), size) };
            Ok(())
        })
    })
}

/// # Safety
/// `buffer` is null or has `size` bytes.
pub unsafe fn nrt_tensor_write(
    tensor: *mut sys::nrt_tensor_t,
    buffer: *const c_void,
    offset: usize,
    size: usize,
) -> NRT_STATUS {
    status(|| {
        let _occupied = begin("nrt_tensor_write", tensor_core(tensor))?;
        with(|state| {
            let bytes = state.region(tensor.addr(), offset, size)?;
            if buffer.is_null() {
                return Err(sys::NRT_INVALID);
            }
            // SAFETY: not null, so it has `size` bytes; device memory is elsewhere.
            bytes.copy_from_slice(unsafe { std::slice::from_raw_parts(buffer.cast(), size) });
            Ok(())
        })
    })
}

pub fn nrt_tensor_copy(
    source: *const sys::nrt_tensor_t,
    source_offset: usize,
    target: *mut sys::nrt_tensor_t,
    target_offset: usize,
    size: usize,
) -> NRT_STATUS {
    status(|| {
        let _occupied = begin("nrt_tensor_copy", tensor_core(target))?;
        with(|state| {
            if state.core_of(source.addr()) != state.core_of(target.addr()) {
                return Err(sys::NRT_INVALID);
            }
            let bytes = state.region(source.addr(), source_offset, size)?.to_vec();
            state.region(target.addr(), target_offset, size)?.copy_from_slice(&bytes);
            let (s, t) = (state.tensor(source.addr())?, state.tensor(target.addr())?);
            let (from, to) = (s.start + source_offset, t.start + target_offset);
            if s.storage == t.storage && from < to + size && to < from + size {
                state.violation("nrt_tensor_copy of ranges that overlap");
            }
            Ok(())
        })
    })
}

pub fn nrt_tensor_memset(tensor: *mut sys::nrt_tensor_t, offset: u64, value: c_int, size: usize) -> NRT_STATUS {
    status(|| {
        let _occupied = begin("nrt_tensor_memset", tensor_core(tensor))?;
        let value = u8::try_from(value).map_err(|_| sys::NRT_INVALID)?;
        with(|state| {
            state.region(tensor.addr(), offset as usize, size)?.fill(value);
            Ok(())
        })
    })
}
