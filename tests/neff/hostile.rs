//! Files that lie: each gives the error that names the lie, in little memory.

use std::io::{Cursor, Read, repeat};

use flate2::{Compress, Compression, FlushCompress};
use longhaul::Error;
use longhaul::neuron::neff::write::{self, gzip, member_header};
use longhaul::neuron::neff::{HEADER_BYTES, Neff, NeffError};

use crate::allocator::measured;
use crate::{MAX_BYTES, stand_in, two_cores};

/// What reading says, having checked what it allocated.
#[track_caller]
pub fn refused(source: impl Read) -> String {
    let (result, peak) = measured(|| Neff::read(source));
    assert!(peak <= MAX_BYTES, "{peak} bytes");
    result.expect_err("must be refused").to_string()
}

/// A sealed header for data that is made while it is read.
fn header(data_bytes: u64) -> Cursor<Vec<u8>> {
    let mut header = stand_in().seal(&[]);
    header[16..24].copy_from_slice(&data_bytes.to_le_bytes());
    Cursor::new(header)
}

/// A block again and again.
struct Again {
    block: Vec<u8>,
    at: usize,
}

impl Again {
    fn new(block: impl Into<Vec<u8>>) -> Self {
        Self { block: block.into(), at: 0 }
    }
}

impl Read for Again {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = (&self.block[self.at..]).read(buffer)?;
        self.at = (self.at + n) % self.block.len();
        Ok(n)
    }
}

/// A header block of another type, its checksum right.
fn typed(kind: u8, path: &str, size: u64) -> [u8; 512] {
    let mut block = member_header(path, size);
    block[156] = kind;
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[test]
fn headers_that_no_neff_has_are_refused() {
    assert_eq!(refused(&b""[..]), "cut off: the header takes 1024 bytes, and 0 are there");
    assert_eq!(refused(&[2; 1023][..]), "cut off: the header takes 1024 bytes, and 1023 are there");
    assert!(refused(repeat(0)).starts_with("not a NEFF: the header is said to be 0 bytes long"));
    assert!(refused(repeat(b'x')).starts_with("not a NEFF: the header is said to be"));
    for n in [0, 1, 2, 19] {
        assert_eq!(refused(header(n).chain(repeat(0x1f))), format!("not a NEFF: {n} bytes of data are no archive"));
    }
    assert_eq!(
        refused(header(u64::MAX).chain(repeat(0))),
        format!("bytes of data: {}, and at most {} are read", u64::MAX, 64_u64 << 30)
    );
    let mut later = stand_in().neff();
    later[24] = 3;
    assert_eq!(refused(&later[..]), "NEFF version 3.0 is not supported: versions up to 2.x are");
}

#[test]
fn a_file_cut_off_anywhere_is_said_to_be() {
    for neff in [two_cores().neff(), two_cores().gzipped_neff()] {
        for n in (0..neff.len()).filter(|n| n % 37 == 0 || n + 3 > neff.len()) {
            let said = refused(&neff[..n]);
            assert!(
                said.starts_with("cut off")
                    && said.contains(&format!(" {} are there", n - if n < HEADER_BYTES { 0 } else { HEADER_BYTES })),
                "{n}: {said}"
            );
        }
    }
}

#[test]
fn a_source_that_fails_is_not_taken_for_a_damaged_file() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    for n in [0, 1024, 1025, 1600] {
        let said = refused(stand_in().neff()[..n].chain(Failing));
        assert_eq!(said, "cannot be read: the disk is gone", "after {n} bytes");
    }
}

#[test]
fn a_bomb_of_zeros_is_stopped() {
    // A member of a MiB of zeros, deflated so that it can stand again and again.
    let member = [&member_header("zeros.bin", 1 << 20)[..], &vec![0; 1 << 20]].concat();
    let mut chunk = Vec::with_capacity(1 << 16);
    Compress::new(Compression::best(), false).compress_vec(&member, &mut chunk, FlushCompress::Full).unwrap();
    let gzip_header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    // 1,000 of them unpack to 1,000 MiB.
    let neff = header(10 + 1000 * chunk.len() as u64).chain(&gzip_header[..]).chain(Again::new(chunk));
    let said = refused(neff);
    assert!(said.starts_with("bytes of the unpacked archive, with zeros.bin: 3"), "{said}");
}

#[test]
fn a_gzip_header_without_end_is_stopped() {
    // FLG = 8: a file name follows, up to a zero.
    let neff = header(1 << 33).chain(&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3][..]).chain(repeat(b'a'));
    assert!(refused(neff).starts_with("the archive is damaged at byte 0"));
}

#[test]
fn a_million_members_are_too_many() {
    for kind in [b'0', b'5', b'x', b'g', b'L'] {
        let neff = header(512_000_000).chain(Again::new(typed(kind, "nothing", 0)));
        assert_eq!(
            refused(neff),
            "members of the archive: 65537, and at most 65536 are read",
            "type {}",
            char::from(kind)
        );
    }
}

#[test]
fn sizes_that_cannot_be_are_refused_before_anything_is_read() {
    for (path, size, said) in [
        ("big.bin", 1 << 32, "bytes of the unpacked archive, with big.bin: 4294967808, and at most 1048576 are read"),
        ("kelf-0.json", 1 << 32, "bytes of kelf-0.json: 4294967296, and at most 2097152 are read"),
        ("longhaul.json", 1 << 20, "bytes of longhaul.json: 1048576, and at most 65536 are read"),
        (
            "sg00/tensor_map.json",
            (1 << 33) - 1,
            "bytes of sg00/tensor_map.json: 8589934591, and at most 2097152 are read",
        ),
    ] {
        assert_eq!(refused(header(1 << 20).chain(&member_header(path, size)[..]).chain(repeat(b' '))), said);
    }
    for kind in [b'x', b'L', b'g', b'K'] {
        let neff = header(1 << 30).chain(Cursor::new(typed(kind, "", 1 << 29))).chain(repeat(b'a')).take(1 << 21);
        assert!(refused(neff).starts_with("bytes of an extended header: 536870912, and at most"), "{kind}");
    }
    // In base 256, up to all 64 bits; and by a pax header.
    for digits in
        [[0x80, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255], [0x80, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 1]]
    {
        let mut block = member_header("big.bin", 0);
        block[124..136].copy_from_slice(&digits);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let said = refused(header(1 << 20).chain(&block[..]).chain(repeat(0)));
        assert!(said.starts_with("bytes of the unpacked archive, with big.bin"), "{said}");
    }
    let record = b"29 size=18446744073709551615\n";
    let mut extended = typed(b'x', "", record.len() as u64).to_vec();
    extended.extend(record);
    extended.resize(1024, 0);
    let said = refused(header(1 << 20).chain(&extended[..]).chain(&member_header("big.bin", 5)[..]).chain(repeat(0)));
    assert!(said.starts_with("bytes of the unpacked archive, with big.bin"), "{said}");
}

#[test]
fn damage_to_the_archive_is_told_with_its_place() {
    let program = stand_in();
    let archive = program.archive();
    let sealed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut archive = archive.clone();
        change(&mut archive);
        [program.seal(&archive), program.seal(&gzip(&archive))]
    };
    let replaced = |block: [u8; 512]| sealed(&move |a| a[..512].copy_from_slice(&block));
    let mut octal = member_header("a", 0);
    octal[124..135].copy_from_slice(b"0000000009x");
    let mut signed = member_header("a", 0);
    signed[124..135].copy_from_slice(b"+0000000009");
    for block in [&mut octal, &mut signed] {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    for (neffs, said) in [
        (sealed(&|a| a[3] ^= 1), "the archive is damaged at byte 0: a header's checksum is wrong"),
        (sealed(&|a| *a.last_mut().unwrap() = 1), "something follows the archive's end"),
        (sealed(&|a| a.truncate(1600)), "ends in the middle"),
        (replaced(typed(b'2', "link", 0)), "damaged at byte 0: link is neither file nor folder: type '2'"),
        (replaced(typed(b'S', "sparse", 0)), "sparse is neither file nor folder"),
        (replaced(octal), "damaged at byte 0: a member's size is no number"),
        (replaced(signed), "damaged at byte 0: a member's size is no number"),
    ] {
        for neff in neffs {
            let found = refused(&neff[..]);
            // A raw archive that is cut off ends where its limit is.
            assert!(found.contains(said) || found.contains("bytes of the unpacked archive"), "{found}, not {said}");
        }
    }
    for records in ["7 pat", "99 path=a\n", "0 path=a\n", "x path=a\n", "9 path=ab", "7 path\n", "10 size=x\n", "\u{1}"]
    {
        let mut data = typed(b'x', "", records.len() as u64).to_vec();
        data.extend(records.as_bytes());
        data.resize(1024, 0);
        data.extend(&archive);
        let found = refused(&program.seal(&data)[..]);
        assert_eq!(found, "the archive is damaged at byte 0: a wrong pax header", "{records:?}");
    }
}

#[test]
fn damage_to_a_gzip_stream_is_found() {
    let program = two_cores();
    let stream = gzip(&program.archive());
    let mut wrong_sum = stream.clone();
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1; // of the CRC
    assert!(refused(&program.seal(&wrong_sum)[..]).contains("damaged"), "CRC");
    assert!(refused(&program.seal(&[&stream[..], b"more"].concat())[..]).contains("something other than padding"));
    assert!(refused(&program.seal(&stream[..stream.len() - 9])[..]).contains("damaged"), "cut off inside");
    assert!(refused(&program.seal(&[0x1f, 0x8b, 8].repeat(8))[..]).contains("damaged"));
    assert!(refused(&program.seal(&gzip(&stream))[..]).contains("damaged"), "gzip in gzip");
}

#[test]
fn a_large_file_costs_no_memory() {
    // 512 MiB of weights, made while they are read, then the members.
    const WEIGHTS: u64 = 512 << 20;
    let program = two_cores();
    let archive = program.archive();
    let first = member_header("sg00/weights.bin", WEIGHTS);
    let data = first.chain(repeat(7).take(WEIGHTS)).chain(&archive[..]);
    let neff = header(512 + WEIGHTS + archive.len() as u64).chain(data);
    let (neff, peak) = measured(|| Neff::read(neff).unwrap());
    assert_eq!(neff.tensors.len(), program.tensors.len());
    assert!(peak < 1 << 20, "{peak} bytes");
}

#[test]
fn a_file_is_opened_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program.neff");
    let open = || Neff::open(&path).unwrap_err();
    assert!(matches!(open(), Error::Io { .. }), "not there");
    assert!(matches!(Neff::open(folder.path()).unwrap_err(), Error::Io { .. }), "a folder");
    std::fs::write(&path, &stand_in().neff()[..2000]).unwrap();
    let error = open();
    assert!(matches!(&error, Error::Program { path: named, .. } if *named == path), "{error:?}");
    assert!(
        error.to_string().contains("program.neff: cut off: the data takes 7168 bytes, and 976 are there"),
        "{error}"
    );
    std::fs::write(&path, write::gzip(b"")).unwrap();
    assert!(open().to_string().contains("cut off: the header"));
    assert_eq!(NeffError::Missing("x").to_string(), "there is no x");
}
