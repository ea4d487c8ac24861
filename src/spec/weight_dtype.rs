//! What weight matrices run as.

use super::contract::{INT4_GROUP_LEN, MAX_GROUP_LEN, TILE_DEPTH};
use crate::dtype::Dtype;
use crate::error::{Error, Result};

/// What a weight matrix runs as, which also settles what its left operand is rounded or quantised to (DESIGN.md, "Same
/// bits").
///
/// A group is a run of consecutive inputs of one output; groups start at multiples of their length, the last may be
/// shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightDtype {
    /// IEEE 754 binary32.
    F32,
    /// The upper half of an f32.
    Bf16,
    /// 8 bits, symmetric: `w = scale * code` with codes from -127 to 127 and one f32 scale for each group.
    Int8 {
        /// Inputs that share a scale, a multiple of 32; `None` for all inputs of an output channel.
        group_len: Option<usize>,
    },
    /// 4 bits, asymmetric: `w = scale * code + minimum` with codes from 0 to 15, and scale and minimum in bf16 for each
    /// group of 32 inputs.
    Int4,
}

impl WeightDtype {
    /// 8 bits by groups of 64 inputs: what `int8` means where nothing else is said.
    pub const INT8: Self = Self::Int8 { group_len: Some(64) };

    /// 8 bits with one scale for each output channel: fewer bytes, and a larger error (BENCHMARKS.md).
    pub const INT8_CHANNEL: Self = Self::Int8 { group_len: None };

    /// The element type of weights that are not quantised.
    pub const fn float(self) -> Option<Dtype> {
        match self {
            Self::F32 => Some(Dtype::F32),
            Self::Bf16 => Some(Dtype::Bf16),
            Self::Int8 { .. } | Self::Int4 => None,
        }
    }

    /// What the output matrix of a model runs as, and with it a tied embedding, when the layers run as `self`: 8 bits
    /// where they have 4, since 4 bits cost the most there (BENCHMARKS.md has the figures).
    pub const fn of_head(self) -> Self {
        match self {
            Self::Int4 => Self::INT8,
            other => other,
        }
    }

    /// What the rows of an embedding are stored as that is no output matrix: it is looked up and never multiplied, so
    /// it need not be small.
    pub const fn table(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            _ => Dtype::Bf16,
        }
    }

    /// Inputs of a group, for matrices of `k` inputs; `None` where there are none.
    pub const fn group_len(self, k: usize) -> Option<usize> {
        let padded = k.next_multiple_of(TILE_DEPTH);
        match self {
            Self::F32 | Self::Bf16 => None,
            Self::Int8 { group_len: Some(len) } if len < padded => Some(len),
            Self::Int8 { .. } => Some(padded),
            Self::Int4 => Some(INT4_GROUP_LEN),
        }
    }

    /// Bytes of a matrix `[n, k]`, scales and minima included, without what padding a layout adds.
    pub const fn bytes(self, n: usize, k: usize) -> u64 {
        let (n, k) = (n as u64, k as u64);
        match self {
            Self::F32 => 4 * n * k,
            Self::Bf16 => 2 * n * k,
            Self::Int8 { group_len: None } => n * (k + 4),
            Self::Int8 { group_len: Some(len) } => n * (k + 4 * k.div_ceil(len as u64)),
            Self::Int4 => n * (k.div_ceil(2) + 4 * k.div_ceil(INT4_GROUP_LEN as u64)),
        }
    }

    /// Finds a group length that no kernel takes.
    ///
    /// # Errors
    /// [`Error::Argument`] that names it.
    pub fn validate(self, k: usize) -> Result<()> {
        let asked = match self {
            Self::Int8 { group_len } => group_len.or(self.group_len(k)),
            other => other.group_len(k),
        };
        match asked {
            Some(len) if len == 0 || !len.is_multiple_of(TILE_DEPTH) || len > MAX_GROUP_LEN => {
                Err(Error::argument(format!(
                    "{self} weights of {k} inputs: a group of {len} inputs is no multiple of {TILE_DEPTH} up to {MAX_GROUP_LEN}"
                )))
            }
            _ => Ok(()),
        }
    }
}

/// `f32`, `bf16`, `int8-channel`, `int8-g64`, `int4`.
impl std::fmt::Display for WeightDtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::F32 => f.pad("f32"),
            Self::Bf16 => f.pad("bf16"),
            Self::Int8 { group_len: None } => f.pad("int8-channel"),
            Self::Int8 { group_len: Some(len) } => f.pad(&format!("int8-g{len}")),
            Self::Int4 => f.pad("int4"),
        }
    }
}

/// Reads what `Display` writes, and `int8` for [`WeightDtype::INT8`].
impl std::str::FromStr for WeightDtype {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let dtype = match (text, text.strip_prefix("int8-g").map(str::parse)) {
            ("f32", _) => Self::F32,
            ("bf16", _) => Self::Bf16,
            ("int8", _) => Self::INT8,
            ("int8-channel", _) => Self::INT8_CHANNEL,
            ("int4", _) => Self::Int4,
            (_, Some(Ok(len))) => Self::Int8 { group_len: Some(len) },
            _ => {
                let known = "f32, bf16, int8, int8-gN with N inputs to a scale, int8-channel, or int4";
                return Err(Error::argument(format!("weights run as {known}, not as {text:?}")));
            }
        };
        dtype.validate(TILE_DEPTH)?;
        Ok(dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let all =
            [WeightDtype::F32, WeightDtype::Bf16, WeightDtype::INT8, WeightDtype::INT8_CHANNEL, WeightDtype::Int4];
        for dtype in all {
            assert_eq!(dtype.to_string().parse::<WeightDtype>().unwrap(), dtype);
        }
        assert_eq!("int8".parse::<WeightDtype>().unwrap(), WeightDtype::INT8);
        for bad in ["", "f16", "int8-g", "int8-g0", "int8-g33", "int8-g-32", "int8-g262144", "int5"] {
            assert!(bad.parse::<WeightDtype>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn bytes_count_scales() {
        assert_eq!(WeightDtype::Bf16.bytes(3, 100), 600);
        assert_eq!(WeightDtype::INT8_CHANNEL.bytes(3, 100), 312);
        assert_eq!(WeightDtype::INT8.bytes(3, 100), 324);
        assert_eq!(WeightDtype::Int4.bytes(3, 100), 3 * (50 + 16));
    }

    #[test]
    fn a_sum_that_an_i32_might_not_hold_is_refused() {
        assert!(WeightDtype::INT8_CHANNEL.validate(MAX_GROUP_LEN).is_ok());
        assert!(WeightDtype::INT8_CHANNEL.validate(MAX_GROUP_LEN + 1).is_err());
        assert!(WeightDtype::Bf16.validate(MAX_GROUP_LEN + 1).is_ok());
    }
}
