//! What the machine is, without opening libnrt.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

/// The variables that change what is measured.
const VARIABLES: [&str; 6] = [
    "LONGHAUL_LIBNRT",
    "NEURON_RT_VISIBLE_CORES",
    "NEURON_RT_NUM_CORES",
    "NEURON_LOGICAL_NC_CONFIG",
    "NEURON_RT_EXEC_TIMEOUT",
    "NEURON_RT_LOG_LEVEL",
];

/// Asks a Python which versions of AWS's compiler and what goes with it are there, as JSON.
const VERSIONS: &str = "
import importlib.metadata, json, platform
found = {'python': platform.python_version()}
for name in ('neuronx-cc', 'nki', 'numpy', 'ml_dtypes'):
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
";

/// The machine and its tools. What could not be found is `None`.
#[derive(Debug, Serialize)]
pub struct Environment {
    /// The instance's type, as the firmware tells it.
    pub machine: Option<String>,
    pub n_cores: usize,
    /// The operating system's kernel.
    pub system: Option<String>,
    /// The version of the Neuron driver.
    pub driver: Option<String>,
    /// Installed packages of the SDK.
    pub packages: Vec<String>,
    pub rustc: Option<String>,
    pub python: Option<Python>,
    /// Variables that were set.
    pub variables: BTreeMap<&'static str, String>,
}

/// A Python that has AWS's wheels.
#[derive(Debug, Clone, Serialize)]
pub struct Python {
    pub path: PathBuf,
    pub versions: BTreeMap<String, String>,
}

impl Environment {
    /// Looks at the machine.
    pub fn find() -> Self {
        let file = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_string());
        let installed = output("dpkg-query", &["-W", "-f", "${Package} ${Version}\\n", "aws-neuronx-*"])
            .or_else(|| output("rpm", &["-qa", "aws-neuronx-*"]));
        Self {
            machine: file("/sys/devices/virtual/dmi/id/product_name"),
            n_cores: std::thread::available_parallelism().map_or(1, usize::from),
            system: output("uname", &["-srm"]),
            driver: file("/sys/module/neuron/version"),
            packages: installed.map_or_else(Vec::new, |text| text.lines().map(String::from).collect()),
            rustc: output("rustc", &["--version"]),
            python: Python::find(),
            variables: VARIABLES.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?))).collect(),
        }
    }
}

impl Python {
    /// The first that has both of AWS's wheels: what `LONGHAUL_PYTHON` names, `python3`, or a virtual environment of
    /// AWS's images.
    fn find() -> Option<Self> {
        let named = std::env::var_os("LONGHAUL_PYTHON").filter(|path| !path.is_empty()).map(PathBuf::from);
        let mut candidates: Vec<PathBuf> = named.into_iter().chain(["python3".into()]).collect();
        let mut of_images: Vec<PathBuf> =
            std::fs::read_dir("/opt").into_iter().flatten().flatten().map(|e| e.path()).collect();
        of_images.retain(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("aws_neuron")));
        of_images.sort();
        candidates.extend(of_images.into_iter().rev().map(|dir| dir.join("bin/python3")));
        candidates
            .iter()
            .filter_map(|path| Self::at(path))
            .find(|p| ["neuronx-cc", "nki"].iter().all(|w| p.versions.contains_key(*w)))
    }

    /// The Python at `path`, if it runs.
    pub fn at(path: &Path) -> Option<Self> {
        let versions = serde_json::from_str(&output(path.to_str()?, &["-c", VERSIONS])?).ok()?;
        Some(Self { path: path.into(), versions })
    }
}

impl std::fmt::Display for Python {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let versions: Vec<String> = self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        write!(f, "{} ({})", self.path.display(), versions.join(", "))
    }
}

/// The commit of the sources, or if they are no repository the one that the build knows.
pub fn commit() -> String {
    let git = ["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
    output("git", &git).unwrap_or_else(|| env!("LONGHAUL_COMMIT").into())
}

/// What a command prints, if it is there and succeeds.
fn output(command: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
}
