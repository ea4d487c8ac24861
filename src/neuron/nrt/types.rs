//! Handles and plain data that libnrt gives.

use std::ptr::NonNull;

use super::super::sys;

/// A loaded program, by libnrt's pointer. Whoever holds one sees to it that it is unloaded once, and not used
/// afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelHandle(pub(super) NonNull<sys::nrt_model_t>);

/// A tensor, by libnrt's pointer; otherwise as [`ModelHandle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorHandle(pub(super) NonNull<sys::nrt_tensor_t>);

/// A tensor set, by libnrt's pointer; otherwise as [`ModelHandle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetHandle(pub(super) NonNull<sys::nrt_tensor_set_t>);

/// Where a tensor lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// In the memory of a core, by its index.
    Device(u32),
    /// In host memory that the device reaches: deprecated by AWS, at most 4 MiB.
    Host,
}

/// The instance, as libnrt names it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct InstanceInfo {
    /// The family's number.
    pub family: u32,
    /// The size's number, within the family.
    pub size: u32,
    /// The architecture, as libnrt writes it.
    pub arch_name: String,
    /// The device's revision, as libnrt writes it.
    pub device_revision: String,
}

impl InstanceInfo {
    /// The family's name, of those that we know: `trn2`.
    pub fn family_name(&self) -> Option<&'static str> {
        Some(match i32::try_from(self.family).ok()? {
            sys::NRT_INSTANCE_TRN1 => "trn1",
            sys::NRT_INSTANCE_INF2 => "inf2",
            sys::NRT_INSTANCE_TRN2 => "trn2",
            sys::NRT_INSTANCE_TRN2U => "trn2u",
            sys::NRT_INSTANCE_TRN3 => "trn3",
            _ => return None,
        })
    }
}

/// Device memory of a logical core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct MemoryStats {
    /// In use, by every process.
    pub used_bytes: u64,
    /// All there is.
    pub limit_bytes: u64,
}

/// Whether a program reads or writes a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Usage {
    /// It reads it.
    Input,
    /// It writes it.
    Output,
}

/// An input or output of a loaded program, as the runtime tells it: the authority on names, sizes and types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name that it is bound by.
    pub name: String,
    /// Input or output.
    pub usage: Usage,
    /// Bytes of the whole tensor.
    pub size_bytes: usize,
    /// Its elements.
    pub element: ElementType,
    /// Its dimensions, outermost first; may be empty, the runtime does not promise them.
    pub shape: Vec<u32>,
}

/// The type of a tensor's elements, libnrt's number. An integer, because a newer runtime may know more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ElementType(pub i32);

impl ElementType {
    /// The name that NEFFs and NumPy use, and bytes of an element; `None` for what we do not know.
    pub const fn info(self) -> Option<(&'static str, usize)> {
        Some(match self.0 {
            sys::NRT_DTYPE_UINT64 => ("uint64", 8),
            sys::NRT_DTYPE_INT8 => ("int8", 1),
            sys::NRT_DTYPE_UINT8 => ("uint8", 1),
            sys::NRT_DTYPE_INT16 => ("int16", 2),
            sys::NRT_DTYPE_UINT16 => ("uint16", 2),
            sys::NRT_DTYPE_BFLOAT16 => ("bfloat16", 2),
            sys::NRT_DTYPE_FLOAT16 => ("float16", 2),
            sys::NRT_DTYPE_INT32 => ("int32", 4),
            sys::NRT_DTYPE_UINT32 => ("uint32", 4),
            sys::NRT_DTYPE_FLOAT32 => ("float32", 4),
            sys::NRT_DTYPE_FP32R => ("float32r", 4),
            sys::NRT_DTYPE_INT64 => ("int64", 8),
            sys::NRT_DTYPE_FP8_E3 => ("float8_e3m4", 1),
            sys::NRT_DTYPE_FP8_E4 => ("float8_e4m3", 1),
            sys::NRT_DTYPE_FP8_E5 => ("float8_e5m2", 1),
            _ => return None,
        })
    }

    /// The type of a NEFF's name for it.
    pub fn named(name: &str) -> Option<Self> {
        (1..=sys::NRT_DTYPE_FP8_E5).map(Self).find(|t| t.info().is_some_and(|(n, _)| n == name))
    }
}
