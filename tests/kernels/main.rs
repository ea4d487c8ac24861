//! The public kernels, `PackedMatrix` and `KvPages`, on every kernel table that this machine has: what every backend
//! must do (`tests/contract`), equal to the scalar emulation of the table bit for bit, and as close to the f64
//! reference as its arithmetic promises.

#[path = "../common/mod.rs"]
mod common;
#[path = "../contract/mod.rs"]
mod contract;

mod int8_kv;
mod nki;
mod quantised;
mod shared_pages;
mod strips;
mod threads;
mod tiles;

use longhaul::backend::Backend;
use longhaul::error::Error;
use longhaul::spec::{KvDtype, KvSpec};

/// A table's name without the backend's.
fn table(backend: &dyn Backend) -> &str {
    backend.caps().name.strip_prefix("cpu/").unwrap()
}

/// A test for each case.
macro_rules! on_every_table {
    ($($module:ident::$case:ident,)*) => {$(
        #[test]
        fn $case() {
            contract::$module::$case(&common::backends());
        }
    )*};
}
contract::for_every_case!(on_every_table);

#[test]
fn a_cache_that_no_machine_has_room_for_is_an_error() {
    let spec = KvSpec { n_layers: 2, n_kv_heads: 2, head_dim: 64, dtype: KvDtype::Bf16 };
    for backend in common::backends() {
        for n_pages in [1 << 40, usize::MAX] {
            let error = backend.kv(&spec, n_pages).err().expect("more than there are addresses");
            assert!(matches!(error, Error::Unavailable { .. }) && error.to_string().contains("pages"), "{error}");
        }
    }
}
