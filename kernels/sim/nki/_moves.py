"""Instructions of the vector, scalar and GpSimd engines that copy, select and fill."""

import numpy as np

from ._checks import engine_of, on_chip, read, same_tile, write
from ._enums import engine
from ._errors import at_most, require
from ._storage import PSUM, SBUF
from ._work import record
from .language import equal


def tensor_copy(dst, src, engine=engine.unknown, name=None):
    """dst = src."""
    on_chip("tensor_copy", dst=dst, src=src)
    same_tile("tensor_copy", src=src, dst=dst)
    runs_on = engine_of("tensor_copy", engine, ("vector", "scalar", "gpsimd"), [dst, src], "stub: tensor_copy")
    values = read("tensor_copy", "src", src)
    write(dst, values)
    record(runs_on, "tensor_copy", [src], dst, name, fast=4)


def memset(dst, value, engine=engine.unknown, name=None):
    """dst = value."""
    on_chip("memset", dst=dst)
    runs_on = engine_of("memset", engine, ("vector", "gpsimd"), [dst], "stub: memset")
    write(dst, np.full(dst.shape, value, np.float32))
    record(runs_on, "memset", [], dst, name)


def tensor_copy_predicated(dst, src, predicate, reverse_pred=False, name=None):
    """dst = src where the predicate is not zero; a selection, so what is not selected leaves no trace."""
    call = "tensor_copy_predicated"
    on_chip(call, dst=dst, predicate=predicate)
    same_tile(call, dst=dst, predicate=predicate)
    require(
        predicate.dtype in ("uint8", "uint16", "uint32"), call, "predicate", f"dtype {predicate.dtype}, must be unsigned", f"stub: {call}"
    )
    reads = [predicate, dst]
    if hasattr(src, "storage"):
        on_chip(call, src=src)
        same_tile(call, dst=dst, src=src)
        require(src.dtype == dst.dtype, call, "src", f"dtype {src.dtype}, dst has {dst.dtype}", f"stub: {call}")
        require(not (src.buffer == PSUM and predicate.buffer == PSUM), call, "predicate", "and src are both in PSUM", f"stub: {call}")
        reads.append(src)
    mask, values = read(call, "predicate", predicate), read(call, "src", src)
    if mask is not None and dst.storage.bytes is not None:
        chosen = mask.reshape(dst.shape).astype(bool) != reverse_pred
        old = dst.array()
        require(bool((dst.written() | chosen).all()), call, "dst", "keeps memory that was never written", "simulator")
        write(dst, np.where(chosen, np.broadcast_to(values, dst.shape) if np.ndim(values) == 0 else values.reshape(dst.shape), old))
    record("vector", call, reads, dst, name, inputs=2)


def iota(dst, pattern, offset=0, channel_multiplier=0, name=None):
    """dst[p, w, z, y, x] = offset + p * channel_multiplier + w * step_w + z * step_z + y * step_y + x * step_x."""
    on_chip("iota", dst=dst)
    require(dst.buffer == SBUF, "iota", "dst", f"is in {dst.buffer}, must be SBUF", "stub: iota, Memory types")
    write(dst, _affine("iota", dst, pattern, offset, channel_multiplier))
    record("gpsimd", "iota", [], dst, name)


def affine_select(dst, pattern, channel_multiplier, on_true_tile, on_false_value, cmp_op=equal, offset=0, name=None):
    """dst = on_true_tile where cmp_op(affine value, 0), else on_false_value."""
    call = "affine_select"
    on_chip(call, dst=dst, on_true_tile=on_true_tile)
    same_tile(call, on_true_tile=on_true_tile, dst=dst)
    for operand, tensor in (("dst", dst), ("on_true_tile", on_true_tile)):
        require(tensor.buffer == SBUF, call, operand, f"is in {tensor.buffer}, must be SBUF", f"stub: {call}, Memory types")
    values = read(call, "on_true_tile", on_true_tile)
    if values is not None:
        predicate = cmp_op(_affine(call, dst, pattern, offset, channel_multiplier), 0)
        values = np.where(predicate, values.reshape(dst.shape), np.float32(on_false_value))
    write(dst, values)
    record("gpsimd", call, [on_true_tile], dst, name)


def _affine(call, dst, pattern, offset, channel_multiplier):
    at_most("affine_dims", len(pattern), call, "pattern")
    count = int(np.prod([n for _, n in pattern]))
    require(
        count * dst.shape[0] == dst.size,
        call,
        "pattern",
        f"{count} elements, dst has {dst.size // dst.shape[0]} a partition",
        f"stub: {call}, Tile size",
    )
    values = offset + np.arange(dst.shape[0], dtype=np.int64).reshape(-1, 1) * channel_multiplier
    for step, n in pattern:
        values = (values[:, :, None] + np.arange(n, dtype=np.int64) * step).reshape(dst.shape[0], -1)
    at_most("iota_bits", int(np.abs(values).max()).bit_length(), call, "pattern")
    return values.astype(np.int32).reshape(dst.shape)
