//! Tensors' elements, as numbers.

use half::bf16;
use ndarray::{ArrayD, IxDyn};

/// The types that our kernels have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    Bf16,
    F32,
    I32,
    /// 4 bits of exponent, 3 of fraction, with infinities: up to 240.
    F8E4m3,
}

impl Dtype {
    /// Of the name in a NEFF.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "bfloat16" => Self::Bf16,
            "float32" => Self::F32,
            "int32" => Self::I32,
            "float8_e4m3" => Self::F8E4m3,
            _ => return None,
        })
    }

    /// libnrt's number for it, written out from AWS's documentation.
    pub fn number(self) -> u32 {
        match self {
            Self::Bf16 => 0x6,
            Self::F32 => 0xa,
            Self::I32 => 0x8,
            Self::F8E4m3 => 0xe,
        }
    }

    /// Bytes of an element.
    pub fn size_bytes(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F8E4m3 => 1,
        }
    }

    /// The numbers that the bytes of a tensor are.
    pub fn decode(self, bytes: &[u8], shape: &[usize]) -> ArrayD<f64> {
        let numbers = bytes.chunks_exact(self.size_bytes()).map(|b| match *b {
            [a] => f8_e4m3(a),
            [a, b] => bf16::from_le_bytes([a, b]).to_f64(),
            [a, b, c, d] if self == Self::F32 => f32::from_le_bytes([a, b, c, d]).into(),
            [a, b, c, d] => i32::from_le_bytes([a, b, c, d]).into(),
            _ => unreachable!("no element has {} bytes", b.len()),
        });
        ArrayD::from_shape_vec(IxDyn(shape), numbers.collect()).expect("the runtime checked the size")
    }
}

/// A bf16 in the bytes of a tensor, at an element's number.
pub fn put_bf16(bytes: &mut [u8], element: usize, value: f64) {
    bytes[2 * element..2 * element + 2].copy_from_slice(&bf16::from_f64(value).to_le_bytes());
}

/// Copies an element of a tensor of two-byte elements into another, bits as they are.
pub fn copy_element(from: &[u8], from_element: usize, to: &mut [u8], to_element: usize) {
    to[2 * to_element..2 * to_element + 2].copy_from_slice(&from[2 * from_element..2 * from_element + 2]);
}

fn f8_e4m3(byte: u8) -> f64 {
    let (sign, exponent, fraction) = (byte >> 7, i32::from(byte >> 3 & 15), f64::from(byte & 7));
    let magnitude = match exponent {
        0 => fraction / 8.0 * 2f64.powi(-6),
        15 if fraction == 0.0 => f64::INFINITY,
        15 => f64::NAN,
        _ => (1.0 + fraction / 8.0) * 2f64.powi(exponent - 7),
    };
    if sign == 1 { -magnitude } else { magnitude }
}

#[test]
fn float8_has_its_numbers() {
    let numbers = [0x00, 0x01, 0x08, 0x38, 0x77, 0xf7, 0x78].map(f8_e4m3);
    assert_eq!(numbers, [0.0, 2f64.powi(-9), 2f64.powi(-6), 1.0, 240.0, -240.0, f64::INFINITY]);
    assert!(f8_e4m3(0x79).is_nan());
}
