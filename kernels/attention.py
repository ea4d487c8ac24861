"""Causal attention over pages, for append-prefill and decode.

Scores are computed transposed, keys on partitions: what the exponential leaves in SBUF is the stationary operand of the second
matmul as it is, so probabilities are never transposed, and a column of ones beside the values yields the row sums. Subtracting a
maximum is what this layout does not give for nothing: a shift per tile of queries, taken from the new keys, is folded into the
exponential. Softmax does not depend on the shift as long as every row sum stays within e^-60..e^60; that is checked on the device,
and a KV head that leaves the window is computed again by the online softmax with exact maxima (attention_exact.py).
"""

import nki
import nki.isa as nisa
import nki.language as nl

from .attention_exact import attend_exactly, clear_exactly, recompute_if_needed
from .attention_masks import make_context_masks, make_masks, zero_unused_values
from .attention_pages import load_context, load_page, load_pages, load_single, load_values
from .attention_scratch import Scratch
from .attention_steps import attend, pick_shifts

P = 128
HEAD_BYTES = 96 * 1024  # SBUF per partition for queries and accumulators of the heads of one pass


@nki.jit
def attention(q, k_new, v_new, k_pages, v_pages, counts, tables, tails, rows, bounds, bucket, scale):
    """Appends new keys and values to their pages, and attends the new queries to all that they may see.

    Dimensions: n_seqs sequences with q_len new tokens each (padded), n_tokens = n_seqs * q_len; n_heads query heads in groups of
        `bucket.group`; head_dim 64 or 128; a page of page_len tokens; R, J as in attention_plan.py.

    Args:
        q: [head_dim, n_heads, n_tokens] @ HBM, bfloat16, RoPE applied.
        k_new: [head_dim, n_kv_heads, n_tokens] @ HBM, bfloat16, RoPE applied. Padding must be finite, in q and v_new too.
        v_new: [n_tokens, n_kv_heads * head_dim] @ HBM, bfloat16.
        k_pages: [n_pages, 128, n_kv_heads, R] @ HBM, bfloat16, written in place.
        v_pages: [n_pages, 128, J, n_kv_heads, head_dim] @ HBM, bfloat16, written in place.
        counts, tables, tails, rows, bounds: the plan of the batch @ HBM, see `attention_plan.Plan`.
        bucket: `attention_plan.Bucket`, compile-time.
        scale: factor on the scores, compile-time.

    Returns: ([n_tokens, n_heads, head_dim] @ HBM, bfloat16, of which rows of padding are undefined; k_pages; v_pages): pages are returned
        so that the compiler binds them as outputs too.

    Notes: reads exactly the pages that hold context (or `static_pages`, in the variant without device loops). Unused slots of a page may
        hold anything, NaN included. A sequence's tail pages must be its own. On two cores (LNC 2) each does half of the KV heads.

    Pseudocode:
        scatter v_new into v_pages
        for KV heads that fit in SBUF: for sequence:
            tail = old tail page with k_new inserted; write its pages back
            shift = largest score between q and k_new, for each tile of queries
            for context pages (device loop, two buffers), then the tail with the causal mask:
                p = exp(scale * (k q) - shift);  sum, out += p^T [v | 1]
            if a sum left the window: the same by the exact online softmax (device loop of 0 or 1)
            write out / sum
    """
    b = bucket
    out = nl.ndarray((q.shape[2], b.n_heads, b.head_dim), dtype=nl.bfloat16, buffer=nl.shared_hbm)
    n_local = b.n_kv_heads // nl.num_programs()
    base = nl.program_id() * n_local
    append_values(v_pages, v_new, rows, base * b.head_dim, n_local * b.head_dim)
    per_head = b.group * b.q_len * 2 + -(-b.group * b.q_len // P) * (b.head_dim + 1) * 4
    n_heads = max(n for n in range(1, n_local + 1) if n_local % n == 0 and (n == 1 or n * per_head <= HEAD_BYTES))
    scratch = Scratch(b, n_heads, scale, k_pages, v_pages)
    scratch.load_plans(counts, tables, tails, bounds)
    for first in range(base, base + n_local, n_heads):
        scratch.load_tokens(q, k_new, first)
        for s in range(b.n_seqs):
            scratch.take_plan(s)
            if not b.static_pages:
                load_pages(scratch, 0, 0, 0)
            scratch.take_tokens(s)
            append_keys(scratch)
            scratch.clear()
            if b.static_pages:
                clear_exactly(scratch)
                attend_static(scratch)
                attend_tail(scratch, attend_exactly)
            else:
                pick_shifts(scratch)
                attend_context(scratch)
                attend_tail(scratch, attend)
                recompute_if_needed(scratch, lambda: attend_again(scratch, tables, s))
            scratch.store(out, s)
    return out, k_pages, v_pages


def append_values(v_pages, v_new, rows, start, width):
    """Scatters `width` columns of new values from column `start` to their rows, 128 tokens at a time; a row holds all heads of a token."""
    n_tokens, row = v_new.shape
    for first in range(0, n_tokens, P):
        n = min(P, n_tokens - first)
        tile, index = nl.ndarray((P, width), dtype=v_new.dtype), nl.ndarray((P, 1), dtype=nl.int32)
        nisa.dma_copy(dst=tile[0:n], src=v_new[nl.ds(first, n), nl.ds(start, width)])
        nisa.dma_copy(dst=index[0:n], src=rows[nl.ds(first, n)])
        flat = v_pages.reshape((v_pages.size // row, row))
        nisa.dma_copy(
            dst=flat.ap(pattern=[[row, n], [1, width]], offset=start, vector_offset=index[0:n], indirect_dim=0),
            src=tile[0:n],
            oob_mode=nisa.oob_mode.skip,
            dge_mode=nisa.dge_mode.swdge,
            name="append values",
        )


def append_keys(scratch):
    """Inserts new keys into the tail at the run-time slot, in SBUF, and writes whole pages back: runs stay long."""
    b, tail = scratch.bucket, scratch.tail
    nisa.memset(dst=tail, value=0.0, engine=nisa.engine.gpsimd)
    for half in range(P // b.head_dim):
        place, piece = tail_piece(scratch, 0, half)
        nisa.dma_copy(dst=piece, src=place, dge_mode=nisa.dge_mode.hwdge, name="old tail keys")
    length = b.n_tail * b.page_len
    pattern = [[scratch.n_heads * length, b.head_dim], [length, scratch.n_heads], [1, b.q_len]]
    slots = tail.ap(pattern=pattern, scalar_offset=scratch.slot, indirect_dim=2)
    nisa.tensor_copy(dst=slots, src=scratch.fresh_keys, engine=nisa.engine.vector)
    for page in range(b.n_tail):
        for half in range(P // b.head_dim):
            place, piece = tail_piece(scratch, page, half)
            nisa.dma_copy(dst=place, src=piece, oob_mode=nisa.oob_mode.skip, dge_mode=nisa.dge_mode.hwdge, name="append keys")


def tail_piece(scratch, page, half):
    """(where half of a tail page's keys is in HBM, where it is in SBUF)."""
    d, run, n_kv_heads = scratch.bucket.head_dim, scratch.run, scratch.k_pages.shape[2]
    pattern = [[n_kv_heads * run, d], [run, scratch.n_heads], [1, run]]
    offset = half * d * n_kv_heads * run + scratch.first * run
    place = scratch.k_pages.ap(pattern=pattern, offset=offset, scalar_offset=scratch.tail_ids[0:1, nl.ds(page, 1)], indirect_dim=0)
    return place, scratch.tail[:, :, nl.ds(page * scratch.bucket.page_len + half * run, run)]


def attend_static(scratch):
    """The variant without device loops: `static_pages` pages whatever the context is, those past it masked."""
    step = 2 * scratch.bucket.unroll
    for page in range(scratch.bucket.static_pages):
        load_page(scratch, page % 2, 0, scratch.table[:, page // step, nl.ds(page % step, 1)])
        make_context_masks(scratch)
        attend_exactly(scratch, page % 2, range(1), True)


def attend_context(scratch):
    """All full pages before the tail, the first of them loaded already. While one buffer is attended to, the other is loaded."""
    b = scratch.bucket

    def step(i):
        load_pages(scratch, 1, i, b.unroll)
        attend_buffer(scratch, 0, b.unroll)
        load_pages(scratch, 0, i, 2 * b.unroll)
        attend_buffer(scratch, 1, b.unroll)

    nl.fori_loop(0, scratch.n_steps, step)

    def single(i):
        load_single(scratch, i)
        attend_buffer(scratch, 1, 1)

    nl.fori_loop(0, scratch.n_singles, single)


def attend_buffer(scratch, buffer, n_pages):
    """The pages of a buffer at once; with a window page by page, each with its mask."""
    if not scratch.bucket.window:
        attend(scratch, buffer, range(n_pages))
        return
    for page in range(n_pages):
        make_context_masks(scratch)
        attend(scratch, buffer, range(page, page + 1), True)


def attend_tail(scratch, attend_pages):
    """The pages of the new tokens: keys are in SBUF, values come back from HBM, unused slots are cut off, the mask is causal."""
    b = scratch.bucket
    for page in range(b.n_tail):
        load_values(scratch, 0, 0, scratch.tail_ids[0:1, nl.ds(page, 1)])
        zero_unused_values(scratch, page)
        make_masks(scratch, scratch.bounds[:, 0:1], page * b.page_len)
        attend_pages(scratch, 0, range(1), True, page)


def attend_again(scratch, tables, s):
    """The whole attention of a pass by the exact online softmax, one page at a time."""
    scratch.clear()
    clear_exactly(scratch)
    load = load_context(scratch, tables, s)

    def page(i):
        load(i)
        if scratch.bucket.window:
            make_context_masks(scratch)
        attend_exactly(scratch, 1, range(1), scratch.bucket.window > 0)

    nl.fori_loop(0, scratch.n_context, page)
    attend_tail(scratch, attend_exactly)
