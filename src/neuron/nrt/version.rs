//! Versions of libnrt, and how they differ.

/// A version of libnrt, `2.34.10.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
pub struct Version {
    /// 2 in all that we know.
    pub major: u64,
    /// Counts releases of the SDK.
    pub minor: u64,
    /// Within a release.
    pub patch: u64,
    /// Within a release.
    pub maintenance: u64,
}

/// A runtime whose interface we know, and what of it was tested here: the stand-in with this version's exports, never
/// hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownVersion {
    /// Major and minor version of the library.
    pub runtime: (u64, u64),
    /// The release of the SDK that it came with.
    pub sdk: &'static str,
}

/// The versions that we know, oldest first (release notes of the Neuron runtime).
pub const KNOWN_VERSIONS: [KnownVersion; 6] = [
    KnownVersion { runtime: (2, 30), sdk: "2.28" },
    KnownVersion { runtime: (2, 31), sdk: "2.29" },
    KnownVersion { runtime: (2, 32), sdk: "2.30" },
    KnownVersion { runtime: (2, 33), sdk: "2.31" },
    KnownVersion { runtime: (2, 34), sdk: "2.32" },
    KnownVersion { runtime: (2, 35), sdk: "2.33" },
];

impl Version {
    /// Which known version it is, if any. Others are used too, as far as they have the functions that are called.
    pub fn known(self) -> Option<&'static KnownVersion> {
        KNOWN_VERSIONS.iter().find(|k| k.runtime == (self.major, self.minor))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}.{}", self.major, self.minor, self.patch, self.maintenance)
    }
}

/// Which asynchronous interface (`nrta_*`) a library has. Nothing calls it yet; whoever does must look here first,
/// since a call of the one interface with the arguments of the other corrupts memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AsyncAbi {
    /// None.
    Absent,
    /// With error trackers, before 2.31.24: `nrta_error_tracker_create` resolves. Stay synchronous.
    ErrorTracker,
    /// With a status per request, from 2.31.24 on.
    StatusPointer,
}
