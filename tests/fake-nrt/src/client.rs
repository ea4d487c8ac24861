//! For tests: finds a library of the stand-in, and steers it.

use std::ffi::{CString, c_char, c_int};
use std::path::{Path, PathBuf};

use libloading::Library;

use crate::control::Counters;

/// The libraries that are built: versions, oldest first.
pub const VERSIONS: [&str; 6] = ["2_30", "2_31", "2_32", "2_33", "2_34", "2_35"];

/// The file of a library, `2_34`, `minimal` or `broken`, beside the running test's executable, where cargo puts it.
///
/// # Panics
/// If there is none: with the command that builds it.
pub fn library(name: &str) -> PathBuf {
    let executable = std::env::current_exe().expect("the running executable has a path");
    let file = format!("{}fake_nrt_{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let found = executable.ancestors().skip(1).take(2).map(|dir| dir.join(&file)).find(|path| path.exists());
    let release = if cfg!(debug_assertions) { "" } else { " --release" };
    found.unwrap_or_else(|| panic!("no {file} beside {}: run `cargo build --workspace{release}`", executable.display()))
}

/// A library, steered. Whoever else opens the same file in this process has the same state.
pub struct Fake {
    library: Library,
}

impl Fake {
    /// Opens a library by its file.
    ///
    /// # Panics
    /// If it cannot be loaded.
    pub fn open(path: &Path) -> Self {
        // SAFETY: the file is one of this folder's libraries, which run nothing when they are loaded.
        let library = unsafe { Library::new(path) }.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { library }
    }

    /// The counters now.
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        // SAFETY: the type is that of the function which `export_control` makes, and the pointer is to a `Counters`.
        unsafe {
            let get = self.library.get::<unsafe extern "C" fn(*mut Counters)>("fake_nrt_counters");
            get.expect("the library is a stand-in")(&mut counters);
        }
        counters
    }

    /// Plans what goes wrong from now on: see [`faults`](crate::faults).
    ///
    /// # Panics
    /// If the plan cannot be read.
    pub fn plan(&self, faults: &str) {
        let text = CString::new(faults).expect("a plan has no NUL");
        // SAFETY: as above; the text ends in NUL.
        let status = unsafe {
            let set = self.library.get::<unsafe extern "C" fn(*const c_char) -> c_int>("fake_nrt_faults");
            set.expect("the library is a stand-in")(text.as_ptr())
        };
        assert_eq!(status, 0, "cannot read the plan {faults}");
    }

    /// The functions that were called since the faults were planned, and how often.
    pub fn calls(&self) -> Vec<(String, u64)> {
        let lines = self.lines("call ");
        let parse = |line: &String| {
            let (name, n) = line.split_once(' ')?;
            Some((name.to_string(), n.parse().ok()?))
        };
        lines.iter().filter_map(parse).collect()
    }

    /// What was done that AWS's documentation does not allow.
    pub fn violations(&self) -> Vec<String> {
        self.lines("violation ")
    }

    fn lines(&self, kind: &str) -> Vec<String> {
        let mut text = vec![0_u8; 1 << 16];
        // SAFETY: as above; the pointer is to as many bytes as it says.
        unsafe {
            let report = self.library.get::<unsafe extern "C" fn(*mut c_char, usize)>("fake_nrt_report");
            report.expect("the library is a stand-in")(text.as_mut_ptr().cast(), text.len());
        }
        let text = String::from_utf8_lossy(&text);
        text.trim_end_matches('\0').lines().filter_map(|l| Some(l.strip_prefix(kind)?.to_string())).collect()
    }
}
