"""Small pieces of kernels from which broken ones are made."""

import nki.isa as nisa
import nki.language as nl

F32, BF16, FP8, I32 = nl.float32, nl.bfloat16, nl.float8_e4m3, nl.int32


def tile(shape=(128, 128), dtype=F32, buffer=nl.sbuf, value=0.0):
    """A tile on chip; filled unless it is in PSUM."""
    tensor = nl.ndarray(shape, dtype=dtype, buffer=buffer)
    if value is not None and buffer == nl.sbuf:
        nisa.memset(dst=tensor, value=value)
    return tensor


def psum(shape=(128, 512), dtype=F32):
    """A tile in PSUM, not written."""
    return tile(shape, dtype, nl.psum)


def filled_psum(shape=(128, 128)):
    """A tile in PSUM, written."""
    tensor = psum(shape)
    nisa.memset(dst=tensor, value=0.0, engine=nisa.engine.vector)
    return tensor


def hbm(shape=(128, 128), dtype=F32):
    """A tensor in HBM, not written."""
    return nl.ndarray(shape, dtype=dtype, buffer=nl.shared_hbm)


def filled_hbm(shape=(64, 32)):
    """A tensor in HBM, written."""
    tensor = hbm(shape)
    nisa.dma_copy(dst=tensor, src=tile(shape))
    return tensor
