/*
 * Prints sizes, offsets and constants of libnrt's interface: of our header, or, with WITH_SDK, of the SDK's. tests.rs compares the two. With
 * WITH_SDK the compiler also holds the type of each function against the SDK's function of that name.
 */
#include <stdio.h>

#ifdef WITH_SDK
#include <nrt/nrt.h>
#include <nrt/nrt_experimental.h>
#include <nrt/nrt_status.h>
#include <nrt/nrt_version.h>
#define LONGHAUL_NRT_SIGNATURES_ONLY
#define TENSOR_ARRAY_OFFSET offsetof(nrt_tensor_info_array_t, tensor_array)
#else
#define TENSOR_ARRAY_OFFSET NRT_TENSOR_ARRAY_OFFSET
#endif
#include "nrt_abi.h"

#define CONSTANT(name) printf("%s %lld\n", #name, (long long)(name))
#define SIZE(type) printf("sizeof %s %zu\n", #type, sizeof(type))
#define OFFSET(type, field) printf("%s.%s %zu+%zu\n", #type, #field, offsetof(type, field), sizeof(((type *)0)->field))

#ifdef WITH_SDK
#define SAME(name) _Static_assert(__builtin_types_compatible_p(__typeof__(name), name##_fn), #name " has another type in the SDK")
SAME(nrt_init);
SAME(nrt_close);
SAME(nrt_get_version);
SAME(nrt_get_instance_info);
SAME(nrt_get_total_vnc_count);
SAME(nrt_get_visible_vnc_count);
SAME(nrt_load);
SAME(nrt_unload);
SAME(nrt_tensor_allocate);
SAME(nrt_tensor_allocate_slice);
SAME(nrt_tensor_free);
SAME(nrt_tensor_read);
SAME(nrt_tensor_write);
SAME(nrt_tensor_copy);
SAME(nrt_tensor_memset);
SAME(nrt_allocate_tensor_set);
SAME(nrt_destroy_tensor_set);
SAME(nrt_add_tensor_to_tensor_set);
SAME(nrt_execute);
SAME(nrt_get_model_tensor_info);
SAME(nrt_free_model_tensor_info);
SAME(nrt_get_vnc_memory_stats);
SAME(nrt_get_status_as_str);
#endif

int main(void) {
    SIZE(nrt_version_t);
    OFFSET(nrt_version_t, rt_major);
    OFFSET(nrt_version_t, rt_minor);
    OFFSET(nrt_version_t, rt_patch);
    OFFSET(nrt_version_t, rt_maintenance);
    OFFSET(nrt_version_t, rt_detail);
    OFFSET(nrt_version_t, git_hash);
    SIZE(nrt_instance_info_t);
    OFFSET(nrt_instance_info_t, family);
    OFFSET(nrt_instance_info_t, size);
    OFFSET(nrt_instance_info_t, arch_name);
    OFFSET(nrt_instance_info_t, device_revision);
    SIZE(nrt_vnc_memory_stats_t);
    OFFSET(nrt_vnc_memory_stats_t, bytes_used);
    OFFSET(nrt_vnc_memory_stats_t, bytes_limit);
    SIZE(nrt_tensor_info_t);
    OFFSET(nrt_tensor_info_t, name);
    OFFSET(nrt_tensor_info_t, usage);
    OFFSET(nrt_tensor_info_t, size);
    OFFSET(nrt_tensor_info_t, dtype);
    OFFSET(nrt_tensor_info_t, shape);
    OFFSET(nrt_tensor_info_t, ndim);
    SIZE(nrt_tensor_info_array_t);
    OFFSET(nrt_tensor_info_array_t, tensor_count);
    SIZE(NRT_STATUS);
    SIZE(nrt_framework_type_t);
    SIZE(nrt_tensor_placement_t);
    SIZE(nrt_dtype_t);
    SIZE(nrt_tensor_usage_t);
    printf("tensor_array %zu\n", (size_t)TENSOR_ARRAY_OFFSET);
    CONSTANT(NRT_SUCCESS);
    CONSTANT(NRT_FAILURE);
    CONSTANT(NRT_INVALID);
    CONSTANT(NRT_INVALID_HANDLE);
    CONSTANT(NRT_RESOURCE);
    CONSTANT(NRT_TIMEOUT);
    CONSTANT(NRT_HW_ERROR);
    CONSTANT(NRT_QUEUE_FULL);
    CONSTANT(NRT_LOAD_NOT_ENOUGH_NC);
    CONSTANT(NRT_UNSUPPORTED_NEFF_VERSION);
    CONSTANT(NRT_FAIL_HOST_MEM_ALLOC);
    CONSTANT(NRT_UNINITIALIZED);
    CONSTANT(NRT_CLOSED);
    CONSTANT(NRT_QUEUE_EMPTY);
    CONSTANT(NRT_EXEC_UNIT_UNRECOVERABLE);
    CONSTANT(NRT_EXEC_BAD_INPUT);
    CONSTANT(NRT_EXEC_COMPLETED_WITH_NUM_ERR);
    CONSTANT(NRT_EXEC_COMPLETED_WITH_ERR);
    CONSTANT(NRT_EXEC_NC_BUSY);
    CONSTANT(NRT_EXEC_OOB);
    CONSTANT(NRT_COLL_PENDING);
    CONSTANT(NRT_EXEC_HW_ERR_COLLECTIVES);
    CONSTANT(NRT_EXEC_HW_ERR_HBM_UE);
    CONSTANT(NRT_EXEC_HW_ERR_NC_UE);
    CONSTANT(NRT_EXEC_HW_ERR_DMA_ABORT);
    CONSTANT(NRT_EXEC_SW_NQ_OVERFLOW);
    CONSTANT(NRT_EXEC_HW_ERR_REPAIRABLE_HBM_UE);
    CONSTANT(NRT_NETWORK_PROXY_FAILURE);
    CONSTANT(NRT_FRAMEWORK_TYPE_NO_FW);
    CONSTANT(NRT_TENSOR_PLACEMENT_DEVICE);
    CONSTANT(NRT_TENSOR_PLACEMENT_HOST);
    CONSTANT(NRT_DTYPE_UNKNOWN);
    CONSTANT(NRT_DTYPE_UINT64);
    CONSTANT(NRT_DTYPE_INT8);
    CONSTANT(NRT_DTYPE_UINT8);
    CONSTANT(NRT_DTYPE_INT16);
    CONSTANT(NRT_DTYPE_UINT16);
    CONSTANT(NRT_DTYPE_BFLOAT16);
    CONSTANT(NRT_DTYPE_FLOAT16);
    CONSTANT(NRT_DTYPE_INT32);
    CONSTANT(NRT_DTYPE_UINT32);
    CONSTANT(NRT_DTYPE_FLOAT32);
    CONSTANT(NRT_DTYPE_FP32R);
    CONSTANT(NRT_DTYPE_INT64);
    CONSTANT(NRT_DTYPE_FP8_E3);
    CONSTANT(NRT_DTYPE_FP8_E4);
    CONSTANT(NRT_DTYPE_FP8_E5);
    CONSTANT(NRT_INSTANCE_TRN1);
    CONSTANT(NRT_INSTANCE_INF2);
    CONSTANT(NRT_INSTANCE_TRN2);
    CONSTANT(NRT_INSTANCE_TRN2U);
    CONSTANT(NRT_INSTANCE_TRN3);
    CONSTANT(NRT_TENSOR_USAGE_INPUT);
    CONSTANT(NRT_TENSOR_USAGE_OUTPUT);
    CONSTANT(NRT_TENSOR_NAME_MAX);
    CONSTANT(RT_VERSION_DETAIL_LEN);
    CONSTANT(GIT_HASH_LEN);
    return 0;
}
