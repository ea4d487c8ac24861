//! How tests steer the stand-in, and ask what happened. Each library exports these as `fake_nrt_counters`,
//! `fake_nrt_faults` and `fake_nrt_report`.

use std::ffi::CStr;

use crate::faults::Faults;
use crate::state::with;

/// What is alive, and what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    pub tensors: u64,
    pub storages: u64,
    pub programs: u64,
    pub sets: u64,
    /// Descriptions of programs' tensors that were not given back.
    pub descriptions: u64,
    pub device_bytes: u64,
    /// All that was ever allocated and freed.
    pub n_allocated: u64,
    pub n_freed: u64,
    pub n_violations: u64,
    /// Calls made after a fatal status.
    pub n_calls_after_loss: u64,
    /// 1 between `nrt_init` and `nrt_close`.
    pub is_open: u64,
}

/// The counters now.
pub fn counters() -> Counters {
    with(|state| Counters {
        tensors: state.tensors.len() as u64,
        storages: state.storages.len() as u64,
        programs: state.models.len() as u64,
        sets: state.sets.len() as u64,
        descriptions: state.infos.len() as u64,
        device_bytes: state.storages.values().map(|s| s.bytes.len() as u64).sum(),
        n_allocated: state.n_allocated,
        n_freed: state.n_freed,
        n_violations: state.violations.len() as u64,
        n_calls_after_loss: state.n_calls_after_loss,
        is_open: (state.phase == crate::state::Phase::Ready).into(),
    })
}

/// Plans what goes wrong from now on, counting calls from 1 again. 0, or 1 for a plan that cannot be read.
pub fn set_faults(plan: &CStr) -> i32 {
    match Faults::parse(&plan.to_string_lossy()) {
        Ok(faults) => {
            with(|state| state.faults = faults);
            0
        }
        Err(_) => 1,
    }
}

/// Text, ended by NUL: a line `call NAME N` for each function that was called since the faults were planned, and a line
/// `violation TEXT` for each.
pub fn report(out: &mut [u8]) {
    let text = with(|state| {
        let calls = state.faults.n_calls().iter().map(|(name, n)| format!("call {name} {n}\n"));
        let violations = state.violations.iter().map(|v| format!("violation {v}\n"));
        calls.chain(violations).collect::<String>()
    });
    let n_bytes = text.len().min(out.len().saturating_sub(1));
    out[..n_bytes].copy_from_slice(&text.as_bytes()[..n_bytes]);
    out[n_bytes..].fill(0);
}
