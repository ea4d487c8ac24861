//! The public kernels, `PackedMatrix` and `KvPages`, on every kernel table that this machine has: what every backend must do (`tests/contract`), equal
//! to the scalar emulation of the table bit for bit, and as close to the f64 reference as its arithmetic promises.

#[path = "../common/mod.rs"]
mod common;
#[path = "../contract/mod.rs"]
mod contract;

mod nki;
mod quantised;
mod threads;
mod tiles;

use longhaul::backend::Backend;

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
