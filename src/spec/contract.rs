//! The constants of the numerics contract (DESIGN.md, "Same bits"): whatever changes here changes bits.

/// Columns of a packed panel: one AMX tile row of f32 sums, one AVX-512 register, two AVX2 registers.
pub const PANEL_COLS: usize = 16;

/// Depth of a packed tile: K is padded with zeros to a multiple of it. 32 bf16 make one 64-byte AMX tile row.
pub const TILE_DEPTH: usize = 32;

/// Tokens of a KV page: those of a chunk, so that a chunk's keys, and its values, lie in one run of memory whichever
/// pages a sequence got.
pub const PAGE_LEN: usize = CHUNK_LEN;

/// Attention folds the context in chunks `[i * CHUNK_LEN, (i + 1) * CHUNK_LEN)` at absolute positions: each starts from
/// an empty state, and states merge left to right.
pub const CHUNK_LEN: usize = 256;

/// Partial sums of a vector reduction: element `i` goes to sum `i % REDUCE_LANES`, and the sums are folded in halves.
pub const REDUCE_LANES: usize = 16;

// Values are packed in tiles of 32 keys.
const _: () = assert!(CHUNK_LEN.is_multiple_of(TILE_DEPTH));

/// Inputs of a group of 4-bit weights, which share a scale and a minimum.
pub const INT4_GROUP_LEN: usize = 32;

/// Largest group of 8-bit weights: `127 * 127 * 2^17` is the largest sum of products that an i32 holds for sure.
pub const MAX_GROUP_LEN: usize = 1 << 17;

/// A group whose largest magnitude is below this counts as zeros, so that `127 / max` is finite.
pub const QUANT_TINY: f32 = f32::from_bits((127 - 100) << 23);

const _: () = assert!(INT4_GROUP_LEN.is_multiple_of(TILE_DEPTH) && MAX_GROUP_LEN <= i32::MAX as usize / (127 * 128));
