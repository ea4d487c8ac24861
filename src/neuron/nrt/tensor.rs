//! Calls about tensors and sets of them.

use std::ffi::CStr;
use std::ptr::null_mut;

use super::model::index;
use super::{Nrt, Placement, Result, SetHandle, TensorHandle, symbol, sys};

impl Nrt {
    /// `nrt_tensor_allocate`: `size_bytes` in a core's memory or in the host's. What it holds at first is undefined.
    pub fn tensor_allocate(&self, placement: Placement, size_bytes: usize, name: &CStr) -> Result<TensorHandle> {
        let allocate = symbol!(self, nrt_tensor_allocate);
        let (placement, core) = match placement {
            Placement::Device(core) => (sys::NRT_TENSOR_PLACEMENT_DEVICE, index(core)),
            Placement::Host => (sys::NRT_TENSOR_PLACEMENT_HOST, -1),
        };
        let mut tensor = null_mut();
        // SAFETY: the name ends in NUL, and the last pointer is to a pointer that the library sets; it checks the
        // numbers.
        let status = unsafe { allocate(placement, core, size_bytes, name.as_ptr(), &mut tensor) };
        self.check("nrt_tensor_allocate", status)?;
        self.handle("nrt_tensor_allocate", tensor).map(TensorHandle)
    }

    /// `nrt_tensor_allocate_slice`: a tensor on `size_bytes` of another's storage from `offset` on. The storage lives
    /// until the last tensor on it is freed, so the two may be freed in any order.
    ///
    /// # Safety
    /// `source` is alive and of this library.
    pub unsafe fn tensor_allocate_slice(
        &self,
        source: TensorHandle,
        offset: usize,
        size_bytes: usize,
        name: &CStr,
    ) -> Result<TensorHandle> {
        let allocate = symbol!(self, nrt_tensor_allocate_slice);
        let mut slice = null_mut();
        // SAFETY: the source is alive, the name ends in NUL, and the last pointer is to a pointer that the library
        // sets.
        let status = unsafe { allocate(source.0.as_ptr(), offset, size_bytes, name.as_ptr(), &mut slice) };
        self.check("nrt_tensor_allocate_slice", status)?;
        self.handle("nrt_tensor_allocate_slice", slice).map(TensorHandle)
    }

    /// `nrt_tensor_free`. It returns nothing, but sets the pointer to null; a pointer that stays is reported as
    /// `NRT_FAILURE`.
    ///
    /// # Safety
    /// `tensor` is alive and of this library, in no set that is alive, and nobody uses it now or later.
    pub unsafe fn tensor_free(&self, tensor: TensorHandle) -> Result<()> {
        let free = symbol!(self, nrt_tensor_free);
        let mut pointer = tensor.0.as_ptr();
        // SAFETY: the tensor is alive, and this is its last use, as the caller promises.
        unsafe { free(&mut pointer) };
        if pointer.is_null() { Ok(()) } else { Err(self.failed("nrt_tensor_free", sys::NRT_FAILURE)) }
    }

    /// `nrt_tensor_read`: the tensor's bytes from `offset` on, as many as `out` has.
    ///
    /// # Safety
    /// `tensor` is alive and of this library.
    pub unsafe fn tensor_read(&self, tensor: TensorHandle, offset: usize, out: &mut [u8]) -> Result<()> {
        let read = symbol!(self, nrt_tensor_read);
        // SAFETY: the tensor is alive, and the buffer is as long as the library is told; the library checks offset and
        // size.
        let status = unsafe { read(tensor.0.as_ptr(), out.as_mut_ptr().cast(), offset, out.len()) };
        self.check("nrt_tensor_read", status)
    }

    /// `nrt_tensor_write`: `bytes` into the tensor from `offset` on.
    ///
    /// # Safety
    /// `tensor` is alive and of this library.
    pub unsafe fn tensor_write(&self, tensor: TensorHandle, offset: usize, bytes: &[u8]) -> Result<()> {
        let write = symbol!(self, nrt_tensor_write);
        // SAFETY: the tensor is alive, and the buffer is as long as the library is told; the library checks offset and
        // size.
        let status = unsafe { write(tensor.0.as_ptr(), bytes.as_ptr().cast(), offset, bytes.len()) };
        self.check("nrt_tensor_write", status)
    }

    /// `nrt_tensor_copy`: `size_bytes` from one tensor to another in the same HBM.
    ///
    /// # Safety
    /// Both tensors are alive and of this library.
    pub unsafe fn tensor_copy(
        &self,
        (source, source_offset): (TensorHandle, usize),
        (target, target_offset): (TensorHandle, usize),
        size_bytes: usize,
    ) -> Result<()> {
        let copy = symbol!(self, nrt_tensor_copy);
        // SAFETY: both tensors are alive; the library checks offsets and size.
        let status = unsafe { copy(source.0.as_ptr(), source_offset, target.0.as_ptr(), target_offset, size_bytes) };
        self.check("nrt_tensor_copy", status)
    }

    /// `nrt_tensor_memset`: `size_bytes` bytes of `value` from `offset` on.
    ///
    /// # Safety
    /// `tensor` is alive and of this library.
    pub unsafe fn tensor_memset(
        &self,
        tensor: TensorHandle,
        offset: usize,
        value: u8,
        size_bytes: usize,
    ) -> Result<()> {
        let memset = symbol!(self, nrt_tensor_memset);
        // SAFETY: the tensor is alive; the library checks offset and size.
        let status = unsafe { memset(tensor.0.as_ptr(), offset as u64, value.into(), size_bytes) };
        self.check("nrt_tensor_memset", status)
    }

    /// `nrt_allocate_tensor_set`: an empty set.
    pub fn set_allocate(&self) -> Result<SetHandle> {
        let allocate = symbol!(self, nrt_allocate_tensor_set);
        let mut set = null_mut();
        // SAFETY: the pointer is to a pointer that the library sets.
        let status = unsafe { allocate(&mut set) };
        self.check("nrt_allocate_tensor_set", status)?;
        self.handle("nrt_allocate_tensor_set", set).map(SetHandle)
    }

    /// `nrt_destroy_tensor_set`. It returns nothing, but sets the pointer to null; a pointer that stays is reported as
    /// `NRT_FAILURE`.
    ///
    /// # Safety
    /// `set` is alive and of this library, and nobody uses it now or later.
    pub unsafe fn set_destroy(&self, set: SetHandle) -> Result<()> {
        let destroy = symbol!(self, nrt_destroy_tensor_set);
        let mut pointer = set.0.as_ptr();
        // SAFETY: the set is alive, and this is its last use, as the caller promises.
        unsafe { destroy(&mut pointer) };
        if pointer.is_null() { Ok(()) } else { Err(self.failed("nrt_destroy_tensor_set", sys::NRT_FAILURE)) }
    }

    /// `nrt_add_tensor_to_tensor_set`: adds or replaces.
    ///
    /// # Safety
    /// Set and tensor are alive and of this library, nobody else uses the set meanwhile, and the tensor outlives the
    /// set.
    pub unsafe fn set_add(&self, set: SetHandle, name: &CStr, tensor: TensorHandle) -> Result<()> {
        let add = symbol!(self, nrt_add_tensor_to_tensor_set);
        // SAFETY: set and tensor are alive, and the name ends in NUL.
        let status = unsafe { add(set.0.as_ptr(), name.as_ptr(), tensor.0.as_ptr()) };
        self.check("nrt_add_tensor_to_tensor_set", status)
    }
}
