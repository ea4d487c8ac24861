"""Rules that many instructions share."""

import numpy as np

from ._context import current
from ._dtypes import round_to
from ._errors import at_most, require
from ._limits import LIMITS, START_PARTITION_SOURCE, START_PARTITIONS
from ._storage import PSUM, SBUF


def on_chip(call, **operands):
    """Operands of a compute engine: in SBUF or PSUM, at a legal start partition, with a pattern that the engine can walk."""
    for operand, tensor in operands.items():
        require(
            tensor.buffer in (SBUF, PSUM),
            call,
            operand,
            f"is in {tensor.buffer}; compute engines reach SBUF and PSUM only",
            "trn1: engines and memories",
        )
        n = tensor.shape[0]
        at_most("partitions", n, call, operand)
        allowed = next(starts for most, starts in START_PARTITIONS if n <= most)
        require(
            tensor.partition_start() in allowed,
            call,
            operand,
            f"{n} partitions start at {tensor.partition_start()}, allowed {allowed}",
            START_PARTITION_SOURCE,
        )
        at_most("free_dims", tensor.ndim - 1, call, operand)
        bank = LIMITS["psum_bank_bytes"]
        if tensor.buffer == PSUM and tensor.indirection is None:
            _, (_, _, low, high) = tensor.region()
            call_is_matmul = call in ("nc_matmul", "nc_transpose")
            require(
                not call_is_matmul or low // bank.gen3 == (high - 1) // bank.gen3,
                call,
                operand,
                f"bytes {low}..{high} cross a PSUM bank of {bank.gen3}",
                bank.source,
            )


def engine_of(call, engine, allowed, tensors, source):
    """The engine that runs the call: the one asked for, or the first allowed. GpSimd cannot reach PSUM."""
    name = engine.name
    if name == "unknown":
        name = allowed[0]
    require(name in allowed, call, "engine", f"{name}; this call runs on {', '.join(allowed)}", source)
    for tensor in tensors:
        require(
            name != "gpsimd" or tensor.buffer != PSUM,
            call,
            tensor.name,
            "is in PSUM, which GpSimd cannot access",
            "stub: tensor_copy; trn1: engines and memories",
        )
    return name


def same_tile(call, **operands):
    """Operands with equal partitions and equally many elements in each."""
    (first, lead), *others = operands.items()
    for operand, tensor in others:
        require(
            tensor.shape[0] == lead.shape[0] and tensor.size == lead.size,
            call,
            operand,
            f"shape {tensor.shape} does not match `{first}` {lead.shape}",
            f"stub: {call}, Tile size",
        )


def column(call, operand, value, data, dtypes=("float32",)):
    """A per-partition operand: a number, or a float32 tile [P, 1]."""
    if not hasattr(value, "storage"):
        return
    on_chip(call, **{operand: value})
    require(
        value.shape[0] == data.shape[0] and value.size == value.shape[0],
        call,
        operand,
        f"shape {value.shape}, must be ({data.shape[0]}, 1)",
        f"stub: {call}",
    )
    require(dtypes is None or value.dtype in dtypes, call, operand, f"dtype {value.dtype}, must be {dtypes}", f"stub: {call}, Data types")


def read(call, operand, value):
    """The value of an operand in float32 (integers as they are), or a number; None when the run does not compute it.

    Reading memory that was never written is an error, whatever its bits.
    """
    if not hasattr(value, "storage"):
        return np.float32(value)
    array = value.array()
    if array is None:
        return None
    require(bool(value.written().all()), call, operand, "reads memory that was never written", "simulator")
    return array if array.dtype.kind in "iu" else array.astype(np.float32)


def read_column(call, operand, value, like):
    """A per-partition operand, shaped to broadcast over the free dimensions of `like`."""
    values = read(call, operand, value)
    if values is None or not hasattr(value, "storage"):
        return values
    return values.reshape(value.shape[0], *[1] * (like.ndim - 1))


def write(tensor, values, started=False):
    """Stores `values` rounded to the tensor's type and notes what is initialised. `values=None` stores nothing but the note."""
    storage = tensor.storage
    if storage.bytes is None:
        return
    if values is None:
        values = np.zeros(tensor.shape, np.int32)
    tensor.array()[...] = round_to(np.asarray(values), tensor.dtype).reshape(tensor.shape)
    tensor.mark(storage.written, True)
    if storage.started is not None:
        tensor.mark(storage.started, started)


def numeric():
    """Whether this run computes floats."""
    return current().numeric
