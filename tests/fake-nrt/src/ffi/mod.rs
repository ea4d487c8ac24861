//! The functions, by their names in C. Pointers are checked as far as that is possible; handles are numbers, looked up
//! and never read.

mod programs;
mod runtime;
mod tensors;

use std::ffi::{CStr, c_char, c_int, c_void};

use longhaul::neuron::sys::{self, NRT_STATUS};

pub use self::programs::*;
pub use self::runtime::*;
pub use self::tensors::*;
use crate::environment;
use crate::state::{State, with};

fn status(work: impl FnOnce() -> Result<(), i32>) -> NRT_STATUS {
    work().err().unwrap_or(sys::NRT_SUCCESS)
}

/// Stores what a call gives through its last argument.
///
/// # Safety
/// `target` is null or may be written to.
unsafe fn give<T>(target: *mut T, value: impl FnOnce(&mut State) -> Result<T, i32>) -> Result<(), i32> {
    if target.is_null() {
        return Err(sys::NRT_INVALID);
    }
    let value = with(value)?;
    // SAFETY: not null, so it may be written to, as the caller promises.
    unsafe { target.write(value) };
    Ok(())
}

/// # Safety
/// `text` is null or ends in NUL.
unsafe fn string(text: *const c_char) -> Option<String> {
    // SAFETY: not null, so it ends in NUL, as the caller promises.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

fn core_index(core: c_int) -> Result<u32, i32> {
    let n_cores = environment::visible_cores().map_or(0, |cores| cores.len());
    u32::try_from(core).ok().filter(|core| (*core as usize) < n_cores).ok_or(sys::NRT_INVALID)
}

fn tensor_core<T>(tensor: *const T) -> Option<u32> {
    with(|state| state.core_of(tensor.addr()))
}

/// The core of a set: that of the tensors in it.
fn set_core(set: *const c_void) -> Option<u32> {
    with(|state| {
        let any = *state.sets.get(&set.addr())?.0.values().next()?;
        state.core_of(any)
    })
}
