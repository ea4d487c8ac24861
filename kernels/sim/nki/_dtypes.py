"""Element types: NKI's names, as the strings that `tensor.dtype` holds, and their NumPy types."""

import ml_dtypes
import numpy as np

NUMPY = {
    "bool_": np.dtype(np.uint8),
    "int8": np.dtype(np.int8),
    "int16": np.dtype(np.int16),
    "int32": np.dtype(np.int32),
    "uint8": np.dtype(np.uint8),
    "uint16": np.dtype(np.uint16),
    "uint32": np.dtype(np.uint32),
    "float16": np.dtype(np.float16),
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8_e4m3": np.dtype(ml_dtypes.float8_e4m3),
    "float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
}
NAME = {dtype: name for name, dtype in NUMPY.items() if name != "bool_"}
INTEGERS = frozenset(name for name in NUMPY if name == "bool_" or name.lstrip("u").startswith("int"))


def size_bytes(dtype):
    """Bytes of one element."""
    return NUMPY[dtype].itemsize


def round_to(values, dtype):
    """`values`, float32 or integers, rounded to `dtype` as a store does: to nearest even; integers saturate."""
    target = NUMPY[dtype]
    if dtype in INTEGERS and values.dtype.kind not in "iub":
        bounds = np.iinfo(target)
        return np.clip(np.rint(values.astype(np.float64)), bounds.min, bounds.max).astype(target)
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(target)
