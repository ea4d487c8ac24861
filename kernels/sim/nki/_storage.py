"""Memory behind tensors: bytes, which of them were written, and when the memory is live."""

import numpy as np

from ._dtypes import INTEGERS, NUMPY, size_bytes
from ._errors import at_most, require
from ._limits import LIMITS

SBUF, PSUM, PRIVATE_HBM, SHARED_HBM = "sbuf", "psum", "private_hbm", "shared_hbm"
ON_CHIP = (SBUF, PSUM)


class Storage:
    """One allocation. On chip it is `n_partitions` rows of `row_bytes`; in HBM one row.

    Fresh memory holds 0xFF bytes, NaN for every float type, and a shadow mask says which bytes were written: reading others is an
    error. PSUM also remembers which bytes a matmul started, because only those may be accumulated onto.
    """

    def __init__(self, context, shape, dtype, buffer, name="", array=None):
        self.buffer = buffer
        self.dtype = dtype
        self.name = name or f"{buffer}{len(context.storages)}"
        self.on_chip = buffer in ON_CHIP
        self.n_partitions = shape[0] if self.on_chip else 1
        n_elements = int(np.prod(shape, dtype=np.int64))
        self.row_elements = n_elements // self.n_partitions
        self.row_bytes = self.row_elements * size_bytes(dtype)
        self.first_use = self.last_use = None
        self.is_input = array is not None
        self.bytes = self.written = self.started = None
        if context.numeric or (dtype in INTEGERS and n_elements < 1 << 22):
            n_bytes = n_elements * size_bytes(dtype)
            if array is None:
                self.bytes = np.full(n_bytes, 0xFF, np.uint8)
            else:
                self.bytes = np.ascontiguousarray(array).reshape(-1).view(np.uint8).copy()
            self.written = np.full(n_bytes, self.is_input, bool)
            if buffer == PSUM:
                self.started = np.zeros(n_bytes, bool)
        context.storages.append(self)
        self._check_fits(context)

    def _check_fits(self, context):
        if not self.on_chip:
            return
        at_most("partitions", self.n_partitions, "ndarray", self.name)
        capacity, source = context.limit("sbuf_bytes"), LIMITS["sbuf_bytes"].source
        if self.buffer == PSUM:
            capacity, source = context.limit("psum_bank_bytes") * context.limit("psum_banks"), LIMITS["psum_banks"].source
        require(
            self.row_bytes <= capacity,
            "ndarray",
            self.name,
            f"{self.row_bytes} bytes per partition, {self.buffer} has {capacity}",
            source,
        )

    def touch(self, position):
        """Notes that the instruction at `position` uses this memory."""
        self.first_use = position if self.first_use is None else self.first_use
        self.last_use = position

    def typed(self, dtype):
        """The memory as a flat array of `dtype`, or None when the run does not compute it."""
        return None if self.bytes is None else self.bytes.view(NUMPY[dtype])


def check_capacity(context):
    """Live-range accounting: at no instruction may the live allocations exceed SBUF, or PSUM's banks.

    A tensor lives from its first to its last use; one that a device loop uses lives through the whole loop. In PSUM an allocation takes
    whole banks.
    """
    loops = _loop_ranges(context)
    for buffer, limit, unit in ((SBUF, "sbuf_bytes", 1), (PSUM, "psum_banks", context.limit("psum_bank_bytes"))):
        events = []
        for storage in context.storages:
            if storage.buffer != buffer or storage.first_use is None:
                continue
            size = -(-storage.row_bytes // unit)
            first, last = _widen(storage.first_use, storage.last_use, loops)
            events += [(first, 1, size, storage.name), (last + 1, 0, -size, storage.name)]
        live = 0
        for _, _, size, name in sorted(events):
            live += size
            at_most(limit, live, "ndarray", name, context.generation)


def _loop_ranges(context):
    stack, ranges = [], []
    for position, instruction in enumerate(context.instructions):
        if instruction.call == "loop_begin":
            stack.append(position)
        elif instruction.call == "loop_end":
            ranges.append((stack.pop(), position))
    return ranges


def _widen(first, last, loops):
    """A live range, widened to the loops that it enters or leaves: the hardware re-runs one body, its memory stays allocated."""
    for begin, end in loops:
        if first <= end and last >= begin:
            first, last = min(first, begin), max(last, end)
    return first, last
