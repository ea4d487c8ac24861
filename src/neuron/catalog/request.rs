//! What is asked of a catalog, and how well a program fits it.

use std::path::Path;

use super::Entry;
use crate::neuron::neff::{Argument, Target};

/// A kernel call that a program is wanted for.
///
/// Every compile-time argument of a program must be spoken of: one that the request does not name could be anything, a
/// window or another layout, so that program does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The kernel.
    pub kernel: String,
    /// The chip that it runs on.
    pub target: Target,
    /// Physical cores of a logical core.
    pub lnc: u32,
    /// Arguments that must be as they are here.
    pub exact: Vec<(String, Argument)>,
    /// Arguments that must not be smaller: lengths that are padded to the bucket's.
    pub at_least: Vec<(String, u64)>,
    /// Arguments that may be anything.
    pub free: Vec<String>,
}

impl Request {
    /// A request that names no arguments yet.
    pub fn new(kernel: &str, target: Target, lnc: u32) -> Self {
        let (exact, at_least, free) = Default::default();
        Self { kernel: kernel.into(), target, lnc, exact, at_least, free }
    }

    /// `kernel`, `matmul` or `matmul_silu_gate`, of `x[m, k]` and `W[n, k]`, whose weights are stored as `weights`
    /// (`bfloat16`, `float8_e4m3`).
    pub fn matmul(kernel: &str, target: Target, lnc: u32, [m, k, n]: [u64; 3], weights: &str) -> Self {
        Self::new(kernel, target, lnc).exactly("k", k).exactly("n", n).named("weights", weights).at_least("m", m)
    }

    /// The argument must be `n`.
    #[must_use]
    pub fn exactly(mut self, name: &str, n: u64) -> Self {
        self.exact.push((name.into(), Argument::Count(n)));
        self
    }

    /// The argument must be `text`.
    #[must_use]
    pub fn named(mut self, name: &str, text: &str) -> Self {
        self.exact.push((name.into(), Argument::Text(text.into())));
        self
    }

    /// The argument must be `n` or more.
    #[must_use]
    pub fn at_least(mut self, name: &str, n: u64) -> Self {
        self.at_least.push((name.into(), n));
        self
    }

    /// The argument may be anything.
    #[must_use]
    pub fn any(mut self, name: &str) -> Self {
        self.free.push(name.into());
        self
    }

    /// Whether a program is of this request's kind: it differs in the arguments that may be larger, if at all.
    pub(super) fn is_kind_of(&self, entry: &Entry) -> bool {
        let named = |name: &str| {
            self.exact.iter().any(|(n, _)| n == name)
                || self.at_least.iter().any(|(n, _)| n == name)
                || self.free.iter().any(|n| n == name)
        };
        (entry.kernel.as_str(), entry.target, entry.lnc) == (self.kernel.as_str(), self.target, self.lnc)
            && self.exact.iter().all(|(name, value)| entry.arguments.get(name) == Some(value))
            && self.at_least.iter().all(|(name, _)| entry.count(name).is_some())
            && entry.arguments.keys().all(|name| named(name))
    }

    /// The padding that a program of this kind needs; `None` if it is too small.
    pub(super) fn padding(&self, entry: &Entry) -> Option<Vec<Padding>> {
        let padding = self.at_least.iter().map(|(name, wanted)| {
            let bucket = entry.count(name)?;
            (bucket >= *wanted).then(|| Padding { name: name.clone(), wanted: *wanted, bucket })
        });
        padding.collect()
    }

    /// The request in words.
    pub(super) fn words(&self) -> String {
        let exact = self.exact.iter().map(|(name, value)| format!("{name} = {value}"));
        let at_least = self.at_least.iter().map(|(name, n)| format!("{name} of at least {n}"));
        let arguments: Vec<String> = exact.chain(at_least).collect();
        let Self { kernel, target, lnc, .. } = self;
        if arguments.is_empty() {
            format!("{kernel} on {target}, LNC {lnc}")
        } else {
            format!("{kernel} with {} on {target}, LNC {lnc}", arguments.join(", "))
        }
    }

    /// The arguments of a program that differ from request to request, in words.
    pub(super) fn bucket_words(&self, entry: &Entry) -> String {
        let counts =
            self.at_least.iter().map(|(name, _)| format!("{name} = {}", entry.count(name).unwrap_or_default()));
        counts.collect::<Vec<_>>().join(", ")
    }

    /// The command that builds a program which fits exactly.
    pub(super) fn command(&self, dir: &Path) -> String {
        let exact = self.exact.iter().map(|(name, value)| format!(" {name}={value}"));
        let at_least = self.at_least.iter().map(|(name, n)| format!(" {name}={n}"));
        let arguments: String = exact.chain(at_least).collect();
        let Self { kernel, target, lnc, .. } = self;
        let dir = dir.display();
        format!("python -m kernels.compile --program {kernel}{arguments} --target {target} --lnc {lnc} --out {dir}")
    }
}

/// A program that fits a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit<'a> {
    /// The program.
    pub entry: &'a Entry,
    /// What it takes of each count that may be larger, in the request's order.
    pub padding: Vec<Padding>,
}

impl Fit<'_> {
    /// How much work the bucket is: the product of its counts.
    pub(super) fn size(&self) -> u128 {
        self.padding.iter().fold(1, |size: u128, p| size.saturating_mul(p.bucket.into()))
    }
}

/// A count that is padded to the bucket's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Padding {
    /// The argument.
    pub name: String,
    /// What was asked for.
    pub wanted: u64,
    /// What the program takes; the rest of it is to be filled up.
    pub bucket: u64,
}

impl Padding {
    /// How many are to be filled up.
    pub const fn n_padded(&self) -> u64 {
        self.bucket - self.wanted
    }
}
