//! Programs, what they take and give, and sets of tensors.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use longhaul::neuron::sys::{self, NRT_STATUS};

use super::{core_index, give, set_core, status, string, tensor_core};
use crate::environment;
use crate::program::{Program, Tensor as ProgramTensor};
use crate::state::{Model, Set, begin, with};

/// Memory of a description: the array as C reads it, and the shapes that it points to.
#[derive(Debug)]
pub struct InfoArray {
    words: Vec<u64>,
    _shapes: Vec<Vec<u32>>,
}

// SAFETY: the pointers among the words are to `_shapes`, which moves with them; whoever has the array may read it on
// any thread.
unsafe impl Send for InfoArray {}

impl InfoArray {
    /// The array as C has it: the number, then entries of 296 bytes. Offsets are written out, and not taken from the
    /// bindings, which this tests.
    fn new(tensors: &[ProgramTensor]) -> Self {
        let shapes: Vec<Vec<u32>> = tensors.iter().map(|t| t.shape.iter().map(|d| *d as u32).collect()).collect();
        let mut bytes = (tensors.len() as u64).to_le_bytes().to_vec();
        for (tensor, shape) in tensors.iter().zip(&shapes) {
            let mut entry = [0; 296];
            let name = &tensor.name.as_bytes()[..tensor.name.len().min(255)];
            entry[..name.len()].copy_from_slice(name);
            entry[256..260].copy_from_slice(&u32::from(!tensor.is_input).to_le_bytes());
            entry[264..272].copy_from_slice(&(tensor.size_bytes() as u64).to_le_bytes());
            entry[272..276].copy_from_slice(&tensor.dtype.number().to_le_bytes());
            entry[280..288].copy_from_slice(&(shape.as_ptr().expose_provenance() as u64).to_le_bytes());
            entry[288..292].copy_from_slice(&(shape.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&entry);
        }
        let words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        Self { words, _shapes: shapes }
    }
}

/// # Safety
/// `neff` is null or has `size` bytes; `model` is null or may be written to.
pub unsafe fn nrt_load(
    neff: *const c_void,
    size: usize,
    core: i32,
    n_cores: i32,
    model: *mut *mut sys::nrt_model_t,
) -> NRT_STATUS {
    status(|| {
        let core = if core == -1 { Ok(0) } else { core_index(core) };
        let _occupied = begin("nrt_load", core.ok())?;
        if n_cores != -1 {
            with(|state| state.violation(format!("nrt_load with {n_cores} cores: deprecated, always -1")));
        }
        let core = core?;
        if neff.is_null() || size == 0 {
            return Err(sys::NRT_INVALID);
        }
        // SAFETY: not null, so it has `size` bytes, as the caller promises.
        let bytes = unsafe { std::slice::from_raw_parts(neff.cast::<u8>(), size) };
        let program = Arc::new(Program::read(bytes)?);
        if environment::lnc().is_some_and(|lnc| lnc != program.lnc) {
            return Err(sys::NRT_INVALID);
        }
        // SAFETY: as the caller promises.
        unsafe {
            give(model, |state| {
                let handle = state.new_handle();
                state.models.insert(handle, Model { core, program });
                Ok(std::ptr::without_provenance_mut(handle))
            })
        }
    })
}

pub fn nrt_unload(model: *mut sys::nrt_model_t) -> NRT_STATUS {
    status(|| {
        let core = with(|state| state.models.get(&model.addr()).map(|m| m.core));
        let _occupied = begin("nrt_unload", core)?;
        with(|state| {
            if state.models.remove(&model.addr()).is_none() {
                state.violation("nrt_unload of what is no program, or was unloaded");
                return Err(sys::NRT_INVALID_HANDLE);
            }
            state.n_freed += 1;
            Ok(())
        })
    })
}

/// # Safety
/// `set` is null or may be written to.
pub unsafe fn nrt_allocate_tensor_set(set: *mut *mut c_void) -> NRT_STATUS {
    status(|| {
        let _occupied = begin("nrt_allocate_tensor_set", None)?;
        // SAFETY: as the caller promises.
        unsafe {
            give(set, |state| {
                let handle = state.new_handle();
                state.sets.insert(handle, Set::default());
                Ok(std::ptr::without_provenance_mut(handle))
            })
        }
    })
}

/// # Safety
/// `set` may be read and written.
pub unsafe fn nrt_destroy_tensor_set(set: *mut *mut c_void) {
    // SAFETY: as the caller promises.
    let Some(pointer) = (unsafe { set.as_mut() }) else { return };
    let Ok(_occupied) = begin("nrt_destroy_tensor_set", set_core(*pointer)) else { return };
    with(|state| match state.sets.remove(&pointer.addr()) {
        Some(_) => state.n_freed += 1,
        None => state.violation("nrt_destroy_tensor_set of what is no set, or was destroyed"),
    });
    *pointer = std::ptr::null_mut();
}

/// # Safety
/// `name` is null or ends in NUL.
pub unsafe fn nrt_add_tensor_to_tensor_set(
    set: *mut c_void,
    name: *const c_char,
    tensor: *mut sys::nrt_tensor_t,
) -> NRT_STATUS {
    status(|| {
        let _occupied = begin("nrt_add_tensor_to_tensor_set", tensor_core(tensor))?;
        // SAFETY: as the caller promises.
        let name = unsafe { string(name) }.filter(|n| n.len() < sys::NRT_TENSOR_NAME_MAX as usize);
        let name = name.ok_or(sys::NRT_INVALID)?;
        with(|state| {
            state.tensor(tensor.addr())?;
            let set = state.sets.get_mut(&set.addr()).ok_or(sys::NRT_INVALID_HANDLE)?;
            set.0.insert(name, tensor.addr());
            Ok(())
        })
    })
}

pub fn nrt_execute(model: *mut sys::nrt_model_t, inputs: *const c_void, outputs: *mut c_void) -> NRT_STATUS {
    status(|| {
        let core = with(|state| state.models.get(&model.addr()).map(|m| m.core));
        let _occupied = begin("nrt_execute", core)?;
        crate::program::execute(model.addr(), inputs.addr(), outputs.addr())
    })
}

/// # Safety
/// `info` is null or may be written to.
pub unsafe fn nrt_get_model_tensor_info(
    model: *mut sys::nrt_model_t,
    info: *mut *mut sys::nrt_tensor_info_array_t,
) -> NRT_STATUS {
    status(|| {
        let model = with(|state| state.models.get(&model.addr()).cloned());
        let _occupied = begin("nrt_get_model_tensor_info", model.as_ref().map(|m| m.core))?;
        let program = model.ok_or(sys::NRT_INVALID_HANDLE)?.program;
        // SAFETY: as the caller promises.
        unsafe {
            give(info, |state| {
                let mut array = InfoArray::new(&program.reported_tensors());
                let address = array.words.as_mut_ptr();
                state.n_allocated += 1;
                state.infos.insert(address.addr(), array);
                Ok(address.cast())
            })
        }
    })
}

pub fn nrt_free_model_tensor_info(info: *mut sys::nrt_tensor_info_array_t) -> NRT_STATUS {
    status(|| {
        let _occupied = begin("nrt_free_model_tensor_info", None)?;
        with(|state| match state.infos.remove(&info.addr()) {
            Some(_) => {
                state.n_freed += 1;
                Ok(())
            }
            None => {
                state.violation("nrt_free_model_tensor_info of what is none, or was freed");
                Err(sys::NRT_INVALID)
            }
        })
    })
}
