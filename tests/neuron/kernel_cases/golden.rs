//! The golden files.

use std::path::Path;

use half::bf16;
use safetensors::SafeTensors;

/// A golden file.
pub struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    pub fn open(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("kernels/golden/{name}.safetensors"));
        Self { bytes: std::fs::read(path).unwrap() }
    }

    pub fn dimensions<const N: usize>(&self, name: &str) -> [usize; N] {
        SafeTensors::deserialize(&self.bytes).unwrap().tensor(name).unwrap().shape().try_into().unwrap()
    }

    pub fn u8(&self, name: &str) -> Vec<u8> {
        SafeTensors::deserialize(&self.bytes).unwrap().tensor(name).unwrap().data().to_vec()
    }

    pub fn bf16(&self, name: &str) -> Vec<bf16> {
        self.u8(name).as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b)).collect()
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.u8(name).as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    pub fn f64(&self, name: &str) -> Vec<f64> {
        self.u8(name).as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
    }

    pub fn is_fp8(&self) -> bool {
        self.dimensions::<2>("w").iter().product::<usize>() == self.u8("w").len()
    }

    pub fn number(&self, name: &str) -> usize {
        let (_, metadata) = SafeTensors::read_metadata(&self.bytes).unwrap();
        metadata.metadata().as_ref().unwrap()[name].parse().unwrap()
    }
}
