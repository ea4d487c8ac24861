"""Attention from plain arrays: puts sequences into pages and tokens into the kernel's layouts, and calls it. For tests and golden files."""

import ml_dtypes
import numpy as np

from . import attention_plan
from .attention import attention

BF16 = np.dtype(ml_dtypes.bfloat16)


def place(rng, k, v, starts, page_len):
    """Pages that hold the first `starts[s]` tokens of each sequence, at random places, and their tables.

    k, v: [n_seqs][kv_len, n_kv_heads, head_dim]. Every slot that holds no token is NaN; page 0 is zero and belongs to nobody.
    Returns (k_pages, v_pages, tables).
    """
    n_kv_heads, d = k[0].shape[1:]
    needed = [-(-len(keys) // page_len) for keys in k]
    order = rng.permutation(np.arange(1, sum(needed) + 1))
    tables = [list(map(int, part)) for part in np.split(order, np.cumsum(needed)[:-1])]
    k_pages = np.full((len(order) + 1, 128, n_kv_heads, page_len * d // 128), np.nan, BF16)
    v_pages = np.full((len(order) + 1, 128, page_len // 128, n_kv_heads, d), np.nan, BF16)
    k_pages[0] = v_pages[0] = 0
    for keys, values, start, table in zip(k, v, starts, tables):
        for i, page in enumerate(table):
            canonical = np.full((2, page_len, n_kv_heads, d), np.nan, BF16)
            n = np.clip(start - i * page_len, 0, page_len)
            canonical[0, :n], canonical[1, :n] = (a[i * page_len : i * page_len + n] for a in (keys, values))
            k_pages[page], v_pages[page] = attention_plan.from_canonical(canonical)
    return k_pages, v_pages, tables


def arguments(bucket, q, k, v, starts, k_pages, v_pages, tables, scale):
    """The kernel's arguments for new tokens `q[s]` [n_new, n_heads, head_dim] whose keys and values end `k[s]` and `v[s]`."""
    d, n_tokens = bucket.head_dim, bucket.n_seqs * bucket.q_len
    packed_q, packed_k = np.zeros((d, bucket.n_heads, n_tokens), BF16), np.zeros((d, bucket.n_kv_heads, n_tokens), BF16)
    packed_v = np.zeros((n_tokens, bucket.n_kv_heads * d), BF16)
    for s, (queries, start) in enumerate(zip(q, starts)):
        rows = slice(s * bucket.q_len, s * bucket.q_len + len(queries))
        packed_q[:, :, rows], packed_k[:, :, rows] = queries.transpose(2, 1, 0), k[s][start:].transpose(2, 1, 0)
        packed_v[rows] = v[s][start:].reshape(len(queries), -1)
    p = attention_plan.plan(bucket, starts, [len(queries) for queries in q], tables)
    return packed_q, packed_k, packed_v, k_pages, v_pages, p.counts, p.tables, p.tails, p.rows, p.bounds, bucket, scale


def attend(bucket, q, k, v, starts, k_pages, v_pages, tables, scale, n_cores=1):
    """Runs the kernel on `n_cores`; the pages are updated in place. Returns [n_seqs][n_new, n_heads, head_dim]."""
    out, _, _ = attention[n_cores](*arguments(bucket, q, k, v, starts, k_pages, v_pages, tables, scale))
    return [out[s * bucket.q_len : s * bucket.q_len + len(queries)] for s, queries in enumerate(q)]
