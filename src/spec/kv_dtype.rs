//! What keys and values are stored as.

use crate::error::{Error, Result};

/// What the keys and values of a cache are stored as (DESIGN.md, "Same bits").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KvDtype {
    /// The upper half of an f32.
    #[default]
    Bf16,
    /// 8 bits, symmetric: `x = scale * code` with codes from -127 to 127 and one f32 scale for each token's key of a
    /// head, and one for its value.
    Int8,
}

impl KvDtype {
    /// Every type.
    pub const ALL: [Self; 2] = [Self::Bf16, Self::Int8];

    /// The short name that reports and the command line use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// Bytes of one token's key of a head of `head_dim` elements, or of its value, scale included.
    pub const fn head_bytes(self, head_dim: usize) -> usize {
        match self {
            Self::Bf16 => 2 * head_dim,
            Self::Int8 => head_dim + size_of::<f32>(),
        }
    }
}

/// `bf16`, `int8`.
impl std::fmt::Display for KvDtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Reads what `Display` writes.
impl std::str::FromStr for KvDtype {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|dtype| dtype.name() == text);
        known.ok_or_else(|| Error::argument(format!("keys and values are stored as bf16 or int8, not as {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for dtype in KvDtype::ALL {
            assert_eq!(dtype.to_string().parse::<KvDtype>().unwrap(), dtype);
        }
        assert!(matches!("f16".parse::<KvDtype>(), Err(Error::Argument(why)) if why.contains("\"f16\"")));
    }

    #[test]
    fn bytes_count_scales() {
        assert_eq!(KvDtype::Bf16.head_bytes(64), 128);
        assert_eq!(KvDtype::Int8.head_bytes(64), 68);
    }
}
