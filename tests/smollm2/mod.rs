//! Where the tests find SmolLM2 and what other programs computed with it.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Once;

use serde::de::DeserializeOwned;

/// The model folder. A test that does not find it fails and says what to run; with `LONGHAUL_NO_MODEL=1` it gets
/// `None`, and one line says that tests were skipped.
pub fn model_dir() -> Option<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/smollm2-135m");
    if dir.join("model.safetensors").exists() {
        return Some(dir);
    }
    let skip = std::env::var("LONGHAUL_NO_MODEL").is_ok_and(|value| value == "1");
    assert!(skip, "{} is not there: run scripts/fetch-smollm2, or set LONGHAUL_NO_MODEL=1 to skip", dir.display());
    // Written past the test harness, which would keep it for failed tests.
    static SAY_ONCE: Once = Once::new();
    SAY_ONCE.call_once(|| {
        let _ = writeln!(std::io::stderr(), "skipped: LONGHAUL_NO_MODEL=1, and models/smollm2-135m is not there");
    });
    None
}

/// A golden file of SmolLM2 by its name without `.json`; the format is in `tests/golden/README.md`.
pub fn golden<T: DeserializeOwned>(name: &str) -> T {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/smollm2-135m/{name}.json"));
    let json = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&json).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
