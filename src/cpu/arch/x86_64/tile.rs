//! AMX tiles by inline assembly: the intrinsics are not stable yet.
//!
//! The macros name tile registers in the instruction text: as literals, or as constants where `dot_tiles` stands. The
//! compiler never uses tile registers by itself, so what one macro leaves in a tile is there for the next; assembly
//! blocks with side effects keep their order.

use std::arch::asm;

use crate::cpu::product::TILE_ROWS;

/// Whether the operating system lets this process use tile data (Linux: `arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA)`),
/// and the CPU has it.
///
/// Leaf 7 tells of AMX. Leaves 0x1D and 0x1E describe palette 1, but some hypervisors hide them, so palette 1 is taken
/// as the manual gives it: 8 tiles of 16 rows of 64 bytes.
pub fn permitted() -> Result<(), String> {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    let (leaf0, leaf7) = (std::arch::x86_64::__cpuid(0), std::arch::x86_64::__cpuid_count(7, 0));
    if leaf0.eax < 7 || leaf7.edx & (AMX_BF16 | AMX_TILE) != AMX_BF16 | AMX_TILE {
        return Err("this CPU lacks AMX-TILE or AMX-BF16".into());
    }
    request()
}

/// Whether the CPU multiplies int8 tiles too.
pub fn multiplies_int8() -> bool {
    const AMX_INT8: u32 = 1 << 25;
    std::arch::x86_64::__cpuid(0).eax >= 7 && std::arch::x86_64::__cpuid_count(7, 0).edx & AMX_INT8 != 0
}

#[cfg(target_os = "linux")]
fn request() -> Result<(), String> {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: the call takes two integers and touches no memory of ours.
    let status = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) };
    if status == 0 { Ok(()) } else { Err(format!("the kernel refuses tile data: {}", std::io::Error::last_os_error())) }
}

#[cfg(not(target_os = "linux"))]
fn request() -> Result<(), String> {
    Err("tile data is asked for in Linux's way only".into())
}

/// `LDTILECFG`'s operand, for palette 1.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

impl TileConfig {
    /// Tiles 0 to 4, which a product of one row tile takes for sums and for rows, with `n` rows; 5 to 7, which hold
    /// columns, with sixteen.
    fn of(n: u8) -> Self {
        const FULL: u8 = TILE_ROWS as u8;
        Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            bytes_per_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
            rows: [n, n, n, n, n, FULL, FULL, FULL, 0, 0, 0, 0, 0, 0, 0, 0],
        }
    }
}

/// Zeroes the tiles, and shapes them for products of up to `n_rows` rows, at least one. A row is 64 bytes. Tiles 5 to 7
/// have sixteen rows; tiles 0 to 4, for sums and rows, have `n_rows`, sixteen at most.
///
/// # Safety
/// [`permitted`] has answered yes in this process.
#[inline(always)]
pub unsafe fn configure(n_rows: usize) {
    assert!(n_rows > 0, "an empty product");
    let config = TileConfig::of(n_rows.min(TILE_ROWS) as u8);
    // SAFETY: AMX is there and permitted, says the caller; the operand is 64 bytes.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack)) }
}

/// Gives the tiles back, so that a context switch need not save them.
///
/// # Safety
/// As [`configure`].
#[inline(always)]
pub unsafe fn release() {
    // SAFETY: AMX is there and permitted, says the caller.
    unsafe { asm!("tilerelease", options(nostack, nomem)) }
}

/// Zeroes a tile.
macro_rules! zero {
    ($tile:literal) => {
        asm!(concat!("tilezero tmm", $tile), options(nostack, nomem))
    };
}

/// Loads a tile, its rows of 64 bytes `stride` bytes apart, from `ptr`.
macro_rules! load {
    ($tile:literal, $ptr:expr, $stride:expr) => {
        asm!(concat!("tileloadd tmm", $tile, ", [{p} + {s}*1]"), p = in(reg) $ptr, s = in(reg) $stride, options(nostack, readonly))
    };
}

/// Stores a tile, its rows of 64 bytes `stride` bytes apart, at `ptr`.
macro_rules! store {
    ($tile:literal, $ptr:expr, $stride:expr) => {
        asm!(concat!("tilestored [{p} + {s}*1], tmm", $tile), p = in(reg) $ptr, s = in(reg) $stride, options(nostack))
    };
}

/// `sum += a * b` by an instruction for some kind of tiles: `tdpbf16ps` sums pairs of bf16 to f32, `tdpbssd` and
/// `tdpbsud` fours of bytes to i32, those of `b` without a sign in the latter.
macro_rules! dot_tiles {
    ($instruction:literal, $sum:expr, $a:expr, $b:expr) => {
        asm!(
            concat!($instruction, " tmm{sum}, tmm{a}, tmm{b}"),
            sum = const $sum, a = const $a, b = const $b,
            options(nostack, nomem)
        )
    };
}

/// Asks for the line at `ptr` in the second cache.
macro_rules! prefetch {
    ($ptr:expr) => {
        asm!("prefetcht1 [{p}]", p = in(reg) $ptr, options(nostack, readonly))
    };
}

pub(super) use {dot_tiles, load, prefetch, store, zero};
