"""The steps of attention over loaded pages: scores, weights and sums, and the shift of the exponential."""

import nki.isa as nisa
import nki.language as nl

from .attention_scratch import CHUNK, P


def attend(scratch, buffer, pages, masks=False, tail_page=None):
    """sums += exp(scale * scores - shift)^T [values | 1] for the loaded `pages` (a range) of `buffer`, all heads of the pass.

    The tensor engine runs as far ahead as there are slots of scores in PSUM: the scores that take a slot come before the sums over
    what was exponentiated from it, so that the scalar engine finds the next slot filled.
    """
    tiles = [(page, tile) for page in pages for tile in range(scratch.key_tiles)]
    work = [
        (head, q, group)
        for head in range(scratch.n_heads)
        for q in range(len(scratch.query_tiles()))
        for group in _groups(scratch, q, tiles)
    ]
    ahead = scratch.n_slots
    for at in range(len(work) + ahead):
        if at < len(work):
            _take_values(scratch, *work[at], buffer, tiles)
            _scores(scratch, at, *work[at], buffer, tail_page)
            _weights(scratch, at, *work[at], masks)
        if at >= ahead:
            _sum(scratch, at - ahead, *work[at - ahead], tiles)


def _take_values(scratch, head, q, group, buffer, tiles):
    """Before a head's first tile: its values to where a column of ones stands beside them."""
    if group[0] == 0 and q == 0:
        n_pages, d = len(tiles) // scratch.key_tiles, scratch.bucket.head_dim
        place = scratch.values[head % len(scratch.values)][:, 0 : len(tiles), 0:d].reshape_dim(1, (n_pages, scratch.key_tiles))
        nisa.tensor_copy(dst=place, src=scratch.v[:, buffer, nl.ds(tiles[0][0], n_pages), :, head], engine=nisa.engine.vector)


def _groups(scratch, q, tiles):
    """Tiles of keys whose scores fill a slot of PSUM: (place of the first in `tiles`, the tiles, tiles per bank)."""
    per_bank = CHUNK // scratch.query_tiles()[q][1]
    size = 4 // scratch.n_slots * per_bank
    return [(i, tiles[i : i + size], per_bank) for i in range(0, len(tiles), size)]


def _scores(scratch, at, head, q, group, buffer, tail_page):
    """scores[128 keys, columns] = keys^T queries, one matmul for each tile of keys."""
    first, n = scratch.query_tiles()[q]
    _, tiles, per_bank = group
    for i, (page, tile) in enumerate(tiles):
        keys, rows = scratch.keys_of(buffer, page, tile, head, tail_page)
        place = nl.ds(i % per_bank * n, n)
        nisa.nc_matmul(
            dst=scratch.scores[:, scratch.bank(at) + i // per_bank, place],
            stationary=keys,
            moving=scratch.queries[rows, head, nl.ds(first, n)],
            accumulate=False,
        )


def _weights(scratch, at, head, q, group, masks):
    """weights = exp(scale * scores - shift), in as few instructions as the banks allow; masked ones are replaced by 0."""
    first, n = scratch.query_tiles()[q]
    _, tiles, per_bank = group
    weights, bank = scratch.weights[at % len(scratch.weights)], scratch.bank(at)
    shift = scratch.shifts[:, nl.ds(head * len(scratch.query_tiles()) + q, 1)]
    full, rest = divmod(len(tiles), per_bank)
    pieces = [(0, full, per_bank * n)] * (full > 0) + [(full, 1, rest * n)] * (rest > 0)
    for first_bank, banks, width in pieces:
        nisa.activation(
            dst=weights[:, nl.ds(first_bank, banks), 0:width],
            op=nl.exp,
            data=scratch.scores[:, nl.ds(bank + first_bank, banks), 0:width],
            bias=shift,
            scale=scratch.scale,
        )
    if masks:
        for i, (_, tile) in enumerate(tiles):
            nisa.tensor_copy_predicated(
                dst=weights[:, i // per_bank, nl.ds(i % per_bank * n, n)], src=0.0, predicate=scratch.masks[:, tile, nl.ds(first, n)]
            )


def _sum(scratch, at, head, q, group, tiles):
    """products = weights^T [values | 1] over all tiles, 128 columns of queries at a time; after the last tile, sums += products."""
    d = scratch.bucket.head_dim
    first, n = scratch.query_tiles()[q]
    start, group_tiles, per_bank = group
    values, weights = scratch.values[head % len(scratch.values)], scratch.weights[at % len(scratch.weights)]
    last = start + len(group_tiles) == len(tiles)
    use = (head * len(scratch.query_tiles()) + q) % 2
    for i in range(len(group_tiles)):
        for sub in range(-(-n // P)):
            rows = min(P, n - sub * P)
            nisa.nc_matmul(
                dst=scratch.products[0:rows, use, sub // 2, sub % 2, 0 : d + 1],
                stationary=weights[:, i // per_bank, nl.ds(i % per_bank * n + sub * P, rows)],
                moving=values[:, start + i, 0 : d + 1],
                accumulate=start + i > 0,
            )
    for sub in range(-(-n // P)) if last else ():
        rows = min(P, n - sub * P)
        total = scratch.sums[0:rows, head, first // P + sub]
        nisa.tensor_tensor(
            dst=total, data1=total, data2=scratch.products[0:rows, use, sub // 2, sub % 2, 0 : d + 1], op=nl.add, engine=nisa.engine.vector
        )


def pick_shifts(scratch):
    """shifts[:, j] = -scale * the largest score between a tile of queries and the first new keys, the same on all partitions."""
    b, n_tiles = scratch.bucket, len(scratch.query_tiles())
    n_keys, n_shifts = min(P, b.q_len), scratch.n_heads * n_tiles
    largest = nl.ndarray((P, n_shifts), dtype=nl.float32)
    for head in range(scratch.n_heads):
        for q, (first, n) in enumerate(scratch.query_tiles()):
            j = head * n_tiles + q
            scores = scratch.scores[0:n_keys, j % 4, 0:n]
            nisa.nc_matmul(
                dst=scores,
                stationary=scratch.fresh_keys[:, head, 0:n_keys],
                moving=scratch.queries[0 : b.head_dim, head, nl.ds(first, n)],
                accumulate=False,
            )
            nisa.tensor_reduce(dst=largest[0:n_keys, j : j + 1], op=nl.maximum, data=scores, axis=1)
    column = nl.ndarray((n_shifts, 1), dtype=nl.float32)
    reduce_partitions(scratch, column, largest[0:n_keys], nl.maximum)
    diagonal = nl.ndarray((n_shifts, n_shifts), dtype=nl.float32)
    nisa.tensor_scalar(
        dst=diagonal, data=scratch.identity[0:n_shifts, 0:n_shifts], op0=nl.multiply, operand0=column, engine=nisa.engine.vector
    )
    spread = scratch.products[:, 0, 0, 0, 0:n_shifts]
    nisa.nc_matmul(dst=spread, stationary=scratch.ones[0:n_shifts], moving=diagonal, accumulate=False)
    nisa.tensor_scalar(dst=scratch.shifts, data=spread, op0=nl.multiply, operand0=-scratch.scale, engine=nisa.engine.vector)


def reduce_partitions(scratch, column, data, op):
    """column[j] = op over the partitions of data[:, j]: a transpose on the tensor engine and a reduction."""
    rows, n = data.shape
    turned = scratch.products[0:n, 1, 0, 0, 0:rows]
    nisa.nc_transpose(dst=turned, data=data, engine=nisa.engine.tensor)
    nisa.tensor_reduce(dst=column, op=op, data=turned, axis=1)
