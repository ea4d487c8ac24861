"""How instructions of the vector, scalar and GpSimd engines are recorded for the time model."""

from ._context import current
from ._dtypes import INTEGERS, size_bytes
from ._storage import PSUM


def record(runs_on, call, reads, dst, name, **work):
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
