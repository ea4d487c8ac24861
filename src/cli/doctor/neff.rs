//! `longhaul doctor --neff FILE`: what a compiled program takes and gives, for which chip, and whether its file is
//! whole.

use std::path::Path;

use longhaul::Result;
use longhaul::neuron::neff::{HashState, Neff, Tensor};

use crate::cli::{Ended, print, print_json};

/// Tells of the program in `path`.
///
/// # Errors
/// When the file is no sound NEFF, or stdout cannot be written.
pub fn run(path: &Path, json: bool) -> Result<Ended> {
    let neff = Neff::open(path)?;
    if json {
        print_json(&neff)?;
    } else {
        print(&text(&neff))?;
    }
    Ok(if neff.hash == HashState::Wrong { Ended::Incomplete } else { Ended::Done })
}

fn text(neff: &Neff) -> String {
    let header = &neff.header;
    let target = neff.target.map_or_else(|| "a chip not known here".into(), |t| t.to_string());
    let hash = match neff.hash {
        HashState::Right => "right".into(),
        HashState::Wrong => "WRONG: the file was changed after it was made".into(),
        HashState::Unknown => format!("not checked: package version {} is not known here", header.package_version),
    };
    let mut out = format!(
        "program: {}\ntarget: {target} ({})\nLNC: {}, with {} physical cores in the file\ncompiler: {}\nhash: {hash}\n\
         archive: {} bytes, {}\nfeature bits: {:#x}\n",
        header.name.escape_default(),
        neff.target_name.escape_default(),
        header.lnc,
        neff.n_cores,
        neff.compiler.as_deref().unwrap_or("not named").escape_default(),
        header.data_bytes,
        if neff.compressed { "gzipped" } else { "not compressed" },
        header.feature_bits,
    );
    if let Some(call) = &neff.call {
        let arguments: Vec<String> = call.arguments.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let text = format!("{} with {}", call.kernel, arguments.join(", "));
        out.push_str(&format!("no program in it; it stands for: {}\n", text.escape_default()));
    }
    let mut tensors = super::new_table();
    tensors.set_header(["", "tensor", "type", "shape", "bytes"]);
    for tensor in neff.inputs().chain(neff.outputs()) {
        let Tensor { name, kind, dtype, shape } = tensor;
        let bytes = tensor.size_bytes().map_or_else(|| "?".into(), |n| n.to_string());
        let (name, dtype) = (name.escape_default().to_string(), dtype.escape_default().to_string());
        tensors.add_row([kind.to_string(), name, dtype, format!("{shape:?}"), bytes]);
    }
    out.push_str(&format!("{tensors}\n"));
    out
}
