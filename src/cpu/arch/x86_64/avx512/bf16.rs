//! The `avx512bf16` table: products with bf16 panels by `VDPBF16PS`, everything else as in `avx512`.
//!
//! The instruction multiplies two pairs of bf16 a lane. AMD's Zen 4 runs it as often as an FMA, for twice the
//! arithmetic, and later CPUs are taken to; an Emerald Rapids class core of Intel's does 80 GFLOP/s by it where FMA
//! does 166, so there `avx512` is better, and rounds less.

use std::arch::asm;
use std::arch::x86_64::*;

use super::Avx512;
use crate::cpu::arch::x86_64::forward::forward_vectors;
use crate::cpu::arch::x86_64::require;
use crate::cpu::isa::{Bf16Pairs, Isa, Kernel, Target};
use crate::cpu::product::{FEW_ROWS, PairElement, Product};
use crate::cpu::quant::QuantProduct;

/// Proof that this CPU has AVX-512 F, BW and BF16: only [`Avx512Bf16::features`] makes one.
#[derive(Clone, Copy)]
pub struct Avx512Bf16(pub(in crate::cpu::arch::x86_64) Avx512);

/// Calls intrinsics of AVX-512 F, BW and BF16; `self` is proof of the features.
macro_rules! avx512bf16 {
    ($e:expr) => {
        // SAFETY: a value of `Avx512Bf16` exists only where AVX-512 F, BW and BF16 were detected.
        unsafe { $e }
    };
}

impl Avx512Bf16 {
    /// The proof, whatever bits products have: `amx` rounds with it and multiplies by tiles.
    pub(in crate::cpu::arch::x86_64) fn features() -> Result<Self, String> {
        let vectors = Avx512::detect()?;
        require(&[("AVX-512 BF16", is_x86_feature_detected!("avx512bf16"))])?;
        Ok(Self(vectors))
    }
}

impl Target for Avx512Bf16 {
    #[inline(always)]
    fn run(self, kernel: impl Kernel<Self>) {
        /// As with [`Avx512`].
        #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
        fn inner(isa: Avx512Bf16, kernel: impl Kernel<Avx512Bf16>) {
            kernel.run(isa);
        }
        avx512bf16!(inner(self, kernel));
    }
}

impl Isa for Avx512Bf16 {
    type V = __m512;
    type Lhs = u16;
    const NAME: &'static str = "avx512bf16";
    const REGISTER_ROOF: &'static str = "dpbf16";
    const STEP_OPERATIONS: usize = 4;
    const L1_ROOF: &'static str = "dpbf16-l1";
    const ACCUMULATORS: usize = Avx512::ACCUMULATORS;
    const ATTENTION_ROWS: usize = 32;
    const ATTENTION_STRIPS: usize = 4;
    const CODE_ROWS: usize = FEW_ROWS;
    // A depth block of a task's rows and panels is 0.7 MiB, which a second cache of 1 MiB holds: 8% faster at 2,048
    // rows of 4,096 x 4,096 than 96 rows by 6.
    const TASK_PANELS: usize = 12;
    const MIN_TASK_PANELS: usize = 6;
    const TASK_ROWS: usize = 192;

    fn detect() -> Result<Self, String> {
        let isa = Self::features()?;
        if PROBES.iter().all(|probe| probe.holds(isa)) {
            Ok(isa)
        } else {
            Err("this CPU's VDPBF16PS has other bits".into())
        }
    }

    fn pays(self) -> Result<(), String> {
        if is_amd() { Ok(()) } else { Err("this CPU multiplies f32 as fast or faster".into()) }
    }

    #[inline(always)]
    fn store_lhs(self, x: __m512, out: &mut [u16; 16]) {
        // VCVTNEPS2BF16 takes denormals for zero, as VDPBF16PS and products on tiles do. SAFETY: AVX-512 BF16 as above;
        // both types are 32 bytes of any bits; the store is the array's 32 bytes, and needs no alignment.
        unsafe {
            let rounded: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(x));
            _mm256_storeu_si256(out.as_mut_ptr().cast(), rounded);
        }
    }

    #[inline(always)]
    fn store_lhs_pair(self, a: __m512, b: __m512, out: &mut [u16; 32]) {
        // SAFETY: AVX-512 BF16 as above; both types are 64 bytes of any bits; the store is the array's 64 bytes, and
        // needs no alignment.
        unsafe {
            let pairs: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(b, a));
            _mm512_storeu_si512(out.as_mut_ptr().cast(), pairs);
        }
    }

    #[inline(always)]
    fn product(self, args: Product<'_, u16, u16>) {
        self.run(args);
    }

    #[inline(always)]
    fn code_product(self, args: Product<'_, u16, u8>) {
        self.run(args);
    }

    #[inline(always)]
    fn quant_product(self, args: QuantProduct<'_>) {
        self.0.quant_product(args);
    }

    #[inline(always)]
    fn register_step(self, sum: __m512, factor: __m512) -> __m512 {
        self.dot_pairs(factor, factor, sum)
    }

    forward_vectors!(0);
}

impl Bf16Pairs for Avx512Bf16 {
    #[inline(always)]
    fn pairs(self, x: &[u16; 32]) -> __m512 {
        // SAFETY: AVX-512 as above; the load is the array's 64 bytes, and needs no alignment.
        unsafe { _mm512_castsi512_ps(_mm512_loadu_si512(x.as_ptr().cast())) }
    }

    #[inline(always)]
    fn pairs_of_codes(self, x: &[u8; 32]) -> __m512 {
        avx512bf16!(_mm512_castsi512_ps(self.0.pairs_of_codes(x)))
    }

    #[inline(always)]
    fn splat_pair(self, x: &[u16; 2]) -> __m512 {
        // SAFETY: the read is the array's 4 bytes, and needs no alignment.
        let pair = unsafe { x.as_ptr().cast::<i32>().read_unaligned() };
        avx512bf16!(_mm512_castsi512_ps(_mm512_set1_epi32(pair)))
    }

    #[inline(always)]
    fn dot_pairs(self, a: __m512, b: __m512, sum: __m512) -> __m512 {
        // SAFETY: AVX-512 BF16 as above; both types are 64 bytes of any bits.
        unsafe {
            _mm512_dpbf16_ps(
                sum,
                std::mem::transmute::<__m512, __m512bh>(a),
                std::mem::transmute::<__m512, __m512bh>(b),
            )
        }
    }

    #[inline(always)]
    fn in_order(self, x: __m512) -> __m512 {
        /// An instruction that is none, of which the compiler knows that it takes a vector and may touch memory.
        #[inline]
        #[target_feature(enable = "avx512f")]
        fn barrier(mut x: __m512) -> __m512 {
            // SAFETY: there is no instruction, only a comment that names the register.
            unsafe { asm!("/* {} */", inout(zmm_reg) x, options(nostack, preserves_flags)) };
            x
        }
        avx512bf16!(barrier(x))
    }
}

impl<E: PairElement> Kernel<Avx512Bf16> for Product<'_, u16, E> {
    #[inline(always)]
    fn run(self, isa: Avx512Bf16) {
        self.in_vectors(isa);
    }
}

/// A sum, two numbers of a row with their weights, and what must come out: the contract's order and rounding, which
/// were found on AMD's Zen 4 and which Intel's manual gives, but which no CPUID tells of.
struct Probe {
    sum: f32,
    x: [f32; 2],
    weights: [f32; 2],
    wanted: f32,
}

/// The second product comes first; a product is not rounded before it is added; what is denormal becomes zero.
const PROBES: [Probe; 3] = [
    Probe { sum: 1.0, x: [-1.0, power_of_two(-24)], weights: [1.0; 2], wanted: 0.0 },
    Probe {
        sum: f32::MIN_POSITIVE,
        x: [0.0, power_of_two(-70)],
        weights: [0.0, power_of_two(-60)],
        wanted: f32::MIN_POSITIVE * (1.0 + power_of_two(-4)),
    },
    Probe { sum: 0.0, x: [f32::MIN_POSITIVE, 0.0], weights: [0.5, 0.0], wanted: 0.0 },
];

/// `2^n`, a normal number.
const fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}

impl Probe {
    fn holds(&self, isa: Avx512Bf16) -> bool {
        let mut found = [f32::NAN; 16];
        isa.run(Probed(self, &mut found));
        found.iter().all(|x| x.to_bits() == self.wanted.to_bits())
    }
}

struct Probed<'a>(&'a Probe, &'a mut [f32; 16]);

impl Kernel<Avx512Bf16> for Probed<'_> {
    #[inline(always)]
    fn run(self, isa: Avx512Bf16) {
        let Probe { sum, x, weights, .. } = std::hint::black_box(self.0);
        let [x, weights] = [x, weights].map(|pair| isa.splat_pair(&pair.map(|x| half::bf16::from_f32(x).to_bits())));
        isa.store(isa.dot_pairs(x, weights, isa.splat(*sum)), self.1);
    }
}

/// Whether CPUID says that AMD made this CPU.
fn is_amd() -> bool {
    let vendor = __cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD"
}
