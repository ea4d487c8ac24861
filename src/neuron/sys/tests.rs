//! Sizes, offsets and constants of the C interface: those that are documented, and, where an SDK is installed, those of
//! its headers.

use std::io::Write;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

#[test]
fn structs_are_laid_out_as_documented() {
    assert_eq!(size_of::<nrt_version_t>(), 224);
    let version = [
        offset_of!(nrt_version_t, rt_major),
        offset_of!(nrt_version_t, rt_minor),
        offset_of!(nrt_version_t, rt_patch),
        offset_of!(nrt_version_t, rt_maintenance),
        offset_of!(nrt_version_t, rt_detail),
        offset_of!(nrt_version_t, git_hash),
    ];
    assert_eq!(version, [0, 8, 16, 24, 32, 160]);
    assert_eq!((RT_VERSION_DETAIL_LEN, GIT_HASH_LEN), (128, 64));

    assert_eq!(size_of::<nrt_instance_info_t>(), 32);
    let instance = [
        offset_of!(nrt_instance_info_t, family),
        offset_of!(nrt_instance_info_t, size),
        offset_of!(nrt_instance_info_t, arch_name),
        offset_of!(nrt_instance_info_t, device_revision),
    ];
    assert_eq!(instance, [0, 4, 8, 24]);

    assert_eq!(size_of::<nrt_vnc_memory_stats_t>(), 16);
    let stats = [offset_of!(nrt_vnc_memory_stats_t, bytes_used), offset_of!(nrt_vnc_memory_stats_t, bytes_limit)];
    assert_eq!(stats, [0, 8]);

    assert_eq!((size_of::<nrt_tensor_info_t>(), align_of::<nrt_tensor_info_t>()), (296, 8));
    let info = [
        offset_of!(nrt_tensor_info_t, name),
        offset_of!(nrt_tensor_info_t, usage),
        offset_of!(nrt_tensor_info_t, size),
        offset_of!(nrt_tensor_info_t, dtype),
        offset_of!(nrt_tensor_info_t, shape),
        offset_of!(nrt_tensor_info_t, ndim),
    ];
    assert_eq!(info, [0, 256, 264, 272, 280, 288]);
    assert_eq!(NRT_TENSOR_NAME_MAX, 256);
    assert_eq!(offset_of!(nrt_tensor_info_array_t, tensor_count), 0);
    assert_eq!((size_of::<nrt_tensor_info_array_t>(), NRT_TENSOR_ARRAY_OFFSET), (8, 8));
}

#[test]
fn enums_are_plain_integers() {
    let sizes = [
        size_of::<NRT_STATUS>(),
        size_of::<nrt_framework_type_t>(),
        size_of::<nrt_tensor_placement_t>(),
        size_of::<nrt_dtype_t>(),
        size_of::<nrt_tensor_usage_t>(),
    ];
    assert_eq!(sizes, [4; 5]);
}

#[test]
fn constants_are_those_documented() {
    let dtypes = [
        NRT_DTYPE_UNKNOWN,
        NRT_DTYPE_UINT64,
        NRT_DTYPE_INT8,
        NRT_DTYPE_UINT8,
        NRT_DTYPE_INT16,
        NRT_DTYPE_UINT16,
        NRT_DTYPE_BFLOAT16,
        NRT_DTYPE_FLOAT16,
        NRT_DTYPE_INT32,
        NRT_DTYPE_UINT32,
        NRT_DTYPE_FLOAT32,
        NRT_DTYPE_FP32R,
        NRT_DTYPE_INT64,
        NRT_DTYPE_FP8_E3,
        NRT_DTYPE_FP8_E4,
        NRT_DTYPE_FP8_E5,
    ];
    assert!(dtypes.into_iter().eq(0..=0xf), "{dtypes:?}");
    let families = [NRT_INSTANCE_TRN1, NRT_INSTANCE_INF2, NRT_INSTANCE_TRN2, NRT_INSTANCE_TRN2U, NRT_INSTANCE_TRN3];
    assert_eq!(families, [2, 4, 5, 9, 14]);
    assert_eq!([NRT_TENSOR_PLACEMENT_DEVICE, NRT_TENSOR_PLACEMENT_HOST], [0, 1]);
    assert_eq!([NRT_TENSOR_USAGE_INPUT, NRT_TENSOR_USAGE_OUTPUT], [0, 1]);
    assert_eq!([NRTA_XU_TENSOR_OP, NRTA_XU_COMPUTE, NRTA_XU_COLLECTIVES], [0, 1, 2]);
    assert_eq!(NRT_FRAMEWORK_TYPE_NO_FW, 1);
}

#[test]
fn statuses_are_those_documented() {
    let statuses = [
        (NRT_SUCCESS, 0),
        (NRT_FAILURE, 1),
        (NRT_INVALID, 2),
        (NRT_INVALID_HANDLE, 3),
        (NRT_RESOURCE, 4),
        (NRT_TIMEOUT, 5),
        (NRT_HW_ERROR, 6),
        (NRT_QUEUE_FULL, 7),
        (NRT_LOAD_NOT_ENOUGH_NC, 9),
        (NRT_UNSUPPORTED_NEFF_VERSION, 10),
        (NRT_FAIL_HOST_MEM_ALLOC, 11),
        (NRT_UNINITIALIZED, 13),
        (NRT_CLOSED, 14),
        (NRT_QUEUE_EMPTY, 15),
        (NRT_EXEC_UNIT_UNRECOVERABLE, 101),
        (NRT_EXEC_BAD_INPUT, 1002),
        (NRT_EXEC_COMPLETED_WITH_NUM_ERR, 1003),
        (NRT_EXEC_COMPLETED_WITH_ERR, 1004),
        (NRT_EXEC_NC_BUSY, 1005),
        (NRT_EXEC_OOB, 1006),
        (NRT_COLL_PENDING, 1100),
        (NRT_EXEC_HW_ERR_COLLECTIVES, 1200),
        (NRT_EXEC_HW_ERR_HBM_UE, 1201),
        (NRT_EXEC_HW_ERR_NC_UE, 1202),
        (NRT_EXEC_HW_ERR_DMA_ABORT, 1203),
        (NRT_EXEC_SW_NQ_OVERFLOW, 1204),
        (NRT_EXEC_HW_ERR_REPAIRABLE_HBM_UE, 1205),
        (NRT_NETWORK_PROXY_FAILURE, 1206),
    ];
    statuses.into_iter().for_each(|(ours, documented)| assert_eq!(ours, documented));
}

/// Compiles `probe.c` with these arguments and runs it: lines `NAME NUMBER`.
fn probe(arguments: &[&str]) -> String {
    let source = root().join("src/neuron/sys/probe.c");
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("probe");
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c11", "-Wall", "-Werror"]).args(arguments).arg("-o").arg(&program).arg(source);
    let compiled = compiler.output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let output = Command::new(program).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the SDK's headers: `$NEURON_DIR/include` or where AWS's packages put them.
fn sdk_headers() -> Option<PathBuf> {
    let chosen = std::env::var_os("NEURON_DIR").map(|dir| PathBuf::from(dir).join("include"));
    let places = chosen.into_iter().chain([PathBuf::from("/opt/aws/neuron/include")]);
    places.into_iter().find(|include| include.join("nrt/nrt.h").exists())
}

/// Holds our header against the SDK's: every size, offset and constant, and, by the compiler, the type of every
/// function.
#[test]
fn our_header_agrees_with_the_sdk() {
    let Some(include) = sdk_headers() else {
        // Not eprintln, which the test runner keeps to itself.
        let what = "SKIPPED our_header_agrees_with_the_sdk: no Neuron SDK (NEURON_DIR, /opt/aws/neuron/include)";
        return writeln!(std::io::stderr(), "{what}").unwrap();
    };
    let ours = probe(&["-I", root().join("src/neuron").to_str().unwrap()]);
    let theirs = probe(&[
        "-DWITH_SDK",
        "-I",
        root().join("src/neuron").to_str().unwrap(),
        "-isystem",
        include.to_str().unwrap(),
    ]);
    assert!(ours.lines().count() > 70, "{ours}");
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs, "ours, and the SDK's in {}", include.display());
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
}
