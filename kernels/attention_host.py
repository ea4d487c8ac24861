"""Attention from plain arrays: puts sequences into pages and tokens into the kernel's layouts, and calls it. For tests and golden files."""

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from . import attention_plan
from .attention import attention

BF16 = np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True)
class Batch:
    """q [n_seqs][n_new, n_heads, head_dim]; k, v [n_seqs][kv_len, n_kv_heads, head_dim], the new tokens last; position of the first."""

    q: list
    k: list
    v: list
    starts: list


@dataclass(frozen=True)
class Pages:
    """KV pages as the kernel has them, and each sequence's page table."""

    k: np.ndarray
    v: np.ndarray
    tables: list


def place(rng, batch, page_len):
    """Pages that hold the context of each sequence, at random places.

    Every slot that holds no token is NaN; page 0 is zero and belongs to nobody.
    """
    n_kv_heads, d = batch.k[0].shape[1:]
    needed = [-(-len(keys) // page_len) for keys in batch.k]
    order = rng.permutation(np.arange(1, sum(needed) + 1))
    tables = [list(map(int, part)) for part in np.split(order, np.cumsum(needed)[:-1])]
    k_pages = np.full((len(order) + 1, 128, n_kv_heads, page_len * d // 128), np.nan, BF16)
    v_pages = np.full((len(order) + 1, 128, page_len // 128, n_kv_heads, d), np.nan, BF16)
    k_pages[0] = v_pages[0] = 0
    for keys, values, start, table in zip(batch.k, batch.v, batch.starts, tables):
        for i, page in enumerate(table):
            canonical = np.full((2, page_len, n_kv_heads, d), np.nan, BF16)
            n = np.clip(start - i * page_len, 0, page_len)
            canonical[0, :n], canonical[1, :n] = (a[i * page_len : i * page_len + n] for a in (keys, values))
            k_pages[page], v_pages[page] = attention_plan.from_canonical(canonical)
    return Pages(k_pages, v_pages, tables)


def attend(bucket, batch, pages, scale, n_cores=1):
    """Runs the kernel on `n_cores`; the pages are updated in place. Returns [n_seqs][n_new, n_heads, head_dim]."""
    d, n_tokens = bucket.head_dim, bucket.n_seqs * bucket.q_len
    q, k_new = np.zeros((d, bucket.n_heads, n_tokens), BF16), np.zeros((d, bucket.n_kv_heads, n_tokens), BF16)
    v_new = np.zeros((n_tokens, bucket.n_kv_heads * d), BF16)
    rows = [slice(s * bucket.q_len, s * bucket.q_len + len(queries)) for s, queries in enumerate(batch.q)]
    for s, start in enumerate(batch.starts):
        q[:, :, rows[s]], k_new[:, :, rows[s]] = batch.q[s].transpose(2, 1, 0), batch.k[s][start:].transpose(2, 1, 0)
        v_new[rows[s]] = batch.v[s][start:].reshape(len(batch.q[s]), -1)
    p = attention_plan.plan(bucket, batch.starts, [len(queries) for queries in batch.q], pages.tables)
    out, _, _ = attention[n_cores](q, k_new, v_new, pages.k, pages.v, p.counts, p.tables, p.tails, p.rows, p.bounds, bucket, scale)
    return [out[r] for r in rows]
