"""The tensor engine."""

import numpy as np

from ._checks import engine_of, on_chip, read, write
from ._context import current
from ._dtypes import size_bytes
from ._enums import engine, matmul_perf_mode
from ._errors import at_most, require
from ._limits import FP8_DTYPES, MATMUL_DTYPES
from ._storage import PSUM, SBUF

SOURCE = "stub: nc_matmul"


def nc_matmul(
    dst,
    stationary,
    moving,
    is_stationary_onezero=False,
    is_moving_onezero=False,
    is_transpose=False,
    accumulate=None,
    tile_position=(),
    tile_size=(),
    perf_mode=matmul_perf_mode.none,
    name=None,
):
    """dst[M, N] (+)= stationary[K, M]^T @ moving[K, N], accumulated in float32."""
    call = "nc_matmul"
    double = perf_mode.name == "double_row"
    on_chip(call, dst=dst, stationary=stationary, moving=moving)
    require(dst.buffer == PSUM, call, "dst", f"is in {dst.buffer}, must be PSUM", f"{SOURCE}, Memory types")
    for operand, tensor in (("stationary", stationary), ("moving", moving)):
        require(tensor.buffer == SBUF, call, operand, f"is in {tensor.buffer}, must be SBUF", f"{SOURCE}, Memory types")
        allowed = FP8_DTYPES if double else MATMUL_DTYPES
        require(tensor.dtype in allowed, call, operand, f"dtype {tensor.dtype}, must be one of {allowed}", f"{SOURCE}, Data types")
        require(
            not double or (tensor.ndim >= 3 and tensor.shape[1] == 2),
            call,
            operand,
            f"shape {tensor.shape}: double_row wants [K/2, 2, ...]",
            f"{SOURCE}, Layout",
        )
    require(
        (stationary.dtype == "float32") == (moving.dtype == "float32"),
        call,
        "moving",
        f"{moving.dtype} with {stationary.dtype}: float32 goes with float32 only",
        f"{SOURCE}, Data types",
    )
    require(
        stationary.shape[0] == moving.shape[0],
        call,
        "moving",
        f"K {moving.shape[0]}, stationary has {stationary.shape[0]}",
        f"{SOURCE}, Tile size",
    )
    depth = 2 if double else 1
    n_stationary, n_moving = (t.size // t.shape[0] // depth for t in (stationary, moving))
    at_most("matmul_stationary_free", n_stationary, call, "stationary")
    at_most("matmul_moving_free", n_moving, call, "moving")
    require(
        dst.shape[0] == n_stationary and dst.size == n_stationary * n_moving,
        call,
        "dst",
        f"shape {dst.shape}, must be [{n_stationary}, {n_moving}]",
        f"{SOURCE}, Layout",
    )
    wanted = stationary.dtype if is_transpose else "float32"
    require(dst.dtype == wanted, call, "dst", f"dtype {dst.dtype}, must be {wanted}", f"{SOURCE}, Data types; trn2: Built-in Transpose")
    require(not (double and is_transpose), call, "perf_mode", "double_row excludes transpose", "trn2: Double FP8 Matmul Performance")
    require(tile_position == () and tile_size == (), call, "tile_position", "tiling is not simulated; no kernel here uses it", SOURCE)
    _multiply(call, dst, stationary, moving, depth, accumulate)
    current().record(
        "tensor",
        call,
        [stationary, moving] + ([dst] if accumulate else []),
        [dst],
        name,
        n_moving=n_moving,
        n_stationary=n_stationary,
        n_contraction=stationary.shape[0] * depth,
        is_transpose=is_transpose,
        is_float32=stationary.dtype == "float32",
    )


def nc_transpose(dst, data, engine=engine.unknown, name=None):
    """dst[F, P] = data[P, F]^T, bit for bit: tensor engine SBUF to PSUM up to 128 x 128, vector engine up to 32 x 32."""
    call = "nc_transpose"
    on_chip(call, dst=dst, data=data)
    runs_on = engine_of(call, engine, ("tensor", "vector"), [], "stub: nc_transpose")
    rows, columns = data.shape[0], data.size // data.shape[0]
    at_most(f"transpose_{runs_on}", max(rows, columns), call, "data")
    require(
        dst.shape[0] == columns and dst.size == data.size,
        call,
        "dst",
        f"shape {dst.shape}, must be [{columns}, {rows}]",
        "stub: nc_transpose, Layout",
    )
    require(dst.dtype == data.dtype, call, "dst", f"dtype {dst.dtype}, data has {data.dtype}", "stub: nc_transpose, Data types")
    if runs_on == "tensor":
        require(
            data.buffer == SBUF and dst.buffer == PSUM,
            call,
            "dst",
            f"{data.buffer} to {dst.buffer}, must be SBUF to PSUM",
            "stub: nc_transpose, Memory types",
        )
    values = read(call, "data", data)
    write(dst, None if values is None else values.reshape(rows, columns).T)
    work = {
        "n_elements": columns,
        "n_moving": rows,
        "n_stationary": columns,
        "n_contraction": rows,
        "is_transpose": True,
        "is_float32": data.dtype == "float32",
        "psum": dst.buffer == PSUM or data.buffer == PSUM,
        "width": size_bytes(data.dtype),
    }
    current().record(runs_on, call, [data], [dst], name, **work)


def _multiply(call, dst, stationary, moving, depth, accumulate):
    """Computes the product and keeps the rule of first writes: only what a matmul started may be accumulated onto."""
    if dst.storage.bytes is None:
        return
    started = dst.started()
    if accumulate is None:
        require(started.all() or not started.any(), call, "accumulate", "part of dst was started by a matmul and part was not", SOURCE)
        accumulate = bool(started.all())
    require(
        not accumulate or bool(started.all()),
        call,
        "accumulate",
        "accumulates onto PSUM that no matmul started: undefined on trn2",
        f"{SOURCE}, Accumulation mode",
    )
    left, right = read(call, "stationary", stationary), read(call, "moving", moving)
    k = stationary.shape[0]
    with np.errstate(all="ignore"):
        pairs = zip(np.split(left.reshape(k, depth, -1), depth, 1), np.split(right.reshape(k, depth, -1), depth, 1))
        product = sum(a[:, 0].T @ b[:, 0] for a, b in pairs).reshape(dst.shape)
        write(dst, dst.array() + product if accumulate else product, started=True)
