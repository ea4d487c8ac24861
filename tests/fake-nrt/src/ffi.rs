//! The functions, by their names in C. Pointers are checked as far as that is possible; handles are numbers, looked up and never read.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;

use longhaul::neuron::sys::{self, NRT_STATUS};

use crate::environment;
use crate::program::{Program, Tensor as ProgramTensor};
use crate::state::{Model, Phase, Set, State, begin, fault, with};

/// Memory of a description: the array as C reads it, and the shapes that it points to.
#[derive(Debug)]
pub struct InfoArray {
    words: Vec<u64>,
    _shapes: Vec<Vec<u32>>,
}

// SAFETY: the pointers among the words are to `_shapes`, which moves with them; whoever has the array may read it on any thread.
unsafe impl Send for InfoArray {}

fn status(work: impl FnOnce() -> Result<(), i32>) -> NRT_STATUS {
    work().err().unwrap_or(sys::NRT_SUCCESS)
}

/// Stores what a call gives through its last argument.
///
/// # Safety
/// `target` is null or may be written to.
unsafe fn give<T>(target: *mut T, value: impl FnOnce(&mut State) -> Result<T, i32>) -> Result<(), i32> {
    if target.is_null() {
        return Err(sys::NRT_INVALID);
    }
    let value = with(value)?;
    // SAFETY: not null, so it may be written to, as the caller promises.
    unsafe { target.write(value) };
    Ok(())
}

/// # Safety
/// `text` is null or ends in NUL.
unsafe fn string(text: *const c_char) -> Option<String> {
    // SAFETY: not null, so it ends in NUL, as the caller promises.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

fn core_index(core: c_int) -> Result<u32, i32> {
    let n_cores = environment::visible_cores().map_or(0, |cores| cores.len());
    u32::try_from(core).ok().filter(|core| (*core as usize) < n_cores).ok_or(sys::NRT_INVALID)
}

fn tensor_core<T>(tensor: *const T) -> Option<u32> {
    with(|state| state.core_of(tensor.addr()))
}

/// The core of a set: that of the tensors in it.
fn set_core(set: *const c_void) -> Option<u32> {
    with(|state| {
        let any = *state.sets.get(&set.addr())?.0.values().next()?;
        state.core_of(any)
    })
}

/// # Safety
/// Texts are null or end in NUL.
pub unsafe fn nrt_init(framework: c_int, fw_version: *const c_char, fal_version: *const c_char) -> NRT_STATUS {
    status(|| {
        if with(|state| state.lost) {
            with(|state| state.n_calls_after_loss += 1);
            return Err(sys::NRT_EXEC_UNIT_UNRECOVERABLE);
        }
        fault("nrt_init")?;
        // SAFETY: as the caller promises.
        let texts = unsafe { (string(fw_version), string(fal_version)) };
        with(|state| {
            if framework == sys::NRT_FRAMEWORK_TYPE_NO_FW && texts != (Some(String::new()), Some(String::new())) {
                state.violation("nrt_init without a framework, and versions that are not empty");
            }
            if state.phase != Phase::New {
                state.violation("nrt_init a second time");
                return Err(sys::NRT_FAILURE);
            }
            let cores = environment::visible_cores().filter(|cores| !cores.is_empty());
            cores.ok_or(sys::NRT_INVALID)?;
            state.phase = Phase::Ready;
            Ok(())
        })
    })
}

pub fn nrt_close() {
    if begin("nrt_close", None).is_ok() {
        with(State::close);
    }
}

/// # Safety
/// `version` is null, or `size` bytes may be written to it.
pub unsafe fn nrt_get_version(this: [u64; 3], version: *mut sys::nrt_version_t, size: usize) -> NRT_STATUS {
    status(|| {
        fault("nrt_get_version")?;
        if size != size_of::<sys::nrt_version_t>() {
            with(|state| state.violation(format!("nrt_get_version with a size of {size}")));
            return Err(sys::NRT_INVALID);
        }
        let [rt_major, rt_minor, rt_patch] = this;
        // SAFETY: null, or as large as the struct, which was checked.
        unsafe {
            give(version, |_| {
                let (rt_maintenance, rt_detail, git_hash) = (0, [0; 128], [0; 64]);
                Ok(sys::nrt_version_t { rt_major, rt_minor, rt_patch, rt_maintenance, rt_detail, git_hash })
            })
        }
    })
}

/// # Safety
/// `info` is null, or `size` bytes may be written to it.
pub unsafe fn nrt_get_instance_info(info: *mut sys::nrt_instance_info_t, size: usize) -> NRT_STATUS {
    status(|| {
        fault("nrt_get_instance_info")?;
        if size != size_of::<sys::nrt_instance_info_t>() {
            return Err(sys::NRT_INVALID);
        }
        let mut arch_name = [0; 16];
        for (to, from) in arch_name.iter_mut().zip(b"NCv3") {
            *to = from.cast_signed();
        }
        // SAFETY: null, or as large as the struct, which was checked.
        unsafe {
            give(info, |_| {
                let family = sys::NRT_INSTANCE_TRN2.cast_unsigned();
                Ok(sys::nrt_instance_info_t { family, size: 0, arch_name, device_revision: [0; 8] })
            })
        }
    })
}

/// # Safety
/// `n_cores` is null or may be written to.
pub unsafe fn nrt_get_total_vnc_count(n_cores: *mut u32) -> NRT_STATUS {
    status(|| {
        fault("nrt_get_total_vnc_count")?;
        // SAFETY: as the caller promises.
        unsafe { give(n_cores, |_| Ok(environment::total_cores())) }
    })
}

/// # Safety
/// `n_cores` is null or may be written to.
pub unsafe fn nrt_get_visible_vnc_count(n_cores: *mut u32) -> NRT_STATUS {
    status(|| {
        fault("nrt_get_visible_vnc_count")?;
        let visible = || environment::visible_cores().ok_or(sys::NRT_INVALID);
        // SAFETY: as the caller promises.
        unsafe { give(n_cores, |_| visible().map(|cores| cores.len() as u32)) }
    })
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
    // SAFETY: as the caller promises.
    status(|| unsafe { load("nrt_load", (neff, size), core, n_cores, model) })
}

/// # Safety
/// As [`nrt_load`].
pub unsafe fn nrt_load_collectives(
    neff: *const c_void,
    size: usize,
    core: i32,
    n_cores: i32,
    rank: u32,
    world_size: u32,
    model: *mut *mut sys::nrt_model_t,
) -> NRT_STATUS {
    status(|| {
        if rank >= world_size {
            return Err(sys::NRT_INVALID);
        }
        // SAFETY: as the caller promises.
        unsafe { load("nrt_load_collectives", (neff, size), core, n_cores, model) }
    })
}

/// # Safety
/// As [`nrt_load`].
unsafe fn load(
    function: &'static str,
    (neff, size): (*const c_void, usize),
    core: i32,
    n_cores: i32,
    model: *mut *mut sys::nrt_model_t,
) -> Result<(), i32> {
    let core = if core == -1 { Ok(0) } else { core_index(core) };
    let _occupied = begin(function, core.ok())?;
    if n_cores != -1 {
        with(|state| state.violation(format!("{function} with {n_cores} cores: deprecated, always -1")));
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

pub fn nrt_tensor_get_size(tensor: *const sys::nrt_tensor_t) -> usize {
    with(|state| state.tensor(tensor.addr()).map_or(0, |t| t.size))
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

/// # Safety
/// `name` is null or ends in NUL; `tensor` is null or may be written to.
pub unsafe fn nrt_get_tensor_from_tensor_set(
    set: *mut c_void,
    name: *const c_char,
    tensor: *mut *mut sys::nrt_tensor_t,
) -> NRT_STATUS {
    status(|| {
        let _occupied = begin("nrt_get_tensor_from_tensor_set", set_core(set))?;
        // SAFETY: as the caller promises.
        let name = unsafe { string(name) }.ok_or(sys::NRT_INVALID)?;
        // SAFETY: as the caller promises.
        unsafe {
            give(tensor, |state| {
                let set = state.sets.get(&set.addr()).ok_or(sys::NRT_INVALID_HANDLE)?;
                set.0.get(&name).map(|t| std::ptr::without_provenance_mut(*t)).ok_or(sys::NRT_FAILURE)
            })
        }
    })
}

pub fn nrt_execute(model: *mut sys::nrt_model_t, inputs: *const c_void, outputs: *mut c_void) -> NRT_STATUS {
    status(|| {
        let core = with(|state| state.models.get(&model.addr()).map(|m| m.core));
        let _occupied = begin("nrt_execute", core)?;
        crate::program::execute(model.addr(), inputs.addr(), outputs.addr())
    })
}

pub fn nrt_execute_repeat(
    model: *mut sys::nrt_model_t,
    inputs: *const c_void,
    outputs: *mut c_void,
    n_times: c_int,
) -> NRT_STATUS {
    status(|| {
        let core = with(|state| state.models.get(&model.addr()).map(|m| m.core));
        let _occupied = begin("nrt_execute_repeat", core)?;
        if n_times < 1 {
            return Err(sys::NRT_INVALID);
        }
        (0..n_times).try_for_each(|_| crate::program::execute(model.addr(), inputs.addr(), outputs.addr()))
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

/// # Safety
/// `stats` is null, or `size` bytes may be written to it; `written` is null or may be written to.
pub unsafe fn nrt_get_vnc_memory_stats(
    core: u32,
    stats: *mut sys::nrt_vnc_memory_stats_t,
    size: usize,
    written: *mut usize,
) -> NRT_STATUS {
    status(|| {
        let core = core_index(core.cast_signed());
        let _occupied = begin("nrt_get_vnc_memory_stats", core.ok())?;
        let core = core?;
        if size < size_of::<sys::nrt_vnc_memory_stats_t>() {
            return Err(sys::NRT_INVALID);
        }
        // SAFETY: null, or at least as large as the struct, which was checked; the other as the caller promises.
        unsafe {
            give(stats, |state| {
                let (bytes_used, bytes_limit) = (state.used_bytes(core) as usize, environment::hbm_bytes() as usize);
                Ok(sys::nrt_vnc_memory_stats_t { bytes_used, bytes_limit })
            })?;
            give(written, |_| Ok(size_of::<sys::nrt_vnc_memory_stats_t>()))
        }
    })
}

pub fn nrt_get_status_as_str(status: NRT_STATUS) -> *const c_char {
    match status {
        sys::NRT_SUCCESS => c"NRT_SUCCESS",
        sys::NRT_INVALID => c"NRT_INVALID",
        _ => c"UNKNOWN STATUS",
    }
    .as_ptr()
}

impl InfoArray {
    /// The array as C has it: the number, then entries of 296 bytes. Offsets are written out, and not taken from the bindings, which this tests.
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

pub fn nrta_error_tracker_create() -> NRT_STATUS {
    asynchronous("nrta_error_tracker_create")
}

pub fn nrta_execute_schedule() -> NRT_STATUS {
    asynchronous("nrta_execute_schedule")
}

/// Nobody calls the asynchronous interface yet.
fn asynchronous(function: &str) -> NRT_STATUS {
    with(|state| state.violation(format!("{function} was called")));
    sys::NRT_FAILURE
}
