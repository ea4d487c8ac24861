"""Memory as instructions see it: where a view lies, its array, and which of it was written."""

import numpy as np

from ._dtypes import size_bytes
from ._errors import OutOfBoundsError, require


class MemoryView:
    """Shape, strides and offset in elements over a `Storage`; at a run-time offset if there is an `indirection`."""

    def partition_start(self):
        """First partition of an on-chip view."""
        return self.offset // (self.storage.row_bytes // size_bytes(self.dtype))

    def region(self):
        """(storage, region) that this view may touch; the whole storage when the offset is known at run time only."""
        storage, width = self.storage, size_bytes(self.dtype)
        if self.indirection is not None:
            rows = (self.partition_start(), self.partition_start() + self.shape[0]) if storage.on_chip else (0, 1)
            return storage, (*rows, 0, storage.row_bytes)
        span = lambda dims: sum((n - 1) * s for n, s in dims)
        dims = list(zip(self.shape, self.strides))
        if not storage.on_chip:
            return storage, (0, 1, self.offset * width, (self.offset + span(dims) + 1) * width)
        first, start = divmod(self.offset, storage.row_bytes // width)
        return storage, (first, first + self.shape[0], start * width, (start + span(dims[1:]) + 1) * width)

    def run_bytes(self):
        """Longest contiguous run in bytes: what one DMA descriptor can carry on this side."""
        run = 1
        for n, stride in list(zip(self.shape, self.strides))[: 0 if self.storage.on_chip else None : -1]:
            if n == 1:
                continue
            if stride != run:
                break
            run *= n
        return run * size_bytes(self.dtype)

    def array(self):
        """The strided array behind a static view, or the view at its run-time scalar offset; None when not computed."""
        flat = self.storage.typed(self.dtype)
        return None if flat is None else self._strided(flat, self.offset + self._scalar_shift())

    def written(self):
        """Which elements were written, one bool each; None when not computed."""
        return self._mask(self.storage.written)

    def started(self):
        """Which PSUM elements a matmul started; None when not computed."""
        return self._mask(self.storage.started)

    def mark(self, mask, value):
        """Sets all bytes of this view in `mask`, one of the storage's byte masks."""
        width = size_bytes(self.dtype)
        start = (self.offset + self._scalar_shift()) * width
        strides = [s * width for s in self.strides] + [1]
        np.lib.stride_tricks.as_strided(mask[start:], (*self.shape, width), strides)[...] = value

    def _mask(self, mask):
        if mask is None:
            return None
        return self._strided(mask[:: size_bytes(self.dtype)], self.offset + self._scalar_shift())

    def _strided(self, flat, offset):
        strides = [s * flat.strides[0] for s in self.strides]
        return np.lib.stride_tricks.as_strided(flat[offset:], self.shape, strides)

    def _scalar_shift(self):
        if self.indirection is None or self.indirection.vector:
            return 0
        index = scalar_value(self.indirection.offset)
        reach = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides))
        limit = self.storage.row_elements * self.storage.n_partitions
        shift = index * self.indirection.stride
        if not 0 <= index < self.indirection.bound or reach + shift >= limit:
            raise OutOfBoundsError("ap", self.name, f"run-time offset {index} is out of bounds", "aps: Scalar Dynamic Access")
        return shift


def scalar_value(offset):
    """The integer in a register or in a 1x1 tensor."""
    if hasattr(offset, "value"):
        require(offset.value is not None, "register", "offset", "the register was never loaded", "stub: register_alloc")
        return offset.value
    require(offset.size == 1, "ap", offset.name, "scalar_offset is a register or a 1x1 tensor", "aps: Scalar Dynamic Access")
    values = offset.array()
    if values is None:
        return 0
    require(bool(np.all(offset.written())), "ap", offset.name, "reads memory that was never written", "simulator")
    return int(values.reshape(-1)[0])
