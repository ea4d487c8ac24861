"""Which programs a model needs: kernels at shape buckets, with the tensors that each takes and gives."""

from dataclasses import asdict, dataclass

import ml_dtypes
import numpy as np


from . import attention_plan, layouts
from .neff import Tensor

NUMPY = {
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8_e4m3": np.dtype(ml_dtypes.float8_e4m3),
    "float32": np.dtype(np.float32),
    "int32": np.dtype(np.int32),
}
ROWS = (1, 4, 16, 64, 256, 1024)  # buckets of M
SEQUENCES = ((1, 1), (4, 1), (8, 1), (1, 128), (1, 1024))  # buckets of (sequences, new tokens of each)
CONTEXTS = (32768, 131072)


@dataclass(frozen=True)
class Model:
    """The sizes of a model that its kernels depend on."""

    d_model: int
    d_ff: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocab: int


MODELS = {
    "smollm2-135m": Model(576, 1536, 9, 3, 64, 49152),
    "llama-3.2-1b": Model(2048, 8192, 32, 8, 64, 128256),
    "llama-3.1-8b": Model(4096, 14336, 32, 8, 128, 128256),
    "qwen3-8b": Model(4096, 12288, 32, 8, 128, 151936),
}


@dataclass(frozen=True)
class Program:
    """One compiled program: `kernel` in this package, its compile-time `arguments`, and its tensors in order."""

    kernel: str
    arguments: dict
    tensors: tuple

    @property
    def name(self):
        """A readable name, unique among programs: kernel and arguments."""
        return "-".join([self.kernel, *(f"{k}{v}" for k, v in self.arguments.items())])

    def inputs(self):
        """A zero array for each input: what the kernel is specialised for."""
        return [np.zeros(t.shape, NUMPY[t.dtype]) for t in self.tensors if t.kind == "input"]


def matmul_program(kernel, m, k, n, weights="bfloat16"):
    """`matmul` or `matmul_silu_gate` for M rows; float8 weights come with a scale per channel."""
    kt, nt = layouts.tiles(k), layouts.tiles(n)
    parts = 2 if kernel == "matmul_silu_gate" else 1
    tensors = [Tensor("x", "input", "bfloat16", (128, kt, m)), Tensor("weights", "input", weights, (128, parts * nt, kt, 128))]
    if weights != "bfloat16":
        tensors.append(Tensor("scale", "input", "float32", (128, parts * nt)))
    return Program(kernel, {"m": m, "k": k, "n": n, "weights": weights}, (*tensors, Tensor("out", "output", "bfloat16", (128, nt, m))))


def attention_program(model, n_seqs, q_len, max_context, n_pages):
    """`attention` for `n_seqs` sequences of `q_len` new tokens and contexts up to `max_context`, over `n_pages` pages."""
    page_len = attention_plan.page_len_for(model.n_kv_heads, model.head_dim)
    heads = (model.n_heads, model.n_kv_heads, model.head_dim)
    return attention_bucket_program(attention_plan.Bucket(n_seqs, q_len, *heads, page_len, -(-max_context // page_len)), n_pages)


def attention_bucket_program(bucket, n_pages):
    """`attention` at a bucket, over `n_pages` pages."""
    n_seqs, heads, kv, d, page_len = bucket.n_seqs, bucket.n_heads, bucket.n_kv_heads, bucket.head_dim, bucket.page_len
    plan = attention_plan.plan(bucket, [0] * n_seqs, [1] * n_seqs, [[0]] * n_seqs)
    n_tokens = n_seqs * bucket.q_len
    k_pages, v_pages = (n_pages, 128, kv, page_len * d // 128), (n_pages, 128, page_len // 128, kv, d)
    tensors = [
        Tensor("q", "input", "bfloat16", (d, heads, n_tokens)),
        Tensor("k_new", "input", "bfloat16", (d, kv, n_tokens)),
        Tensor("v_new", "input", "bfloat16", (n_tokens, kv * d)),
        Tensor("k_pages.must_alias_input", "input", "bfloat16", k_pages),
        Tensor("v_pages.must_alias_input", "input", "bfloat16", v_pages),
    ]
    tensors += [Tensor(name, "input", str(array.dtype), array.shape) for name, array in vars(plan).items()]
    tensors += [
        Tensor("out", "output", "bfloat16", (n_tokens, heads, d)),
        Tensor("k_pages", "output", "bfloat16", k_pages),
        Tensor("v_pages", "output", "bfloat16", v_pages),
    ]
    return Program("attention", asdict(bucket) | {"n_pages": n_pages}, tuple(tensors))


def programs_for(model, weights="bfloat16", n_pages=1024):
    """The programs of a model: its linear layers at every bucket of M, and attention at every bucket of sequences and context."""
    heads, kv = model.n_heads * model.head_dim, model.n_kv_heads * model.head_dim
    linear = [
        ("matmul", model.d_model, heads + 2 * kv),
        ("matmul", heads, model.d_model),
        ("matmul_silu_gate", model.d_model, model.d_ff),
        ("matmul", model.d_ff, model.d_model),
    ]
    found = [matmul_program(kernel, m, k, n, weights) for kernel, k, n in linear for m in ROWS]
    found += [matmul_program("matmul", m, model.d_model, model.vocab, weights) for m in ROWS[:3]]
    found += [attention_program(model, *shape, context, n_pages) for shape in SEQUENCES for context in CONTEXTS]
    return list({program.name: program for program in found}.values())


def program_of(kernel, arguments):
    """One program from its kernel's name and compile-time arguments, as a manifest has them."""
    try:
        if kernel == "attention":
            arguments = dict(arguments)
            n_pages = arguments.pop("n_pages")
            return attention_bucket_program(attention_plan.Bucket(**arguments), n_pages)
        if kernel in ("matmul", "matmul_silu_gate"):
            return matmul_program(kernel, **arguments)
    except (TypeError, KeyError) as error:
        raise ValueError(f"{kernel}: {error}") from error
    raise ValueError(f"there is no kernel {kernel}")
