"""Matmul: out[M, N] = x[M, K] W[N, K]^T, for M from 1 to 4,096 and any K and N, in the layouts of `layouts.py`.

Weights are stationary and stream once through SBUF for each block of M; activations stay in SBUF. For decode the weights' DMA is the
cost; for prefill the tensor engine is.
"""

from dataclasses import dataclass

import nki
import nki.isa as nisa
import nki.language as nl

from .matmul_steps import channels, load_activations, scale_and_shift, store

P = 128
CHUNK = 512  # columns of one PSUM bank in float32
N_BANKS = 8
X_BYTES = 96 * 1024  # SBUF per partition for a block of activations
W_BYTES = 84 * 1024  # and for weights in flight
RUN_BYTES = 8192  # contiguous bytes per partition that one load of weights carries, unless one tile is more
STORE_BYTES = 4096  # and a store of outputs


@dataclass(frozen=True)
class Sizes:
    """K, N, the first tile of N in the loaded weights, the columns of M at hand, and accumulators per output."""

    k: int
    n: int
    first: int
    m_size: int
    n_parts: int


@dataclass(frozen=True)
class Blocking:
    """Rows of M that stay in SBUF, tiles of N in one load of weights, loads in flight, tiles of N in one store."""

    m_rows: int
    n_loaded: int
    n_buffers: int
    n_stored: int


@nki.jit
def matmul(x, weights, k, n, scale=None, bias=None):
    """out = (x W^T) * scale + bias, accumulated in float32, rounded once to bfloat16.

    Dimensions: M tokens, K inputs, N outputs; KT, NT their tiles of 128.

    Args:
        x: [128, KT, M] @ HBM, bfloat16; or float8_e4m3 with float8_e4m3 weights, which runs double-row at twice the rate.
        weights: [128, NT, KT, 128] @ HBM, bfloat16 or float8_e4m3, from `layouts.pack_weights`.
        k, n: K and N, compile-time.
        scale: [128, NT] @ HBM, float32, per output channel; for float8 weights. None is 1.
        bias: [128, NT] @ HBM, float32. None is 0.

    Returns: [128, NT, M] @ HBM, bfloat16; outputs beyond N are not written.

    Notes: K and N need not be multiples of 128: the last tile uses fewer partitions. 1 <= M; beyond 2,048 (less when K is large) M runs in
        blocks, each of which reads the weights again. On two cores (LNC 2) each computes half of the tiles of N.

    Pseudocode:
        for block of M: load x
            for tiles of N: load weights
                psum[n, m] = sum over k tiles of weights[k, n]^T x[k, m]
                out[n, m] = psum[n, m] * scale[n] + bias[n]
    """
    scale_sb, bias_sb = channels(scale), channels(bias)

    def finish(out, psums, tile, rows):
        scale_and_shift(out, psums[0], tile, rows, scale_sb, bias_sb)

    return _project(x, weights, k, n, finish, 1)


@nki.jit
def matmul_silu_gate(x, weights, k, n, scale=None):
    """out = silu(x Wg^T) * (x Wu^T), gate and up in one pass over x.

    Dimensions, Notes: as `matmul`.

    Args:
        x: [128, KT, M] @ HBM, bfloat16 or float8_e4m3.
        weights: [128, 2 NT, KT, 128] @ HBM, from `layouts.pack_gate_up`.
        k, n: K and N, compile-time.
        scale: [128, 2 NT] @ HBM, float32, tiles alternating like the weights. None is 1.

    Returns: [128, NT, M] @ HBM, bfloat16.

    Pseudocode:
        for each tile of N: gate, up = psum as in `matmul`
            out = (up * scale_up) * silu(gate * scale_gate)
    """
    scale_sb = channels(scale)

    def finish(out, psums, tile, rows):
        gate_scale = 1.0 if scale is None else scale_sb[0:rows, nl.ds(2 * tile, 1)]
        up_scale = 1.0 if scale is None else scale_sb[0:rows, nl.ds(2 * tile + 1, 1)]
        gate = nl.ndarray((P, out.shape[1]), dtype=nl.float32)
        nisa.activation(dst=gate[0:rows], op=nl.silu, data=psums[0], scale=gate_scale)
        nisa.scalar_tensor_tensor(dst=out, data=psums[1], op0=nl.multiply, operand0=up_scale, op1=nl.multiply, operand1=gate[0:rows])

    return _project(x, weights, k, n, finish, 2)


def _blocking(x, weights, n_tiles, n_parts):
    """How the product is divided so that SBUF and PSUM hold it and runs are long: a `Blocking`."""
    k_tiles, m = x.shape[1:]
    x_width, w_width = (1 if a.dtype == nl.float8_e4m3 else 2 for a in (x, weights))
    tile_bytes = n_parts * k_tiles * P * w_width
    block = min(m, N_BANKS // 2 // n_parts * CHUNK, max(P, X_BYTES // (k_tiles * x_width) // P * P))
    group = min(n_tiles, max(1, RUN_BYTES // tile_bytes))
    n_buffers = max(2, min(4, W_BYTES // (group * tile_bytes)))
    return Blocking(block, group, n_buffers, min(n_tiles, max(group, -(-STORE_BYTES // (block * 2)))))


def _project(x, weights, k, n, finish, n_parts):
    """The product for all tiles; `finish(out, psums, tile, rows)` evicts `n_parts` accumulators as one output."""
    k_tiles, m = x.shape[1:]
    n_tiles = -(-n // P)
    out = nl.ndarray((P, n_tiles, m), dtype=nl.bfloat16, buffer=nl.shared_hbm)
    by = _blocking(x, weights, n_tiles, n_parts)
    block, group, store_group = by.m_rows, by.n_loaded, by.n_stored
    per_core = -(-n_tiles // nl.num_programs())
    low, high = min(nl.program_id() * per_core, n_tiles), min((nl.program_id() + 1) * per_core, n_tiles)
    buffers = [nl.ndarray((P, group * n_parts, k_tiles, P), dtype=weights.dtype) for _ in range(by.n_buffers)]
    results = [nl.ndarray((P, store_group, block), dtype=nl.bfloat16) for _ in range(2)]
    x_sb = nl.ndarray((P, k_tiles, block), dtype=x.dtype)
    psum = nl.ndarray((P, N_BANKS, CHUNK), dtype=nl.float32, buffer=nl.psum)
    n_loads = bank = n_stores = 0
    for m_start in range(0, m, block):
        m_size = min(block, m - m_start)
        n_chunks = -(-m_size // CHUNK)
        for first in range(low, high, group):
            size = min(group, high - first)
            w_sb, n_loads = buffers[n_loads % by.n_buffers], n_loads + 1
            nisa.dma_copy(
                dst=w_sb[:, 0 : size * n_parts],
                src=weights[:, nl.ds(first * n_parts, size * n_parts)],
                dge_mode=nisa.dge_mode.none,
                name="weights",
            )
            if first == low:
                load_activations(x_sb, x, m_start, m_size)
            sizes = Sizes(k, n, first, m_size, n_parts)
            # The first pass takes all of PSUM, so that the tensor engine keeps up with x arriving; then half drains while half fills.
            per_pass = max(1, N_BANKS // (n_parts * n_chunks) // (1 if first == low else 2))
            for t in range(0, size, per_pass):
                batch = [(j, bank + (j - t) * n_parts * n_chunks) for j in range(t, min(t + per_pass, size))]
                bank += len(batch) * n_parts * n_chunks
                _accumulate(psum, w_sb, x_sb, batch, sizes)
                for j, start in batch:
                    tile, result = first + j, results[n_stores % 2]
                    place = (tile - low) % store_group
                    _evict(result[:, place], psum, tile, start, sizes, finish)
                    if place == store_group - 1 or tile == high - 1:
                        store(out, result, tile - place, tile, n, m_start, m_size)
                        n_stores += 1
    return out


def _accumulate(psum, w_sb, x_sb, batch, sizes):
    """psum = W^T x over all of K for the tiles of `batch`, K outermost. fp8 on both sides takes two tiles of K at once."""
    double = x_sb.dtype == nl.float8_e4m3 and w_sb.dtype == nl.float8_e4m3
    k, n, m_size, n_parts = sizes.k, sizes.n, sizes.m_size, sizes.n_parts
    k_tiles, n_chunks = -(-k // P), -(-m_size // CHUNK)
    kt = 0
    while kt < k_tiles:
        depth = 2 if double and (kt + 2) * P <= k else 1
        k_rows = min(P, k - kt * P)
        for j, start in batch:
            rows = min(P, n - (sizes.first + j) * P)
            for part in range(n_parts):
                for c in range(n_chunks):
                    columns = min(CHUNK, m_size - c * CHUNK)
                    stationary = w_sb[0:k_rows, j * n_parts + part, nl.ds(kt, depth), 0:rows]
                    moving = x_sb[0:k_rows, nl.ds(kt, depth), nl.ds(c * CHUNK, columns)]
                    mode = nisa.matmul_perf_mode.double_row if depth == 2 else nisa.matmul_perf_mode.none
                    nisa.nc_matmul(
                        dst=psum[0:rows, (start + part * n_chunks + c) % N_BANKS, 0:columns],
                        stationary=stationary,
                        moving=moving,
                        accumulate=kt > 0,
                        perf_mode=mode,
                    )
        kt += depth


def _evict(result, psum, tile, start, sizes, finish):
    """Finishes one tile of N from its accumulators, which begin at bank `start`, chunk by chunk of M."""
    rows, n_chunks = min(P, sizes.n - tile * P), -(-sizes.m_size // CHUNK)
    for c in range(n_chunks):
        columns = min(CHUNK, sizes.m_size - c * CHUNK)
        psums = [psum[0:rows, (start + part * n_chunks + c) % N_BANKS, 0:columns] for part in range(sizes.n_parts)]
        finish(result[0:rows, nl.ds(c * CHUNK, columns)], psums, tile, rows)
