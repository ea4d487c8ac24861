// Made from src/neuron/nrt_abi.h by bindgen (scripts/check-bindings --write). Not to be edited.

pub const NRT_SUCCESS: i32 = 0;
pub const NRT_FAILURE: i32 = 1;
pub const NRT_INVALID: i32 = 2;
pub const NRT_INVALID_HANDLE: i32 = 3;
pub const NRT_RESOURCE: i32 = 4;
pub const NRT_TIMEOUT: i32 = 5;
pub const NRT_HW_ERROR: i32 = 6;
pub const NRT_QUEUE_FULL: i32 = 7;
pub const NRT_LOAD_NOT_ENOUGH_NC: i32 = 9;
pub const NRT_UNSUPPORTED_NEFF_VERSION: i32 = 10;
pub const NRT_FAIL_HOST_MEM_ALLOC: i32 = 11;
pub const NRT_UNINITIALIZED: i32 = 13;
pub const NRT_CLOSED: i32 = 14;
pub const NRT_QUEUE_EMPTY: i32 = 15;
pub const NRT_EXEC_UNIT_UNRECOVERABLE: i32 = 101;
pub const NRT_EXEC_BAD_INPUT: i32 = 1002;
pub const NRT_EXEC_COMPLETED_WITH_NUM_ERR: i32 = 1003;
pub const NRT_EXEC_COMPLETED_WITH_ERR: i32 = 1004;
pub const NRT_EXEC_NC_BUSY: i32 = 1005;
pub const NRT_EXEC_OOB: i32 = 1006;
pub const NRT_COLL_PENDING: i32 = 1100;
pub const NRT_EXEC_HW_ERR_COLLECTIVES: i32 = 1200;
pub const NRT_EXEC_HW_ERR_HBM_UE: i32 = 1201;
pub const NRT_EXEC_HW_ERR_NC_UE: i32 = 1202;
pub const NRT_EXEC_HW_ERR_DMA_ABORT: i32 = 1203;
pub const NRT_EXEC_SW_NQ_OVERFLOW: i32 = 1204;
pub const NRT_EXEC_HW_ERR_REPAIRABLE_HBM_UE: i32 = 1205;
pub const NRT_NETWORK_PROXY_FAILURE: i32 = 1206;
pub const NRT_FRAMEWORK_TYPE_NO_FW: i32 = 1;
pub const NRT_TENSOR_PLACEMENT_DEVICE: i32 = 0;
pub const NRT_TENSOR_PLACEMENT_HOST: i32 = 1;
pub const NRT_DTYPE_UNKNOWN: i32 = 0;
pub const NRT_DTYPE_UINT64: i32 = 1;
pub const NRT_DTYPE_INT8: i32 = 2;
pub const NRT_DTYPE_UINT8: i32 = 3;
pub const NRT_DTYPE_INT16: i32 = 4;
pub const NRT_DTYPE_UINT16: i32 = 5;
pub const NRT_DTYPE_BFLOAT16: i32 = 6;
pub const NRT_DTYPE_FLOAT16: i32 = 7;
pub const NRT_DTYPE_INT32: i32 = 8;
pub const NRT_DTYPE_UINT32: i32 = 9;
pub const NRT_DTYPE_FLOAT32: i32 = 10;
pub const NRT_DTYPE_FP32R: i32 = 11;
pub const NRT_DTYPE_INT64: i32 = 12;
pub const NRT_DTYPE_FP8_E3: i32 = 13;
pub const NRT_DTYPE_FP8_E4: i32 = 14;
pub const NRT_DTYPE_FP8_E5: i32 = 15;
pub const NRT_INSTANCE_TRN1: i32 = 2;
pub const NRT_INSTANCE_INF2: i32 = 4;
pub const NRT_INSTANCE_TRN2: i32 = 5;
pub const NRT_INSTANCE_TRN2U: i32 = 9;
pub const NRT_INSTANCE_TRN3: i32 = 14;
pub const NRT_TENSOR_USAGE_INPUT: i32 = 0;
pub const NRT_TENSOR_USAGE_OUTPUT: i32 = 1;
pub const NRT_TENSOR_NAME_MAX: i32 = 256;
pub const RT_VERSION_DETAIL_LEN: i32 = 128;
pub const GIT_HASH_LEN: i32 = 64;
pub const NRTA_XU_TENSOR_OP: i32 = 0;
pub const NRTA_XU_COMPUTE: i32 = 1;
pub const NRTA_XU_COLLECTIVES: i32 = 2;
pub const NRT_TENSOR_ARRAY_OFFSET: i32 = 8;
pub type NRT_STATUS = ::core::ffi::c_int;
pub type nrt_framework_type_t = ::core::ffi::c_int;
pub type nrt_tensor_placement_t = ::core::ffi::c_int;
pub type nrt_dtype_t = ::core::ffi::c_int;
pub type nrt_tensor_usage_t = ::core::ffi::c_int;
#[repr(C)]
#[derive(Debug)]
pub struct nrt_model {
    _unused: [u8; 0],
}
pub type nrt_model_t = nrt_model;
#[repr(C)]
#[derive(Debug)]
pub struct nrt_tensor {
    _unused: [u8; 0],
}
pub type nrt_tensor_t = nrt_tensor;
pub type nrt_tensor_set_t = ::core::ffi::c_void;
#[repr(C)]
#[derive(Copy, Clone)]
pub struct nrt_version {
    pub rt_major: u64,
    pub rt_minor: u64,
    pub rt_patch: u64,
    pub rt_maintenance: u64,
    pub rt_detail: [::core::ffi::c_char; 128usize],
    pub git_hash: [::core::ffi::c_char; 64usize],
}
pub type nrt_version_t = nrt_version;
#[repr(C)]
#[derive(Copy, Clone)]
pub struct nrt_instance_info {
    pub family: u32,
    pub size: u32,
    pub arch_name: [::core::ffi::c_char; 16usize],
    pub device_revision: [::core::ffi::c_char; 8usize],
}
pub type nrt_instance_info_t = nrt_instance_info;
#[repr(C)]
#[derive(Copy, Clone)]
pub struct nrt_vnc_memory_stats {
    pub bytes_used: usize,
    pub bytes_limit: usize,
}
pub type nrt_vnc_memory_stats_t = nrt_vnc_memory_stats;
#[repr(C)]
#[derive(Copy, Clone)]
pub struct nrt_tensor_info {
    pub name: [::core::ffi::c_char; 256usize],
    pub usage: nrt_tensor_usage_t,
    pub size: usize,
    pub dtype: nrt_dtype_t,
    pub shape: *mut u32,
    pub ndim: u32,
}
pub type nrt_tensor_info_t = nrt_tensor_info;
#[repr(C)]
#[derive(Copy, Clone)]
pub struct nrt_tensor_info_array {
    pub tensor_count: u64,
}
pub type nrt_tensor_info_array_t = nrt_tensor_info_array;
pub type nrt_init_fn = ::core::option::Option<
    unsafe extern "C" fn(
        framework: nrt_framework_type_t,
        fw_version: *const ::core::ffi::c_char,
        fal_version: *const ::core::ffi::c_char,
    ) -> NRT_STATUS,
>;
pub type nrt_close_fn = ::core::option::Option<unsafe extern "C" fn()>;
pub type nrt_get_version_fn = ::core::option::Option<
    unsafe extern "C" fn(version: *mut nrt_version_t, size: usize) -> NRT_STATUS,
>;
pub type nrt_get_instance_info_fn = ::core::option::Option<
    unsafe extern "C" fn(info: *mut nrt_instance_info_t, size: usize) -> NRT_STATUS,
>;
pub type nrt_get_total_vnc_count_fn = ::core::option::Option<
    unsafe extern "C" fn(n_cores: *mut u32) -> NRT_STATUS,
>;
pub type nrt_get_visible_vnc_count_fn = ::core::option::Option<
    unsafe extern "C" fn(n_cores: *mut u32) -> NRT_STATUS,
>;
pub type nrt_load_fn = ::core::option::Option<
    unsafe extern "C" fn(
        neff: *const ::core::ffi::c_void,
        size: usize,
        core: i32,
        n_cores: i32,
        model: *mut *mut nrt_model_t,
    ) -> NRT_STATUS,
>;
pub type nrt_unload_fn = ::core::option::Option<
    unsafe extern "C" fn(model: *mut nrt_model_t) -> NRT_STATUS,
>;
pub type nrt_tensor_allocate_fn = ::core::option::Option<
    unsafe extern "C" fn(
        placement: nrt_tensor_placement_t,
        core: ::core::ffi::c_int,
        size: usize,
        name: *const ::core::ffi::c_char,
        tensor: *mut *mut nrt_tensor_t,
    ) -> NRT_STATUS,
>;
pub type nrt_tensor_allocate_slice_fn = ::core::option::Option<
    unsafe extern "C" fn(
        source: *const nrt_tensor_t,
        offset: usize,
        size: usize,
        name: *const ::core::ffi::c_char,
        slice: *mut *mut nrt_tensor_t,
    ) -> NRT_STATUS,
>;
pub type nrt_tensor_free_fn = ::core::option::Option<
    unsafe extern "C" fn(tensor: *mut *mut nrt_tensor_t),
>;
pub type nrt_tensor_read_fn = ::core::option::Option<
    unsafe extern "C" fn(
        tensor: *const nrt_tensor_t,
        buffer: *mut ::core::ffi::c_void,
        offset: usize,
        size: usize,
    ) -> NRT_STATUS,
>;
pub type nrt_tensor_write_fn = ::core::option::Option<
    unsafe extern "C" fn(
        tensor: *mut nrt_tensor_t,
        buffer: *const ::core::ffi::c_void,
        offset: usize,
        size: usize,
    ) -> NRT_STATUS,
>;
pub type nrt_tensor_copy_fn = ::core::option::Option<
    unsafe extern "C" fn(
        source: *const nrt_tensor_t,
        source_offset: usize,
        target: *mut nrt_tensor_t,
        target_offset: usize,
        size: usize,
    ) -> NRT_STATUS,
>;
pub type nrt_tensor_memset_fn = ::core::option::Option<
    unsafe extern "C" fn(
        tensor: *mut nrt_tensor_t,
        offset: u64,
        value: ::core::ffi::c_int,
        size: usize,
    ) -> NRT_STATUS,
>;
pub type nrt_allocate_tensor_set_fn = ::core::option::Option<
    unsafe extern "C" fn(set: *mut *mut nrt_tensor_set_t) -> NRT_STATUS,
>;
pub type nrt_destroy_tensor_set_fn = ::core::option::Option<
    unsafe extern "C" fn(set: *mut *mut nrt_tensor_set_t),
>;
pub type nrt_add_tensor_to_tensor_set_fn = ::core::option::Option<
    unsafe extern "C" fn(
        set: *mut nrt_tensor_set_t,
        name: *const ::core::ffi::c_char,
        tensor: *mut nrt_tensor_t,
    ) -> NRT_STATUS,
>;
pub type nrt_execute_fn = ::core::option::Option<
    unsafe extern "C" fn(
        model: *mut nrt_model_t,
        inputs: *const nrt_tensor_set_t,
        outputs: *mut nrt_tensor_set_t,
    ) -> NRT_STATUS,
>;
pub type nrt_get_model_tensor_info_fn = ::core::option::Option<
    unsafe extern "C" fn(
        model: *mut nrt_model_t,
        info: *mut *mut nrt_tensor_info_array_t,
    ) -> NRT_STATUS,
>;
pub type nrt_free_model_tensor_info_fn = ::core::option::Option<
    unsafe extern "C" fn(info: *mut nrt_tensor_info_array_t) -> NRT_STATUS,
>;
pub type nrt_get_vnc_memory_stats_fn = ::core::option::Option<
    unsafe extern "C" fn(
        core: u32,
        stats: *mut nrt_vnc_memory_stats_t,
        size: usize,
        written: *mut usize,
    ) -> NRT_STATUS,
>;
pub type nrt_get_status_as_str_fn = ::core::option::Option<
    unsafe extern "C" fn(status: NRT_STATUS) -> *const ::core::ffi::c_char,
>;
