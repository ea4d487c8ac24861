"""The shapes whose time is modelled: traced without numbers, so that any size costs little memory."""

from dataclasses import dataclass

import ml_dtypes
import numpy as np

import nki

from . import attention, attention_plan, ladder, layouts, matmul, tutorial

BF16 = np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True)
class Traced:
    """A recorded kernel with what is useful of its work: matmul operations, and bytes that it must read."""

    context: object
    flops: int
    n_bytes: int


def blank(*shape, dtype=BF16):
    """An array of any shape that takes no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def trace_rung(rung, size=2048):
    """A rung of the published ladder."""
    _, (context,) = nki.trace(rung, (blank(size, size), blank(size, size)), numeric=False)
    return Traced(context, 2 * size**3, 3 * size * size * 2)


def trace_tutorial(variant, m=tutorial.SHAPE[0]):
    """A variant of AWS's tutorial, over the first `m` rows of its product."""
    _, k, n = tutorial.SHAPE
    float32 = np.dtype(np.float32)
    _, (context,) = nki.trace(variant, (blank(k, m, dtype=float32), blank(k, n, dtype=float32)), numeric=False)
    return Traced(context, 2 * m * k * n, (m * k + k * n + m * n) * 4)


def trace_matmul(m, k, n, x_dtype=BF16, w_dtype=BF16):
    """`matmul.matmul`."""
    kt, nt = layouts.tiles(k), layouts.tiles(n)
    args = blank(128, kt, m, dtype=x_dtype), blank(128, nt, kt, 128, dtype=w_dtype), k, n
    _, (context,) = nki.trace(matmul.matmul, args, numeric=False)
    return Traced(context, 2 * m * k * n, k * n * w_dtype.itemsize)


def trace_attention(context_len, q_len, n_seqs, heads, max_context, device_loops=True):
    """`attention.attention`: `q_len` new tokens in each of `n_seqs` sequences that have `context_len` tokens;
    `heads` are query heads, KV heads and head_dim."""
    n_heads, n_kv_heads, head_dim = heads
    page_len = attention_plan.page_len_for(n_kv_heads, head_dim)
    max_pages = max_context // page_len
    static_pages = 0 if device_loops else max_pages
    b = attention_plan.Bucket(n_seqs, q_len, n_heads, n_kv_heads, head_dim, page_len, max_pages, static_pages=static_pages)
    n_pages, n_tokens = (context_len + q_len) // page_len + 2, n_seqs * q_len
    p = attention_plan.plan(b, [context_len] * n_seqs, [q_len] * n_seqs, [list(range(1, n_pages))] * n_seqs)
    args = (
        blank(head_dim, n_heads, n_tokens),
        blank(head_dim, n_kv_heads, n_tokens),
        blank(n_tokens, n_kv_heads * head_dim),
        blank(n_pages, 128, n_kv_heads, page_len * head_dim // 128),
        blank(n_pages, 128, page_len // 128, n_kv_heads, head_dim),
        p.counts,
        p.tables,
        p.tails,
        p.rows,
        p.bounds,
        b,
        head_dim**-0.5,
    )
    _, (context,) = nki.trace(attention.attention, args, numeric=False)
    visible = sum(context_len + i + 1 for i in range(q_len)) * n_seqs
    return Traced(context, 4 * visible * n_heads * head_dim, (context_len + q_len) * n_seqs * n_kv_heads * head_dim * 4)


LADDER = {rung.__name__: lambda rung=rung: trace_rung(rung) for rung in ladder.RUNGS}
TUTORIAL = {variant.__name__: lambda m, variant=variant: trace_tutorial(variant, m) for variant in tutorial.VARIANTS}
FP8 = layouts.FP8
KERNELS = {
    "matmul 2048 x 2048 x 2048, bf16": lambda: trace_matmul(2048, 2048, 2048),
    "matmul 2048 x 2048 x 2048, fp8 double row": lambda: trace_matmul(2048, 2048, 2048, FP8, FP8),
    "matmul 4096 x 4096 x 14336, bf16": lambda: trace_matmul(4096, 4096, 14336),
    "matmul M = 1, K = 4096, N = 14336, bf16": lambda: trace_matmul(1, 4096, 14336),
    "matmul M = 16, K = 4096, N = 14336, bf16": lambda: trace_matmul(16, 4096, 14336),
    "matmul M = 16, K = 4096, N = 14336, fp8 weights": lambda: trace_matmul(16, 4096, 14336, BF16, FP8),
    "append-prefill q = 700 over 16k, 32/8 heads of 128": lambda: trace_attention(16384, 700, 1, (32, 8, 128), 131072),
    "append-prefill q = 700 over 104k, 32/8 heads of 128": lambda: trace_attention(104000, 700, 1, (32, 8, 128), 131072),
    "append-prefill q = 700 over 104k, 32/8 heads of 64": lambda: trace_attention(104000, 700, 1, (32, 8, 64), 131072),
    "decode, batch 8, kv = 104k, 32/8 heads of 128": lambda: trace_attention(104000, 1, 8, (32, 8, 128), 131072),
    "decode, batch 8, kv = 104k, 32/8 heads of 64": lambda: trace_attention(104000, 1, 8, (32, 8, 64), 131072),
    "decode, batch 8, kv = 4k of 131,072": lambda: trace_attention(4096, 1, 8, (32, 8, 128), 131072),
    "decode, batch 8, kv = 4k of 4,096": lambda: trace_attention(4096, 1, 8, (32, 8, 128), 4096),
    "decode, batch 8, kv = 4k of 4,096, no device loops": lambda: trace_attention(4096, 1, 8, (32, 8, 128), 4096, False),
}
