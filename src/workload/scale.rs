//! `--scale`: one ratio on every length of a workload.
//!
//! **The rounding rule**, which `scripts/trace-ideal` repeats: a scale `a/b` maps a cumulative total of `n` tokens to
//! `scaled(n) = floor((2 n a + b) / (2 b))`, which is `n a / b` rounded to the nearest token, halves up. Lengths are
//! differences of scaled totals and never scaled by themselves. So a prefix that two prompts share has one length in
//! both of them, and lengths add up to the scaled whole.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A positive ratio `numerator / denominator` of token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    numerator: u32,
    denominator: u32,
}

impl Scale {
    /// Lengths as they are.
    pub const ONE: Self = Self { numerator: 1, denominator: 1 };

    /// The ratio `numerator / denominator`.
    ///
    /// # Errors
    /// When one of them is zero.
    pub fn new(numerator: u32, denominator: u32) -> Result<Self> {
        if numerator == 0 || denominator == 0 {
            return Err(Error::Workload(format!("a scale of {numerator}/{denominator} leaves nothing to run")));
        }
        Ok(Self { numerator, denominator })
    }

    /// A cumulative total of `n` tokens, scaled by the rule of this module.
    pub fn total(self, n: usize) -> usize {
        let (n, a, b) = (n as u128, u128::from(self.numerator), u128::from(self.denominator));
        ((2 * n * a + b) / (2 * b)) as usize
    }

    /// The scaled length of the tokens from the total `start` on, `len` of them before scaling.
    pub fn span(self, start: usize, len: usize) -> usize {
        self.total(start + len) - self.total(start)
    }
}

impl FromStr for Scale {
    type Err = Error;

    /// Reads `1/16` or `1`.
    fn from_str(text: &str) -> Result<Self> {
        let (numerator, denominator) = text.split_once('/').unwrap_or((text, "1"));
        match (numerator.trim().parse(), denominator.trim().parse()) {
            (Ok(numerator), Ok(denominator)) => Self::new(numerator, denominator),
            _ => Err(Error::Workload(format!("{text:?} is not a scale; write a ratio like 1/16, or 1"))),
        }
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.denominator {
            1 => write!(f, "{}", self.numerator),
            d => write!(f, "{}/{d}", self.numerator),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_add_up_to_the_scaled_total() {
        let scale: Scale = "1/16".parse().unwrap();
        let lens = [713, 5, 1, 61_381, 7, 8, 9, 0, 4_179];
        let (mut start, mut sum) = (0, 0);
        for len in lens {
            sum += scale.span(start, len);
            start += len;
        }
        assert_eq!(sum, scale.total(lens.iter().sum()));
        assert_eq!(Scale::ONE.total(128_880), 128_880);
        assert_eq!([7, 8, 24].map(|n| scale.total(n)), [0, 1, 2]);
    }

    #[test]
    fn reads_ratios_and_refuses_the_rest() {
        assert_eq!("1/16".parse::<Scale>().unwrap().to_string(), "1/16");
        assert_eq!(" 3 / 4 ".parse::<Scale>().unwrap().total(100), 75);
        for bad in ["", "0", "1/0", "-1", "0.5", "1/16/2", "x"] {
            assert!(bad.parse::<Scale>().is_err(), "{bad:?}");
        }
    }
}
