"""ggml's matmul with quantised weights, by its C interface. Weights lie in the first layout that its CPU backend offers
for them (AMX tiles, or repacked), else as they are: what llama.cpp does when it loads a model.
"""

import ctypes
import functools
import itertools
from pathlib import Path

import llama_cpp
from gguf import GGMLQuantizationType, quants

import pattern
from serve import Missing, in_turn

DTYPES = {"int8": GGMLQuantizationType.Q8_0, "int4": GGMLQuantizationType.Q4_1, "bf16": GGMLQuantizationType.BF16}
F32 = GGMLQuantizationType.F32
CONTEXT_BYTES = 1 << 20

pointer, size = ctypes.c_void_p, ctypes.c_size_t
# Name, library, result, arguments; from ggml.h, ggml-alloc.h, ggml-backend.h and ggml-cpu.h.
FUNCTIONS = [
    ("ggml_new_tensor_2d", "base", pointer, [pointer, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]),
    ("ggml_mul_mat", "base", pointer, [pointer, pointer, pointer]),
    ("ggml_new_graph", "base", pointer, [pointer]),
    ("ggml_build_forward_expand", "base", None, [pointer, pointer]),
    ("ggml_backend_alloc_ctx_tensors_from_buft", "base", pointer, [pointer, pointer]),
    ("ggml_backend_buffer_free", "base", None, [pointer]),
    ("ggml_free", "base", None, [pointer]),
    ("ggml_backend_tensor_set", "base", None, [pointer, pointer, size, size]),
    ("ggml_backend_tensor_get", "base", None, [pointer, pointer, size, size]),
    ("ggml_backend_supports_op", "base", ctypes.c_bool, [pointer, pointer]),
    ("ggml_backend_graph_compute", "base", ctypes.c_int, [pointer, pointer]),
    ("ggml_backend_get_default_buffer_type", "base", pointer, [pointer]),
    ("ggml_backend_get_device", "base", pointer, [pointer]),
    ("ggml_backend_reg_get_proc_address", "base", pointer, [pointer, ctypes.c_char_p]),
    ("ggml_backend_cpu_reg", "cpu", pointer, []),
    ("ggml_backend_cpu_init", "cpu", pointer, []),
    ("ggml_backend_cpu_set_n_threads", "cpu", None, [pointer, ctypes.c_int]),
]


class InitParams(ctypes.Structure):
    _fields_ = [("mem_size", size), ("mem_buffer", pointer), ("no_alloc", ctypes.c_bool)]


class Ggml:
    """The functions by name, and a CPU backend."""

    def __init__(self, n_threads):
        folder = Path(llama_cpp.__file__).parent / "lib"
        libraries = {name: ctypes.CDLL(str(next(folder.glob(f"libggml-{name}.so*")))) for name in ("base", "cpu")}
        for name, library, result, arguments in FUNCTIONS:
            function = getattr(libraries[library], name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name.removeprefix("ggml_"), function)
        self.init = libraries["base"].ggml_init
        self.init.restype, self.init.argtypes = pointer, [InitParams]
        self.backend = self.backend_cpu_init()
        self.backend_cpu_set_n_threads(self.backend, n_threads)

    def context(self):
        """A context for tensors whose memory comes from a buffer."""
        return self.init(InitParams(CONTEXT_BYTES, None, True))

    def layouts(self):
        """Types of buffers, the favourite first."""
        find = self.backend_reg_get_proc_address(self.backend_cpu_reg(), b"ggml_backend_dev_get_extra_bufts")
        extra = ctypes.CFUNCTYPE(ctypes.POINTER(pointer), pointer)(find)(self.backend_get_device(self.backend))
        return [*itertools.takewhile(bool, extra), self.backend_get_default_buffer_type(self.backend)]


@functools.cache
def ggml(n_threads):
    return Ggml(n_threads)


def prepare(n_threads, dtype, case):
    """Copies of a matrix that take turns, and the ends of the result."""
    if dtype not in DTYPES:
        raise Missing(f"no matmul of ggml with weights of {dtype}")
    lib = ggml(n_threads)
    w = quants.quantize(pattern.weights(case["n"], case["k"]), DTYPES[dtype])
    layout = next(layout for layout in lib.layouts() if Product(lib, dtype, case, layout).is_supported())
    products = [Product(lib, dtype, case, layout) for _ in range(pattern.n_copies(case["rotated_bytes"], w.nbytes))]
    for product in products:
        product.fill(w)
        product.compute()
    return in_turn([product.compute for product in products]), product.ends()


class Product:
    """`y[m, n] = x[m, k] w[n, k]^T`, weights in a buffer of the type `layout`."""

    def __init__(self, lib, dtype, case, layout):
        self.lib, self.shape = lib, (case["m"], case["k"], case["n"])
        m, k, n = self.shape
        self.contexts = [lib.context(), lib.context()]
        self.w = lib.new_tensor_2d(self.contexts[0], DTYPES[dtype], k, n)
        self.x = lib.new_tensor_2d(self.contexts[1], F32, k, m)
        self.y = lib.mul_mat(self.contexts[1], self.w, self.x)
        self.graph = lib.new_graph(self.contexts[1])
        lib.build_forward_expand(self.graph, self.y)
        layouts = (layout, lib.backend_get_default_buffer_type(lib.backend))
        self.buffers = [lib.backend_alloc_ctx_tensors_from_buft(*pair) for pair in zip(self.contexts, layouts)]

    def is_supported(self):
        return self.lib.backend_supports_op(self.lib.backend, self.y)

    def fill(self, w):
        """Sets weights, which the buffer puts into its layout, and activations."""
        m, k, _ = self.shape
        for tensor, values in ((self.w, w), (self.x, pattern.activations(m, k))):
            self.lib.backend_tensor_set(tensor, values.ctypes.data, 0, values.nbytes)

    def __del__(self):
        for buffer in self.buffers:
            self.lib.backend_buffer_free(buffer)
        for context in self.contexts:
            self.lib.free(context)

    def compute(self):
        status = self.lib.backend_graph_compute(self.lib.backend, self.graph)
        if status:
            raise Missing(f"ggml_backend_graph_compute answers {status}")

    def ends(self):
        """The first and last four numbers of the result."""
        first, last = (ctypes.c_float * 4)(), (ctypes.c_float * 4)()
        self.lib.backend_tensor_get(self.y, first, 0, 16)
        m, _, n = self.shape
        self.lib.backend_tensor_get(self.y, last, m * n * 4 - 16, 16)
        return [*first, *last]
