//! Tests in processes of their own.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use fake_nrt::client::{self, Fake};

/// Names the test that the process is for.
const VARIABLE: &str = "LONGHAUL_ISOLATED_TEST";
/// Names its library, where a test has several.
const LIBRARY_VARIABLE: &str = "LONGHAUL_ISOLATED_LIBRARY";
/// Longer than any of them takes; what hangs, hangs longer.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Runs `body` in a process in which libnrt is the stand-in `version`, and nothing else of Neuron is set but
/// `variables`. `name` is the test's path in this executable. A test may call this for several versions.
pub fn isolated(name: &str, version: &str, variables: &[(&str, &str)], body: impl FnOnce(&Fake)) {
    let path = client::library(version);
    if std::env::var(VARIABLE).as_deref() == Ok(name) {
        // Not the process of another version.
        if std::env::var(LIBRARY_VARIABLE).is_ok_and(|library| library != version) {
            return;
        }
        return body(&Fake::open(&path));
    }
    let library = path.to_str().expect("the path is UTF-8");
    let mut set = vec![("LONGHAUL_LIBNRT", library), (LIBRARY_VARIABLE, version)];
    set.extend_from_slice(variables);
    let output = start(name, &set);
    assert!(output.status.success(), "{name} with {set:?}: {}\n{}", output.status, text(&output));
}

/// Runs this executable for one test, with these variables.
pub fn start(name: &str, variables: &[(&str, &str)]) -> Output {
    let executable = std::env::current_exe().expect("the running executable has a path");
    let mut command = Command::new(executable);
    command.args([name, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"]);
    for (variable, _) in
        std::env::vars().filter(|(v, _)| ["NEURON", "FAKE_NRT", "LONGHAUL_LIBNRT"].iter().any(|p| v.starts_with(p)))
    {
        command.env_remove(variable);
    }
    command.env(VARIABLE, name).envs(variables.iter().copied());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the executable starts");
    let begun = Instant::now();
    while child.try_wait().expect("the child can be waited for").is_none() {
        if begun.elapsed() > TIME_LIMIT {
            child.kill().expect("the child can be ended");
            let output = child.wait_with_output().expect("the child has ended");
            panic!("{name} with {variables:?} hangs:\n{}", text(&output));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().expect("the child has ended")
}

/// What it said.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Asserts that nothing is alive in the stand-in, that the runtime is closed, and that nothing was done that AWS does
/// not document.
pub fn assert_clean(fake: &Fake) {
    let c = fake.counters();
    assert_eq!(fake.violations(), [""; 0]);
    assert_eq!(
        (c.tensors, c.storages, c.programs, c.sets, c.descriptions, c.device_bytes),
        (0, 0, 0, 0, 0, 0),
        "{c:?}"
    );
    assert_eq!((c.n_allocated, c.is_open, c.n_calls_after_loss), (c.n_freed, 0, 0), "{c:?}");
    assert!(c.n_allocated > 0, "the stand-in was never used");
}
