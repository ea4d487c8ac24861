//! Device memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::core::{Core, c_name};
use super::element::{Element, bytes, bytes_mut};
use crate::neuron::error::{NeuronError, Result};
use crate::neuron::nrt::{Placement, TensorHandle};

/// A tensor in the memory of a core, or a slice of one. Clones are the same tensor; the memory is freed when the last
/// tensor, slice and set that has it is gone.
#[derive(Debug, Clone)]
pub struct DeviceTensor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    core: Core,
    handle: TensorHandle,
    name: String,
    size_bytes: usize,
    /// Which allocation it lies in, and where.
    storage: u64,
    start: usize,
}

// SAFETY: the handle is a pointer of libnrt, which ties it to no thread.
unsafe impl Send for Inner {}
// SAFETY: every call is made under the core's lock, so no two threads are in libnrt with one tensor.
unsafe impl Sync for Inner {}

/// Numbers allocations.
static NEXT_STORAGE: AtomicU64 = AtomicU64::new(0);

impl DeviceTensor {
    pub(super) fn allocate(core: &Core, name: &str, size_bytes: usize) -> Result<Self> {
        if size_bytes == 0 {
            return Err(NeuronError::Argument(format!("tensor `{name}` would have no bytes")));
        }
        let c_name = c_name(name)?;
        let subject = || format!("tensor `{name}` of {size_bytes} bytes on {core}");
        let handle = core.call("nrt_tensor_allocate", subject, |nrt| {
            nrt.tensor_allocate(Placement::Device(core.idx()), size_bytes, &c_name)
        })?;
        let storage = NEXT_STORAGE.fetch_add(1, Ordering::Relaxed);
        Ok(Self(Arc::new(Inner { core: core.clone(), handle, name: name.into(), size_bytes, storage, start: 0 })))
    }

    /// A tensor on `size_bytes` of this one's memory, from `offset` on. The two may be dropped in any order.
    ///
    /// # Errors
    /// [`NeuronError::Argument`] if that is not inside, or empty; whatever `nrt_tensor_allocate_slice` returns.
    pub fn slice(&self, name: &str, offset: usize, size_bytes: usize) -> Result<Self> {
        self.check_range("a slice", offset, size_bytes)?;
        if size_bytes == 0 {
            return Err(NeuronError::Argument(format!(
                "slice `{name}` of tensor `{}` would have no bytes",
                self.0.name
            )));
        }
        let c_name = c_name(name)?;
        let subject = || format!("`{name}`, {size_bytes} bytes from {offset} of {self}");
        let handle = self.0.core.call("nrt_tensor_allocate_slice", subject, |nrt| {
            // SAFETY: the handle is alive as long as `self`.
            unsafe { nrt.tensor_allocate_slice(self.0.handle, offset, size_bytes, &c_name) }
        })?;
        let Inner { core, storage, start, .. } = &*self.0;
        let (core, storage, start) = (core.clone(), *storage, start + offset);
        Ok(Self(Arc::new(Inner { core, handle, name: name.into(), size_bytes, storage, start })))
    }

    /// The name that it was made with.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Bytes of the tensor.
    pub fn size_bytes(&self) -> usize {
        self.0.size_bytes
    }

    /// The core whose memory it lies in.
    pub fn core(&self) -> &Core {
        &self.0.core
    }

    /// Reads as many bytes as `out` has, from `offset` on.
    ///
    /// # Errors
    /// [`NeuronError::Argument`] if that is not inside; whatever `nrt_tensor_read` returns.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> Result<()> {
        self.check_range("a read", offset, out.len())?;
        if out.is_empty() {
            return Ok(());
        }
        // SAFETY: the handle is alive as long as `self`.
        self.call("nrt_tensor_read", |nrt| unsafe { nrt.tensor_read(self.0.handle, offset, out) })
    }

    /// Writes `data` from `offset` on.
    ///
    /// # Errors
    /// [`NeuronError::Argument`] if that is not inside; whatever `nrt_tensor_write` returns.
    pub fn write(&self, offset: usize, data: &[u8]) -> Result<()> {
        self.check_range("a write", offset, data.len())?;
        if data.is_empty() {
            return Ok(());
        }
        // SAFETY: the handle is alive as long as `self`.
        self.call("nrt_tensor_write", |nrt| unsafe { nrt.tensor_write(self.0.handle, offset, data) })
    }

    /// Reads elements from number `first` on, as if the tensor were an array of them.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_elements<T: Element>(&self, first: usize, out: &mut [T]) -> Result<()> {
        self.read(self.element_offset::<T>(first)?, bytes_mut(out))
    }

    /// Writes elements from number `first` on, likewise.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_elements<T: Element>(&self, first: usize, data: &[T]) -> Result<()> {
        self.write(self.element_offset::<T>(first)?, bytes(data))
    }

    /// Copies `size_bytes` from `source` on the same core, without the host. The two ranges must not overlap.
    ///
    /// # Errors
    /// [`NeuronError::Argument`] if a range is not inside, the ranges overlap, or the cores differ; whatever
    /// `nrt_tensor_copy` returns.
    pub fn copy_from(&self, offset: usize, source: &Self, source_offset: usize, size_bytes: usize) -> Result<()> {
        self.check_range("a copy", offset, size_bytes)?;
        source.check_range("a copy", source_offset, size_bytes)?;
        let (to, from) = (self.0.start + offset, source.0.start + source_offset);
        if !self.0.core.is(&source.0.core) {
            let what = format!("a copy from {source} on {} to {self} on {}", source.0.core, self.0.core);
            return Err(NeuronError::Argument(format!("{what}: tensors of one core can be copied")));
        }
        if self.0.storage == source.0.storage && to < from + size_bytes && from < to + size_bytes {
            return Err(NeuronError::Argument(format!("a copy from {source} to {self} would overlap")));
        }
        if size_bytes == 0 {
            return Ok(());
        }
        // SAFETY: both handles are alive as long as the tensors are borrowed.
        self.call("nrt_tensor_copy", |nrt| unsafe {
            nrt.tensor_copy((source.0.handle, source_offset), (self.0.handle, offset), size_bytes)
        })
    }

    /// Sets `size_bytes` from `offset` on to `value`.
    ///
    /// # Errors
    /// [`NeuronError::Argument`] if that is not inside; whatever `nrt_tensor_memset` returns.
    pub fn fill(&self, offset: usize, value: u8, size_bytes: usize) -> Result<()> {
        self.check_range("a fill", offset, size_bytes)?;
        if size_bytes == 0 {
            return Ok(());
        }
        // SAFETY: the handle is alive as long as `self`.
        self.call("nrt_tensor_memset", |nrt| unsafe { nrt.tensor_memset(self.0.handle, offset, value, size_bytes) })
    }

    pub(super) fn handle(&self) -> TensorHandle {
        self.0.handle
    }

    /// Whether `other` is a clone of this one.
    pub(super) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn call(&self, operation: &'static str, call: impl FnOnce(&crate::neuron::nrt::Nrt) -> Result<()>) -> Result<()> {
        self.0.core.call(operation, || self.to_string(), call)
    }

    fn check_range(&self, what: &str, offset: usize, size_bytes: usize) -> Result<()> {
        match offset.checked_add(size_bytes) {
            Some(end) if end <= self.0.size_bytes => Ok(()),
            _ => Err(NeuronError::Argument(format!("{what} of {size_bytes} bytes from {offset} is not inside {self}"))),
        }
    }

    fn element_offset<T: Element>(&self, first: usize) -> Result<usize> {
        let beyond = || NeuronError::Argument(format!("element {first} is not inside {self}"));
        first.checked_mul(size_of::<T>()).ok_or_else(beyond)
    }
}

impl std::fmt::Display for DeviceTensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tensor `{}` of {} bytes", self.0.name, self.0.size_bytes)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let subject = || format!("tensor `{}` on {}", self.name, self.core);
        // SAFETY: the handle is alive until here, and is not used again. Sets hold the tensors that they have, so it is
        // in none.
        self.core.call_in_drop(subject, |nrt| unsafe { nrt.tensor_free(self.handle) });
    }
}
