//! What a status of libnrt means, and what an engine does about it: one table.

use super::super::sys;
use crate::error::Fault;

/// A status of libnrt. An integer, because a newer runtime returns numbers that we do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub i32);

/// What is known of a status.
#[derive(Debug, Clone, Copy)]
pub struct StatusInfo {
    /// The number.
    pub code: i32,
    /// The name in C.
    pub name: &'static str,
    /// What kind of failure it is.
    pub fault: Fault,
    /// What happened.
    pub meaning: &'static str,
    /// What helps; empty where the fault says it.
    pub advice: &'static str,
}

/// Every status that is documented, success aside.
///
/// Source: names, numbers and meanings from the Neuron Runtime API pages (`nrt_status`) and the developer guide's table
/// "API Return Codes"; which are fatal, and what helps, from the runtime's troubleshooting page ("Hardware errors") and
/// from "Best practices" of the asynchronous API ("Execution Unit Unrecoverable": *terminal ... terminating and
/// relaunching the application*). There is no reset within a process.
///
/// Where those leave a choice, the careful one was taken. 5: a hang on compute returns it, and so may a limit that is
/// too low, so a new process comes first. 1004: a parity error returns it as well as 1202 does. 1204: an execution that
/// timed out because notifications were lost.
pub const STATUSES: &[StatusInfo] = &[
    info(sys::NRT_FAILURE, "NRT_FAILURE", Fault::Failed, "it failed, and says no more", LOG),
    info(
        sys::NRT_INVALID,
        "NRT_INVALID",
        Fault::Caller,
        "a bad program, or a tensor whose name or size does not fit",
        "",
    ),
    info(sys::NRT_INVALID_HANDLE, "NRT_INVALID_HANDLE", Fault::Caller, "a handle that is none", ""),
    info(
        sys::NRT_RESOURCE,
        "NRT_RESOURCE",
        Fault::OutOfMemory,
        "no device memory, or another resource",
        "free tensors or programs",
    ),
    info(
        sys::NRT_TIMEOUT,
        "NRT_TIMEOUT",
        Fault::Process,
        "it timed out",
        "raise NEURON_RT_EXEC_TIMEOUT if the program may run that long; else, if it comes again in a new process, replace the instance",
    ),
    info(sys::NRT_HW_ERROR, "NRT_HW_ERROR", Fault::Instance, "the hardware failed", REPLACE),
    info(
        sys::NRT_QUEUE_FULL,
        "NRT_QUEUE_FULL",
        Fault::Backpressure,
        "too many executions are waiting",
        "try again when one has ended",
    ),
    info(
        sys::NRT_LOAD_NOT_ENOUGH_NC,
        "NRT_LOAD_NOT_ENOUGH_NC",
        Fault::Caller,
        "the program needs more cores than there are",
        "see NEURON_RT_VISIBLE_CORES, and NEURON_LOGICAL_NC_CONFIG against the program's LNC",
    ),
    info(
        sys::NRT_UNSUPPORTED_NEFF_VERSION,
        "NRT_UNSUPPORTED_NEFF_VERSION",
        Fault::Caller,
        "the runtime does not know this version of NEFF",
        "compile the program again with the compiler of this SDK",
    ),
    info(sys::NRT_FAIL_HOST_MEM_ALLOC, "NRT_FAIL_HOST_MEM_ALLOC", Fault::OutOfMemory, "no host memory", ""),
    info(sys::NRT_UNINITIALIZED, "NRT_UNINITIALIZED", Fault::Caller, "the runtime is not initialised", ""),
    info(sys::NRT_CLOSED, "NRT_CLOSED", Fault::Caller, "the runtime is closed", ""),
    info(sys::NRT_QUEUE_EMPTY, "NRT_QUEUE_EMPTY", Fault::Backpressure, "the queue has nothing yet", ""),
    info(
        sys::NRT_EXEC_UNIT_UNRECOVERABLE,
        "NRT_EXEC_UNIT_UNRECOVERABLE",
        Fault::Process,
        "the execution unit is in limbo",
        "if it comes again in a new process, reload the driver or reboot",
    ),
    info(sys::NRT_EXEC_BAD_INPUT, "NRT_EXEC_BAD_INPUT", Fault::Caller, "an input that the program does not take", ""),
    info(
        sys::NRT_EXEC_COMPLETED_WITH_NUM_ERR,
        "NRT_EXEC_COMPLETED_WITH_NUM_ERR",
        Fault::Failed,
        "it ran, and produced NaN",
        "",
    ),
    info(
        sys::NRT_EXEC_COMPLETED_WITH_ERR,
        "NRT_EXEC_COMPLETED_WITH_ERR",
        Fault::Process,
        "it ran with an error of logic or parity",
        "if it comes again in a new process, replace the instance",
    ),
    info(
        sys::NRT_EXEC_NC_BUSY,
        "NRT_EXEC_NC_BUSY",
        Fault::Backpressure,
        "another program or thread has the core",
        "try again",
    ),
    info(sys::NRT_EXEC_OOB, "NRT_EXEC_OOB", Fault::Caller, "an index of an indirect copy is out of bounds", ""),
    info(
        sys::NRT_COLL_PENDING,
        "NRT_COLL_PENDING",
        Fault::Backpressure,
        "a collective operation is still pending",
        "try again",
    ),
    info(
        sys::NRT_EXEC_HW_ERR_COLLECTIVES,
        "NRT_EXEC_HW_ERR_COLLECTIVES",
        Fault::Instance,
        "collectives are stuck, perhaps for another worker's hardware",
        REPLACE,
    ),
    info(
        sys::NRT_EXEC_HW_ERR_HBM_UE,
        "NRT_EXEC_HW_ERR_HBM_UE",
        Fault::Instance,
        "device memory had an error that cannot be repaired; results are wrong",
        REPLACE,
    ),
    info(
        sys::NRT_EXEC_HW_ERR_NC_UE,
        "NRT_EXEC_HW_ERR_NC_UE",
        Fault::Instance,
        "a core's memory had a parity error; results are wrong",
        REPLACE,
    ),
    info(sys::NRT_EXEC_HW_ERR_DMA_ABORT, "NRT_EXEC_HW_ERR_DMA_ABORT", Fault::Instance, "a DMA engine aborted", REPLACE),
    info(
        sys::NRT_EXEC_SW_NQ_OVERFLOW,
        "NRT_EXEC_SW_NQ_OVERFLOW",
        Fault::Process,
        "notifications were lost, and execution timed out",
        "",
    ),
    info(
        sys::NRT_EXEC_HW_ERR_REPAIRABLE_HBM_UE,
        "NRT_EXEC_HW_ERR_REPAIRABLE_HBM_UE",
        Fault::Instance,
        "device memory had an error that can be repaired; results are wrong",
        "reload the Neuron driver, or reboot",
    ),
    info(
        sys::NRT_NETWORK_PROXY_FAILURE,
        "NRT_NETWORK_PROXY_FAILURE",
        Fault::Process,
        "the network between workers failed",
        "",
    ),
];

const REPLACE: &str = "replace the instance";
const LOG: &str = "the runtime's log says more (NEURON_RT_LOG_LEVEL)";

const fn info(code: i32, name: &'static str, fault: Fault, meaning: &'static str, advice: &'static str) -> StatusInfo {
    StatusInfo { code, name, fault, meaning, advice }
}

impl Status {
    /// Success.
    pub const SUCCESS: Self = Self(sys::NRT_SUCCESS);

    /// What is known of it; `None` for success and for what is not documented.
    pub fn info(self) -> Option<&'static StatusInfo> {
        STATUSES.iter().find(|s| s.code == self.0)
    }

    /// What kind of failure it is. Unknown numbers from 1200 to 1299 are fatal to the process, since that is where the
    /// runtime puts execution that hangs; others failed, and say no more.
    pub fn fault(self) -> Fault {
        match self.info() {
            Some(info) => info.fault,
            None if (1200..1300).contains(&self.0) => Fault::Process,
            None => Fault::Failed,
        }
    }

    /// What helps; empty where the fault says it.
    pub fn advice(self) -> &'static str {
        self.info().map_or("", |info| info.advice)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.info() {
            Some(info) => write!(f, "{} ({}): {}", info.name, self.0, info.meaning),
            None => write!(f, "status {}, which is not documented", self.0),
        }
    }
}
