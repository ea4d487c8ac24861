//! What a kernel table must offer: sixteen-lane vector arithmetic and the product of rows with packed panels. Kernels
//! are written once against [`Isa`] and compiled once per table; `arch/` holds the implementations.

use super::lhs::LhsElement;
use super::product::Product;
use super::quant::{QuantPanels, QuantProduct};

/// An instruction set as a value: whoever holds one has proof that this machine has it.
///
/// A vector is always [`REDUCE_LANES`](crate::spec::contract::REDUCE_LANES) = 16 lanes of f32, one AVX-512 register or
/// two of AVX2, so that the order of every reduction is the same on every table. Each operation rounds once per lane,
/// to nearest even, as IEEE 754 says.
pub trait Isa: Target + Send + Sync + 'static {
    /// Sixteen f32.
    type V: Copy;

    /// An element of the left operand of a product with bf16 panels: f32 where it is used as it is, bf16 where the
    /// hardware takes no other.
    type Lhs: LhsElement;

    /// The table's name, as in `LONGHAUL_ISA`.
    const NAME: &'static str;

    /// The name of the roof that [`Isa::register_loop`] measures.
    const REGISTER_ROOF: &'static str;

    /// Operations of a lane in [`Isa::register_step`].
    const STEP_OPERATIONS: usize = 2;

    /// The name of the roof of [`Isa::product`] on operands in the first cache.
    const L1_ROOF: &'static str;

    /// Vectors that fit into registers as accumulators of a product.
    const ACCUMULATORS: usize;

    /// Rows of the left operand that attention takes through a chunk together: a strip. A multiple of the row block of
    /// [`Isa::Lhs`].
    const ATTENTION_ROWS: usize;

    /// Strips of a block of attention at most: they pass one after the other while a chunk's keys and values are in the
    /// cache nearby.
    const ATTENTION_STRIPS: usize = 1;

    /// Most panels of one task of a matmul.
    const TASK_PANELS: usize;

    /// Fewest panels of a task, where there would be too few tasks for the threads.
    const MIN_TASK_PANELS: usize = Self::TASK_PANELS;

    /// Most rows of one task of a matmul, a multiple of 32: enough to use a panel often while it lies in the cache
    /// nearby, few enough for the sums to stay there too.
    const TASK_ROWS: usize;

    /// Whether a product with bf16 panels leaves its sums in tiles ([`SumLayout::Tiles`](super::product::SumLayout)).
    const SUMS_IN_TILES: bool = false;

    /// Whether a product with bf16 panels leaves vectors time to work beside it: it may call [`Product::beside`] then.
    const MULTIPLIES_BESIDE: bool = false;

    /// Whether a product of few rows asks for the panels that it widens, line by line, some KiB before it reads them.
    /// Only with 6 [`Isa::ACCUMULATORS`].
    const ASKS_AHEAD: bool = false;

    /// Up to how many rows attention has [`Isa::code_product`] for keys and values in int8, instead of
    /// [`Isa::widen_codes`] first.
    const CODE_ROWS: usize = 0;

    /// The table, if this machine has what it needs.
    fn detect() -> Result<Self, String>;

    /// Whether it is the one to take where no table before it can run, or why not; then it runs where it is asked for
    /// by name.
    fn pays(self) -> Result<(), String> {
        Ok(())
    }

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::V;
    /// Lanes from memory.
    fn load(self, x: &[f32; 16]) -> Self::V;
    /// Lanes to memory.
    fn store(self, x: Self::V, out: &mut [f32; 16]);
    /// Widens sixteen interleaved pairs of bf16: the first of each pair, and the second of each.
    fn load_pairs(self, x: &[u16; 32]) -> (Self::V, Self::V);
    /// Rounds to bf16, to nearest even; a NaN stays a NaN.
    fn store_bf16(self, x: Self::V, out: &mut [u16; 16]);
    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`: rounded once where the table is fused, twice where it is not.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `if a > b { a } else { b }`
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `if x < limit { a } else { b }`; false for NaN.
    fn select_lt(self, x: Self::V, limit: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// `if x < limit { 0 } else { p * 2^n }`, where that is a normal number; `n` is given as a number, and as `n + 127`
    /// in the low bits of `biased`.
    fn scale_unless_lt(self, x: Self::V, limit: Self::V, p: Self::V, n: Self::V, biased: Self::V) -> Self::V;

    /// Widens two rows of codes, i8 as bytes, to sixteen interleaved pairs of bf16: exact. Not where codes are always
    /// multiplied as they are.
    fn widen_codes(self, _codes: &[u8; 32], _out: &mut [u16; 32]) {
        unreachable!("codes are multiplied as they are");
    }

    /// Sixteen codes, i8 as bytes.
    #[inline(always)]
    fn load_codes(self, x: &[u8; 16]) -> Self::V {
        self.load(&x.map(|code| f32::from(code as i8)))
    }

    /// Stores the lowest byte of each lane's bits.
    fn store_low_bytes(self, x: Self::V, out: &mut [u8; 16]);

    /// Sum of sixteen lanes in the contract's order: the upper half onto the lower, four times.
    #[inline(always)]
    fn reduce_add(self, x: Self::V) -> f32 {
        let mut lanes = [0.0; 16];
        self.store(x, &mut lanes);
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
        }
        lanes[0]
    }

    /// Maximum of sixteen lanes; any number where one is NaN.
    #[inline(always)]
    fn reduce_max(self, x: Self::V) -> f32 {
        let mut lanes = [0.0; 16];
        self.store(x, &mut lanes);
        lanes.into_iter().fold(f32::NEG_INFINITY, |max, lane| if lane > max { lane } else { max })
    }

    /// Rounds to bf16 for a left operand, where a denormal counts as zero anyway.
    #[inline(always)]
    fn store_lhs(self, x: Self::V, out: &mut [u16; 16]) {
        self.store_bf16(x, out);
    }

    /// [`Isa::store_lhs`] of 32 elements.
    #[inline(always)]
    fn store_lhs_pair(self, a: Self::V, b: Self::V, out: &mut [u16; 32]) {
        let (low, high) = out.split_at_mut(16);
        self.store_lhs(a, low.first_chunk_mut().unwrap());
        self.store_lhs(b, high.first_chunk_mut().unwrap());
    }

    /// Asks for the cache line of `x`, which will be read soon.
    #[inline(always)]
    fn prefetch<T>(self, _x: &T) {}

    /// Asks for the cache line of `x`, which will be written soon.
    #[inline(always)]
    fn prefetch_write(self, _x: &f32) {}

    /// Asks for the cache line of `x` in the second cache.
    #[inline(always)]
    fn prefetch_far<T>(self, _x: &T) {}

    /// Rows times bf16 panels; between [`Isa::begin_products`] of at least as many rows and [`Isa::end_products`], with
    /// no [`Isa::quant_product`] since.
    fn product(self, args: Product<'_, Self::Lhs, u16>);

    /// Rows times panels of codes, i8 as bytes; of [`Isa::CODE_ROWS`] at most.
    fn code_product(self, _args: Product<'_, Self::Lhs, u8>) {
        unreachable!("codes are widened first");
    }

    /// Whether [`Isa::quant_product`] of so many rows with these weights takes the rows' codes in tiles.
    #[inline(always)]
    fn quant_tiles(self, _n_rows: usize, _weights: &QuantPanels) -> bool {
        false
    }

    /// Whether such a product leaves its sums in tiles ([`SumLayout::Tiles`](super::product::SumLayout)).
    #[inline(always)]
    fn quant_sums_in_tiles(self, _n_rows: usize, _weights: &QuantPanels) -> bool {
        false
    }

    /// Quantised rows times quantised panels.
    fn quant_product(self, args: QuantProduct<'_>);

    /// Called once before a run of products on this thread, each of `n_rows` rows at most, and [`Isa::end_products`]
    /// after it: AMX configures its tiles.
    #[inline(always)]
    fn begin_products(self, _n_rows: usize) {}
    /// See [`Isa::begin_products`].
    #[inline(always)]
    fn end_products(self) {}

    /// What [`Isa::register_loop`] does to a sum.
    #[inline(always)]
    fn register_step(self, sum: Self::V, factor: Self::V) -> Self::V {
        self.mul_add(sum, factor, factor)
    }

    /// Multiplies and adds in registers alone, as fast as the machine can; answers how many operations that was. See
    /// `roofline`.
    fn register_loop(self) -> usize {
        const TIMES: usize = 10_000;
        // Enough sums that none waits for itself: latency by throughput is eight registers, and a vector of AVX2 is two
        // of them.
        let n_sums = if Self::ACCUMULATORS >= 24 {
            self.run(RegisterLoop::<12> { times: TIMES });
            12
        } else {
            self.run(RegisterLoop::<6> { times: TIMES });
            6
        };
        TIMES * n_sums * 16 * Self::STEP_OPERATIONS
    }
}

/// A table whose vectors multiply pairs of bf16 as they lie, for a left operand of bf16.
pub trait Bf16Pairs: Isa<Lhs = u16> {
    /// Sixteen pairs from memory, as bits.
    fn pairs(self, x: &[u16; 32]) -> Self::V;
    /// Two rows of sixteen codes, i8 as bytes, as pairs: exact.
    fn pairs_of_codes(self, x: &[u8; 32]) -> Self::V;
    /// All lanes one pair.
    fn splat_pair(self, x: &[u16; 2]) -> Self::V;
    /// `a[0] * b[0] + (a[1] * b[1] + sum)` of each lane's pairs: the second first, each rounded once, denormals zero.
    fn dot_pairs(self, a: Self::V, b: Self::V, sum: Self::V) -> Self::V;
    /// `x`, behind a fence for the compiler: what comes after this in the source is not loaded before `x` is there. If
    /// it loads all rows of a block first, it runs out of registers.
    fn in_order(self, x: Self::V) -> Self::V;
}

/// `SUMS` chains of [`Isa::register_step`], `times` long.
struct RegisterLoop<const SUMS: usize> {
    times: usize,
}

impl<I: Isa, const SUMS: usize> Kernel<I> for RegisterLoop<SUMS> {
    #[inline(always)]
    fn run(self, isa: I) {
        let (mut sums, factor) = ([isa.splat(1.0); SUMS], isa.splat(std::hint::black_box(0.5)));
        for _ in 0..self.times {
            for sum in &mut sums {
                *sum = isa.register_step(*sum, factor);
            }
        }
        let mut lanes = [0.0; 16];
        for sum in sums {
            isa.store(sum, &mut lanes);
            std::hint::black_box(&lanes);
        }
    }
}

/// Instructions that kernels are compiled for, as a value that proves that this machine has them.
pub trait Target: Copy {
    /// Runs a kernel where the compiler may use the instructions. Every kernel starts here.
    fn run(self, kernel: impl Kernel<Self>);
}

/// Runs a kernel from within another as a function of its own, so that the compiler keeps it out of the other's
/// registers.
#[inline(never)]
pub fn run_apart<T: Target>(target: T, kernel: impl Kernel<T>) {
    target.run(kernel);
}

/// Work that is compiled once per instruction set, with its arguments.
///
/// A trait and no closure, because `run` and all that it calls must be inlined into the one function that has the
/// instruction set enabled, and a closure cannot be told so.
pub trait Kernel<T: Target> {
    /// Does the work. Implementations are `#[inline(always)]`.
    fn run(self, target: T);
}
