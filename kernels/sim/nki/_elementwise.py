"""Element-wise instructions of the vector, scalar and GpSimd engines. All compute in float32 and round at the store."""

import numpy as np

from . import language as nl
from ._checks import column, engine_of, on_chip, read, read_column, same_tile, write
from ._context import current
from ._dtypes import INTEGERS, size_bytes
from ._enums import engine, reduce_cmd
from ._errors import at_most, require
from ._storage import PSUM, SBUF
from .language import equal

ACTIVATIONS = (nl.copy, nl.exp, nl.square, nl.sigmoid, nl.silu)
ARITHMETIC = (
    nl.add,
    nl.subtract,
    nl.multiply,
    nl.maximum,
    nl.minimum,
    nl.equal,
    nl.less,
    nl.less_equal,
    nl.greater,
    nl.greater_equal,
    nl.logical_and,
    nl.logical_or,
)
REDUCTIONS = {nl.add: np.sum, nl.maximum: np.max, nl.minimum: np.min}


def tensor_copy(dst, src, engine=engine.unknown, name=None):
    """dst = src."""
    on_chip("tensor_copy", dst=dst, src=src)
    same_tile("tensor_copy", src=src, dst=dst)
    runs_on = engine_of("tensor_copy", engine, ("vector", "scalar", "gpsimd"), [dst, src], "stub: tensor_copy")
    values = read("tensor_copy", "src", src)
    write(dst, values)
    _record(runs_on, "tensor_copy", [src], dst, name, fast=4)


def memset(dst, value, engine=engine.unknown, name=None):
    """dst = value."""
    on_chip("memset", dst=dst)
    runs_on = engine_of("memset", engine, ("vector", "gpsimd"), [dst], "stub: memset")
    write(dst, np.full(dst.shape, value, np.float32))
    _record(runs_on, "memset", [], dst, name)


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
    _record("vector", call, reads, dst, name, inputs=2)


def tensor_tensor(dst, data1, data2, op, engine=engine.unknown, name=None):
    """dst = data1 op data2."""
    call = "tensor_tensor"
    on_chip(call, dst=dst, data1=data1, data2=data2)
    same_tile(call, data1=data1, data2=data2, dst=dst)
    _operator(call, "op", op)
    require(not (data1.buffer == PSUM and data2.buffer == PSUM), call, "data2", "and data1 are both in PSUM", f"stub: {call}")
    runs_on = engine_of(call, engine, ("vector", "gpsimd"), [dst, data1, data2], f"stub: {call}")
    a, b = read(call, "data1", data1), read(call, "data2", data2)
    write(dst, _apply(op, _like(a, dst), _like(b, dst)))
    _record(runs_on, call, [data1, data2], dst, name, fast=2, inputs=2)


def tensor_scalar(dst, data, op0, operand0, reverse0=False, op1=None, operand1=None, reverse1=False, engine=engine.unknown, name=None):
    """dst = (data op0 operand0) op1 operand1, operands broadcast along the free dimensions."""
    call = "tensor_scalar"
    on_chip(call, dst=dst, data=data)
    same_tile(call, data=data, dst=dst)
    require((op1 is None) == (operand1 is None), call, "operand1", "comes with op1, and only with it", f"stub: {call}")
    runs_on = engine_of(call, engine, ("vector", "scalar"), [dst, data], f"stub: {call}")
    if runs_on == "scalar":
        require(
            (op0, op1) in ((nl.multiply, nl.add), (nl.multiply, None), (nl.add, None)),
            call,
            "op0",
            "the scalar engine does multiply then add, multiply, or add",
            f"stub: {call}",
        )
    values, reads = read(call, "data", data), [data]
    for operand, op, scalar, reverse in (("operand0", op0, operand0, reverse0), ("operand1", op1, operand1, reverse1)):
        if op is None:
            continue
        _operator(call, operand, op)
        column(call, operand, scalar, data)
        reads += [scalar] if hasattr(scalar, "storage") else []
        other = read_column(call, operand, scalar, data)
        values = _apply(op, other, values) if reverse else _apply(op, values, other)
    write(dst, values)
    _record(runs_on, call, reads, dst, name, fast=4)


def scalar_tensor_tensor(dst, data, op0, operand0, op1, operand1, reverse0=False, reverse1=False, name=None):
    """dst = (data op0 operand0) op1 operand1, operand1 a tile."""
    call = "scalar_tensor_tensor"
    on_chip(call, dst=dst, data=data, operand1=operand1)
    same_tile(call, data=data, operand1=operand1, dst=dst)
    _operator(call, "op0", op0)
    _operator(call, "op1", op1)
    column(call, "operand0", operand0, data)
    require(not (data.buffer == PSUM and operand1.buffer == PSUM), call, "operand1", "and data are both in PSUM", f"stub: {call}")
    scalar, tile = read_column(call, "operand0", operand0, data), _like(read(call, "operand1", operand1), data)
    values = read(call, "data", data)
    values = _apply(op0, scalar, values) if reverse0 else _apply(op0, values, scalar)
    write(dst, _apply(op1, tile, values) if reverse1 else _apply(op1, values, tile))
    _record("vector", call, [data, operand1] + ([operand0] if hasattr(operand0, "storage") else []), dst, name, inputs=2)


def reciprocal(dst, data, name=None):
    """dst = 1 / data."""
    on_chip("reciprocal", dst=dst, data=data)
    same_tile("reciprocal", data=data, dst=dst)
    values = read("reciprocal", "data", data)
    write(dst, _apply(lambda x, _: 1.0 / x, values, 1.0))
    _record("vector", "reciprocal", [data], dst, name, cycles_per_element=8)


def tensor_reduce(dst, op, data, axis, negate=False, keepdims=False, name=None):
    """dst = op over the last free dimensions of data."""
    call = "tensor_reduce"
    on_chip(call, dst=dst, data=data)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    axes = tuple(a % data.ndim for a in axes)
    require(
        axes == tuple(range(data.ndim - len(axes), data.ndim)) and 0 not in axes,
        call,
        "axis",
        f"{axis}: must be the last free dimensions",
        f"stub: {call}",
    )
    require(op in REDUCTIONS, call, "op", "is no reduction that is simulated", "nki.api.shared: legal reduction ops")
    kept = int(np.prod([n for d, n in enumerate(data.shape) if d not in axes]))
    require(dst.size == kept and dst.shape[0] == data.shape[0], call, "dst", f"{dst.size} elements, must be {kept}", f"stub: {call}")
    values = read(call, "data", data)
    if values is not None:
        values = REDUCTIONS[op](values, axis=axes).reshape(dst.shape) * (-1 if negate else 1)
    write(dst, values)
    _record("vector", call, [data], dst, name, n_elements=data.size // data.shape[0])


def activation(dst, op, data, bias=None, scale=1.0, reduce_op=None, reduce_res=None, reduce_cmd=reduce_cmd.idle, name=None):
    """dst = op(data * scale + bias); reduce_res = the sum over the free dimensions, with reduce_cmd.reset_reduce."""
    call = "activation"
    on_chip(call, dst=dst, data=data)
    same_tile(call, data=data, dst=dst)
    require(op in ACTIVATIONS, call, "op", "is no activation that is simulated", "nki.api.shared: activation functions")
    column(call, "scale", scale, data)
    column(call, "bias", bias, data, dtypes=None)
    require(reduce_cmd.name in ("idle", "reset_reduce"), call, "reduce_cmd", f"{reduce_cmd.name} is not simulated", f"stub: {call}")
    require((reduce_cmd.name == "idle") == (reduce_res is None), call, "reduce_res", "comes with reset_reduce", f"stub: {call}")
    require(reduce_res is None or reduce_op is nl.add, call, "reduce_op", "must be nl.add", f"stub: {call}")
    values = read(call, "data", data)
    values = _apply(nl.multiply, values, read_column(call, "scale", scale, data))
    if bias is not None:
        values = _apply(nl.add, values, read_column(call, "bias", bias, data))
    values = _apply(lambda x, _: op(x), values, 0.0)
    write(dst, values)
    reads = [data] + [v for v in (scale, bias) if hasattr(v, "storage")]
    _record("scalar", call, reads, dst, name)
    if reduce_res is not None:
        column(call, "reduce_res", reduce_res, data, dtypes=None)
        write(reduce_res, None if values is None else values.reshape(data.shape[0], -1).sum(1, dtype=np.float32))
        _record("scalar", "activation_read_accumulator", [], reduce_res, name)


def iota(dst, pattern, offset=0, channel_multiplier=0, name=None):
    """dst[p, w, z, y, x] = offset + p * channel_multiplier + w * step_w + z * step_z + y * step_y + x * step_x."""
    on_chip("iota", dst=dst)
    require(dst.buffer == SBUF, "iota", "dst", f"is in {dst.buffer}, must be SBUF", "stub: iota, Memory types")
    write(dst, _affine("iota", dst, pattern, offset, channel_multiplier))
    _record("gpsimd", "iota", [], dst, name)


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
    _record("gpsimd", call, [on_true_tile], dst, name)


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


def _operator(call, operand, op):
    require(op in ARITHMETIC, call, operand, "is no arithmetic operator that is simulated", "nki.api.shared: math operators")


def _like(values, tensor):
    return values.reshape(tensor.shape) if values is not None and np.ndim(values) else values


def _apply(op, a, b):
    if a is None or b is None:
        return None
    with np.errstate(all="ignore"):
        return op(a, b)


def _record(runs_on, call, reads, dst, name, **work):
    """Records the instruction with what its cost depends on: `fast`, the most that VectorE's 16-bit modes speed the call up, `inputs`,
    `n_elements` and `cycles_per_element`, where they are not the usual ones."""
    tensors = [t for t in reads if t.storage.on_chip and t.size > t.shape[0]] + [dst]
    facts = {
        "n_elements": dst.size // dst.shape[0],
        "fast": 1,
        "inputs": 1,
        "cycles_per_element": 1,
        "half": all(size_bytes(t.dtype) == 2 and t.dtype not in INTEGERS for t in tensors),
        "contiguous": all(t.strides[-1] == 1 for t in tensors),
        "psum": sum(t.buffer == PSUM for t in tensors),
    }
    current().record(runs_on, call, reads, [dst], name, **(facts | work))
