//! What a call costs, and how near to the roof it comes.

use std::time::Duration;

/// What a call computes and what it must read and write at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Cost {
    /// Operations, of floats unless `integers`.
    pub flops: u64,
    /// Bytes of weights, or of keys and values, and of activations.
    pub bytes: u64,
    /// Whether the operations are of integers, for which no roof is measured.
    pub integers: bool,
    /// Whether the bytes come from memory, since what they are part of rotates. Else caches may hold them, and memory
    /// is no roof.
    pub from_memory: bool,
}

/// What a machine can do at most, at the minute of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Ceiling {
    /// GFLOP/s of a kernel table's arithmetic.
    pub arithmetic: f64,
    /// GB/s of reads from memory.
    pub memory: f64,
}

/// Which roof is the lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The table's arithmetic.
    Arithmetic,
    /// Reads from memory.
    Memory,
}

/// How near a call came to the roof that bounds it.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Share {
    /// The roof.
    pub of: Bound,
    /// The least time that the roof allows, over the time that it took.
    pub share: f64,
}

impl Cost {
    /// The share of the lower roof (Williams, Waterman and Patterson 2009), of those that are known; none where none
    /// is.
    pub fn share(&self, time: Duration, ceiling: &Ceiling) -> Option<Share> {
        let memory = if self.from_memory { self.bytes as f64 / ceiling.memory } else { 0.0 };
        let arithmetic = if self.integers { 0.0 } else { self.flops as f64 / ceiling.arithmetic };
        let (of, least_ns) =
            if memory > arithmetic { (Bound::Memory, memory) } else { (Bound::Arithmetic, arithmetic) };
        (least_ns > 0.0).then(|| Share { of, share: least_ns / 1e9 / time.as_secs_f64() })
    }

    /// GFLOP/s (of integers: GOP/s).
    pub fn gflops(&self, time: Duration) -> f64 {
        self.flops as f64 / time.as_secs_f64() / 1e9
    }

    /// GB/s
    pub fn gbytes(&self, time: Duration) -> f64 {
        self.bytes as f64 / time.as_secs_f64() / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEILING: Ceiling = Ceiling { arithmetic: 1_000.0, memory: 10.0 };

    #[test]
    fn the_lower_roof_counts() {
        let cost = |flops, bytes| Cost { flops, bytes, integers: false, from_memory: true };
        let share = |cost: Cost| cost.share(Duration::from_micros(2), &CEILING);
        let (arithmetic, memory) =
            (Share { of: Bound::Arithmetic, share: 0.5 }, Share { of: Bound::Memory, share: 0.5 });
        assert_eq!(share(cost(1_000_000, 1_000)), Some(arithmetic));
        assert_eq!(share(cost(1_000, 10_000)), Some(memory));
        assert_eq!(share(Cost { integers: true, ..cost(1_000_000_000, 10_000) }), Some(memory));
        assert_eq!(share(Cost { from_memory: false, ..cost(1_000_000, 1_000_000) }), Some(arithmetic));
        assert_eq!(share(Cost { integers: true, from_memory: false, ..cost(1_000_000, 1_000) }), None);
    }
}
