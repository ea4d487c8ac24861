"""Every constant of the time model, once, with its source. `ASSUMED` marks what has no published number: those are swept in the report.

Sources: `trn1`, `trn2`, `trn3`: AWS's architecture guides; `dma`: "Introduction to DMA with NKI" and the DMA bandwidth guide;
`dge`: the DGE reference; `profile`: instruction details pictured in "Profile a NKI Kernel"; `facts`: AWS documentation as collected for this
project. All are public in aws-neuron/aws-neuron-sdk, nki/.
One constant, `dma_descriptor_ns`, is fitted to one rung of the matmul ladder; the other rungs, and AWS's tutorial, are the test.
"""

from dataclasses import dataclass

ASSUMED = "assumption, no published number"


@dataclass(frozen=True)
class Constant:
    """A constant on trn2 (gen3) and trn3 (gen4), its unit, and where it comes from."""

    gen3: float
    gen4: float
    unit: str
    source: str


TABLE = {
    "tensor_ghz": Constant(2.4, 2.4, "GHz", "trn2, trn3: Compute Engine Specifications"),
    "vector_ghz": Constant(0.96, 1.2, "GHz", "trn2, trn3: Compute Engine Specifications"),
    "scalar_ghz": Constant(1.2, 1.2, "GHz", "trn2, trn3: Compute Engine Specifications"),
    "gpsimd_ghz": Constant(1.2, 1.2, "GHz", "trn2, trn3: Compute Engine Specifications"),
    "matmul_min_cycles": Constant(64, 64, "cycles", "trn1: MM_INIT_LATENCY, issue interval max(N, 64)"),
    "stationary_speedup": Constant(4, 4, "columns per cycle", "trn1: Fast LoadStationary, up to 4x"),
    "stationary_exposed": Constant(
        0, 0, "share", "trn1: background LoadStationary, hidden behind the matmul before; 1 would be none hidden"
    ),
    "float32_matmul_factor": Constant(4, 4, "times bf16", "trn1: FP32 costs 4x"),
    "matmul_latency_cycles": Constant(
        391,
        391,
        "cycles",
        "profile: a float32 pass of 512 columns lasts 589 to 592 ns on trn2 and the next follows after 427. bf16, whose rows take half as "
        "long, and trn3 are assumed to be no faster",
    ),
    "access_cycles": Constant(60, 60, "cycles", "trn1: Tensor access overhead, about 60 cycles, charged to every instruction"),
    "read_accumulator_cycles": Constant(64, 64, "cycles", "trn1: ActReadAccumulator"),
    "two_input_factor": Constant(2, 2, "cycles per element", "trn1: Vector Engine cost model, 2N for two input tiles"),
    "gpsimd_cycles_per_element": Constant(2, 2, "cycles", f"{ASSUMED}: half the rate of VectorE at equal clock"),
    "semaphore_ns": Constant(50, 50, "ns", f"{ASSUMED}: from an engine's last write to another engine's start"),
    "dma_engines": Constant(16, 16, "engines", "dma: engines per core"),
    "dma_engine_bytes_per_ns": Constant(22.6, 33.0, "B/ns", "dma: 23 (trn2) and 33 (trn3); trn2 capped by its share of HBM, 362 GB/s / 16"),
    "dma_descriptor_ns": Constant(
        79,
        55,
        "ns",
        "fitted to one rung of the ladder, `streaming`: 49,152 descriptors of 1 KiB in 243 us at most; "
        "the figure in dma, without numbers on its axis, suggests up to 108. trn3: scaled, assumed",
    ),
    "dma_latency_ns": Constant(1300, 1300, "ns", "dma: semaphore to start, about 1300 ns"),
    "dge_ns": Constant(600, 600, "ns", "dge: hardware DGE, about 600 ns an instruction"),
    "dge_units": Constant(2, 2, "units", "trn2: two DGE instances"),
    "swdge_ns": Constant(1000, 1000, "ns", f"{ASSUMED}: GpSimd writes the descriptors of one instruction"),
    "swdge_descriptor_ns": Constant(8, 8, "ns", f"{ASSUMED}: and of each row"),
    "register_ns": Constant(100, 100, "ns", f"{ASSUMED}: a register load"),
    "loop_ns": Constant(
        2000, 2000, "ns", f"{ASSUMED}: one iteration of a device loop, during which all compute engines wait for each other"
    ),
}

SWEPT = {
    "dma_descriptor_ns": (64, 79, 108),
    "loop_ns": (0, 2000, 5000, 10000),
    "semaphore_ns": (0, 50, 100, 200),
    "access_cycles": (60, 100, 200),
    "dma_latency_ns": (1300, 2000, 4000),
    "swdge_ns": (500, 1000, 4000),
    "swdge_descriptor_ns": (1, 8, 100),
    "register_ns": (0, 100, 1000),
    "gpsimd_cycles_per_element": (1, 2, 8),
    "matmul_latency_cycles": (192, 391, 800),
    "stationary_speedup": (1, 4),
    "stationary_exposed": (0, 1),
}


def constants(generation, **overrides):
    """The constants of `generation` by name, some of them replaced."""
    unknown = set(overrides) - set(TABLE)
    if unknown:
        raise KeyError(f"no such constant: {', '.join(sorted(unknown))}")
    return {name: getattr(c, generation) for name, c in TABLE.items()} | overrides
