//! The kernels against the golden files of the NKI kernels (`kernels/golden.py`), through the whole path: on the stand-in, and by the hardware
//! suite on what the compiler made of the same kernels.

use std::path::Path;

use half::bf16;
use longhaul::neuron::Result;
use longhaul::neuron::device::Core;
use longhaul::neuron::neff::{Argument, Kind};
use safetensors::SafeTensors;

use crate::programs::{Bound, P, Wanted, count, pack_features, pack_weights, tensor, unpack_features};

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
pub fn wanted(name: &str) -> Wanted {
    if name.starts_with("attention") {
        return Attention::open(name).wanted();
    }
    let golden = Golden::open(name);
    let [m, k] = dimensions(&golden, "x");
    if name == "silu-gate" {
        let [n, _] = dimensions(&golden, "gate");
        return Wanted::matmul("matmul_silu_gate", [m, k, n], "bfloat16");
    }
    let [n, _] = dimensions(&golden, "w");
    Wanted::matmul("matmul", [m, k, n], if golden.is_fp8() { "float8_e4m3" } else { "bfloat16" })
}

/// A case's program with its inputs written, ready to run.
pub fn bind(name: &str, core: &Core, neff: &[u8]) -> Result<Bound> {
    match name {
        "silu-gate" => silu_gate(core, neff),
        _ if name.starts_with("attention") => Attention::open(name).bind(core, neff),
        _ => matmul(core, neff, &Golden::open(name)),
    }
}

/// Whether a case's program gave what it must.
///
/// # Panics
/// If it did not.
pub fn check(name: &str, bound: &Bound) -> Result<()> {
    let golden = Golden::open(name);
    if name.starts_with("attention") {
        return Attention::open(name).check(bound);
    }
    let [m, _] = dimensions(&golden, "x");
    let [n, _] = dimensions(&golden, if name == "silu-gate" { "gate" } else { "w" });
    let (want, tolerance) = match name {
        "silu-gate" => (golden.f64("out"), golden.f64("tolerance")),
        _ => without_bias(&golden),
    };
    assert_close(&unpack_features(&bound.read("out")?, m, n), &want, &tolerance);
    Ok(())
}

/// All of a case.
pub fn run(name: &str, core: &Core, neff: &[u8]) -> Result<()> {
    let bound = bind(name, core, neff)?;
    bound.run()?;
    check(name, &bound)
}

/// A golden file.
struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    fn open(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("kernels/golden/{name}.safetensors"));
        Self { bytes: std::fs::read(path).unwrap() }
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        SafeTensors::deserialize(&self.bytes).unwrap().tensor(name).unwrap().shape().to_vec()
    }

    fn u8(&self, name: &str) -> Vec<u8> {
        SafeTensors::deserialize(&self.bytes).unwrap().tensor(name).unwrap().data().to_vec()
    }

    fn bf16(&self, name: &str) -> Vec<bf16> {
        self.u8(name).as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b)).collect()
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        self.u8(name).as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn f64(&self, name: &str) -> Vec<f64> {
        self.u8(name).as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
    }

    fn is_fp8(&self) -> bool {
        self.shape("w").iter().product::<usize>() == self.u8("w").len()
    }

    fn number(&self, name: &str) -> usize {
        let (_, metadata) = SafeTensors::read_metadata(&self.bytes).unwrap();
        metadata.metadata().as_ref().unwrap()[name].parse().unwrap()
    }
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
    let ([n, k], [m, _]) = (dimensions(golden, "w"), dimensions(golden, "x"));
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

fn dimensions<const N: usize>(golden: &Golden, name: &str) -> [usize; N] {
    golden.shape(name).try_into().unwrap()
}

fn silu_gate(core: &Core, neff: &[u8]) -> Result<Bound> {
    let golden = Golden::open("silu-gate");
    let ([m, k], [n, _]) = (dimensions(&golden, "x"), dimensions(&golden, "gate"));
    let nt = n.div_ceil(P);
    let bound = Bound::load(core, neff)?;
    let mut packed = vec![bf16::ZERO; P * 2 * nt * k.div_ceil(P) * P];
    pack_weights(&mut packed, &golden.bf16("gate"), [n, k], 2 * nt, |tile| 2 * tile);
    pack_weights(&mut packed, &golden.bf16("up"), [n, k], 2 * nt, |tile| 2 * tile + 1);
    bound.write("weights", &packed)?;
    bound.write("x", &pack_features(&golden.bf16("x"), m, k))?;
    Ok(bound)
}

/// A golden attention case: one sequence, whose pages lie in reverse order from the pool's end, behind a page that is nobody's.
pub struct Attention {
    golden: Golden,
    start: usize,
    n_new: usize,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    page_len: usize,
    window: usize,
    n_pages: usize,
}

const UNROLL: usize = 2;
/// New tokens that the bucket takes beyond those of the case: padding.
const N_PADDING: usize = 2;

impl Attention {
    pub fn open(name: &str) -> Self {
        let golden = Golden::open(name);
        let [n_new, n_heads, head_dim] = dimensions(&golden, "q");
        let [kv_len, n_kv_heads, _] = dimensions(&golden, "k");
        let (start, window, page_len) = (golden.number("start"), golden.number("window"), golden.number("page_len"));
        let n_pages = kv_len.div_ceil(page_len) + 1;
        Self { golden, start, n_new, n_heads, n_kv_heads, head_dim, page_len, window, n_pages }
    }

    fn q_len(&self) -> usize {
        self.n_new + N_PADDING
    }

    /// The page of a position.
    fn page(&self, position: usize) -> usize {
        self.n_pages - 1 - position / self.page_len
    }

    fn n_tail(&self) -> usize {
        (self.page_len - 1 + self.q_len()).div_ceil(self.page_len)
    }

    fn key_at(&self, page: usize, slot: usize, head: usize, f: usize) -> usize {
        let run = self.page_len * self.head_dim / P;
        ((page * P + slot / run * self.head_dim + f) * self.n_kv_heads + head) * run + slot % run
    }

    fn value_row(&self, page: usize, slot: usize) -> usize {
        (page * P + slot % P) * (self.page_len / P) + slot / P
    }

    pub fn wanted(&self) -> Wanted {
        let (h, kv, d, n) = (self.n_heads, self.n_kv_heads, self.head_dim, self.q_len());
        let max_pages = self.n_pages;
        let steps = max_pages.div_ceil(2 * UNROLL) + 1;
        let k_pages = [self.n_pages, P, kv, self.page_len * d / P];
        let v_pages = [self.n_pages, P, self.page_len / P, kv, d];
        let input = |name: &str, dtype: &str, shape: &[usize]| tensor(name, Kind::Input, dtype, shape);
        let output = |name: &str, shape: &[usize]| tensor(name, Kind::Output, "bfloat16", shape);
        let tensors = vec![
            input("q", "bfloat16", &[d, h, n]),
            input("k_new", "bfloat16", &[d, kv, n]),
            input("v_new", "bfloat16", &[n, kv * d]),
            input("k_pages.must_alias_input", "bfloat16", &k_pages),
            input("v_pages.must_alias_input", "bfloat16", &v_pages),
            input("counts", "int32", &[1, 4 + 2 * UNROLL]),
            input("tables", "int32", &[1, 2, steps, 2 * UNROLL]),
            input("tails", "int32", &[1, self.n_tail()]),
            input("rows", "int32", &[n, 1]),
            input("bounds", "float32", &[P, 1, 3]),
            output("out", &[n, h, d]),
            output("k_pages", &k_pages),
            output("v_pages", &v_pages),
        ];
        let arguments: [(&str, Argument); 11] = [
            ("n_seqs", count(1)),
            ("q_len", count(n)),
            ("n_heads", count(h)),
            ("n_kv_heads", count(kv)),
            ("head_dim", count(d)),
            ("page_len", count(self.page_len)),
            ("max_pages", count(max_pages)),
            ("unroll", count(UNROLL)),
            ("window", count(self.window)),
            ("static_pages", count(0)),
            ("n_pages", count(self.n_pages)),
        ];
        Wanted::new("attention", &arguments, tensors)
    }

    /// Pages with the context, everything else NaN.
    pub fn write_pages(&self, bound: &Bound) -> Result<()> {
        let (k, v, row) = (self.golden.bf16("k"), self.golden.bf16("v"), self.n_kv_heads * self.head_dim);
        let mut k_pages = vec![bf16::NAN; self.n_pages * self.page_len * row];
        let mut v_pages = k_pages.clone();
        for t in 0..self.start {
            let (page, slot) = (self.page(t), t % self.page_len);
            for i in 0..row {
                k_pages[self.key_at(page, slot, i / self.head_dim, i % self.head_dim)] = k[t * row + i];
                v_pages[self.value_row(page, slot) * row + i] = v[t * row + i];
            }
        }
        bound.write("k_pages", &k_pages)?;
        bound.write("v_pages", &v_pages)
    }

    pub fn write_tokens(&self, bound: &Bound) -> Result<()> {
        let (n, row) = (self.q_len(), self.n_kv_heads * self.head_dim);
        // `[n, width]` as `[head_dim, heads, n]`, with zeros for padding.
        let feature_major = |x: &[bf16]| {
            let width = x.len() / self.n_new;
            let heads = width / self.head_dim;
            let mut out = vec![bf16::ZERO; width * n];
            for (t, i) in (0..self.n_new).flat_map(|t| (0..width).map(move |i| (t, i))) {
                out[(i % self.head_dim * heads + i / self.head_dim) * n + t] = x[t * width + i];
            }
            out
        };
        let new = |name: &str| self.golden.bf16(name).split_off(self.start * row);
        bound.write("q", &feature_major(&self.golden.bf16("q")))?;
        bound.write("k_new", &feature_major(&new("k")))?;
        let mut v_new = new("v");
        v_new.resize(n * row, bf16::ZERO);
        bound.write("v_new", &v_new)
    }

    pub fn write_plan(&self, bound: &Bound) -> Result<()> {
        let (step, tail) = (2 * UNROLL, self.start / self.page_len);
        let first = if self.window == 0 { 0 } else { (self.start + 1).saturating_sub(self.window) / self.page_len };
        let context: Vec<i32> = (first..tail).map(|i| self.page(i * self.page_len) as i32).collect();
        let n_singles = context.len() % step;
        let slot = self.start % self.page_len;
        let mut counts = vec![(context.len() / step) as i32, n_singles as i32, slot as i32, context.len() as i32];
        counts.extend(&context[context.len() - n_singles..]);
        counts.resize(4 + step, 0);
        let n_entries = (self.n_pages.div_ceil(step) + 1) * step;
        let table = |pages: &[i32]| [pages, &vec![-1; n_entries - pages.len()]].concat();
        let tables = [table(&context[..context.len() - n_singles]), table(&context)].concat();
        let last = (self.start + self.n_new - 1) / self.page_len;
        let mut tails: Vec<i32> = (tail..=last).map(|i| self.page(i * self.page_len) as i32).collect();
        tails.resize(self.n_tail(), -1);
        let positions = self.start..self.start + self.n_new;
        let mut rows: Vec<i32> = positions.map(|t| self.value_row(self.page(t), t % self.page_len) as i32).collect();
        rows.resize(self.q_len(), -1);
        let tables_start = (first * self.page_len) as f32 - self.start as f32;
        let bounds = [-(slot as f32), tables_start, (slot + self.n_new) as f32].repeat(P);
        bound.write("counts", &counts)?;
        bound.write("tables", &tables)?;
        bound.write("tails", &tails)?;
        bound.write("rows", &rows)?;
        bound.write("bounds", &bounds)
    }

    /// Elements of the output that are not padding.
    pub fn n_out(&self) -> usize {
        self.n_new * self.n_heads * self.head_dim
    }

    pub fn bind(&self, core: &Core, neff: &[u8]) -> Result<Bound> {
        let bound = Bound::load(core, neff)?;
        self.write_pages(&bound)?;
        self.write_tokens(&bound)?;
        self.write_plan(&bound)?;
        Ok(bound)
    }

    fn check(&self, bound: &Bound) -> Result<()> {
        let got: Vec<bf16> = bound.read("out")?;
        assert_close(&got[..self.n_out()], &self.golden.f64("out"), &self.golden.f64("tolerance"));
        self.check_last_page(bound)
    }

    /// The last page has the new tokens where the kernel puts them; the golden page has zeros where no token is.
    fn check_last_page(&self, bound: &Bound) -> Result<()> {
        let last = self.start + self.n_new - 1;
        let (page, row) = (self.page(last), self.n_kv_heads * self.head_dim);
        let (k_pages, v_pages): (Vec<bf16>, Vec<bf16>) = (bound.read("k_pages")?, bound.read("v_pages")?);
        let (k_page, v_page) = (self.golden.bf16("k_page"), self.golden.bf16("v_page"));
        for (slot, i) in (0..=last % self.page_len).flat_map(|slot| (0..row).map(move |i| (slot, i))) {
            let (h, f) = (i / self.head_dim, i % self.head_dim);
            assert_eq!(k_pages[self.key_at(page, slot, h, f)], k_page[self.key_at(0, slot, h, f)]);
            assert_eq!(v_pages[self.value_row(page, slot) * row + i], v_page[self.value_row(0, slot) * row + i]);
        }
        Ok(())
    }
}
