//! The runtime, what it tells, and what the asynchronous interface is known by.

use std::ffi::{c_char, c_int};

use longhaul::neuron::sys::{self, NRT_STATUS};

use super::{core_index, give, status, string};
use crate::environment;
use crate::state::{Phase, State, begin, fault, with};

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
            *to = std::ffi::c_char::from_ne_bytes([*from]);
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
