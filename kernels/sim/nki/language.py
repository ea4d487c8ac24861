"""`nki.language`: the names that kernels use, with AWS's signatures.

Operators such as `add` or `exp` are passed to instructions as `op`; here they are NumPy functions on float32. The eager
tensor-level forms of `nki.language` (`nl.load`, `nl.add(tile, tile)`) are not provided: kernels call `nki.isa`.
"""

import numpy as np

from ._context import LoopBody, current
from ._limits import LIMITS
from ._registers import VirtualRegister, register_value
from ._storage import PRIVATE_HBM, PSUM, SBUF, SHARED_HBM
from ._tensor import DynamicSlice, NkiTensor, allocate

bool_, int8, int16, int32 = "bool_", "int8", "int16", "int32"
uint8, uint16, uint32 = "uint8", "uint16", "uint32"
float16, float32, bfloat16 = "float16", "float32", "bfloat16"
float8_e4m3, float8_e5m2 = "float8_e4m3", "float8_e5m2"

sbuf, psum, hbm, private_hbm, shared_hbm = SBUF, PSUM, PRIVATE_HBM, PRIVATE_HBM, SHARED_HBM


class _TileSize:
    """Sizes of the running target, from the table of limits."""

    pmax = LIMITS["partitions"].gen3
    psum_bank_fmax_bytes = LIMITS["psum_bank_bytes"].gen3
    psum_bank_fmax = psum_bank_fmax_bytes // 4
    gemm_stationary_fmax = LIMITS["matmul_stationary_free"].gen3
    gemm_moving_fmax = LIMITS["matmul_moving_free"].gen3

    @property
    def psum_num_banks(self):
        return current().limit("psum_banks")

    @property
    def sbuf_fmax_bytes(self):
        return current().limit("sbuf_bytes")


tile_size = _TileSize()


def is_sbuf(buffer):
    """Whether `buffer` is SBUF."""
    return buffer == SBUF


def ds(start, size):
    """A slice of `size` elements from `start`."""
    return DynamicSlice(start, size)


def ndarray(shape, dtype, buffer=sbuf, name="", address=None):
    """Allocates a tensor. `address` is refused: placement is the compiler's."""
    if address is not None:
        raise NotImplementedError("ndarray(address=...): kernels leave placement to the compiler")
    return allocate(shape, dtype, buffer, name)


def fori_loop(lower, upper, body_fun, step=1):
    """Runs `body_fun(i)` for `i` in `[lower, upper)` on the device; bounds may be registers, `i` is one.

    A run that computes no numbers records the body of the first iteration, to be repeated by the time model, and that of the last, where
    a prefetch past the end is skipped.
    """
    context = current()
    iterations = range(register_value(lower), register_value(upper), step)
    registers = [bound for bound in (lower, upper) if isinstance(bound, VirtualRegister)]
    parts = [(iterations, 1)] if context.numeric or len(iterations) < 3 else [(iterations[:1], len(iterations) - 1), (iterations[-1:], 1)]
    context.loops.append(LoopBody())
    for recorded, n_times in parts:
        context.mark("loop_begin", registers, n_times=n_times)
        for i in recorded:
            context.loops[-1].cursor = 0
            context.mark("loop_step")
            body_fun(VirtualRegister(i))
        context.mark("loop_end")
    context.loops.pop()


def program_id(axis=0):
    """This core's index in the launch grid."""
    return current().program_id


def num_programs(axes=0):
    """Cores in the launch grid."""
    return current().n_programs


def add(x, y, dtype=None):
    return np.add(x, y)


def subtract(x, y, dtype=None):
    return np.subtract(x, y)


def multiply(x, y, dtype=None):
    return np.multiply(x, y)


def maximum(x, y, dtype=None):
    return np.maximum(x, y)


def minimum(x, y, dtype=None):
    return np.minimum(x, y)


def equal(x, y, dtype=None):
    return np.equal(x, y)


def less(x, y, dtype=None):
    return np.less(x, y)


def less_equal(x, y, dtype=None):
    return np.less_equal(x, y)


def greater(x, y, dtype=None):
    return np.greater(x, y)


def greater_equal(x, y, dtype=None):
    return np.greater_equal(x, y)


def logical_and(x, y, dtype=None):
    return np.logical_and(x, y)


def logical_or(x, y, dtype=None):
    return np.logical_or(x, y)


def exp(x, dtype=None):
    return np.exp(x)


def copy(x, dtype=None):
    return x


def square(x, dtype=None):
    return np.square(x)


def sigmoid(x, dtype=None):
    return 1.0 / (1.0 + np.exp(-x))


def silu(x, dtype=None):
    return x / (1.0 + np.exp(-x))
