"""The simulator's `nki`: used only where AWS's `nki` is not installed. `jit` and `simulate` run a kernel on NumPy arrays."""

import os

import numpy as np

from ._context import Context, running, target_generation
from ._dtypes import NAME, NUMPY
from ._storage import PRIVATE_HBM, SHARED_HBM, Storage, check_capacity
from ._tensor import NkiTensor

IS_SIMULATOR = True


class Kernel:
    """A kernel function. Inside another kernel a call runs it inline; outside, it is simulated.

    It runs on as many cores as NEURON_LOGICAL_NC_CONFIG says, 1 if nothing; `kernel[n]` launches n.
    """

    def __init__(self, func, n_programs=None):
        self.func = func
        self.n_programs = n_programs
        self.__doc__ = func.__doc__
        self.__name__ = func.__name__

    def __getitem__(self, n_programs):
        return Kernel(self.func, n_programs)

    def __call__(self, *args, **kwargs):
        from ._context import _stack

        return self.func(*args, **kwargs) if _stack else simulate(self)(*args, **kwargs)


def jit(fn=None, **kwargs):
    """Marks a kernel."""
    return Kernel(fn) if fn is not None else lambda f: Kernel(f)


def simulate(kernel):
    """A function that runs `kernel` on NumPy arrays; arrays that the kernel writes are updated in place."""

    def run(*args, **kwargs):
        return trace(kernel, args, kwargs)[0]

    return run


def trace(kernel, args=(), kwargs=None, numeric=True):
    """Runs `kernel` and returns (results, one context per core).

    With `numeric=False` floats are neither stored nor computed: shapes of any size are recorded for the time model. Cores run one
    after the other, so a kernel whose cores exchange data is refused by what it reads being unwritten.
    """
    kernel = kernel if isinstance(kernel, Kernel) else Kernel(kernel)
    n_programs = kernel.n_programs or int(os.environ.get("NEURON_LOGICAL_NC_CONFIG", 1))
    contexts, results, shared = [], None, {}
    for program_id in range(n_programs):
        context = Context(target_generation(), numeric, program_id, n_programs)
        with running(context):
            bind = lambda value: _bind(context, value, shared)
            outcome = kernel.func(*map(bind, args), **{k: bind(v) for k, v in (kwargs or {}).items()})
        check_capacity(context)
        contexts.append(context)
        results = outcome if results is None else _merged(results, outcome)
    for array, storage in shared.values():
        if storage.bytes is not None and array.flags.writeable:
            array.reshape(-1).view(np.uint8)[:] = storage.bytes
    return _to_numpy(results), contexts


def _bind(context, value, shared):
    """An argument: arrays become HBM tensors, shared by all cores; everything else passes."""
    if not isinstance(value, np.ndarray):
        return value
    if id(value) not in shared:
        storage = Storage(context, value.shape, NAME[value.dtype], SHARED_HBM, array=_contiguous(context, value))
        shared[id(value)] = (value, storage)
    storage = shared[id(value)][1]
    if storage not in context.storages:
        context.storages.append(storage)
    return NkiTensor(value.shape, NAME[value.dtype], storage)


def _contiguous(context, value):
    return np.ascontiguousarray(value) if context.numeric or value.size < 1 << 22 else value


def _merged(first, second):
    """Results of several cores: what a core did not write comes from the others."""
    pairs = zip(first, second) if isinstance(first, tuple) else [(first, second)]
    for a, b in pairs:
        if isinstance(a, NkiTensor) and a.storage is not b.storage and a.storage.bytes is not None:
            a.storage.bytes[b.storage.written] = b.storage.bytes[b.storage.written]
            a.storage.written |= b.storage.written
    return first


def _to_numpy(result):
    if isinstance(result, tuple):
        return tuple(_to_numpy(r) for r in result)
    if not isinstance(result, NkiTensor) or result.storage.bytes is None:
        return result
    return np.array(result.array(), dtype=NUMPY[result.dtype])
