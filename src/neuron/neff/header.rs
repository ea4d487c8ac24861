//! The first 1,024 bytes.

use super::NeffError;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 1024;

/// The highest major version that the runtimes 2.30 to 2.35 take.
pub(super) const MAX_MAJOR: u64 = 2;

/// Bytes of the shortest gzip stream: its header, an empty block, its trailer (RFC 1952, section 2.3).
const MIN_DATA_BYTES: u64 = 20;

/// Bytes of data that are read: a chip has 96 to 144 GiB of memory for eight cores.
const MAX_DATA_BYTES: u64 = 64 << 30;

/// Bytes of the hash field; which of them count depends on the package version.
pub(super) const HASH_BYTES: usize = 32;

/// Where the fields stand, little-endian (AWS Neuron documentation, "Work with NEFF files", and the bytes of public
/// NEFFs). The writer puts them there.
pub(super) mod offset {
    pub const PACKAGE_VERSION: usize = 0; // u64
    pub const HEADER_SIZE: usize = 8; // u64
    pub const DATA_SIZE: usize = 16; // u64
    pub const MAJOR: usize = 24; // u64
    pub const MINOR: usize = 32; // u64
    pub const BUILD_VERSION: usize = 40; // char[128]
    pub const N_TPB: usize = 168; // u32
    pub const HASH: usize = 172; // u8[32]
    pub const UUID: usize = 204; // u8[16]
    pub const NAME: usize = 220; // char[256]
    pub const REQUESTED_TPB: usize = 476; // u32
    pub const TPB_PER_NODE: usize = 480; // u8[64]
    pub const FEATURE_BITS: usize = 544; // u64
    pub const LNC: usize = 552; // u32
}

/// What the header says, with nothing of it believed: the data is measured by reading it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Header {
    /// Version of the packager; it says which hash there is.
    pub package_version: u64,
    /// Bytes of the archive behind the header, padding included.
    pub data_bytes: u64,
    /// Major version of the format.
    pub major: u64,
    /// Minor version of the format, which no runtime checks.
    pub minor: u64,
    /// Who built it; the compiler's version. Free text.
    pub build_version: String,
    /// Cores that it wants, logical ones: AWS documents one for each subgraph, and where LNC is 2 public files have two
    /// of those and 1 here.
    pub n_tpb: u32,
    /// Hash of the data as stored; [`Neff::hash`](super::Neff::hash) says whether it is right.
    #[serde(skip)]
    pub hash: [u8; HASH_BYTES],
    /// Unique identifier.
    #[serde(skip)]
    pub uuid: [u8; 16],
    /// The program's name.
    pub name: String,
    /// Features that a runtime must have to run it, one a bit.
    pub feature_bits: u64,
    /// Physical cores of a logical core (LNC).
    pub lnc: u32,
}

impl Header {
    /// Parses the header.
    ///
    /// # Errors
    /// [`NeffError::NotNeff`] or [`NeffError::TooLarge`] when the size of the header or of the data cannot be that of a
    /// NEFF, [`NeffError::Version`] for one of a later format.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, NeffError> {
        let header_size = u64_at(bytes, offset::HEADER_SIZE);
        if header_size != HEADER_BYTES as u64 {
            return Err(NeffError::NotNeff(format!(
                "the header is said to be {header_size} bytes long, and is {HEADER_BYTES}"
            )));
        }
        let (major, minor) = (u64_at(bytes, offset::MAJOR), u64_at(bytes, offset::MINOR));
        if major > MAX_MAJOR {
            return Err(NeffError::Version { major, minor });
        }
        let data_bytes = u64_at(bytes, offset::DATA_SIZE);
        if data_bytes < MIN_DATA_BYTES {
            return Err(NeffError::NotNeff(format!("{data_bytes} bytes of data are no archive")));
        }
        if data_bytes > MAX_DATA_BYTES {
            return Err(NeffError::TooLarge { what: "bytes of data".into(), size: data_bytes, limit: MAX_DATA_BYTES });
        }
        Ok(Self {
            package_version: u64_at(bytes, offset::PACKAGE_VERSION),
            data_bytes,
            major,
            minor,
            build_version: text(&bytes[offset::BUILD_VERSION..offset::N_TPB]),
            n_tpb: u32_at(bytes, offset::N_TPB),
            hash: array(bytes, offset::HASH),
            uuid: array(bytes, offset::UUID),
            name: text(&bytes[offset::NAME..][..256]),
            feature_bits: u64_at(bytes, offset::FEATURE_BITS),
            lnc: u32_at(bytes, offset::LNC),
        })
    }
}

fn array<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

fn u64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

/// Text up to the first NUL.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}
