//! The kernels against the golden files of the NKI kernels (`kernels/golden.py`), through the whole path: on the
//! stand-in, and by the hardware suite on what the compiler made of the same kernels.

mod attention;
mod golden;

use half::bf16;
use longhaul::neuron::Result;
use longhaul::neuron::device::Core;
use longhaul::neuron::neff::write::Program;

pub use self::attention::Attention;
use self::golden::Golden;
use crate::compiled;
use crate::programs::{Bound, P, pack_features, pack_weights, unpack_features};

/// The cases, by the names of their files.
pub const CASES: [&str; 8] = [
    "matmul-decode",
    "matmul-tails",
    "matmul-fp8",
    "silu-gate",
    "attention-decode",
    "attention-append",
    "attention-window",
    "attention-pages",
];

/// The program that a case needs.
pub fn wanted(name: &str) -> Program {
    if name.starts_with("attention") {
        return Attention::open(name).wanted();
    }
    let golden = Golden::open(name);
    let [m, k] = golden.dimensions("x");
    if name == "silu-gate" {
        let [n, _] = golden.dimensions("gate");
        return compiled::matmul("matmul_silu_gate", [m, k, n], "bfloat16");
    }
    let [n, _] = golden.dimensions("w");
    compiled::matmul("matmul", [m, k, n], if golden.is_fp8() { "float8_e4m3" } else { "bfloat16" })
}

/// A case's program with its inputs written, ready to run.
pub fn bind(name: &str, core: &Core, neff: &[u8]) -> Result<Bound> {
    match name {
        "silu-gate" => silu_gate(core, neff),
        _ if name.starts_with("attention") => Attention::open(name).bind(core, neff),
        _ => matmul(core, neff, &Golden::open(name)),
    }
}

/// What a case's program gave, without padding: in plain order, as the golden file has it.
pub fn result(name: &str, bound: &Bound) -> Result<Vec<bf16>> {
    let out = bound.read("out")?;
    if name.starts_with("attention") {
        return Ok(out[..Attention::open(name).n_out()].to_vec());
    }
    let golden = Golden::open(name);
    let [m, _] = golden.dimensions("x");
    let [n, _] = golden.dimensions(if name == "silu-gate" { "gate" } else { "w" });
    Ok(unpack_features(&out, m, n))
}

/// Whether a case's program gave what it must.
///
/// # Panics
/// If it did not.
pub fn check(name: &str, bound: &Bound) -> Result<()> {
    let golden = Golden::open(name);
    // Programs are compiled without a bias, which `matmul` has in the golden files.
    let (want, tolerance) = match name {
        _ if name.starts_with("matmul") => without_bias(&golden),
        _ => (golden.f64("out"), golden.f64("tolerance")),
    };
    assert_close(&result(name, bound)?, &want, &tolerance);
    if name.starts_with("attention") { Attention::open(name).check_last_page(bound) } else { Ok(()) }
}

/// All of a case.
pub fn run(name: &str, core: &Core, neff: &[u8]) -> Result<()> {
    let bound = bind(name, core, neff)?;
    bound.run()?;
    check(name, &bound)
}

/// `got` is `want` within `tolerance`, element by element.
fn assert_close(got: &[bf16], want: &[f64], tolerance: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (i, ((got, want), tolerance)) in got.iter().zip(want).zip(tolerance).enumerate() {
        assert!((got.to_f64() - want).abs() <= *tolerance, "element {i}: {got} for {want}");
    }
}

/// The golden result without its bias, which no compiled program has, and half a unit of bf16 for it more.
fn without_bias(golden: &Golden) -> (Vec<f64>, Vec<f64>) {
    let bias = golden.f32("bias");
    let (out, tolerance) = (golden.f64("out"), golden.f64("tolerance"));
    let want: Vec<f64> = out.iter().enumerate().map(|(i, y)| y - f64::from(bias[i % bias.len()])).collect();
    let tolerance = tolerance.iter().zip(&want).map(|(t, y)| t + y.abs() / 256.0).collect();
    (want, tolerance)
}

fn matmul(core: &Core, neff: &[u8], golden: &Golden) -> Result<Bound> {
    let ([n, k], [m, _]) = (golden.dimensions("w"), golden.dimensions("x"));
    let (nt, kt) = (n.div_ceil(P), k.div_ceil(P));
    let bound = Bound::load(core, neff)?;
    bound.write("x", &pack_features(&golden.bf16("x"), m, k))?;
    if golden.is_fp8() {
        let mut packed = vec![0_u8; P * nt * kt * P];
        pack_weights(&mut packed, &golden.u8("w"), [n, k], nt, |tile| tile);
        assert_eq!(packed, golden.u8("packed"), "the layout of the weights");
        bound.write("weights", &packed)?;
        let mut scale = vec![0.0_f32; P * nt];
        golden.f32("scale").iter().enumerate().for_each(|(n, s)| scale[n % P * nt + n / P] = *s);
        bound.write("scale", &scale)?;
    } else {
        let mut packed = vec![bf16::ZERO; P * nt * kt * P];
        pack_weights(&mut packed, &golden.bf16("w"), [n, k], nt, |tile| tile);
        assert_eq!(packed, golden.bf16("packed"), "the layout of the weights");
        bound.write("weights", &packed)?;
    }
    Ok(bound)
}

fn silu_gate(core: &Core, neff: &[u8]) -> Result<Bound> {
    let golden = Golden::open("silu-gate");
    let ([m, k], [n, _]) = (golden.dimensions("x"), golden.dimensions("gate"));
    let nt = n.div_ceil(P);
    let bound = Bound::load(core, neff)?;
    let mut packed = vec![bf16::ZERO; P * 2 * nt * k.div_ceil(P) * P];
    pack_weights(&mut packed, &golden.bf16("gate"), [n, k], 2 * nt, |tile| 2 * tile);
    pack_weights(&mut packed, &golden.bf16("up"), [n, k], 2 * nt, |tile| 2 * tile + 1);
    bound.write("weights", &packed)?;
    bound.write("x", &pack_features(&golden.bf16("x"), m, k))?;
    Ok(bound)
}
