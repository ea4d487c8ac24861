//! Calls about programs.

use std::ptr::{NonNull, null_mut};

use super::runtime::text;
use super::{ElementType, ModelHandle, Nrt, Result, SetHandle, TensorInfo, Usage, symbol, sys};
use crate::neuron::error::NeuronError;

/// More dimensions than any tensor has: above it, the runtime's answer is not believed.
const MAX_DIMS: u32 = 64;
/// More tensors than any program has, likewise.
const MAX_TENSORS: u64 = 1 << 20;

impl Nrt {
    /// `nrt_load`: stages a program on a core. The bytes of `neff` need not be kept.
    pub fn load(&self, neff: &[u8], core: u32) -> Result<ModelHandle> {
        let load = symbol!(self, nrt_load);
        let mut model = null_mut();
        // SAFETY: the pointers are to `neff` with its length, and to a pointer that the library sets. Core and number
        // of cores are checked by the library; -1 is what AWS documents for the latter.
        let status = unsafe { load(neff.as_ptr().cast(), neff.len(), index(core), -1, &mut model) };
        self.check("nrt_load", status)?;
        self.handle("nrt_load", model).map(ModelHandle)
    }

    /// `nrt_unload`. Afterwards the handle is dead, whatever was returned.
    ///
    /// # Safety
    /// `model` is alive and of this library, and nobody uses it now or later.
    pub unsafe fn unload(&self, model: ModelHandle) -> Result<()> {
        let unload = symbol!(self, nrt_unload);
        // SAFETY: the model is alive, and this is its last use, as the caller promises.
        let status = unsafe { unload(model.0.as_ptr()) };
        self.check("nrt_unload", status)
    }

    /// `nrt_get_model_tensor_info`: inputs and outputs in the runtime's order; given back with
    /// `nrt_free_model_tensor_info`.
    ///
    /// # Safety
    /// `model` is alive and of this library.
    pub unsafe fn model_tensors(&self, model: ModelHandle) -> Result<Vec<TensorInfo>> {
        let get_info = symbol!(self, nrt_get_model_tensor_info);
        let free_info = symbol!(self, nrt_free_model_tensor_info);
        let mut array = null_mut();
        // SAFETY: the model is alive, and the other pointer is to a pointer that the library sets.
        let status = unsafe { get_info(model.0.as_ptr(), &mut array) };
        self.check("nrt_get_model_tensor_info", status)?;
        let array = self.handle("nrt_get_model_tensor_info", array)?;
        // SAFETY: the library just made the array, and it is freed below, after the last look at it.
        let tensors = unsafe { self.copy_tensors(array) };
        // SAFETY: the array is the library's, and freed once.
        let status = unsafe { free_info(array.as_ptr()) };
        self.check("nrt_free_model_tensor_info", status)?;
        tensors
    }

    /// # Safety
    /// `array` is one that `nrt_get_model_tensor_info` returned and that was not freed.
    unsafe fn copy_tensors(&self, array: NonNull<sys::nrt_tensor_info_array_t>) -> Result<Vec<TensorInfo>> {
        // SAFETY: the array is alive, and begins with the number of its entries.
        let count = unsafe { array.as_ref() }.tensor_count;
        if count > MAX_TENSORS {
            return Err(NeuronError::Argument(format!("libnrt says that a program has {count} tensors")));
        }
        // SAFETY: `count` entries follow inline from this offset on (`nrt_abi.h`; the offset keeps their alignment of
        // 8).
        let entries = unsafe {
            let first = array.as_ptr().byte_add(sys::NRT_TENSOR_ARRAY_OFFSET as usize);
            std::slice::from_raw_parts(first.cast::<sys::nrt_tensor_info_t>(), count as usize)
        };
        entries.iter().map(tensor_info).collect()
    }

    /// `nrt_execute`: runs once, and blocks until it has run.
    ///
    /// # Safety
    /// Model and sets are alive and of this library, with all tensors that the sets hold, and nobody else uses the sets
    /// meanwhile.
    pub unsafe fn execute(&self, model: ModelHandle, inputs: SetHandle, outputs: SetHandle) -> Result<()> {
        let execute = symbol!(self, nrt_execute);
        // SAFETY: all handles are alive, as the caller promises; names and sizes are checked by the library against the
        // program.
        let status = unsafe { execute(model.0.as_ptr(), inputs.0.as_ptr(), outputs.0.as_ptr()) };
        self.check("nrt_execute", status)
    }

    /// A pointer that a successful call set, which must not be null.
    pub(super) fn handle<T>(&self, operation: &'static str, pointer: *mut T) -> Result<NonNull<T>> {
        NonNull::new(pointer).ok_or_else(|| self.failed(operation, sys::NRT_FAILURE))
    }
}

/// An index as C's int: one that does not fit is none that the library has.
pub(super) fn index(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn tensor_info(entry: &sys::nrt_tensor_info_t) -> Result<TensorInfo> {
    let name = text(&entry.name);
    let usage = match entry.usage {
        sys::NRT_TENSOR_USAGE_INPUT => Usage::Input,
        sys::NRT_TENSOR_USAGE_OUTPUT => Usage::Output,
        other => return Err(NeuronError::Argument(format!("libnrt says that tensor `{name}` is of usage {other}"))),
    };
    let shape = if entry.shape.is_null() || entry.ndim > MAX_DIMS {
        Vec::new()
    } else {
        // SAFETY: the entry's shape is an array of `ndim` numbers, alive as long as the entry (`nrt_abi.h`).
        unsafe { std::slice::from_raw_parts(entry.shape, entry.ndim as usize) }.to_vec()
    };
    Ok(TensorInfo { name, usage, size_bytes: entry.size, element: ElementType(entry.dtype), shape })
}
