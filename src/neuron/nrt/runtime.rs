//! Calls about the library, the runtime and the instance.

use std::ffi::{CStr, c_char};

use super::{InstanceInfo, MemoryStats, Nrt, Result, Status, Version, symbol, sys};

impl Nrt {
    /// `nrt_init`, for an application without a framework. Takes the cores that are visible; environment variables are
    /// read here.
    pub fn init(&self) -> Result<()> {
        let init = symbol!(self, nrt_init);
        // SAFETY: the strings are literals with a NUL, and the runtime may be initialised at any time: a second time is
        // its error to report.
        let status = unsafe { init(sys::NRT_FRAMEWORK_TYPE_NO_FW, c"".as_ptr(), c"".as_ptr()) };
        self.check("nrt_init", status)
    }

    /// `nrt_close`: gives the cores back.
    ///
    /// # Safety
    /// No program, tensor or set of this library is alive, and no other call is under way.
    pub unsafe fn close(&self) -> Result<()> {
        let close = symbol!(self, nrt_close);
        // SAFETY: nothing of the library is alive or running, as the caller promises.
        unsafe { close() };
        Ok(())
    }

    /// `nrt_get_version`, for [`version`](Self::version).
    pub(super) fn read_version(&self) -> Result<Version> {
        let get_version = symbol!(self, nrt_get_version);
        let mut version = sys::nrt_version_t {
            rt_major: 0,
            rt_minor: 0,
            rt_patch: 0,
            rt_maintenance: 0,
            rt_detail: [0; sys::RT_VERSION_DETAIL_LEN as usize],
            git_hash: [0; sys::GIT_HASH_LEN as usize],
        };
        // SAFETY: the pointer is to a struct of the size given, which the library fills and does not keep. It may be
        // called before `nrt_init`.
        let status = unsafe { get_version(&mut version, size_of_val(&version)) };
        self.check("nrt_get_version", status)?;
        let sys::nrt_version_t { rt_major, rt_minor, rt_patch, rt_maintenance, .. } = version;
        Ok(Version { major: rt_major, minor: rt_minor, patch: rt_patch, maintenance: rt_maintenance })
    }

    /// `nrt_get_instance_info`.
    pub fn instance_info(&self) -> Result<InstanceInfo> {
        let get_instance_info = symbol!(self, nrt_get_instance_info);
        let mut info = sys::nrt_instance_info_t { family: 0, size: 0, arch_name: [0; 16], device_revision: [0; 8] };
        // SAFETY: the pointer is to a struct of the size given, which the library fills and does not keep.
        let status = unsafe { get_instance_info(&mut info, size_of_val(&info)) };
        self.check("nrt_get_instance_info", status)?;
        Ok(InstanceInfo {
            family: info.family,
            size: info.size,
            arch_name: text(&info.arch_name),
            device_revision: text(&info.device_revision),
        })
    }

    /// `nrt_get_total_vnc_count`: logical cores of the instance. Works before [`init`](Self::init).
    pub fn total_core_count(&self) -> Result<u32> {
        let count = symbol!(self, nrt_get_total_vnc_count);
        let mut n_cores = 0;
        // SAFETY: the pointer is to a number, which the library fills and does not keep.
        let status = unsafe { count(&mut n_cores) };
        self.check("nrt_get_total_vnc_count", status)?;
        Ok(n_cores)
    }

    /// `nrt_get_visible_vnc_count`: logical cores of this process, as `NEURON_RT_VISIBLE_CORES` leaves them. Works
    /// before [`init`](Self::init).
    pub fn visible_core_count(&self) -> Result<u32> {
        let count = symbol!(self, nrt_get_visible_vnc_count);
        let mut n_cores = 0;
        // SAFETY: the pointer is to a number, which the library fills and does not keep.
        let status = unsafe { count(&mut n_cores) };
        self.check("nrt_get_visible_vnc_count", status)?;
        Ok(n_cores)
    }

    /// `nrt_get_vnc_memory_stats`: device memory of a core.
    pub fn memory_stats(&self, core: u32) -> Result<MemoryStats> {
        let get_stats = symbol!(self, nrt_get_vnc_memory_stats);
        let mut stats = sys::nrt_vnc_memory_stats_t { bytes_used: 0, bytes_limit: 0 };
        let mut written = 0;
        // SAFETY: the pointers are to a struct of the size given and to a number; the library fills them and does not
        // keep them.
        let status = unsafe { get_stats(core, &mut stats, size_of_val(&stats), &mut written) };
        self.check("nrt_get_vnc_memory_stats", status)?;
        Ok(MemoryStats { used_bytes: stats.bytes_used as u64, limit_bytes: stats.bytes_limit as u64 })
    }

    /// `nrt_get_status_as_str`: the library's own name for a status. Missing from some versions; [`Status`] needs it
    /// not.
    pub fn status_text(&self, status: Status) -> Result<String> {
        let as_str = symbol!(self, nrt_get_status_as_str);
        // SAFETY: any number may be asked for; what comes back is null or text that lives as long as the library, which
        // is never closed.
        let text = unsafe {
            let text = as_str(status.0);
            if text.is_null() { None } else { Some(CStr::from_ptr(text)) }
        };
        Ok(text.map_or_else(String::new, |t| t.to_string_lossy().into_owned()))
    }
}

/// Text in a field of C: up to its NUL, or the whole field.
pub(super) fn text(field: &[c_char]) -> String {
    // A character of C has a sign on x86-64 and none on Arm Linux.
    let bytes: Vec<u8> = field.iter().flat_map(|c| c.to_ne_bytes()).take_while(|b| *b != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
