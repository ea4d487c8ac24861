"""The published matmul ladder on trn2, 2048 x 2048 x 2048 bf16: what the time model is tested on.

Measured shares of bf16 peak are from github.com/awslabs/nki-autotune (its notes, and `kernel_library/README.md`); the variants here are
written from their descriptions. One constant of the time model is fitted to `streaming`, see timing/table.py; none to the others.

Dimensions: K contraction, M rows, N columns; all multiples of 128, N of 512.
"""

import nki
import nki.isa as nisa
import nki.language as nl

P, N_TILE = 128, 512
PUBLISHED = {
    "single_buffer": 0.16,
    "hoisted_loads": 0.596,
    "hoisted_loads_not_cleared": 0.596,
    "double_buffered_accumulator": 0.837,
    "streaming": 0.895,
    "two_stage_k": 0.9092,
}


def _rows(tile):
    return nl.ds(tile * P, P)


@nki.jit
def single_buffer(lhs_t, rhs):
    """Loads inside the innermost loop, so that operands are fetched again and again in small pieces.

    One buffer each in the published source, but AWS's compiler rotates addresses (it says so: fixed addresses cost 48 points), so the
    buffers are fresh in each step here and the allocator rotates them.

    Args: lhs_t [K, M] @ HBM; rhs [K, N] @ HBM. Returns: [M, N] @ HBM.
    """
    (n_k, m), n = lhs_t.shape, rhs.shape[1]
    out = nl.ndarray((m, n), dtype=lhs_t.dtype, buffer=nl.shared_hbm)
    product = nl.ndarray((P, N_TILE), dtype=nl.float32, buffer=nl.psum)
    result = nl.ndarray((P, N_TILE), dtype=lhs_t.dtype)
    for i in range(m // P):
        for j in range(n // N_TILE):
            for k in range(n_k // P):
                a = nl.ndarray((P, P), dtype=lhs_t.dtype)
                b = nl.ndarray((P, N_TILE), dtype=rhs.dtype)
                nisa.dma_copy(dst=a, src=lhs_t[_rows(k), nl.ds(i * P, P)])
                nisa.dma_copy(dst=b, src=rhs[_rows(k), nl.ds(j * N_TILE, N_TILE)])
                nisa.nc_matmul(dst=product, stationary=a, moving=b, accumulate=k > 0)
            nisa.tensor_copy(dst=result, src=product, engine=nisa.engine.vector)
            nisa.dma_copy(dst=out[_rows(i), nl.ds(j * N_TILE, N_TILE)], src=result)
    return out


def _hoisted(lhs_t, rhs, n_accumulators, clears=True):
    """Both operands loaded once, K innermost, `n_accumulators` rows of tiles in PSUM, cleared before use as in the published source."""
    (n_k, m), n = lhs_t.shape, rhs.shape[1]
    out = nl.ndarray((m, n), dtype=lhs_t.dtype, buffer=nl.shared_hbm)
    a = nl.ndarray((P, n_k // P, m), dtype=lhs_t.dtype)
    b = nl.ndarray((P, n_k // P, n), dtype=rhs.dtype)
    result = nl.ndarray((P, m // P, n), dtype=lhs_t.dtype)
    product = nl.ndarray((P, n_accumulators, n), dtype=nl.float32, buffer=nl.psum)
    for k in range(n_k // P):
        nisa.dma_copy(dst=a[:, k], src=lhs_t[_rows(k)])
    for k in range(n_k // P):
        nisa.dma_copy(dst=b[:, k], src=rhs[_rows(k)])

    def clear(i):
        if clears and i < m // P:
            nisa.memset(dst=product[:, i % n_accumulators], value=0.0, engine=nisa.engine.vector)

    clear(0)
    for i in range(m // P):
        if n_accumulators > 1:
            clear(i + 1)
        for j in range(n // N_TILE):
            columns = nl.ds(j * N_TILE, N_TILE)
            for k in range(n_k // P):
                nisa.nc_matmul(
                    dst=product[:, i % n_accumulators, columns],
                    stationary=a[:, k, nl.ds(i * P, P)],
                    moving=b[:, k, columns],
                    accumulate=k > 0,
                )
        nisa.tensor_copy(dst=result[:, i], src=product[:, i % n_accumulators], engine=nisa.engine.vector)
        if n_accumulators == 1:
            clear(i + 1)
    for i in range(m // P):
        nisa.dma_copy(dst=out[_rows(i)], src=result[:, i])
    return out


@nki.jit
def hoisted_loads(lhs_t, rhs):
    """Hoisted loads, one accumulator row: its drain and its clearing stall the tensor engine. Args, Returns: as single_buffer."""
    return _hoisted(lhs_t, rhs, 1)


@nki.jit
def hoisted_loads_not_cleared(lhs_t, rhs):
    """As hoisted_loads, if the compiler lets the first matmul overwrite instead of clearing PSUM. Args, Returns: as single_buffer."""
    return _hoisted(lhs_t, rhs, 1, clears=False)


@nki.jit
def double_buffered_accumulator(lhs_t, rhs):
    """Two accumulator rows: one drains while the other fills. Args, Returns: as single_buffer."""
    return _hoisted(lhs_t, rhs, 2)


def _streaming(lhs_t, rhs, n_stages):
    """Columns of rhs outermost; both operands stream in blocks of K / n_stages through rotating buffers; tiles drain one by one.

    With two stages the first half of K is parked in SBUF and the second added to it.
    """
    (n_k, m), n = lhs_t.shape, rhs.shape[1]
    depth = n_k // P // n_stages
    block = 4
    out = nl.ndarray((m, n), dtype=lhs_t.dtype, buffer=nl.shared_hbm)
    a = [nl.ndarray((P, depth, block * P), dtype=lhs_t.dtype) for _ in range(4)]
    b = [nl.ndarray((P, depth, N_TILE), dtype=rhs.dtype) for _ in range(2)]
    result = [nl.ndarray((P, m // P, N_TILE), dtype=lhs_t.dtype) for _ in range(2)]
    parked = [nl.ndarray((P, N_TILE), dtype=lhs_t.dtype) for _ in range(2)]
    product = [nl.ndarray((P, N_TILE), dtype=nl.float32, buffer=nl.psum) for _ in range(8)]
    n_tiles = 0
    for j in range(n // N_TILE):
        total = result[j % 2]
        for s in range(n_stages):
            moving = b[(j * n_stages + s) % 2]
            for k in range(depth):
                nisa.dma_copy(dst=moving[:, k], src=rhs[_rows(s * depth + k), nl.ds(j * N_TILE, N_TILE)])
            for i_block in range(m // P // block):
                weights = a[i_block % 4]
                for k in range(depth):
                    nisa.dma_copy(dst=weights[:, k], src=lhs_t[_rows(s * depth + k), nl.ds(i_block * block * P, block * P)])
                for i in range(block):
                    tile, n_tiles = product[n_tiles % 8], n_tiles + 1
                    row = i_block * block + i
                    for k in range(depth):
                        nisa.nc_matmul(dst=tile, stationary=weights[:, k, nl.ds(i * P, P)], moving=moving[:, k], accumulate=k > 0)
                    if s == 0:
                        nisa.tensor_copy(dst=total[:, row], src=tile, engine=nisa.engine.vector)
                    else:
                        nisa.tensor_copy(dst=parked[i % 2], src=tile, engine=nisa.engine.vector)
                        nisa.tensor_tensor(
                            dst=total[:, row], data1=total[:, row], data2=parked[i % 2], op=nl.add, engine=nisa.engine.vector
                        )
        for i in range(m // P):
            nisa.dma_copy(dst=out[_rows(i), nl.ds(j * N_TILE, N_TILE)], src=total[:, i])
    return out


@nki.jit
def streaming(lhs_t, rhs):
    """Loads stream through rotating buffers, all of K in one accumulation. Args, Returns: as single_buffer."""
    return _streaming(lhs_t, rhs, 1)


@nki.jit
def two_stage_k(lhs_t, rhs):
    """K in two stages, so that half a column of operands suffices to start. Args, Returns: as single_buffer."""
    return _streaming(lhs_t, rhs, 2)


RUNGS = (single_buffer, hoisted_loads, hoisted_loads_not_cleared, double_buffered_accumulator, streaming, two_stage_k)
