"""Data movement by the DMA engines."""

import numpy as np

from ._checks import write
from ._context import current
from ._dtypes import round_to, size_bytes
from ._enums import dge_mode, engine, oob_mode
from ._errors import OutOfBoundsError, require
from ._memory import scalar_value
from ._storage import PSUM, SBUF

_unknown = engine.unknown
DGE = "Descriptor Generation Engine reference; stub: dma_copy"


def dma_copy(dst, src, priority=None, oob_mode=oob_mode.error, dge_mode=dge_mode.unknown, engine=engine.unknown, name=None):
    """dst = src between HBM and SBUF, cast through float32 when the types differ."""
    for operand, tensor in (("dst", dst), ("src", src)):
        require(tensor.buffer != PSUM, "dma_copy", operand, "is in PSUM, which DMA cannot reach", "stub: dma_copy, Memory types")
    require(priority is None or current().generation == "gen4", "dma_copy", "priority", "exists on gen4 only", "stub: dma_copy")
    require(dst.size == src.size, "dma_copy", "src", f"{src.size} elements, dst has {dst.size}", "stub: dma_copy, Tile size")
    mode = _checked_mode(dst, src, dge_mode, engine)
    values, missing = _gather(src, oob_mode)
    if values is not None and dst.storage.bytes is not None:
        _scatter(dst, values, missing, oob_mode)
    elif dst.storage.bytes is not None:
        write(dst, None)
    reads = [src] + [t.indirection.offset for t in (dst, src) if t.indirection]
    moved = (
        _transfer(dst, src) if not any(_skipped(t) for t in (dst, src)) else dict(n_bytes=0, run_bytes=1, n_descriptors=0, n_partitions=1)
    )
    current().record("dma", "dma_copy", reads, [dst], name, mode=mode, trigger=engine.name, **moved)


def _checked_mode(dst, src, mode, trigger):
    views = [t.indirection for t in (dst, src) if t.indirection]
    require(len(views) <= 1, "dma_copy", "src", "both sides are indirect", DGE)
    vector = any(view.vector for view in views)
    require(not vector or mode.name in ("unknown", "swdge"), "dma_copy", "dge_mode", f"{mode.name} cannot gather or scatter", DGE)
    require(not views or mode.name != "none", "dma_copy", "dge_mode", "none has no run-time addresses", DGE)
    require(
        trigger.name == "unknown" or (mode.name == "hwdge" and trigger.name in ("sync", "scalar")),
        "dma_copy",
        "engine",
        f"{trigger.name} with dge_mode {mode.name}; only sync or scalar with hwdge",
        DGE,
    )
    for view in views:
        if hasattr(view.offset, "storage"):
            require(view.offset.buffer == SBUF, "dma_copy", "offset", "indices are in SBUF", "stub: dma_copy, Indirect addressing")
            require(
                view.offset.dtype in ("int32", "uint32"),
                "dma_copy",
                "offset",
                f"dtype {view.offset.dtype}, must be 32-bit",
                "stub: dma_copy; aps: Vector Dynamic Access",
            )
    if mode.name != "unknown":
        return mode.name
    return "swdge" if vector else "hwdge" if views else "none"


def _gather(src, oob):
    """(values, rows to skip) of a source; values None when the run does not compute them."""
    flat = src.storage.typed(src.dtype)
    if flat is None:
        return None, None
    if src.indirection is None or not src.indirection.vector:
        try:
            array, written = src.array(), src.written()
        except OutOfBoundsError as error:
            require(oob.name == "skip", "dma_copy", "src", error.rule, "stub: dma_copy, oob_mode")
            return np.zeros(src.shape, flat.dtype), np.ones(src.shape[0], bool)
        require(bool(written.all()), "dma_copy", "src", f"`{src.name}` reads memory that was never written", "simulator")
        return array, None
    offsets, missing = _row_offsets(src, oob)
    require(
        bool(src.storage.written[:: size_bytes(src.dtype)][offsets].all()),
        "dma_copy",
        "src",
        "gathers memory that was never written",
        "simulator",
    )
    return flat[offsets], missing


def _scatter(dst, values, missing, oob):
    rounded = round_to(np.asarray(values) if values.dtype.kind in "iu" else values.astype(np.float32), dst.dtype)
    rounded = rounded.reshape(dst.shape)
    keep = slice(None) if missing is None else ~missing
    if dst.indirection is None:
        target = dst if missing is None else None
        if target is not None:
            write(dst, rounded)
        elif keep.any():
            for row in np.flatnonzero(keep):
                write(dst.slice(0, row, row + 1), rounded[row : row + 1])
        return
    if not dst.indirection.vector:
        try:
            write(dst, rounded)
        except OutOfBoundsError as error:
            require(oob.name == "skip", "dma_copy", "dst", error.rule, "stub: dma_copy, oob_mode")
        return
    offsets, skipped = _row_offsets(dst, oob)
    width = size_bytes(dst.dtype)
    rows = ~skipped
    dst.storage.typed(dst.dtype)[offsets[rows]] = rounded[rows]
    dst.storage.written.reshape(-1, width)[offsets[rows].reshape(-1)] = True


def _row_offsets(view, oob):
    """Flat element offsets of a vector-indirect view, one block per row, and which rows are out of bounds."""
    index = view.indirection.offset
    require(
        index.shape[0] == view.shape[0] and index.size == view.shape[0],
        "dma_copy",
        "vector_offset",
        f"shape {index.shape} for {view.shape[0]} rows; one index per row",
        "stub: dma_copy, Indirect addressing",
    )
    require(bool(index.written().all()), "dma_copy", "vector_offset", "reads memory that was never written", "simulator")
    rows = index.array().reshape(-1).astype(np.int64)
    missing = (rows < 0) | (rows >= view.indirection.bound)
    require(
        oob.name == "skip" or not missing.any(),
        "dma_copy",
        "vector_offset",
        f"index {rows[missing][:1]} is out of bounds",
        "stub: dma_copy, oob_mode",
    )
    inner = sum(
        np.arange(n).reshape([-1] + [1] * (view.ndim - 1 - d)) * s
        for d, (n, s) in enumerate(zip(view.shape[1:], view.strides[1:]), start=1)
    )
    base = view.offset + np.where(missing, 0, rows) * view.indirection.stride
    return base.reshape([-1] + [1] * (view.ndim - 1)) + inner, missing


def _skipped(view):
    """Whether a run-time address is out of bounds, so that nothing moves."""
    return (
        view.indirection is not None
        and not view.indirection.vector
        and not (0 <= scalar_value(view.indirection.offset) < view.indirection.bound)
    )


def _transfer(dst, src):
    """What the time model needs: bytes, descriptors, and how many partitions take part."""
    widest = max(size_bytes(dst.dtype), size_bytes(src.dtype))
    run = min(dst.run_bytes(), src.run_bytes(), dst.size * widest)
    n_bytes = dst.size * size_bytes(dst.dtype if dst.storage.on_chip else src.dtype)
    on_chip = dst if dst.storage.on_chip else src
    partitions = on_chip.shape[0] if on_chip.storage.on_chip else 128
    return {"n_bytes": n_bytes, "run_bytes": run, "n_descriptors": -(-n_bytes // run), "n_partitions": partitions}
