//! The functions of libnrt, as far as the library at hand has them.

use libloading::Library;

use super::super::sys;

/// Declares [`Symbols`]: a field for each C function, its type from the bindings; and the names of the core set.
macro_rules! symbols {
    (core { $($core:ident: $core_fn:ident,)* } optional { $($optional:ident: $optional_fn:ident,)* }) => {
        /// A pointer to each function that the library has. The fields have the functions' names.
        #[derive(Debug)]
        pub(super) struct Symbols {
            $(pub(super) $core: sys::$core_fn,)*
            $(pub(super) $optional: sys::$optional_fn,)*
        }

        /// The functions without which a library is not used.
        pub const CORE_SYMBOLS: &[&str] = &[$(stringify!($core)),*];

        /// The functions that a library may lack: calling one is an error then, and all else works.
        pub const OPTIONAL_SYMBOLS: &[&str] = &[$(stringify!($optional)),*];

        impl Symbols {
            /// Looks them all up. Returns the names of those of the core set that are missing, if any are.
            pub(super) fn resolve(library: &Library) -> Result<Self, Vec<&'static str>> {
                // SAFETY: `get` asks that the type fits the symbol. Each name is looked up with the type that
                // `nrt_abi.h` declares for it from AWS's documentation; `Option` of a function pointer is a pointer,
                // null where there is none. The pointers are called only while the library is loaded: it is never
                // closed (`open`).
                let found = unsafe {
                    Self {
                        $($core: library.get::<sys::$core_fn>(stringify!($core)).ok().and_then(|s| *s),)*
                        $($optional: library.get::<sys::$optional_fn>(stringify!($optional)).ok().and_then(|s| *s),)*
                    }
                };
                let core = [$((stringify!($core), found.$core.is_some())),*];
                let missing: Vec<_> = core.into_iter().filter(|(_, there)| !there).map(|(name, _)| name).collect();
                if missing.is_empty() { Ok(found) } else { Err(missing) }
            }

            /// The optional functions that are not there.
            pub(super) fn missing_optional(&self) -> Vec<&'static str> {
                let all = [$((stringify!($optional), self.$optional.is_some())),*];
                all.into_iter().filter(|(_, there)| !there).map(|(name, _)| name).collect()
            }
        }
    };
}

symbols! {
    core {
        nrt_init: nrt_init_fn,
        nrt_close: nrt_close_fn,
        nrt_get_version: nrt_get_version_fn,
        nrt_load: nrt_load_fn,
        nrt_unload: nrt_unload_fn,
        nrt_tensor_allocate: nrt_tensor_allocate_fn,
        nrt_tensor_free: nrt_tensor_free_fn,
        nrt_tensor_read: nrt_tensor_read_fn,
        nrt_tensor_write: nrt_tensor_write_fn,
        nrt_allocate_tensor_set: nrt_allocate_tensor_set_fn,
        nrt_destroy_tensor_set: nrt_destroy_tensor_set_fn,
        nrt_add_tensor_to_tensor_set: nrt_add_tensor_to_tensor_set_fn,
        nrt_execute: nrt_execute_fn,
        nrt_get_model_tensor_info: nrt_get_model_tensor_info_fn,
        nrt_free_model_tensor_info: nrt_free_model_tensor_info_fn,
    }
    optional {
        nrt_get_instance_info: nrt_get_instance_info_fn,
        nrt_get_total_vnc_count: nrt_get_total_vnc_count_fn,
        nrt_get_visible_vnc_count: nrt_get_visible_vnc_count_fn,
        nrt_tensor_allocate_slice: nrt_tensor_allocate_slice_fn,
        nrt_tensor_copy: nrt_tensor_copy_fn,
        nrt_tensor_memset: nrt_tensor_memset_fn,
        nrt_get_vnc_memory_stats: nrt_get_vnc_memory_stats_fn,
        nrt_get_status_as_str: nrt_get_status_as_str_fn,
    }
}

/// Whether the library exports a function that the bindings do not declare.
pub(super) fn exports(library: &Library, name: &str) -> bool {
    // SAFETY: the symbol is looked up as a data pointer, and neither read nor called.
    unsafe { library.get::<*const ()>(name).is_ok() }
}
