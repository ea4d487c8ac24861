//! What there is of Neuron on this machine, found without taking a core: for `longhaul doctor`.

use super::error::{Attempt, NeuronError, Result};
use super::nrt::{AsyncAbi, InstanceInfo, MemoryStats, Nrt, Version};

/// What was found. Fields that the library could not tell hold why.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Inspection {
    /// The library's file, or the bare name that the loader found.
    pub path: String,
    /// Who said where it is: `LONGHAUL_LIBNRT`, `NEURON_DIR`, the default folder, the loader's path.
    pub found_by: &'static str,
    /// Places that were tried before it, and why they did not do.
    pub passed_over: Vec<Attempt>,
    /// Its version.
    pub version: Version,
    /// The release of the SDK that it belongs to, if its interface is one that is tested here (against a stand-in, not
    /// on hardware).
    pub sdk: Option<&'static str>,
    /// Its asynchronous interface, which is not used yet.
    pub async_abi: AsyncAbi,
    /// Functions that we may call and that it lacks.
    pub missing_symbols: Vec<&'static str>,
    /// The instance, or why the library does not tell.
    pub instance: Result<InstanceInfo, String>,
    /// Logical cores of the instance, or why the library does not tell.
    pub total_cores: Result<u32, String>,
    /// Logical cores that this process would get, or why the library does not tell.
    pub visible_cores: Result<u32, String>,
    /// Device memory of each of these, or why the library does not tell: it needs not, before the runtime is
    /// initialised.
    pub memory: Result<Vec<MemoryStats>, String>,
}

/// Opens libnrt and asks it. Nothing is initialised and no core is taken; so memory may be unknown, which
/// [`Runtime::inspect`](super::device::Runtime::inspect) knows.
///
/// # Errors
/// [`NeuronError::NotFound`](super::NeuronError::NotFound), with each place that was tried.
pub fn inspect() -> Result<Inspection> {
    Ok(of(&Nrt::open()?))
}

/// What `nrt` tells.
pub(super) fn of(nrt: &Nrt) -> Inspection {
    let visible_cores = nrt.visible_core_count();
    let memory = visible_cores.clone().and_then(|n| (0..n).map(|core| nrt.memory_stats(core)).collect());
    Inspection {
        path: nrt.path().display().to_string(),
        found_by: nrt.found_by(),
        passed_over: nrt.passed_over().to_vec(),
        version: nrt.version(),
        sdk: nrt.version().known().map(|known| known.sdk),
        async_abi: nrt.async_abi(),
        missing_symbols: nrt.missing_symbols(),
        instance: nrt.instance_info().map_err(|e| e.to_string()),
        total_cores: nrt.total_core_count().map_err(|e| e.to_string()),
        visible_cores: visible_cores.map_err(|e| e.to_string()),
        memory: memory.map_err(|e: NeuronError| e.to_string()),
    }
}
