/*
 * The part of libnrt's C interface that longhaul calls, declared anew from its documentation. bindgen reads this file, and nothing else.
 *
 * Where a fact is from stands at each declaration:
 *   [api]    AWS Neuron documentation, "Neuron Runtime API" pages: nrt, nrt_status, nrt_version, nrt_async, nrt_experimental
 *   [guide]  AWS Neuron documentation, "Developer Guide - NeuronX Runtime", section "The LIBNRT API"
 *   [header] the interface that the public headers of the SDK describe (directory src/libnrt/include of github.com/aws-neuron/aws-neuron-sdk)
 *   [notes]  the runtime's release notes
 *
 * C's enums are declared as int: a newer runtime returns values that this file does not know, and they must stay representable.
 * A function is declared by its type, NAME_fn, because the library is opened at run time and nothing is linked. sys/tests.rs compiles a probe
 * against the SDK's headers where an SDK is installed: with LONGHAUL_NRT_SIGNATURES_ONLY this file declares the function types alone, over the
 * SDK's own types, and the compiler compares them with the SDK's functions.
 */
#ifndef LONGHAUL_NRT_ABI_H
#define LONGHAUL_NRT_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifndef LONGHAUL_NRT_SIGNATURES_ONLY

/* What every call returns. [api nrt_status] */
typedef int NRT_STATUS;
/* Which framework calls, an enum. [api nrt] */
typedef int nrt_framework_type_t;
/* Where a tensor lies, an enum. [api nrt] */
typedef int nrt_tensor_placement_t;
/* Element type, an enum. [api nrt] */
typedef int nrt_dtype_t;
/* Input or output, an enum. [api nrt_experimental] */
typedef int nrt_tensor_usage_t;

/* A loaded program and a tensor, both opaque. [api nrt] */
typedef struct nrt_model nrt_model_t;
typedef struct nrt_tensor nrt_tensor_t;
/* Tensors by name, opaque: the name of a void. [header nrt.h] */
typedef void nrt_tensor_set_t;

/* Statuses: name and number [api nrt_status], meaning [guide, table "API Return Codes"]. 11 and 15 stand in the header alone. */
#define NRT_SUCCESS 0
#define NRT_FAILURE 1
#define NRT_INVALID 2
#define NRT_INVALID_HANDLE 3
#define NRT_RESOURCE 4
#define NRT_TIMEOUT 5
#define NRT_HW_ERROR 6
#define NRT_QUEUE_FULL 7
#define NRT_LOAD_NOT_ENOUGH_NC 9
#define NRT_UNSUPPORTED_NEFF_VERSION 10
#define NRT_FAIL_HOST_MEM_ALLOC 11
#define NRT_UNINITIALIZED 13
#define NRT_CLOSED 14
#define NRT_QUEUE_EMPTY 15
#define NRT_EXEC_UNIT_UNRECOVERABLE 101
#define NRT_EXEC_BAD_INPUT 1002
#define NRT_EXEC_COMPLETED_WITH_NUM_ERR 1003
#define NRT_EXEC_COMPLETED_WITH_ERR 1004
#define NRT_EXEC_NC_BUSY 1005
#define NRT_EXEC_OOB 1006
#define NRT_COLL_PENDING 1100
#define NRT_EXEC_HW_ERR_COLLECTIVES 1200
#define NRT_EXEC_HW_ERR_HBM_UE 1201
#define NRT_EXEC_HW_ERR_NC_UE 1202
#define NRT_EXEC_HW_ERR_DMA_ABORT 1203
#define NRT_EXEC_SW_NQ_OVERFLOW 1204
#define NRT_EXEC_HW_ERR_REPAIRABLE_HBM_UE 1205
#define NRT_NETWORK_PROXY_FAILURE 1206

/* An application without a framework; its version strings are empty. [guide, nrt_init] */
#define NRT_FRAMEWORK_TYPE_NO_FW 1

/* On the device; in host memory, deprecated and at most 4 MiB. [guide, nrt_tensor_allocate] */
#define NRT_TENSOR_PLACEMENT_DEVICE 0
#define NRT_TENSOR_PLACEMENT_HOST 1

/* [api nrt] */
#define NRT_DTYPE_UNKNOWN 0x0
#define NRT_DTYPE_UINT64 0x1
#define NRT_DTYPE_INT8 0x2
#define NRT_DTYPE_UINT8 0x3
#define NRT_DTYPE_INT16 0x4
#define NRT_DTYPE_UINT16 0x5
#define NRT_DTYPE_BFLOAT16 0x6
#define NRT_DTYPE_FLOAT16 0x7
#define NRT_DTYPE_INT32 0x8
#define NRT_DTYPE_UINT32 0x9
#define NRT_DTYPE_FLOAT32 0xA
#define NRT_DTYPE_FP32R 0xB
#define NRT_DTYPE_INT64 0xC
#define NRT_DTYPE_FP8_E3 0xD
#define NRT_DTYPE_FP8_E4 0xE
#define NRT_DTYPE_FP8_E5 0xF

/* Instance families that the kernels know; there are more. [header nrt.h] */
#define NRT_INSTANCE_TRN1 2
#define NRT_INSTANCE_INF2 4
#define NRT_INSTANCE_TRN2 5
#define NRT_INSTANCE_TRN2U 9
#define NRT_INSTANCE_TRN3 14

/* [api nrt_experimental] */
#define NRT_TENSOR_USAGE_INPUT 0
#define NRT_TENSOR_USAGE_OUTPUT 1

/* Bytes of a tensor's name with its NUL. [header nrt_experimental.h] */
#define NRT_TENSOR_NAME_MAX 256
/* Bytes of the two texts of a version. [header nrt_version.h] */
#define RT_VERSION_DETAIL_LEN 128
#define GIT_HASH_LEN 64

/* Execution units of the asynchronous interface, as of 2.31; older numbers differ. [api nrt_async] */
#define NRTA_XU_TENSOR_OP 0
#define NRTA_XU_COMPUTE 1
#define NRTA_XU_COLLECTIVES 2

/* The library's version. [api nrt_version; guide, nrt_get_version] */
typedef struct nrt_version {
    uint64_t rt_major;
    uint64_t rt_minor;
    uint64_t rt_patch;
    uint64_t rt_maintenance;
    char rt_detail[RT_VERSION_DETAIL_LEN];
    char git_hash[GIT_HASH_LEN];
} nrt_version_t;

/* The instance that the process runs on; texts need not end in NUL. [api nrt] */
typedef struct nrt_instance_info {
    uint32_t family;
    uint32_t size;
    char arch_name[16];
    char device_revision[8];
} nrt_instance_info_t;

/* Device memory of a core; later versions may append fields. [api nrt] */
typedef struct nrt_vnc_memory_stats {
    size_t bytes_used;
    size_t bytes_limit;
} nrt_vnc_memory_stats_t;

/* An input or output of a loaded program. [api nrt_experimental; guide, nrt_get_model_tensor_info] */
typedef struct nrt_tensor_info {
    char name[NRT_TENSOR_NAME_MAX];
    nrt_tensor_usage_t usage;
    size_t size;
    nrt_dtype_t dtype;
    uint32_t *shape;
    uint32_t ndim;
} nrt_tensor_info_t;

/* Their number; they themselves follow inline, the first at this offset. [api nrt_experimental] */
#define NRT_TENSOR_ARRAY_OFFSET 8
typedef struct nrt_tensor_info_array {
    uint64_t tensor_count;
} nrt_tensor_info_array_t;

#endif /* LONGHAUL_NRT_SIGNATURES_ONLY */

/* Once per process, before all but the version and the counts. [guide] */
typedef NRT_STATUS nrt_init_fn(nrt_framework_type_t framework, const char *fw_version, const char *fal_version);
/* No status: the guide shows one, but [api nrt] and the header say void, and reading what is not returned would be wrong. */
typedef void nrt_close_fn(void);
/* [api nrt_version] */
typedef NRT_STATUS nrt_get_version_fn(nrt_version_t *version, size_t size);
/* [header nrt.h] */
typedef NRT_STATUS nrt_get_instance_info_fn(nrt_instance_info_t *info, size_t size);
/* Logical cores of the instance, and of this process; both may be called before nrt_init. [api nrt] */
typedef NRT_STATUS nrt_get_total_vnc_count_fn(uint32_t *n_cores);
typedef NRT_STATUS nrt_get_visible_vnc_count_fn(uint32_t *n_cores);
/* core -1 takes the first that is free; n_cores is deprecated, always -1. [api nrt] */
typedef NRT_STATUS nrt_load_fn(const void *neff, size_t size, int32_t core, int32_t n_cores, nrt_model_t **model);
/* Once per model, like free(). [guide] */
typedef NRT_STATUS nrt_unload_fn(nrt_model_t *model);
/* core is -1 for host memory; name may be NULL, and serves log messages only. [api nrt; guide] */
typedef NRT_STATUS nrt_tensor_allocate_fn(nrt_tensor_placement_t placement, int core, size_t size, const char *name, nrt_tensor_t **tensor);
/* A tensor on a part of another's storage, which is reference counted. [guide] */
typedef NRT_STATUS nrt_tensor_allocate_slice_fn(const nrt_tensor_t *source, size_t offset, size_t size, const char *name, nrt_tensor_t **slice);
/* Sets the pointer to NULL. [guide] */
typedef void nrt_tensor_free_fn(nrt_tensor_t **tensor);
/* [api nrt] */
typedef NRT_STATUS nrt_tensor_read_fn(const nrt_tensor_t *tensor, void *buffer, size_t offset, size_t size);
typedef NRT_STATUS nrt_tensor_write_fn(nrt_tensor_t *tensor, const void *buffer, size_t offset, size_t size);
/* Both in the same HBM, else NRT_INVALID. [guide] */
typedef NRT_STATUS nrt_tensor_copy_fn(const nrt_tensor_t *source, size_t source_offset, nrt_tensor_t *target, size_t target_offset, size_t size);
/* [header nrt.h] */
typedef NRT_STATUS nrt_tensor_memset_fn(nrt_tensor_t *tensor, uint64_t offset, int value, size_t size);
/* [guide] */
typedef NRT_STATUS nrt_allocate_tensor_set_fn(nrt_tensor_set_t **set);
/* Sets the pointer to NULL. [guide] */
typedef void nrt_destroy_tensor_set_fn(nrt_tensor_set_t **set);
/* Adds or replaces; the tensor must stay valid until the set is destroyed. [header nrt.h] */
typedef NRT_STATUS nrt_add_tensor_to_tensor_set_fn(nrt_tensor_set_t *set, const char *name, nrt_tensor_t *tensor);
/* [api nrt] */
typedef NRT_STATUS nrt_execute_fn(nrt_model_t *model, const nrt_tensor_set_t *inputs, nrt_tensor_set_t *outputs);
/* The array is the library's, and given back by the second. [guide] */
typedef NRT_STATUS nrt_get_model_tensor_info_fn(nrt_model_t *model, nrt_tensor_info_array_t **info);
typedef NRT_STATUS nrt_free_model_tensor_info_fn(nrt_tensor_info_array_t *info);
/* Since SDK 2.25. written may be smaller than size. [notes; api nrt] */
typedef NRT_STATUS nrt_get_vnc_memory_stats_fn(uint32_t core, nrt_vnc_memory_stats_t *stats, size_t size, size_t *written);
/* Static text. Absent from runtime 2.31.24, present in 2.34. [api nrt_status; exports of the library] */
typedef const char *nrt_get_status_as_str_fn(NRT_STATUS status);

#endif
