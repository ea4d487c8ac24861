//! The Neuron backend on the stand-in for libnrt (`tests/fake-nrt`): what every backend must do (`tests/contract`)
//! under every version, losses, missing programs, and the whole chain from `kernels/compile.py` to a result. Each test
//! has a process of its own, since the runtime starts once in one.

mod chain;
#[path = "../common/mod.rs"]
#[allow(dead_code)] // other tests use the rest
mod common;
#[path = "../common/compiled.rs"]
mod compiled;
#[path = "../contract/mod.rs"]
mod contract;
#[path = "../common/contract_programs.rs"]
mod contract_programs;
mod failures;
#[path = "../neuron/isolated.rs"]
#[allow(dead_code)]
mod isolated;
mod launches;
mod opening;
#[path = "../common/python.rs"]
mod python;
mod stand_in;

/// A test for each case, on the stand-in.
macro_rules! on_the_stand_in {
    ($($module:ident::$case:ident,)*) => {$(
        #[test]
        fn $case() {
            let path = concat!(stringify!($module), "::", stringify!($case));
            stand_in::contract(stringify!($case), path, contract::$module::$case);
        }
    )*};
}
contract::for_every_case!(on_the_stand_in);
