"""Host side of attention over pages: page layout, the plan of a batch, and the conversion to the canonical page layout.

A page holds `page_len` tokens of all KV heads. Keys lie feature-major, so that they load as the stationary operand without a transpose;
values lie token-major, tokens on partitions. Slot `s` of a page (R = page_len / halves, halves = 128 / head_dim, J = page_len / 128):

    k_pages [n_pages, 128, n_kv_heads, R]           k[page, (s // R) * head_dim + f, h, s % R] = K[s, h, f]
    v_pages [n_pages, 128, J, n_kv_heads, head_dim] v[page, s % 128, s // 128, h, f] = V[s, h, f]

Each partition's part of a page is one contiguous run of page_len * n_kv_heads * head_dim / 64 bytes in bf16, for keys and for values.
`page_len_for` picks the shortest power of two that makes it 4 KiB, where DMA reaches full rate: 256 tokens for 8 KV heads of 128.
The canonical page, [k|v][slot][kv_head][head_dim], is reordered by `to_canonical`: values move rows, keys are transposed.
"""

from dataclasses import dataclass

import numpy as np

P = 128
RUN_BYTES = 4096


def page_len_for(n_kv_heads, head_dim):
    """Tokens of a page: the shortest power of two, 128 at least, with runs of 4 KiB per partition.
    Both halves of the partitions hold whole tiles of 128 keys."""
    page_len = P * (P // head_dim)
    while page_len * n_kv_heads * head_dim // 64 < RUN_BYTES:
        page_len *= 2
    return page_len


def to_canonical(k_page, v_page, head_dim):
    """One device page -> [2, page_len, n_kv_heads, head_dim]."""
    halves = P // head_dim
    keys = k_page.reshape(halves, head_dim, *k_page.shape[1:]).transpose(0, 3, 2, 1)
    values = v_page.transpose(1, 0, 2, 3)
    return np.stack([a.reshape(-1, *a.shape[2:]) for a in (keys, values)])


def from_canonical(page):
    """[2, page_len, n_kv_heads, head_dim] -> (k_page, v_page)."""
    _, page_len, n_kv_heads, head_dim = page.shape
    halves = P // head_dim
    keys = page[0].reshape(halves, page_len // halves, n_kv_heads, head_dim).transpose(0, 3, 2, 1)
    values = page[1].reshape(page_len // P, P, n_kv_heads, head_dim).transpose(1, 0, 2, 3)
    return np.ascontiguousarray(keys.reshape(P, n_kv_heads, -1)), np.ascontiguousarray(values)


@dataclass(frozen=True)
class Bucket:
    """What one compiled program fixes. `unroll` pages are one step of the device loop's two buffers; `window` 0 is none.

    `static_pages` > 0 compiles the variant without device loops: that many context pages are read whatever the length.
    """

    n_seqs: int
    q_len: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    page_len: int
    max_pages: int
    unroll: int = 4
    window: int = 0
    static_pages: int = 0

    @property
    def group(self):
        """Query heads of a KV head."""
        return self.n_heads // self.n_kv_heads

    @property
    def n_tail(self):
        """Pages that new tokens may touch, at any offset in the first."""
        return -(-(self.page_len - 1 + self.q_len) // self.page_len)


@dataclass(frozen=True)
class Plan:
    """A batch's lengths as the kernel wants them; made from lengths alone.

    counts [n_seqs, 4 + 2 unroll] int32: steps of two buffers, single pages, slot of the first new token in its page, context pages;
        then the single pages.
    tables [n_seqs, 2, steps, 2 unroll] int32: context pages from the first that the window sees, those of whole steps, and all of them;
        the rest is -1, or page 0 in the variant without device loops.
    tails [n_seqs, n_tail] int32: pages of the new tokens; -1 where none is needed.
    rows [n_seqs * q_len, 1] int32: row of each new token in v_pages, [n_pages * 128 * J]; -1 for padding.
    bounds [128, n_seqs, 3] float32: first slot of the tail and of the tables, relative to the first new token; slots used in the tail.
    """

    counts: np.ndarray
    tables: np.ndarray
    tails: np.ndarray
    rows: np.ndarray
    bounds: np.ndarray


def plan(bucket, starts, n_new, page_tables):
    """Plans `n_new[s]` tokens at position `starts[s]` of each sequence, whose pages are `page_tables[s]`."""
    b, n = bucket, bucket.n_seqs
    step = 2 * b.unroll
    counts, tails = np.zeros((n, 4 + step), np.int32), np.full((n, b.n_tail), -1, np.int32)
    tables = np.full((n, 2, (-(-b.max_pages // step) + 1) * step), 0 if b.static_pages else -1, np.int32)
    rows, bounds = np.full((n * b.q_len, 1), -1, np.int32), np.zeros((P, n, 3), np.float32)
    for s, (start, new, table) in enumerate(zip(starts, n_new, page_tables)):
        if not 0 < new <= b.q_len:
            raise ValueError(f"sequence {s}: {new} new tokens, the bucket takes 1 to {b.q_len}")
        last = (start + new - 1) // b.page_len
        if last >= len(table):
            raise ValueError(f"sequence {s}: position {start + new - 1} is on page {last}, the table has {len(table)}")
        tail = start // b.page_len
        first = max(0, start - b.window + 1) // b.page_len if b.window else 0
        n_context = tail - first
        limit = b.static_pages or b.max_pages
        if n_context > limit:
            raise ValueError(f"sequence {s}: {n_context} context pages, the bucket takes {limit}")
        n_singles = n_context % step
        counts[s, :4] = n_context // step, n_singles, start % b.page_len, n_context
        counts[s, 4 : 4 + n_singles] = table[tail - n_singles : tail]
        in_steps = n_context if b.static_pages else n_context - n_singles
        tables[s, 0, :in_steps] = table[first : first + in_steps]
        tables[s, 1, :n_context] = table[first:tail]
        tails[s, : last + 1 - tail] = table[tail : last + 1]
        slots = np.arange(start, start + new)
        pages, slot = np.asarray(table)[slots // b.page_len], slots % b.page_len
        rows[s * b.q_len : s * b.q_len + new, 0] = (pages * P + slot % P) * (b.page_len // P) + slot // P
        bounds[:, s] = -(start % b.page_len), first * b.page_len - start, start % b.page_len + new
    return Plan(counts, tables.reshape(n, 2, -1, step), tails, rows, bounds)


def reference(q, k, v, starts, scale, window=0):
    """Causal attention in float64. q [n_seqs][n_new, n_heads, d]; k, v [n_seqs][kv_len, n_kv_heads, d] with the new tokens last."""
    out = []
    for q_s, k_s, v_s, start in zip(q, k, v, starts):
        group = q_s.shape[1] // k_s.shape[1]
        keys, values = (np.repeat(a.astype(np.float64), group, axis=1) for a in (k_s, v_s))
        scores = np.einsum("qhd,khd->hqk", q_s.astype(np.float64), keys) * scale
        position, key = start + np.arange(len(q_s))[:, None], np.arange(len(k_s))[None]
        seen = (key <= position) & (key > position - window if window else True)
        scores = np.where(seen, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        out.append(np.einsum("hqk,khd->qhd", weights / weights.sum(-1, keepdims=True), values))
    return out


def tolerance(q, k, v, result, scale):
    """Largest error allowed for one sequence, q [n_new, n_heads, d], k and v [kv_len, n_kv_heads, d].

    Rounding the weights to bfloat16 moves a weighted mean by at most 2^-8 of its mean absolute deviation, which is at most max|v|; rounding
    the result adds 2^-8 of it. In float32, a score is off by (d + 4) eps * scale |q| |k|, which changes weights by that relative amount on
    both sides of the quotient, and sums over kv_len terms by kv_len eps.
    """
    norm = lambda a: np.sqrt(np.square(a.astype(np.float64)).sum(-1)).max()
    largest, eps = np.abs(v.astype(np.float64)).max(), 2.0**-23
    score = (q.shape[-1] + 4) * eps * scale * norm(q) * norm(k)
    return 2.0**-8 * (largest + np.abs(result)) + 2 * largest * (np.expm1(min(score, 1.0)) + len(k) * eps)
