//! Tensors, sets and programs: what works, and what is refused by name before libnrt is called.

use longhaul::neuron::device::{Core, Runtime};
use longhaul::neuron::neff::write::Program;
use longhaul::neuron::nrt::Usage;
use longhaul::neuron::{NeuronError, Result};

use crate::compiled::matmul;
use crate::golden::{matmul_bound, matmul_check};
use crate::isolated::{assert_clean, isolated};
use crate::programs::{Bound, failure};

fn on_core(name: &str, test: impl FnOnce(&Core)) {
    isolated(name, "2_34", &[], |fake| {
        let core = Runtime::start().unwrap().core(0).unwrap();
        test(&core);
        drop(core);
        assert_clean(fake);
    });
}

/// A small program.
fn small() -> Program {
    matmul("matmul", [1, 64, 64], "bfloat16")
}

/// An argument that is refused, with these words.
fn refused<T: std::fmt::Debug>(result: Result<T>, words: &[&str]) {
    let Err(NeuronError::Argument(what)) = result else { panic!("not refused: {result:?}") };
    assert!(words.iter().all(|word| what.contains(word)), "{what}");
}

#[test]
fn tensors_hold_what_is_written() {
    on_core("api::tensors_hold_what_is_written", |core| {
        let tensor = core.allocate("t", 64).unwrap();
        let mut start = [0; 64];
        tensor.read(0, &mut start).unwrap();
        assert_ne!(start, [0; 64], "memory that nobody wrote is garbage, in the stand-in as on the device");
        tensor.write_elements(2, &[1.5_f32, -2.0]).unwrap();
        let mut two = [0.0_f32; 2];
        tensor.read_elements(2, &mut two).unwrap();
        assert_eq!(two, [1.5, -2.0]);
        tensor.fill(0, 9, 8).unwrap();
        let slice = tensor.slice("part", 4, 8).unwrap();
        let inner = slice.slice("part of it", 4, 4).unwrap();
        drop((slice, tensor.clone()));
        let mut four = [0; 4];
        inner.read(0, &mut four).unwrap();
        assert_eq!(four, 1.5_f32.to_le_bytes(), "a slice of a slice is where it should be");
        tensor.copy_from(32, &tensor, 8, 8).unwrap();
        drop(tensor);
        inner.write(0, &[1, 2, 3, 4]).expect("the memory lives as long as a slice of it");
    });
}

#[test]
fn ranges_are_checked() {
    on_core("api::ranges_are_checked", |core| {
        let tensor = core.allocate("t", 64).unwrap();
        refused(core.allocate("none", 0), &["`none`", "no bytes"]);
        refused(core.allocate("a\0b", 4), &["NUL"]);
        refused(tensor.read(60, &mut [0; 5]), &["a read of 5 bytes from 60", "tensor `t` of 64 bytes"]);
        refused(tensor.write(usize::MAX, &[0; 2]), &["a write", "`t`"]);
        refused(tensor.fill(64, 0, 1), &["a fill", "`t`"]);
        refused(tensor.slice("s", 0, 65), &["a slice", "`t`"]);
        refused(tensor.slice("s", 0, 0), &["`s`", "no bytes"]);
        refused(tensor.write_elements(usize::MAX / 2, &[1.0_f64]), &["element", "`t`"]);
        let (part, other) = (tensor.slice("part", 16, 16).unwrap(), core.runtime().core(1).unwrap());
        refused(tensor.copy_from(20, &part, 0, 8), &["overlap", "`part`", "`t`"]);
        let elsewhere = other.allocate("elsewhere", 64).unwrap();
        refused(tensor.copy_from(0, &elsewhere, 0, 8), &["core 1", "core 0"]);
        tensor.read(64, &mut []).unwrap();
    });
}

#[test]
fn programs_tell_what_they_take() {
    on_core("api::programs_tell_what_they_take", |core| {
        let bound = Bound::load(core, &matmul("matmul", [2, 130, 300], "float8_e4m3").neff()).unwrap();
        let described = |usage| {
            let tensors = bound.program.tensors().iter().filter(move |t| t.usage == usage);
            tensors
                .map(|t| (t.name.as_str(), t.element.info().unwrap().0, t.shape.clone(), t.size_bytes))
                .collect::<Vec<_>>()
        };
        let [weights, x] = [("weights", vec![128, 3, 2, 128]), ("x", vec![128, 2, 2])];
        let scale = ("scale", "float32", vec![128, 3], 128 * 3 * 4);
        let mut inputs = described(Usage::Input);
        inputs.sort();
        assert_eq!(
            inputs,
            [scale, (weights.0, "float8_e4m3", weights.1, 128 * 3 * 2 * 128), (x.0, "bfloat16", x.1, 128 * 2 * 2 * 2)]
        );
        assert_eq!(described(Usage::Output), [("out", "bfloat16", vec![128, 3, 2], 128 * 3 * 2 * 2)]);
        assert_eq!((bound.program.inputs().count(), bound.program.outputs().count()), (3, 1));
    });
}

/// Under LNC 2 the runtime tells an output once for each physical core.
#[test]
fn outputs_are_told_once() {
    isolated("api::outputs_are_told_once", "2_34", &[("NEURON_LOGICAL_NC_CONFIG", "2")], |fake| {
        let core = Runtime::start().unwrap().core(0).unwrap();
        let bound = Bound::load(&core, &Program { lnc: 2, ..small() }.neff()).unwrap();
        assert_eq!(bound.program.outputs().count(), 1);
        let refused = failure(core.load("for LNC 1", &small().neff()));
        assert_eq!((refused.status.0, refused.subject.as_str()), (2, "program `for LNC 1` on core 0"));
        drop((bound, core));
        assert_clean(fake);
    });
}

#[test]
fn what_does_not_fit_is_named() {
    on_core("api::what_does_not_fit_is_named", |core| {
        let mut bound = matmul_bound(core);
        matmul_check(&bound);
        let empty = core.tensor_set().unwrap();
        refused(bound.program.execute(&empty, &bound.outputs), &["program `test`", "nothing is bound to input"]);
        refused(bound.program.execute(&bound.inputs, &empty), &["nothing is bound to output `out`"]);
        let small = core.allocate("small", 8).unwrap();
        bound.outputs.bind("out", &small).unwrap();
        assert_eq!(bound.outputs.tensor("out").unwrap().name(), "small");
        refused(bound.run(), &["output `out` has", "tensor `small` 8"]);
        let out = bound.tensors["out"].clone();
        bound.outputs.bind("out", &out).unwrap();
        matmul_check(&bound);
        bound.outputs.bind("more", &small).unwrap();
        refused(bound.run(), &["output `more`"]);

        let other = core.runtime().core(1).unwrap();
        let elsewhere = other.allocate("elsewhere", 8).unwrap();
        refused(bound.outputs.bind("out", &elsewhere), &["`elsewhere` is on core 1", "core 0"]);
        let set = other.tensor_set().unwrap();
        refused(bound.program.execute(&set, &set), &["program `test`", "core 1"]);
    });
}

#[test]
fn a_neff_that_is_none_is_refused_by_the_runtime() {
    on_core("api::a_neff_that_is_none_is_refused_by_the_runtime", |core| {
        let mut neff = small().neff();
        core.load("whole", &neff).unwrap();
        assert_eq!(failure(core.load("short", &neff[..2000])).status.0, 2);
        assert_eq!(failure(core.load("empty", &[])).status.0, 2);
        neff[24] = 3; // the major version
        let failure = failure(core.load("new", &neff));
        assert!([2, 10].contains(&failure.status.0), "{failure}");
    });
}
