"""Writes and reads safetensors files: a JSON header and raw little-endian arrays. Small enough not to need a package."""

import json
import struct

import ml_dtypes
import numpy as np

NAMES = {
    np.dtype(np.float64): "F64",
    np.dtype(np.float32): "F32",
    np.dtype(ml_dtypes.bfloat16): "BF16",
    np.dtype(np.int32): "I32",
    np.dtype(ml_dtypes.float8_e4m3): "U8",
}
DTYPES = {name: dtype for dtype, name in NAMES.items() if name != "U8"} | {"U8": np.dtype(np.uint8)}


def encode(tensors, metadata):
    """The bytes of a file. float8_e4m3 (IEEE, not "fn") has no name in the format and is stored as U8. Metadata are strings."""
    header, offset = {"__metadata__": metadata}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(np.ascontiguousarray(a).tobytes() for a in tensors.values())


def decode(data):
    """(tensors, metadata) of a file."""
    (n,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + n])
    metadata = header.pop("__metadata__", {})
    read = lambda e: np.frombuffer(data[8 + n :][slice(*e["data_offsets"])], DTYPES[e["dtype"]]).reshape(e["shape"])
    return {name: read(entry) for name, entry in header.items()}, metadata
