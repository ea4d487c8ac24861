"""AWS's tutorial on optimising a matmul, 4096 x 8192 x 8192 float32 on trn2: beside the ladder, what the time model is tested on.

Source: "Introduction to NKI Kernel Optimization", nki/guides/tutorials/kernel-optimization.rst in github.com/aws-neuron/aws-neuron-sdk; its
figures are read in the profiles pictured there. The variants are written from their descriptions; no constant is fitted to them. Two cannot
be run as listed, because they need more SBUF than there is; their docstrings say what is assumed instead.

Dimensions: K contraction, M rows, N columns; multiples of 128, N of 512, and of the blocks.
"""

from dataclasses import dataclass

import nki
import nki.isa as nisa
import nki.language as nl

P, N_TILE = 128, 512


@dataclass(frozen=True)
class Profile:
    """What AWS's profiler showed: time, and shares of bf16 peak and of the time that an engine had an instruction in flight."""

    time_ms: float
    mfu: float
    tensor_active: float
    vector_active: float | None = None


SHAPE = (4096, 8192, 8192)  # M, K, N
PUBLISHED = {
    "tiled": Profile(39.89, 0.1752, 0.8728),
    "hoisted": Profile(28.20, 0.2479, 0.9985),
    "blocked_free": Profile(28.41, 0.2460, 0.9952),
    "blocked_all": Profile(28.30, 0.2470, 0.9950, 0.1055),
}


def _load(source, row, n_rows, column, n_columns):
    """Tiles of 128 rows from tile `row`, each in fresh memory: AWS's compiler rotates addresses."""
    tiles = []
    for i in range(row, row + n_rows):
        tile = nl.ndarray((P, n_columns), dtype=source.dtype)
        nisa.dma_copy(dst=tile, src=source[nl.ds(i * P, P), nl.ds(column, n_columns)])
        tiles.append(tile)
    return tiles


def _multiply(left, right):
    """The product of two lists of tiles over K, in fresh PSUM."""
    product = nl.ndarray((P, N_TILE), dtype=nl.float32, buffer=nl.psum)
    for k, (stationary, moving) in enumerate(zip(left, right)):
        nisa.nc_matmul(dst=product, stationary=stationary, moving=moving, accumulate=k > 0)
    return product


def _store(out, i, j, product):
    """One tile of the result, by way of SBUF."""
    result = nl.ndarray((P, N_TILE), dtype=out.dtype)
    nisa.tensor_copy(dst=result, src=product, engine=nisa.engine.vector)
    nisa.dma_copy(dst=out[nl.ds(i * P, P), nl.ds(j * N_TILE, N_TILE)], src=result)


def _sizes(lhs_t, rhs):
    """(tiles of M, of N, of K, the result)."""
    (k, m), n = lhs_t.shape, rhs.shape[1]
    return m // P, n // N_TILE, k // P, nl.ndarray((m, n), dtype=lhs_t.dtype, buffer=nl.shared_hbm)


@nki.jit
def tiled(lhs_t, rhs):
    """Both tiles loaded before each product.

    Args: lhs_t [K, M] @ HBM; rhs [K, N] @ HBM. Returns: [M, N] @ HBM.
    """
    m_tiles, n_tiles, k_tiles, out = _sizes(lhs_t, rhs)
    for i in range(m_tiles):
        for j in range(n_tiles):
            product = nl.ndarray((P, N_TILE), dtype=nl.float32, buffer=nl.psum)
            for k in range(k_tiles):
                (stationary,), (moving,) = _load(lhs_t, k, 1, i * P, P), _load(rhs, k, 1, j * N_TILE, N_TILE)
                nisa.nc_matmul(dst=product, stationary=stationary, moving=moving, accumulate=k > 0)
            _store(out, i, j, product)
    return out


@nki.jit
def hoisted(lhs_t, rhs):
    """All of K loaded at once, for lhs_t once a row of tiles, for rhs once a tile of the result. Args, Returns: as tiled."""
    m_tiles, n_tiles, k_tiles, out = _sizes(lhs_t, rhs)
    for i in range(m_tiles):
        left = _load(lhs_t, 0, k_tiles, i * P, P)
        for j in range(n_tiles):
            _store(out, i, j, _multiply(left, _load(rhs, 0, k_tiles, j * N_TILE, N_TILE)))
    return out


@nki.jit
def blocked_free(lhs_t, rhs):
    """Blocks of 2 x 2 tiles of the result. Args, Returns: as tiled.

    As listed, a block of rhs is 256 KiB a partition, more than there is; the profile's traffic, 8.66 GB where the listing moves 4.56, says
    that the compiler loaded rhs again for each row of tiles. So does this variant: 8.86 GB.
    """
    m_tiles, n_tiles, k_tiles, out = _sizes(lhs_t, rhs)
    for i_block in range(0, m_tiles, 2):
        left = [_load(lhs_t, 0, k_tiles, i * P, P) for i in (i_block, i_block + 1)]
        for j_block in range(0, n_tiles, 2):
            for i in range(2):
                for j in (j_block, j_block + 1):
                    _store(out, i_block + i, j, _multiply(left[i], _load(rhs, 0, k_tiles, j * N_TILE, N_TILE)))
    return out


@nki.jit
def blocked_all(lhs_t, rhs):
    """K in blocks of 8 tiles too, summed in SBUF, under blocks of 8 x 2 tiles of the result. Args, Returns: as tiled.

    As listed, with 16 x 2 tiles, SBUF holds 224 KiB a partition of the 208 there are; the profile's traffic, 1.82 GB where the listing
    moves 1.48, says that the compiler spilled. This variant fits, and moves 1.48 GB.
    """
    m_tiles, n_tiles, k_tiles, out = _sizes(lhs_t, rhs)
    for j_block in range(0, n_tiles, 2):
        sums = [nl.ndarray((P, 2, N_TILE), dtype=out.dtype) for _ in range(m_tiles)]
        for total in sums:
            for j in range(2):
                nisa.memset(dst=total[:, j], value=0.0, engine=nisa.engine.vector)
        for k_block in range(0, k_tiles, 8):
            right = _load(rhs, k_block, 8, j_block * N_TILE, 2 * N_TILE)
            for i_block in range(0, m_tiles, 8):
                left = _load(lhs_t, k_block, 8, i_block * P, 8 * P)
                for j in range(2):
                    for i in range(8):
                        columns = [moving[:, nl.ds(j * N_TILE, N_TILE)] for moving in right]
                        product = _multiply([stationary[:, nl.ds(i * P, P)] for stationary in left], columns)
                        total = sums[i_block + i][:, j]
                        nisa.tensor_tensor(dst=total, data1=total, data2=product, op=nl.add, engine=nisa.engine.vector)
        for i, total in enumerate(sums):
            packed = nl.ndarray((P, 2, N_TILE), dtype=out.dtype)
            for j in range(2):
                nisa.tensor_copy(dst=packed[:, j], src=total[:, j], engine=nisa.engine.vector)
            nisa.dma_copy(dst=out[nl.ds(i * P, P), nl.ds(j_block * N_TILE, 2 * N_TILE)], src=packed.reshape((P, 2 * N_TILE)))
    return out


VARIANTS = (tiled, hoisted, blocked_free, blocked_all)
