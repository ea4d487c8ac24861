//! The Python of `kernels/`, for tests that run it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// What `LONGHAUL_PYTHON` says, or the environment that `scripts/kernels-python` makes. Where there is none, one line
/// says that tests were skipped, and with `LONGHAUL_REQUIRE_PYTHON=1`, as in CI, they fail.
pub fn python() -> Option<PathBuf> {
    let made =
        || Some(Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv-kernels/bin/python")).filter(|path| path.exists());
    let said = std::env::var_os("LONGHAUL_PYTHON").filter(|path| !path.is_empty()).map(PathBuf::from);
    let python = said.or_else(made);
    if python.is_none() {
        let required = std::env::var("LONGHAUL_REQUIRE_PYTHON").is_ok_and(|value| value == "1");
        assert!(!required, "the Python of kernels/ is not there: run scripts/kernels-python");
        // Written past the test harness, which would keep it for failed tests.
        static SAY_ONCE: Once = Once::new();
        SAY_ONCE.call_once(|| {
            let why = "the environment of kernels/ is not there; scripts/kernels-python makes it";
            let _ = writeln!(std::io::stderr(), "skipped: compiling with kernels/compile.py: {why}");
        });
    }
    python
}
