//! Tells the crate which commit it was built from, for its reports; what cannot be found is `unknown`. With the feature
//! `bindgen` it also makes the bindings of libnrt anew, in the build's own folder; where that does not work it warns,
//! and the committed ones serve. Never fails.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=LONGHAUL_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let given = std::env::var("LONGHAUL_COMMIT").ok().filter(|c| !c.is_empty());
    let commit = given.or_else(|| from_git(&root)).or_else(|| from_package(&root)).unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=LONGHAUL_COMMIT={commit}");
    println!("cargo:rustc-check-cfg=cfg(longhaul_fresh_bindings, longhaul_portable_alone)");
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch != "x86_64") {
        println!("cargo:rustc-cfg=longhaul_portable_alone"); // of the kernel tables
    }
    #[cfg(feature = "bindgen")]
    match bindings::make(&root) {
        Ok(()) => println!("cargo:rustc-cfg=longhaul_fresh_bindings"),
        Err(why) => println!("cargo:warning=the committed bindings of libnrt are used: {why}"),
    }
}

/// Bindings of libnrt from `src/neuron/nrt_abi.h`, as `nrt_bindings.rs` in the build's folder.
#[cfg(feature = "bindgen")]
mod bindings {
    use std::path::{Path, PathBuf};

    /// What stands above the bindings.
    const HEAD: &str =
        "// Made from src/neuron/nrt_abi.h by bindgen (scripts/check-bindings --write). Not to be edited.\n\n";

    pub fn make(root: &Path) -> Result<(), String> {
        let header = root.join("src/neuron/nrt_abi.h");
        println!("cargo:rerun-if-changed={}", header.display());
        for name in ["LIBCLANG_PATH", "BINDGEN_EXTRA_CLANG_ARGS"] {
            println!("cargo:rerun-if-env-changed={name}");
        }
        let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo names no folder")?).join("nrt_bindings.rs");
        let _ = std::fs::remove_file(&out); // an old one must not be taken for what this run makes
        // bindgen panics where it finds no libclang, and says so on stderr, which cargo keeps to itself.
        let text = std::panic::catch_unwind(|| generate(&header))
            .map_err(|_| "libclang was not found; LIBCLANG_PATH names its folder".to_string())??;
        std::fs::write(&out, text).map_err(|e| format!("{}: {e}", out.display()))
    }

    fn generate(header: &Path) -> Result<String, String> {
        let name = header.to_str().ok_or("the path of the header is not UTF-8")?;
        let made = bindgen::Builder::default()
            .header(name)
            .allowlist_file(".*nrt_abi\\.h")
            .blocklist_item("LONGHAUL_.*")
            .default_macro_constant_type(bindgen::MacroTypeVariation::Signed)
            .rust_edition(bindgen::RustEdition::Edition2024)
            .rust_target(bindgen::RustTarget::stable(89, 0).map_err(|e| e.to_string())?)
            .formatter(bindgen::Formatter::Prettyplease) // not rustfmt: its version would show
            .layout_tests(false)
            .disable_header_comment()
            .derive_debug(false)
            .use_core()
            .generate()
            .map_err(|e| e.to_string())?;
        Ok(format!("{HEAD}{}", made.to_string()))
    }
}

/// The checked-out commit, marked when the tree has changes; `None` where the repository is somebody else's that
/// contains us.
fn from_git(root: &Path) -> Option<String> {
    let top = git(root, &["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    let commit = git(root, &["rev-parse", "--short=12", "HEAD"])?;
    // What the crate is built again for anyway, so that the mark below is as new as the code. Not the index: it changes
    // with every `git add`.
    for name in ["src", "Cargo.toml", "examples"] {
        println!("cargo:rerun-if-changed={name}");
    }
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
