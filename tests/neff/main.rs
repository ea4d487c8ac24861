//! NEFFs: what well-formed ones say, and that no other ones do harm.

mod allocator;
mod good;
mod hostile;
mod members;
mod mutation;

use std::collections::BTreeMap;

use longhaul::neuron::neff::write::Program;
use longhaul::neuron::neff::{Argument, KernelCall, Kind, Target, Tensor};

/// No file may make the reader allocate more.
const MAX_BYTES: usize = 64 << 20;

fn tensor(name: &str, kind: Kind, dtype: &str, shape: &[usize]) -> Tensor {
    Tensor { name: name.into(), kind, dtype: dtype.into(), shape: shape.into() }
}

/// The program of `kernels/golden/stand-in.neff`: what `NEFF_PROGRAM` in `kernels/golden.py` is.
fn stand_in() -> Program {
    let counts = [("m", 4), ("k", 192), ("n", 320)].map(|(name, n)| (name.to_owned(), Argument::Count(n)));
    let mut arguments = BTreeMap::from(counts);
    arguments.insert("weights".into(), Argument::Text("bfloat16".into()));
    Program {
        name: "matmul-m4-k192-n320-weightsbfloat16".into(),
        call: KernelCall { kernel: "matmul".into(), arguments },
        tensors: vec![
            tensor("x", Kind::Input, "bfloat16", &[128, 2, 4]),
            tensor("weights", Kind::Input, "bfloat16", &[128, 3, 2, 128]),
            tensor("out", Kind::Output, "bfloat16", &[128, 3, 4]),
        ],
        target: Target::Trn2,
        lnc: 1,
        compiler: "stand-in 1".into(),
    }
}

/// One with more of everything: two cores, aliased tensors, names that need escapes.
fn two_cores() -> Program {
    let pages = [4, 128, 2, 64];
    Program {
        name: "attention \"q\" \u{e9}".into(),
        call: KernelCall { kernel: "attention".into(), arguments: BTreeMap::new() },
        tensors: vec![
            tensor("q", Kind::Input, "bfloat16", &[64, 4, 8]),
            tensor("k_pages.must_alias_input", Kind::Input, "bfloat16", &pages),
            tensor("k_pages", Kind::Output, "bfloat16", &pages),
            tensor("counts", Kind::Input, "int32", &[1, 2]),
            tensor("out", Kind::Output, "float32", &[8, 4, 64]),
        ],
        target: Target::Trn3,
        lnc: 2,
        compiler: "2.28.1\n".into(),
    }
}
