//! Tells the crate which commit it was built from, for its reports. Never fails: what cannot be found is `unknown`.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=LONGHAUL_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let given = std::env::var("LONGHAUL_COMMIT").ok().filter(|c| !c.is_empty());
    let commit = given.or_else(|| from_git(&root)).or_else(|| from_package(&root)).unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=LONGHAUL_COMMIT={commit}");
}

/// The checked-out commit, marked when the tree has changes; `None` where the repository is somebody else's that contains us.
fn from_git(root: &Path) -> Option<String> {
    let top = git(root, &["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    let commit = git(root, &["rev-parse", "--short=12", "HEAD"])?;
    // Not the index: it changes with every `git add`, and the whole crate would be built again.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(root, &["rev-parse", "--git-path", name]).filter(|p| root.join(p).exists()) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let changed = git(root, &["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| !s.is_empty());
    Some(if changed { format!("{commit} with local changes") } else { commit })
}

/// The commit that `cargo package` wrote into a released crate.
fn from_package(root: &Path) -> Option<String> {
    let info = std::fs::read_to_string(root.join(".cargo_vcs_info.json")).ok()?;
    let (_, rest) = info.split_once("\"sha1\"")?;
    let sha: String = rest.chars().skip_while(|c| !c.is_ascii_hexdigit()).take_while(char::is_ascii_hexdigit).collect();
    (sha.len() >= 12).then(|| sha[..12].to_string())
}

fn git(root: &Path, args: &[&str]) -> Option<String> {
    let out = Command::new("git").arg("-C").arg(root).args(args).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_string())
}
