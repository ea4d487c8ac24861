//! A strict reader of tar archives: one pass, a fixed amount of memory, no size believed before it is checked against
//! what can be there.
//!
//! The crate `tar` reads long names and pax headers into memory whole, whatever size their headers claim, so it cannot
//! be bounded; and of its many features a NEFF needs none. Read here: regular files and folders of ustar and GNU tar,
//! pax headers (`path`, `size`), GNU long names (POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic
//! Tar Format").

use std::io::Read;

use super::NeffError;

/// Bytes of a header, and what contents are padded to.
const BLOCK: usize = 512;

/// Headers of an archive. A program has some dozens of members for each core.
const MAX_HEADERS: u64 = 1 << 16;

/// Bytes of a pax header or a long name.
const MAX_EXTENSION_BYTES: u64 = 64 << 10;

/// Where the fields of a header stand, and the writer puts them.
pub(super) mod field {
    use std::ops::Range;

    pub const NAME: Range<usize> = 0..100;
    pub const SIZE: Range<usize> = 124..136;
    pub const CHECKSUM: Range<usize> = 148..156;
    pub const TYPE: usize = 156;
    pub const MAGIC: Range<usize> = 257..263;
    pub const PREFIX: Range<usize> = 345..500;
}

/// A regular file of the archive, whose content comes next.
#[derive(Debug)]
pub(super) struct Member {
    pub name: String,
    pub size: u64,
}

/// An archive, read from its start.
pub(super) struct Archive<'a> {
    source: &'a mut dyn Read,
    /// Bytes read so far.
    offset: u64,
    /// Bytes that may be read.
    limit: u64,
    n_headers: u64,
    buffer: Box<[u8]>,
}

impl<'a> Archive<'a> {
    /// An archive of at most `limit` bytes, end and padding included.
    pub fn new(source: &'a mut dyn Read, limit: u64) -> Self {
        Self { source, offset: 0, limit, n_headers: 0, buffer: vec![0; 64 << 10].into() }
    }

    /// The next regular file, or `None` when the archive has ended and the source with it. The content of the last one
    /// must have been read or skipped.
    pub fn next_member(&mut self) -> Result<Option<Member>, NeffError> {
        let (mut long_name, mut long_size) = (None, None);
        loop {
            let start = self.offset;
            let Some(header) = self.header()? else {
                self.drain()?;
                return Ok(None);
            };
            let size = number(&header[field::SIZE]).ok_or_else(|| damaged(start, "a member's size is no number"))?;
            match header[field::TYPE] {
                b'x' => {
                    let (path, size) =
                        pax(&self.extension(size)?).ok_or_else(|| damaged(start, "a wrong pax header"))?;
                    (long_name, long_size) = (path.or(long_name), size.or(long_size));
                }
                b'L' => long_name = Some(until_nul(&self.extension(size)?)),
                b'g' | b'K' => drop(self.extension(size)?), // comments, and targets of links that we do not take
                b'0' | 0 => {
                    let name = long_name.unwrap_or_else(|| name(&header));
                    let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
                    return Ok(Some(Member { name, size: long_size.unwrap_or(size) }));
                }
                b'5' => {
                    self.skip(&Member { name: name(&header), size })?;
                    (long_name, long_size) = (None, None);
                }
                other => {
                    let what = format!("{} is neither file nor folder: type {:?}", name(&header), char::from(other));
                    return Err(damaged(start, &what));
                }
            }
        }
    }

    /// The content of a member, of at most `limit` bytes.
    pub fn content(&mut self, member: &Member, limit: u64) -> Result<Vec<u8>, NeffError> {
        if member.size > limit {
            return Err(NeffError::TooLarge { what: format!("bytes of {}", member.name), size: member.size, limit });
        }
        self.fits(member)?;
        let mut content = vec![0; member.size as usize];
        self.fill(&mut content)?;
        self.discard(padding(member.size))?;
        Ok(content)
    }

    /// Passes over the content of a member.
    pub fn skip(&mut self, member: &Member) -> Result<(), NeffError> {
        self.fits(member)?;
        self.discard(member.size + padding(member.size))
    }

    /// Whether a member's content can be there.
    fn fits(&self, member: &Member) -> Result<(), NeffError> {
        let padded = member.size.checked_add(padding(member.size));
        if padded.is_none_or(|n| n > self.limit - self.offset) {
            let what = format!("bytes of the unpacked archive, with {}", member.name);
            let size = self.offset.saturating_add(padded.unwrap_or(u64::MAX));
            return Err(NeffError::TooLarge { what, size, limit: self.limit });
        }
        Ok(())
    }

    /// The content of a pax header or of a long name.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, NeffError> {
        self.content(&Member { name: "an extended header".into(), size }, MAX_EXTENSION_BYTES)
    }

    /// The next header block, its checksum checked; `None` for the block of zeros that ends an archive.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, NeffError> {
        let start = self.offset;
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        if block == [0; BLOCK] {
            return Ok(None);
        }
        if number(&block[field::CHECKSUM]) != Some(checksum(&block)) {
            return Err(damaged(start, "a header's checksum is wrong"));
        }
        self.n_headers += 1;
        if self.n_headers > MAX_HEADERS {
            let what = "members of the archive".into();
            return Err(NeffError::TooLarge { what, size: self.n_headers, limit: MAX_HEADERS });
        }
        Ok(Some(block))
    }

    /// Reads exactly as many bytes.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NeffError> {
        self.room(bytes.len())?;
        self.source.read_exact(bytes).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => damaged(self.offset, "it ends in the middle"),
            _ => damaged(self.offset, &e.to_string()),
        })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Reads and forgets.
    fn discard(&mut self, mut n: u64) -> Result<(), NeffError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        while n > 0 {
            let now = n.min(buffer.len() as u64);
            self.fill(&mut buffer[..now as usize])?;
            n -= now;
        }
        self.buffer = buffer;
        Ok(())
    }

    /// Reads the rest, which is zeros; so the checksum of a compressed archive is checked too.
    fn drain(&mut self) -> Result<(), NeffError> {
        loop {
            let n = self.source.read(&mut self.buffer).map_err(|e| damaged(self.offset, &e.to_string()))?;
            if n == 0 {
                return Ok(());
            }
            self.room(n)?;
            if self.buffer[..n].iter().any(|b| *b != 0) {
                return Err(damaged(self.offset, "something follows the archive's end"));
            }
            self.offset += n as u64;
        }
    }

    fn room(&self, n: usize) -> Result<(), NeffError> {
        let size = self.offset + n as u64;
        if size > self.limit {
            let what = "bytes of the unpacked archive".into();
            return Err(NeffError::TooLarge { what, size, limit: self.limit });
        }
        Ok(())
    }
}

fn damaged(offset: u64, reason: &str) -> NeffError {
    NeffError::Archive { offset, reason: reason.into() }
}

/// Zeros behind a content of `size` bytes.
pub(super) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// Sum of a header's bytes, those of the checksum counted as blanks.
pub(super) fn checksum(block: &[u8]) -> u64 {
    let blank = |i: usize, b: u8| if field::CHECKSUM.contains(&i) { b' ' } else { b };
    block.iter().enumerate().map(|(i, b)| u64::from(blank(i, *b))).sum()
}

/// A number in octal digits, or in base 256 with the highest bit set, as GNU tar writes what does not fit.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len() - 8);
        let is_zero = high.iter().enumerate().all(|(i, b)| *b == if i == 0 { 0x80 } else { 0 });
        return is_zero.then_some(u64::from_be_bytes(low.try_into().ok()?));
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    text.bytes().all(|b| b.is_ascii_digit()).then(|| u64::from_str_radix(text, 8).ok())?
}

/// A member's name, with the prefix that ustar has for long ones.
fn name(header: &[u8; BLOCK]) -> String {
    let name = until_nul(&header[field::NAME]);
    let prefix = until_nul(&header[field::PREFIX]);
    if &header[field::MAGIC] == b"ustar\0" && !prefix.is_empty() { format!("{prefix}/{name}") } else { name }
}

fn until_nul(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Path and size of a pax header, whose records are `LENGTH KEY=VALUE\n`, the length being that of the record.
fn pax(mut records: &[u8]) -> Option<(Option<String>, Option<u64>)> {
    let (mut path, mut size) = (None, None);
    while !records.is_empty() {
        let blank = records.iter().position(|b| *b == b' ')?;
        let length: usize = std::str::from_utf8(&records[..blank]).ok()?.parse().ok()?;
        let (record, rest) = records.split_at_checked(length)?;
        let record = std::str::from_utf8(record.get(blank + 1..)?).ok()?.strip_suffix('\n')?;
        match record.split_once('=')? {
            ("path", value) => path = Some(value.to_owned()),
            ("size", value) => size = Some(value.parse().ok()?),
            _ => {}
        }
        records = rest;
    }
    Some((path, size))
}
