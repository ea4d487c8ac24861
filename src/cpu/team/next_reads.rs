//! What a helper does while it waits: it asks for the memory that it will read first in a region to come.

use crate::cpu::buffer::LINE;
use crate::cpu::prefetch;

/// Bytes that are asked for at most: what can come in the time that a leader is alone, and stays in a second cache of
/// 512 KiB.
const MOST: usize = 128 << 10;

/// Cache lines that are asked for between two looks at the team's word.
const LINES_AT_ONCE: usize = 4;

/// Memory that a thread will read, from an address on. It may be gone by then: nothing is read here.
#[derive(Debug, Clone, Copy)]
pub struct NextReads {
    address: *const u8,
    n_lines: usize,
}

impl NextReads {
    /// None.
    pub const NONE: Self = Self { address: std::ptr::null(), n_lines: 0 };

    /// The beginning of `data`.
    pub fn of<T>(data: &[T]) -> Self {
        Self { address: data.as_ptr().cast(), n_lines: size_of_val(data).min(MOST).div_ceil(LINE) }
    }

    /// Asks for some lines; answers how many, none at the end.
    pub(super) fn ask(&mut self) -> usize {
        let n_lines = self.n_lines.min(LINES_AT_ONCE);
        for _ in 0..n_lines {
            prefetch::near(self.address);
            self.address = self.address.wrapping_add(LINE);
        }
        self.n_lines -= n_lines;
        n_lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_asked_for_in_order_and_not_beyond_the_end() {
        for (len, n_lines) in [(0, 0), (1, 1), (4, 1), (64, 4), (65, 5), (MOST, MOST / LINE)] {
            let data = vec![0.0_f32; len];
            let (mut reads, mut asked) = (NextReads::of(&data), 0);
            loop {
                assert_eq!(reads.address, data.as_ptr().cast::<u8>().wrapping_add(asked * LINE));
                match reads.ask() {
                    0 => break,
                    n => asked += n,
                }
            }
            assert_eq!(asked, n_lines, "{len} elements");
        }
    }
}
