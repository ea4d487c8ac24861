"""`NkiTensor`: a view of memory, with the documented view operations."""

import math
from dataclasses import dataclass

import numpy as np

from ._context import current
from ._dtypes import size_bytes
from ._errors import NkiValidationError, require
from ._memory import MemoryView

VIEWS = "stub: NkiTensor"
ACCESS_PATTERNS = "aps: Restriction on SBUF/PSUM Tensors"


@dataclass(frozen=True)
class DynamicSlice:
    """`nl.ds(start, size)`."""

    start: int
    size: int


@dataclass(frozen=True)
class Indirection:
    """A run-time offset: `offset` is a register or a tensor, scaled by `stride` elements; `vector` gives one index per row."""

    offset: object
    stride: int
    vector: bool
    bound: int


class NkiTensor(MemoryView):
    """A view of memory, with the documented operations on views."""

    def __init__(self, shape, dtype, storage, buffer=None, name=""):
        self.shape = tuple(int(n) for n in shape)
        self.dtype = dtype
        self.storage = storage
        self.buffer = storage.buffer if buffer is None else buffer
        self.name = name or storage.name
        self.strides = _row_major(self.shape)
        self.offset = 0
        self.indirection = None

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def size(self):
        return math.prod(self.shape)

    def __getitem__(self, key):
        key = key if isinstance(key, tuple) else (key,)
        if Ellipsis in key:
            at = key.index(Ellipsis)
            key = key[:at] + (slice(None),) * (self.ndim - len(key) + 1) + key[at + 1 :]
        require(len(key) <= self.ndim, "getitem", self.name, f"{len(key)} indices for {self.ndim} dimensions", VIEWS)
        shape, strides, offset = [], [], self.offset
        for dim, n in enumerate(self.shape):
            start, stop, step = index = _bounds(key[dim] if dim < len(key) else slice(None), n)
            require(0 <= start < stop <= n and step >= 1, "getitem", self.name, f"{index} of dimension {dim} with {n}", VIEWS)
            if start or stop != n or step != 1:
                self._not_indirect("getitem", dim)
            offset += start * self.strides[dim]
            single = dim < len(key) and isinstance(key[dim], (int, np.integer))
            if not single or (dim == 0 and self.storage.on_chip):
                shape.append(-(-(stop - start) // step))
                strides.append(self.strides[dim] * step)
        return self._view(shape, strides, offset)

    def slice(self, dim, start, end, step=1):
        require(
            0 <= start < end <= self.shape[dim] and step >= 1,
            "slice",
            self.name,
            f"[{start}:{end}:{step}] of dimension {dim} with {self.shape[dim]}",
            VIEWS,
        )
        self._not_indirect("slice", dim)
        shape = _replaced(self.shape, dim, -(-(end - start) // step))
        strides = _replaced(self.strides, dim, self.strides[dim] * step)
        return self._view(shape, strides, self.offset + start * self.strides[dim])

    def select(self, dim, index):
        if isinstance(index, (int, np.integer)):
            index = index + self.shape[dim] if index < 0 else index
            require(0 <= index < self.shape[dim], "select", self.name, f"index {index} of {self.shape[dim]}", VIEWS)
            self._not_indirect("select", dim)
            view = self._view(self.shape, self.strides, self.offset + index * self.strides[dim])
        else:
            require(self.indirection is None, "select", self.name, "one dynamic select per tensor", VIEWS)
            require(not (self.storage.on_chip and dim == 0), "select", self.name, "the partition is not dynamic", VIEWS)
            view = self._view(self.shape, self.strides, self.offset)
            view.indirection = Indirection(index, self.strides[dim], False, self.shape[dim])
        view.shape = view.shape[:dim] + view.shape[dim + 1 :]
        view.strides = view.strides[:dim] + view.strides[dim + 1 :]
        return view

    def permute(self, dims):
        require(sorted(dims) == list(range(self.ndim)), "permute", self.name, f"{dims} is no permutation", VIEWS)
        require(not self.storage.on_chip or dims[0] == 0, "permute", self.name, "partitions stay outermost", VIEWS)
        return self._view([self.shape[d] for d in dims], [self.strides[d] for d in dims], self.offset)

    def broadcast(self, dim, size):
        require(self.shape[dim] == 1, "broadcast", self.name, f"dimension {dim} has {self.shape[dim]}, not 1", VIEWS)
        require(not (self.storage.on_chip and dim == 0), "broadcast", self.name, "not across partitions", VIEWS)
        return self._view(_replaced(self.shape, dim, size), _replaced(self.strides, dim, 0), self.offset)

    def expand_dim(self, dim):
        require(not (self.storage.on_chip and dim == 0), "expand_dim", self.name, "partitions stay outermost", VIEWS)
        shape, strides = list(self.shape), list(self.strides)
        shape.insert(dim, 1)
        strides.insert(dim, 0)
        return self._view(shape, strides, self.offset)

    def reshape_dim(self, dim, shape):
        require(int(np.prod(shape)) == self.shape[dim], "reshape_dim", self.name, f"{self.shape[dim]} to {shape}", VIEWS)
        require(not (self.storage.on_chip and dim == 0), "reshape_dim", self.name, "partitions stay outermost", VIEWS)
        strides = [s * self.strides[dim] for s in _row_major(tuple(shape))]
        return self._view(
            (*self.shape[:dim], *shape, *self.shape[dim + 1 :]), (*self.strides[:dim], *strides, *self.strides[dim + 1 :]), self.offset
        )

    def reshape(self, shape):
        require(int(np.prod(shape)) == self.size, "reshape", self.name, f"{self.shape} to {tuple(shape)}", VIEWS)
        if self.storage.on_chip:
            require(shape[0] == self.shape[0], "reshape", self.name, "partitions stay outermost", VIEWS)
            require(self.is_contiguous(), "reshape", self.name, "the view is not contiguous", VIEWS)
            strides = (self.strides[0],) + _row_major(tuple(shape[1:]))
        else:
            require(self.is_contiguous(), "reshape", self.name, "the view is not contiguous", VIEWS)
            strides = _row_major(tuple(shape))
        return self._view(tuple(shape), strides, self.offset)

    def ap(self, pattern, offset=None, scalar_offset=None, vector_offset=None, indirect_dim=0, dtype=None):
        require(
            self.offset == 0 and self.strides == _row_major(self.shape),
            "ap",
            self.name,
            "on a view: the stub and the guide disagree whether its offset counts, so call it on the base tensor",
            "aps, stub",
        )
        require(scalar_offset is None or vector_offset is None, "ap", self.name, "scalar_offset excludes vector_offset", VIEWS)
        dtype = dtype or self.dtype
        view = self._view([n for _, n in pattern], [s for s, _ in pattern], offset or 0)
        view.dtype = dtype
        if self.storage.on_chip:
            row = self.storage.row_bytes // size_bytes(dtype)
            require(pattern[0][0] == row, "ap", self.name, f"partition step {pattern[0][0]}, the row has {row}", ACCESS_PATTERNS)
        index = scalar_offset if vector_offset is None else vector_offset
        if index is not None:
            require(
                vector_offset is None or (indirect_dim == 0 and not self.storage.on_chip),
                "ap",
                self.name,
                "vector_offset works on dimension 0 of an HBM tensor",
                "aps: Vector Dynamic Access",
            )
            require(not (self.storage.on_chip and indirect_dim == 0), "ap", self.name, "the partition is not dynamic", VIEWS)
            stride = int(np.prod(self.shape[indirect_dim + 1 :], dtype=np.int64))
            view.indirection = Indirection(index, stride, vector_offset is not None, self.shape[indirect_dim])
        return view

    def view(self, dtype):
        require(self.strides[-1] == 1 and self.indirection is None, "view", self.name, "needs a contiguous static last dimension", VIEWS)
        old, new = size_bytes(self.dtype), size_bytes(dtype)
        require(
            all(n * old % new == 0 for n in (*self.strides[:-1], self.offset, self.shape[-1])),
            "view",
            self.name,
            f"{self.dtype} rows do not divide into {dtype}",
            VIEWS,
        )
        scaled = [s * old // new for s in self.strides[:-1]] + [1]
        view = self._view(_replaced(self.shape, self.ndim - 1, self.shape[-1] * old // new), scaled, self.offset * old // new)
        view.dtype = dtype
        return view

    def is_contiguous(self):
        expected = 1
        for n, stride in list(zip(self.shape, self.strides))[: 0 if self.storage.on_chip else None : -1]:
            if n != 1 and stride != expected:
                return False
            expected *= n
        return True

    def get_pattern(self):
        return [[s, n] for s, n in zip(self.strides, self.shape)]

    def is_indirect(self):
        return self.indirection is not None

    def _view(self, shape, strides, offset):
        view = NkiTensor.__new__(NkiTensor)
        view.dtype, view.storage, view.buffer, view.name = self.dtype, self.storage, self.buffer, self.name
        view.shape, view.strides, view.offset, view.indirection = tuple(shape), tuple(strides), offset, self.indirection
        return view

    def _not_indirect(self, call, dim):
        if self.indirection is not None and self.indirection.vector and dim == 0:
            raise NkiValidationError(call, self.name, "the indirect dimension cannot be indexed again", VIEWS)


def allocate(shape, dtype, buffer, name=""):
    """A new tensor of the running kernel."""
    from ._storage import Storage

    return NkiTensor(shape, dtype, current().allocation(lambda: Storage(current(), tuple(shape), dtype, buffer, name)))


def _row_major(shape):
    strides, step = [], 1
    for n in reversed(shape):
        strides.insert(0, step)
        step *= n
    return tuple(strides)


def _bounds(index, n):
    """(start, stop, step) of an index into a dimension of `n`; a slice that reaches past the end keeps its end, to be refused."""
    if isinstance(index, DynamicSlice):
        return index.start, index.start + index.size, 1
    if isinstance(index, slice):
        start, stop, step = index.indices(n)
        return start, max(stop, index.stop or 0), step
    index = index + n if index < 0 else index
    return index, index + 1, 1


def _replaced(values, index, value):
    return tuple(value if i == index else v for i, v in enumerate(values))
