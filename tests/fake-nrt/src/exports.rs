//! What a library exports: each version calls the macros for what it has. Each function passes its arguments on to
//! [`ffi`](crate::ffi).

/// Functions that pass on to those of the same name.
#[doc(hidden)]
#[macro_export]
macro_rules! forward {
    ($($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        /// See the documentation of libnrt.
        ///
        /// # Safety
        /// As there.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? {
            #[allow(unused_unsafe)]
            // SAFETY: the caller promises what libnrt asks for, which is what the function asks for.
            unsafe { $crate::ffi::$name($($argument),*) }
        }
    )*};
}

/// The types that the functions name.
#[doc(hidden)]
pub mod types {
    pub use longhaul::neuron::sys::{
        nrt_instance_info_t, nrt_model_t, nrt_tensor_info_array_t, nrt_tensor_t, nrt_version_t, nrt_vnc_memory_stats_t,
    };
    pub use std::ffi::{c_char, c_int, c_void};
}

/// The version.
#[macro_export]
macro_rules! export_version {
    ($major:literal, $minor:literal, $patch:literal) => {
        use $crate::types::*;

        /// See the documentation of libnrt.
        ///
        /// # Safety
        /// As there.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn nrt_get_version(version: *mut nrt_version_t, size: usize) -> c_int {
            // SAFETY: the caller promises what libnrt asks for, which is what the function asks for.
            unsafe { $crate::ffi::nrt_get_version([$major, $minor, $patch], version, size) }
        }
    };
}

/// The functions that every version has, and how tests steer the stand-in.
#[macro_export]
macro_rules! export_core {
    ($major:literal, $minor:literal, $patch:literal) => {
        $crate::export_version!($major, $minor, $patch);
        $crate::forward! {
            nrt_init(framework: c_int, fw_version: *const c_char, fal_version: *const c_char) -> c_int;
            nrt_close();
            nrt_load(neff: *const c_void, size: usize, core: i32, n_cores: i32, model: *mut *mut nrt_model_t) -> c_int;
            nrt_unload(model: *mut nrt_model_t) -> c_int;
            nrt_tensor_allocate(placement: c_int, core: c_int, size: usize, name: *const c_char, tensor: *mut *mut nrt_tensor_t) -> c_int;
            nrt_tensor_free(tensor: *mut *mut nrt_tensor_t);
            nrt_tensor_read(tensor: *const nrt_tensor_t, buffer: *mut c_void, offset: usize, size: usize) -> c_int;
            nrt_tensor_write(tensor: *mut nrt_tensor_t, buffer: *const c_void, offset: usize, size: usize) -> c_int;
            nrt_allocate_tensor_set(set: *mut *mut c_void) -> c_int;
            nrt_destroy_tensor_set(set: *mut *mut c_void);
            nrt_add_tensor_to_tensor_set(set: *mut c_void, name: *const c_char, tensor: *mut nrt_tensor_t) -> c_int;
            nrt_execute(model: *mut nrt_model_t, inputs: *const c_void, outputs: *mut c_void) -> c_int;
            nrt_get_model_tensor_info(model: *mut nrt_model_t, info: *mut *mut nrt_tensor_info_array_t) -> c_int;
            nrt_free_model_tensor_info(info: *mut nrt_tensor_info_array_t) -> c_int;
        }
        $crate::export_control!();
    };
}

/// The functions that AWS's versions from 2.30 on have besides.
#[macro_export]
macro_rules! export_optional {
    () => {
        $crate::forward! {
            nrt_get_instance_info(info: *mut nrt_instance_info_t, size: usize) -> c_int;
            nrt_get_total_vnc_count(n_cores: *mut u32) -> c_int;
            nrt_get_visible_vnc_count(n_cores: *mut u32) -> c_int;
            nrt_tensor_allocate_slice(source: *const nrt_tensor_t, offset: usize, size: usize, name: *const c_char, slice: *mut *mut nrt_tensor_t) -> c_int;
            nrt_tensor_copy(source: *const nrt_tensor_t, source_offset: usize, target: *mut nrt_tensor_t, target_offset: usize, size: usize) -> c_int;
            nrt_tensor_memset(tensor: *mut nrt_tensor_t, offset: u64, value: c_int, size: usize) -> c_int;
            nrt_get_vnc_memory_stats(core: u32, stats: *mut nrt_vnc_memory_stats_t, size: usize, written: *mut usize) -> c_int;
        }
    };
}

/// The names of statuses, which versions before 2.34 lack.
#[macro_export]
macro_rules! export_status_text {
    () => {
        $crate::forward! { nrt_get_status_as_str(status: c_int) -> *const c_char; }
    };
}

/// What the old asynchronous interface is known by. Calling it is an error of the caller's.
#[macro_export]
macro_rules! export_error_tracker {
    () => {
        $crate::forward! { nrta_error_tracker_create() -> c_int; }
        $crate::export_async!();
    };
}

/// What the asynchronous interface is known by. Calling it is an error of the caller's.
#[macro_export]
macro_rules! export_async {
    () => {
        $crate::forward! { nrta_execute_schedule() -> c_int; }
    };
}

/// How tests steer the stand-in.
#[macro_export]
macro_rules! export_control {
    () => {
        /// See `fake_nrt::control`.
        ///
        /// # Safety
        /// `counters` may be written to.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn fake_nrt_counters(counters: *mut $crate::control::Counters) {
            // SAFETY: as the caller promises.
            unsafe { counters.write($crate::control::counters()) }
        }

        /// See `fake_nrt::control`.
        ///
        /// # Safety
        /// `plan` ends in NUL.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn fake_nrt_faults(plan: *const c_char) -> c_int {
            // SAFETY: as the caller promises.
            $crate::control::set_faults(unsafe { std::ffi::CStr::from_ptr(plan) })
        }

        /// See `fake_nrt::control`.
        ///
        /// # Safety
        /// `size` bytes may be written to `text`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn fake_nrt_report(text: *mut c_char, size: usize) {
            // SAFETY: as the caller promises; zeros are values.
            $crate::control::report(unsafe { std::slice::from_raw_parts_mut(text.cast(), size) });
        }
    };
}
