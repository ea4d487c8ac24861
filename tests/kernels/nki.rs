//! The golden files of the NKI kernels (`kernels/golden.py`): one truth for the NumPy reference, the NKI kernel on its
//! simulator, the Rust reference and every kernel table of this machine. Tolerances are computed here, from K and
//! types.

use std::collections::HashMap;
use std::path::Path;

use half::bf16;
use longhaul::dtype::Dtype;
use longhaul::reference;
use longhaul::spec::contract::PAGE_LEN;
use longhaul::spec::{KvDtype, WeightDtype, WeightView};
use ndarray::{Array, Array1, Array2, Array3, ArrayD, Axis, Dimension, Ix1, Ix2, Ix3, Ix4};
use safetensors::SafeTensors;

use crate::common::backends;
use crate::contract::attention::{exact, within};
use crate::contract::sequence::{Sequence, Shape, attend};
use crate::contract::{BF16_ROUNDING, Errors, F32_ROUNDING, arithmetic, assert_close, to_f64};
use crate::table;

/// The rounding error of f64, for both sides that compute in it.
const F64_ROUNDING: f64 = f64::EPSILON;

/// What a sum of K products may be off by, relative to the sum of their sizes, with two more roundings.
fn sum_error(k: usize, rounding: f64) -> f64 {
    (k + 2) as f64 * rounding
}

/// A golden file. Its arrays are widened to f64, which holds all of their types.
struct Golden {
    name: &'static str,
    tensors: HashMap<String, ArrayD<f64>>,
    metadata: HashMap<String, String>,
}

impl Golden {
    fn read(name: &'static str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("kernels/golden/{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let array = |view: safetensors::tensor::TensorView<'_>| {
            let data = view.data();
            let elements: Vec<f64> = match view.dtype() {
                safetensors::Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
                safetensors::Dtype::F32 => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect(),
                safetensors::Dtype::BF16 => data.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).into()).collect(),
                safetensors::Dtype::U8 => data.iter().map(|b| float8_e4m3(*b)).collect(),
                other => panic!("{other} in {name}"),
            };
            ArrayD::from_shape_vec(view.shape(), elements).unwrap()
        };
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.tensors().into_iter().map(|(name, view)| (name, array(view))).collect();
        Self { name, tensors, metadata: header.metadata().clone().unwrap() }
    }

    fn get<D: Dimension>(&self, name: &str) -> Array<f64, D> {
        self.tensors[name].clone().into_dimensionality().unwrap()
    }

    fn number(&self, name: &str) -> usize {
        self.metadata[name].parse().unwrap()
    }

    /// Holds the NumPy reference against ours, which is off by `ours_error` at most, and the NKI kernel by
    /// `kernel_error`; the tolerance in the file, which the Python tests use, must be the same.
    fn check<D: Dimension>(&self, ours: &Array<f64, D>, ours_error: &Array<f64, D>, kernel_error: &Array<f64, D>) {
        let [out, kernel, tolerance] = ["out", "kernel", "tolerance"].map(|name| self.get::<D>(name));
        let what = |what: &str| format!("{}, {what}", self.name);
        assert_close(out.view(), ours.view(), ours_error.view(), &what("NumPy reference"));
        assert_close(kernel.view(), ours.view(), kernel_error.view(), &what("NKI kernel"));
        let share = tolerance.mapv(|t| t * 1e-9);
        assert_close(tolerance.view(), kernel_error.view(), share.view(), &what("tolerance"));
    }
}

/// float8 e4m3 with infinities: a sign, 4 bits of exponent with bias 7, 3 of fraction.
fn float8_e4m3(bits: u8) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 3 & 15), f64::from(bits & 7));
    let size = match exponent {
        0 => fraction / 8.0 * 2_f64.powi(-6),
        15 => panic!("{bits:#x} is not finite"),
        _ => (1.0 + fraction / 8.0) * 2_f64.powi(exponent - 7),
    };
    if bits & 0x80 == 0 { size } else { -size }
}

/// Every table's product with weights that are exact in bf16: table and result.
fn products(x: &Array2<f64>, w: &Array2<f64>) -> Vec<(String, Array2<f64>)> {
    let (x, elements) = (x.mapv(|x| x as f32), w.iter().map(|w| *w as f32).collect::<Vec<_>>());
    let mut bytes = vec![0; 2 * w.len()];
    Dtype::Bf16.narrow(&elements, &mut bytes);
    let view = WeightView { name: "w", n: w.nrows(), k: w.ncols(), dtype: Dtype::Bf16, bytes: bytes.into() };
    let product = |backend: &dyn longhaul::backend::Backend| {
        let mut out = Array2::from_elem((x.nrows(), w.nrows()), f32::NAN);
        backend.pack(&view, WeightDtype::Bf16).unwrap().matmul(x.view(), out.view_mut()).unwrap();
        (table(backend).to_owned(), to_f64(&out))
    };
    backends().iter().map(|backend| product(&**backend)).collect()
}

/// `sum |x| |w|`.
fn size(x: &Array2<f64>, w: &Array2<f64>) -> Array2<f64> {
    reference::matmul(x.abs().view(), w.abs().view(), None)
}

#[test]
fn matmul_is_the_same_everywhere() {
    for name in ["matmul-decode", "matmul-tails", "matmul-fp8"] {
        let golden = Golden::read(name);
        let (x, w, bias) = (golden.get::<Ix2>("x"), golden.get::<Ix2>("w"), golden.get::<Ix1>("bias"));
        let has_scale = golden.tensors.contains_key("scale");
        let scale = if has_scale { golden.get::<Ix1>("scale") } else { Array1::ones(w.nrows()) };
        let scaled = &w * &scale.view().insert_axis(Axis(1));
        let (ours, size) = (reference::matmul(x.view(), scaled.view(), Some(bias.view())), size(&x, &scaled));
        let of = |rounding| &size * sum_error(x.ncols(), rounding);
        let bias_error = bias.mapv(|b| b.abs() * F64_ROUNDING);
        // An fp8 product is scaled after the sum, which the two roundings beyond K pay for.
        golden.check(
            &ours,
            &(of(2.0 * F64_ROUNDING) + &bias_error),
            &(of(2.0 * F32_ROUNDING) + ours.abs() * BF16_ROUNDING + 1e-30),
        );
        // Rounding x to bf16, as one table does, changes nothing: it is exact there.
        for (table, product) in products(&x, &w) {
            let found = product * &scale + &bias;
            assert_close(
                found.view(),
                golden.get::<Ix2>("out").view(),
                of(F32_ROUNDING).view(),
                &format!("{name}, {table}"),
            );
        }
    }
}

#[test]
fn the_gate_is_the_same_everywhere() {
    let golden = Golden::read("silu-gate");
    let [x, gate, up] = ["x", "gate", "up"].map(|name| golden.get::<Ix2>(name));
    let (g, u) = (reference::matmul(x.view(), gate.view(), None), reference::matmul(x.view(), up.view(), None));
    let ours = reference::silu_gate(g.view(), u.view());
    // |silu'| < 1.1 and |silu(g)| <= |g|; `few` is for the gate itself.
    let of = |rounding: f64, few: f64| {
        let [dg, du] = [&gate, &up].map(|w| size(&x, w) * sum_error(x.ncols(), rounding) + 1e-30);
        1.1 * dg * u.abs() + g.abs() * du + few * (&g * &u).abs()
    };
    let kernel_error = of(2.0 * F32_ROUNDING, 2_f64.powi(-20)) + ours.abs() * BF16_ROUNDING + 1e-30;
    golden.check(&ours, &of(2.0 * F64_ROUNDING, 16.0 * F64_ROUNDING), &kernel_error);
    // A table's gate is a part of its step; the emulation has the same bits (`same_bits`).
    let gates = products(&x, &gate).into_iter().zip(products(&x, &up));
    for (backend, ((table, g), (_, u))) in backends().iter().zip(gates) {
        let [g, u] = [g, u].map(|a| a.mapv(|a| a as f32));
        let found = arithmetic(&**backend).unwrap().silu_gate(g.view(), u.view());
        let few = 3e-7 + 8.0 * F32_ROUNDING; // `exp`, and the operations around it
        assert_close(
            found.view(),
            golden.get::<Ix2>("out").view(),
            of(F32_ROUNDING, few).view(),
            &format!("gate, {table}"),
        );
    }
}

const ATTENTION: [&str; 4] = ["attention-decode", "attention-append", "attention-window", "attention-pages"];

/// The sequence of a golden file, in any pages.
fn sequence(golden: &Golden) -> Sequence {
    let [q, k, v] = ["q", "k", "v"].map(|name| golden.get::<Ix3>(name).mapv(|x| x as f32));
    let ((n_tokens, n_heads, head_dim), (kv_len, n_kv_heads, _)) = (q.dim(), k.dim());
    let shape = Shape { n_kv_heads, group: n_heads / n_kv_heads, head_dim, n_tokens, kv_len, kv: KvDtype::Bf16 };
    let places = Sequence::new(&*backends()[0], 0, shape, (0..8).rev());
    let sequence = Sequence { q, k, v, ..places };
    assert_eq!(sequence.start(), golden.number("start"));
    assert_eq!(f64::from(shape.scale()).to_string(), golden.metadata["scale"], "the usual scale");
    sequence
}

fn window(golden: &Golden) -> Option<usize> {
    Some(golden.number("window")).filter(|w| *w > 0)
}

/// What the NKI kernel may be off by: weights and result are rounded to bf16, and the mean of values moves by at most
/// the largest.
fn kernel_error(golden: &Golden, ours: &Array3<f64>, scale: f64) -> Array3<f64> {
    let [q, k, v] = ["q", "k", "v"].map(|name| golden.get::<Ix3>(name));
    let norm = |a: &Array3<f64>| (a * a).sum_axis(Axis(2)).iter().copied().fold(0.0, f64::max).sqrt();
    let largest = v.iter().copied().map(f64::abs).fold(0.0, f64::max);
    let (kv_len, _, head_dim) = k.dim();
    let score = (head_dim + 4) as f64 * 2.0 * F32_ROUNDING * scale * norm(&q) * norm(&k);
    let in_f32 = 2.0 * largest * (score.min(1.0).exp_m1() + kv_len as f64 * 2.0 * F32_ROUNDING);
    ours.mapv(|o| BF16_ROUNDING * (largest + o.abs()) + in_f32)
}

#[test]
fn attention_is_the_same_everywhere() {
    for name in ATTENTION {
        let golden = Golden::read(name);
        let (sequence, window) = (sequence(&golden), window(&golden));
        let few = Errors { rounding: 2.0 * F64_ROUNDING, lhs: 0.0, out: 0.0 };
        let (ours, ours_error) = within(&sequence, window, few, 16.0 * F64_ROUNDING);
        golden.check(&ours, &ours_error, &kernel_error(&golden, &ours, sequence.shape.scale().into()));
        for backend in backends() {
            let mut kv = sequence.shape.pages(&*backend, 8);
            sequence.store(&mut *kv);
            let found = attend(&mut *kv, &[&sequence], window).remove(0);
            let (_, tolerance) = exact(&sequence, &*backend, window);
            let what = format!("{name}, {}", table(&*backend));
            assert_close(found.view(), golden.get::<Ix3>("out").view(), tolerance.view(), &what);
        }
    }
}

/// `kernels/layouts.py`: `packed[k % 128, n / 128, k / 128, n % 128] = W[n, k]`, and zero where there is no weight.
#[test]
fn packed_weights_lie_where_the_layout_says() {
    for name in ["matmul-decode", "matmul-tails", "matmul-fp8"] {
        let golden = Golden::read(name);
        let (w, packed) = (golden.get::<Ix2>("w"), golden.get::<Ix4>("packed"));
        let tiles = |n: usize| n.div_ceil(128);
        assert_eq!(packed.dim(), (128, tiles(w.nrows()), tiles(w.ncols()), 128));
        for ((row, n_tile, k_tile, column), found) in packed.indexed_iter() {
            let wanted = w.get((n_tile * 128 + column, k_tile * 128 + row)).copied().unwrap_or(0.0);
            assert_eq!(*found, wanted, "{name} [{row}, {n_tile}, {k_tile}, {column}]");
        }
    }
}

/// `kernels/attention_plan.py`: how a page of the NKI kernel follows from the canonical pages that the CPU exports.
/// Slots that hold no token are zero in the file.
#[test]
fn pages_of_the_kernel_follow_from_exported_ones() {
    for name in ATTENTION {
        let golden = Golden::read(name);
        let sequence = sequence(&golden);
        let Shape { n_kv_heads, head_dim, kv_len, .. } = sequence.shape;
        let page_len = golden.number("page_len");
        let slots_per_half = page_len / (128 / head_dim);
        let first = (kv_len - 1) / page_len * page_len;
        let (k_page, v_page) = (golden.get::<Ix3>("k_page"), golden.get::<Ix4>("v_page"));
        assert_eq!(k_page.dim(), (128, n_kv_heads, slots_per_half));
        assert_eq!(v_page.dim(), (128, page_len / 128, n_kv_heads, head_dim));
        for backend in backends() {
            let mut kv = sequence.shape.pages(&*backend, 8);
            sequence.store(&mut *kv);
            let mut exported = vec![0; kv.page_bytes()];
            for slot in 0..page_len {
                let position = first + slot;
                if position < kv_len && (slot == 0 || position.is_multiple_of(PAGE_LEN)) {
                    kv.export_page(sequence.pages[position / PAGE_LEN], &mut exported).unwrap();
                }
                for (h, f) in (0..n_kv_heads).flat_map(|h| (0..head_dim).map(move |f| (h, f))) {
                    let canonical = |kv_idx: usize| {
                        let at = ((kv_idx * PAGE_LEN + position % PAGE_LEN) * n_kv_heads + h) * head_dim + f;
                        let stored = bf16::from_le_bytes([exported[2 * at], exported[2 * at + 1]]);
                        if position < kv_len { f64::from(stored) } else { 0.0 }
                    };
                    let k = k_page[[slot / slots_per_half * head_dim + f, h, slot % slots_per_half]];
                    let v = v_page[[slot % 128, slot / 128, h, f]];
                    assert_eq!((k, v), (canonical(0), canonical(1)), "{name}, {}, slot {slot}", table(&*backend));
                }
            }
        }
    }
}
