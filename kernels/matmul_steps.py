"""The steps of the matmul kernels beside the products: loading activations and channels, finishing and storing outputs."""

import nki.isa as nisa
import nki.language as nl

P = 128


def load_activations(x_sb, x, m_start, m_size):
    """Loads a block of x, tile by tile of K so that the product can start; short rows travel together."""
    k_tiles, m = x.shape[1:]
    per_load = 1 if m_size < m else max(1, 4096 // (m_size * 2))
    for first in range(0, k_tiles, per_load):
        size = min(per_load, k_tiles - first)
        nisa.dma_copy(
            dst=x_sb[:, nl.ds(first, size), 0:m_size],
            src=x[:, nl.ds(first, size), nl.ds(m_start, m_size)],
            dge_mode=nisa.dge_mode.none,
            name="activations",
        )


def scale_and_shift(out, psum, tile, rows, scale_sb, bias_sb):
    """out = psum * scale + bias on the vector engine, whatever of the two there is."""
    scale, bias = (c if c is None else c[0:rows, nl.ds(tile, 1)] for c in (scale_sb, bias_sb))
    if scale is not None:
        nisa.tensor_scalar(
            dst=out,
            data=psum,
            op0=nl.multiply,
            operand0=scale,
            op1=None if bias is None else nl.add,
            operand1=bias,
            engine=nisa.engine.vector,
        )
    elif bias is not None:
        nisa.tensor_scalar(dst=out, data=psum, op0=nl.add, operand0=bias, engine=nisa.engine.vector)
    else:
        nisa.tensor_copy(dst=out, src=psum, engine=nisa.engine.vector)


def channels(values):
    """Per-channel values [128, NT] in SBUF, or None."""
    if values is None:
        return None
    sb = nl.ndarray(values.shape, dtype=nl.float32)
    nisa.dma_copy(dst=sb, src=values)
    return sb


def store(out, result, first, tile, n, m_start, m_size):
    """Stores the finished tiles from `first` to `tile`; a last tile of fewer than 128 outputs goes alone."""
    whole = min(tile + 1, n // P) - first
    if whole > 0:
        nisa.dma_copy(
            dst=out[:, nl.ds(first, whole), nl.ds(m_start, m_size)],
            src=result[:, 0:whole, 0:m_size],
            dge_mode=nisa.dge_mode.none,
            name="store",
        )
    if (tile + 1) * P > n:
        rows = n - tile * P
        nisa.dma_copy(
            dst=out[0:rows, tile, nl.ds(m_start, m_size)],
            src=result[0:rows, tile - first, 0:m_size],
            dge_mode=nisa.dge_mode.none,
            name="store",
        )
