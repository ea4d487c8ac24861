"""Loads pages of keys and values: from the table in a device loop, one by one, or the tail's."""

import nki.isa as nisa
import nki.language as nl

from .attention_scratch import P


def load_page(scratch, buffer, slot, page_id):
    """One page's keys and values of the heads of the pass; `page_id` is a 1x1 tensor, and page -1 is skipped."""
    _, _, n_kv_heads, run = scratch.k_pages.shape
    pattern = [[n_kv_heads * run, P], [run, scratch.n_heads], [1, run]]
    keys = scratch.k_pages.ap(pattern=pattern, offset=scratch.first * run, scalar_offset=page_id)
    _load(scratch.k[:, buffer, slot], keys, "keys")
    load_values(scratch, buffer, slot, page_id)


def load_values(scratch, buffer, slot, page_id):
    """One page's values of the heads of the pass; page -1 is skipped."""
    d, width = scratch.bucket.head_dim, scratch.v_pages.shape[3] * scratch.bucket.head_dim
    pattern = [[scratch.key_tiles * width, P], [width, scratch.key_tiles], [1, scratch.n_heads * d]]
    values = scratch.v_pages.ap(pattern=pattern, offset=scratch.first * d, scalar_offset=page_id)
    _load(scratch.v[:, buffer, slot], values, "values")


def _load(dst, src, name):
    modes = {"oob_mode": nisa.oob_mode.skip, "dge_mode": nisa.dge_mode.hwdge, "engine": nisa.engine.sync}
    nisa.dma_copy(dst=dst, src=src, name=name, **modes)


def load_pages(scratch, buffer, step, first):
    """`unroll` pages of the table, from entry step * 2 * unroll + first; `step` is a register or 0."""
    unroll = scratch.bucket.unroll
    pattern = [[scratch.n_table * 2 * unroll, 1], [1, unroll]]
    dynamic = {} if isinstance(step, int) else {"scalar_offset": step, "indirect_dim": 1}
    nisa.tensor_copy(dst=scratch.ids[buffer], src=scratch.table.ap(pattern=pattern, offset=first, **dynamic), engine=nisa.engine.vector)
    for u in range(unroll):
        load_page(scratch, buffer, u, scratch.ids[buffer][:, u : u + 1])


def load_single(scratch, i):
    """The `i`-th of the pages that do not fill two buffers."""
    source = scratch.plan.ap(pattern=[[4 + 2 * scratch.bucket.unroll, 1], [1, 1]], offset=4, scalar_offset=i, indirect_dim=1)
    nisa.tensor_copy(dst=scratch.ids[1][:, 0:1], src=source, engine=nisa.engine.vector)
    load_page(scratch, 1, 0, scratch.ids[1][:, 0:1])


def load_context(scratch, tables, s):
    """A function that loads the `i`-th context page of sequence `s` into the second buffer."""
    n = scratch.n_table * 2 * scratch.bucket.unroll
    pages = nl.ndarray((1, n), dtype=nl.int32)
    nisa.dma_copy(dst=pages, src=tables[s, 1].reshape((1, n)))

    def load(i):
        nisa.tensor_copy(
            dst=scratch.ids[1][:, 0:1], src=pages.ap(pattern=[[n, 1], [1, 1]], scalar_offset=i, indirect_dim=1), engine=nisa.engine.vector
        )
        load_page(scratch, 1, 0, scratch.ids[1][:, 0:1])

    return load
