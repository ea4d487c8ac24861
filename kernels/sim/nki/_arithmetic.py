"""Arithmetic of the vector, scalar and GpSimd engines. All compute in float32 and round at the store."""

import numpy as np

from . import language as nl
from ._checks import column, engine_of, on_chip, read, read_column, same_tile, write
from ._enums import engine, reduce_cmd
from ._errors import require
from ._storage import PSUM
from ._work import record

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
    record(runs_on, call, [data1, data2], dst, name, fast=2, inputs=2)


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
    record(runs_on, call, reads, dst, name, fast=4)


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
    record("vector", call, [data, operand1] + ([operand0] if hasattr(operand0, "storage") else []), dst, name, inputs=2)


def reciprocal(dst, data, name=None):
    """dst = 1 / data."""
    on_chip("reciprocal", dst=dst, data=data)
    same_tile("reciprocal", data=data, dst=dst)
    values = read("reciprocal", "data", data)
    write(dst, _apply(lambda x, _: 1.0 / x, values, 1.0))
    record("vector", "reciprocal", [data], dst, name, cycles_per_element=8)


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
    record("vector", call, [data], dst, name, n_elements=data.size // data.shape[0])


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
    record("scalar", call, reads, dst, name)
    if reduce_res is not None:
        column(call, "reduce_res", reduce_res, data, dtypes=None)
        write(reduce_res, None if values is None else values.reshape(data.shape[0], -1).sum(1, dtype=np.float32))
        record("scalar", "activation_read_accumulator", [], reduce_res, name)


def _operator(call, operand, op):
    require(op in ARITHMETIC, call, operand, "is no arithmetic operator that is simulated", "nki.api.shared: math operators")


def _like(values, tensor):
    return values.reshape(tensor.shape) if values is not None and np.ndim(values) else values


def _apply(op, a, b):
    if a is None or b is None:
        return None
    with np.errstate(all="ignore"):
        return op(a, b)
