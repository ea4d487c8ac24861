//! Element types of tensors, as they lie in files and in memory.

use half::{bf16, f16};

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// The upper half of an f32: 8 exponent bits, 7 of fraction.
    Bf16,
    /// IEEE 754 binary16.
    F16,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn size_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// The short name that files, reports and the command line use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// Widens little-endian elements to f32, exactly: `out[i] = bytes[i]`.
    ///
    /// # Panics
    /// If `bytes` is not `out.len()` elements long.
    pub fn widen(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(bytes.len(), out.len() * self.size_bytes(), "bytes and elements disagree");
        match self {
            Self::F32 => {
                for (o, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *o = f32::from_le_bytes(*b);
                }
            }
            Self::Bf16 => {
                for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *o = bf16::from_le_bytes(*b).to_f32();
                }
            }
            Self::F16 => {
                for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *o = f16::from_le_bytes(*b).to_f32();
                }
            }
        }
    }

    /// Rounds f32 elements to this type (to nearest, ties to even), little-endian: `bytes[i] = values[i]`.
    ///
    /// # Panics
    /// If `bytes` is not `values.len()` elements long.
    pub fn narrow(self, values: &[f32], bytes: &mut [u8]) {
        assert_eq!(bytes.len(), values.len() * self.size_bytes(), "bytes and elements disagree");
        match self {
            Self::F32 => {
                for (v, b) in values.iter().zip(bytes.as_chunks_mut::<4>().0) {
                    *b = v.to_le_bytes();
                }
            }
            Self::Bf16 => {
                for (v, b) in values.iter().zip(bytes.as_chunks_mut::<2>().0) {
                    *b = bf16::from_f32(*v).to_le_bytes();
                }
            }
            Self::F16 => {
                for (v, b) in values.iter().zip(bytes.as_chunks_mut::<2>().0) {
                    *b = f16::from_f32(*v).to_le_bytes();
                }
            }
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
