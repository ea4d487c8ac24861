//! The data behind the header: read once, hashed on the way, never held.

use std::io::{BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use md5::{Digest, Md5};
use sha2::Sha256;

use super::archive::Archive;
use super::header::{HASH_BYTES, Header};
use super::{HashState, NeffError};

/// What gzip begins with (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Bytes that an archive may unpack to: enough for a program whose constants are mostly zero, and no more than that for
/// each byte stored. Deflate itself reaches 1,032, which is what a bomb lives of.
const UNPACKED_BYTES: u64 = 256 << 20;
const UNPACKED_PER_BYTE: u64 = 64;

/// What reading the data gave.
pub(super) struct Data<T> {
    pub found: T,
    pub compressed: bool,
    pub hash: HashState,
}

/// Reads the data to its end: opens the archive for `scan`, which reads it to its own, and checks that only padding
/// follows.
pub(super) fn read<S: Read, T>(
    source: S,
    header: &Header,
    scan: impl FnOnce(&mut Archive<'_>) -> Result<T, NeffError>,
) -> Result<Data<T>, NeffError> {
    let mut body = Body {
        source,
        left: header.data_bytes,
        ended_early: false,
        failure: None,
        hash: Hash::new(header.package_version),
    };
    let result = unpack(&mut body, header, scan);
    // Whatever the archive made of these two, they are why.
    if let Some(failure) = body.failure {
        return Err(NeffError::Read(failure));
    }
    if body.ended_early {
        let found = header.data_bytes - body.left;
        return Err(NeffError::Truncated { what: "the data", wanted: header.data_bytes, found });
    }
    let (found, compressed) = result?;
    Ok(Data { found, compressed, hash: body.hash.state(header) })
}

fn unpack<S: Read, T>(
    body: &mut Body<S>,
    header: &Header,
    scan: impl FnOnce(&mut Archive<'_>) -> Result<T, NeffError>,
) -> Result<(T, bool), NeffError> {
    let mut magic = [0; 2];
    body.read_exact(&mut magic).map_err(|e| NeffError::Read(e.to_string()))?;
    let mut rest = BufReader::with_capacity(64 << 10, magic.chain(body));
    let compressed = magic == GZIP_MAGIC;
    let found = if compressed {
        let limit = UNPACKED_BYTES.saturating_add(header.data_bytes.saturating_mul(UNPACKED_PER_BYTE));
        scan(&mut Archive::new(&mut GzDecoder::new(&mut rest), limit))?
    } else {
        scan(&mut Archive::new(&mut rest, header.data_bytes))?
    };
    only_padding(&mut rest)?;
    Ok((found, compressed))
}

/// Reads what follows a gzip stream up to the size in the header.
fn only_padding(rest: &mut impl BufRead) -> Result<(), NeffError> {
    loop {
        let bytes = rest.fill_buf().map_err(|e| NeffError::Read(e.to_string()))?;
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.iter().any(|b| *b != 0) {
            return Err(NeffError::NotNeff("something other than padding follows the archive".into()));
        }
        let n = bytes.len();
        rest.consume(n);
    }
}

/// The data as stored.
struct Body<S> {
    source: S,
    left: u64,
    /// The source ended with some left.
    ended_early: bool,
    /// What the source said when it failed.
    failure: Option<String>,
    hash: Hash,
}

impl<S: Read> Read for Body<S> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.source.read(&mut buffer[..most]).inspect_err(|e| {
            if e.kind() != std::io::ErrorKind::Interrupted {
                self.failure = Some(e.to_string());
            }
        })?;
        self.ended_early |= n == 0 && most > 0;
        self.hash.update(&buffer[..n]);
        self.left -= n as u64;
        Ok(n)
    }
}

/// The hash of a package version. AWS documents "sha256 or md5 depending on the pkg_version"; that 1 is SHA-256 is
/// third-party knowledge, that 2 is MD5 was read from the bytes of public NEFFs.
enum Hash {
    Sha256(Sha256),
    Md5(Md5),
    Unknown,
}

impl Hash {
    fn new(package_version: u64) -> Self {
        match package_version {
            1 => Self::Sha256(Sha256::new()),
            2 => Self::Md5(Md5::new()),
            _ => Self::Unknown,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Md5(hash) => hash.update(bytes),
            Self::Unknown => {}
        }
    }

    /// Whether the header has this hash. The rest of the field behind an MD5 is not looked at: packagers fill it
    /// differently.
    fn state(self, header: &Header) -> HashState {
        let right = match self {
            Self::Sha256(hash) => header.hash == <[u8; HASH_BYTES]>::from(hash.finalize()),
            Self::Md5(hash) => {
                let md5 = hash.finalize().into();
                header.hash.starts_with(&words_reversed(md5)) || header.hash.starts_with(&md5)
            }
            Self::Unknown => return HashState::Unknown,
        };
        if right { HashState::Right } else { HashState::Wrong }
    }
}

/// An MD5 as today's compiler stores it, the bytes of each 4-byte word reversed. A NEFF inside libnrt, made by an older
/// packager, is said to have it plain.
pub(super) fn words_reversed(mut md5: [u8; 16]) -> [u8; 16] {
    md5.as_chunks_mut::<4>().0.iter_mut().for_each(|word| word.reverse());
    md5
}
