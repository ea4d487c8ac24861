//! The stand-in against the golden files of the NKI kernels: what it computes is what the simulated kernels compute, so
//! tests on it mean something.

use half::bf16;
use longhaul::neuron::device::{Core, Runtime};

use crate::isolated::{assert_clean, isolated};
use crate::kernel_cases::{self, Attention, CASES};
use crate::programs::Bound;

const MATMUL: &str = "matmul-tails";

/// A small matmul, ready to run: for tests of other things.
pub fn matmul_bound(core: &Core) -> Bound {
    kernel_cases::bind(MATMUL, core, &kernel_cases::wanted(MATMUL).neff()).unwrap()
}

/// Runs it, and checks what comes out.
pub fn matmul_check(bound: &Bound) {
    bound.run().unwrap();
    kernel_cases::check(MATMUL, bound).unwrap();
}

/// Both at once.
pub fn matmul_runs(core: &Core) {
    matmul_check(&matmul_bound(core));
}

#[test]
fn the_stand_in_computes_what_the_kernels_compute() {
    isolated("golden::the_stand_in_computes_what_the_kernels_compute", "2_34", &[], |fake| {
        let core = Runtime::start().unwrap().core(0).unwrap();
        for name in CASES {
            kernel_cases::run(name, &core, &kernel_cases::wanted(name).neff()).unwrap();
        }
        drop(core);
        assert_clean(fake);
    });
}

/// What the stand-in refuses, as the device would: an index that is none, memory that is not in place.
#[test]
fn wrong_plans_are_refused() {
    isolated("golden::wrong_plans_are_refused", "2_34", &[], |fake| {
        let core = Runtime::start().unwrap().core(0).unwrap();
        let case = Attention::open("attention-pages");
        let mut bound = case.bind(&core, &case.wanted().neff()).unwrap();
        bound.write("rows", &[i32::MAX]).unwrap();
        assert_eq!(crate::programs::failure(bound.run()).status.0, 1006);
        case.write_plan(&bound).unwrap();
        bound.write("bounds", &[1.0_f32]).unwrap();
        assert_eq!(crate::programs::failure(bound.run()).status.0, 1002);
        case.write_plan(&bound).unwrap();
        let elsewhere = core.allocate("elsewhere", bound.tensors["k_pages"].size_bytes()).unwrap();
        bound.outputs.bind("k_pages", &elsewhere).unwrap();
        assert_eq!(crate::programs::failure(bound.run()).status.0, 2);
        drop((bound, elsewhere, core));
        assert_clean(fake);
    });
}

/// Rows of padding are undefined: the stand-in leaves garbage there, so that whoever reads them sees it.
#[test]
fn rows_of_padding_are_undefined() {
    isolated("golden::rows_of_padding_are_undefined", "2_34", &[], |fake| {
        let core = Runtime::start().unwrap().core(0).unwrap();
        let case = Attention::open("attention-append");
        let bound = case.bind(&core, &case.wanted().neff()).unwrap();
        bound.run().unwrap();
        let out: Vec<bf16> = bound.read("out").unwrap();
        assert!(out[case.n_out()..].iter().all(|x| x.is_nan()) && case.n_out() < out.len());
        drop((bound, core));
        assert_clean(fake);
    });
}
