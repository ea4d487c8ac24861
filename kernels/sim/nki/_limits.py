"""The hardware's limits, once, with their sources. Kernels, checks and tests read this table; nothing repeats a number.

Sources: `stub:` is a docstring of AWS's public stubs (`nki/api/nki/*/__init__.py` in aws-neuron/aws-neuron-sdk), `trn1:`,
`trn2:`, `trn3:` are the architecture guides beside them, `aps:` is the access-pattern guide, `facts:` is AWS documentation 2.33.1
as collected for this project.
"""

from dataclasses import dataclass

GENERATIONS = ("gen3", "gen4")
TARGETS = {"trn2": "gen3", "gen3": "gen3", "trn3": "gen4", "gen4": "gen4"}


@dataclass(frozen=True)
class Limit:
    """One limit: its value on each generation, its unit and where it is documented."""

    gen3: int
    gen4: int
    unit: str
    source: str

    def on(self, generation):
        """The limit on `generation`, `gen3` (trn2) or `gen4` (trn3)."""
        return getattr(self, generation)


LIMITS = {
    "partitions": Limit(128, 128, "partitions", "trn1: SBUF and PSUM have 128 partitions"),
    "matmul_stationary_free": Limit(128, 128, "stationary columns", "stub: nc_matmul, Tile size of stationary"),
    "matmul_moving_free": Limit(512, 512, "moving columns", "stub: nc_matmul, Tile size of moving (gen4: 4096; kernels stay portable)"),
    "psum_bank_bytes": Limit(2048, 2048, "bytes per partition", "trn1: a PSUM bank has 512 32-bit values"),
    "psum_banks": Limit(8, 8, "PSUM banks live", "trn1: PSUM has 8 banks"),
    "sbuf_bytes": Limit(212_984, 245_752, "SBUF bytes per partition live", "facts: usable SBUF, nl.tile_size.sbuf_fmax_bytes"),
    "transpose_tensor": Limit(128, 128, "elements a side", "stub: nc_transpose, Tile size on the tensor engine"),
    "transpose_vector": Limit(32, 32, "elements a side", "stub: nc_transpose, Tile size on the vector engine"),
    "free_dims": Limit(4, 4, "free dimensions", "trn1: up to four-dimensional access pattern in a partition"),
    "affine_dims": Limit(4, 4, "pattern dimensions", "stub: iota and affine_select, up to 4D pattern"),
    "iota_bits": Limit(31, 31, "bits of an index", "stub: iota, 32-bit integer arithmetic"),
}

# Start partitions that an operand of so many partitions may have (trn1: Accessing SBUF/PSUM tensors using compute engines).
START_PARTITIONS = ((32, (0, 32, 64, 96)), (64, (0, 64)), (128, (0,)))
START_PARTITION_SOURCE = "trn1: start_partition rule of compute engines"

MATMUL_DTYPES = ("float8_e4m3", "float8_e5m2", "bfloat16", "float16", "float32")
FP8_DTYPES = ("float8_e4m3", "float8_e5m2")
