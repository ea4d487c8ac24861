"""The exact online softmax of attention, 128 keys by 128 columns of queries at a time, and the check that asks for it.

It needs the scores and the probabilities transposed and is several times slower; it is there so that no input is computed wrongly.
"""

import nki.isa as nisa
import nki.language as nl

from .attention_scratch import P
from .attention_steps import reduce_partitions

WINDOW = (8.75651e-27, 1.142007e26)  # e^-60, e^60: where a row sum must lie for the shift to have been harmless
MASKED = -1e30  # a score that no real score is below


def clear_exactly(scratch):
    """No maxima yet."""
    nisa.memset(dst=scratch.maxima, value=MASKED, engine=nisa.engine.vector)


def attend_exactly(scratch, buffer, pages, masks=False, tail_page=None):
    """As `attention_steps.attend`, with running maxima: sums = sums * exp(old - new) + exp(scores - new)^T [values | 1]."""
    d = scratch.bucket.head_dim
    for head in range(scratch.n_heads):
        values = scratch.values[0]
        for page in pages:
            nisa.tensor_copy(dst=values[:, 0 : scratch.key_tiles, 0:d], src=scratch.v[:, buffer, page, :, head], engine=nisa.engine.vector)
            for tile in range(scratch.key_tiles):
                keys, rows = scratch.keys_of(buffer, page, tile, head, tail_page)
                for sub in range(-(-scratch.columns // P)):
                    columns = nl.ds(sub * P, min(P, scratch.columns - sub * P))
                    scores = _scores(scratch, keys, scratch.queries[rows, head, columns])
                    if masks:
                        nisa.tensor_copy_predicated(dst=scores, src=MASKED, predicate=scratch.masks[:, tile, columns])
                    _update(scratch, head, sub, scores, values[:, tile, 0 : d + 1])


def _scores(scratch, keys, queries):
    """Scaled scores [128 keys, columns] in SBUF."""
    n = queries.shape[1]
    psum, scores = scratch.scores[:, 0, 0:n], nl.ndarray((P, n), dtype=nl.float32)
    nisa.nc_matmul(dst=psum, stationary=keys, moving=queries, accumulate=False)
    nisa.tensor_scalar(dst=scores, data=psum, op0=nl.multiply, operand0=scratch.scale, engine=nisa.engine.vector)
    return scores


def _update(scratch, head, sub, scores, values):
    """The online softmax over one tile of 128 keys, for the columns of one subtile."""
    n = scores.shape[1]
    turned, product = scratch.scores[0:n, 1, 0:P], scratch.products[0:n, 0, 0, 0, 0 : values.shape[1]]
    nisa.nc_transpose(dst=turned, data=scores, engine=nisa.engine.tensor)
    old, largest, negative, decay = (nl.ndarray((P, 1), dtype=nl.float32) for _ in range(4))
    maximum = scratch.maxima[0:n, head, nl.ds(sub, 1)]
    nisa.tensor_copy(dst=old[0:n], src=maximum, engine=nisa.engine.vector)
    nisa.tensor_reduce(dst=largest[0:n], op=nl.maximum, data=turned, axis=1)
    nisa.tensor_tensor(dst=maximum, data1=old[0:n], data2=largest[0:n], op=nl.maximum, engine=nisa.engine.vector)
    nisa.tensor_scalar(dst=negative[0:n], data=maximum, op0=nl.multiply, operand0=-1.0, engine=nisa.engine.vector)
    nisa.activation(dst=decay[0:n], op=nl.exp, data=old[0:n], bias=negative[0:n])
    weights = nl.ndarray((P, P), dtype=nl.bfloat16)
    nisa.activation(dst=weights[0:n], op=nl.exp, data=turned, bias=negative[0:n])
    back = scratch.scores_bf16[:, 2, 0:n]
    nisa.nc_transpose(dst=back, data=weights[0:n], engine=nisa.engine.tensor)
    stationary = nl.ndarray((P, P), dtype=nl.bfloat16)
    nisa.tensor_copy(dst=stationary[:, 0:n], src=back, engine=nisa.engine.vector)
    nisa.nc_matmul(dst=product, stationary=stationary[:, 0:n], moving=values, accumulate=False)
    total = scratch.sums[0:n, head, sub]
    nisa.scalar_tensor_tensor(dst=total, data=total, op0=nl.multiply, operand0=decay[0:n], op1=nl.add, operand1=product)


def recompute_if_needed(scratch, again):
    """Runs `again` if a row sum of the pass is outside of WINDOW, infinite or no number: a device loop of 0 or 1 iterations."""
    n_sub, d = -(-scratch.columns // P), scratch.bucket.head_dim
    good = nl.ndarray((P, 1), dtype=nl.float32)
    nisa.memset(dst=good, value=1.0, engine=nisa.engine.vector)
    rest = scratch.columns % P
    parts = [(P, 0, scratch.columns // P)] * (scratch.columns >= P) + [(rest, n_sub - 1, 1)] * (rest > 0)
    for rows, first, n in parts:
        inside, least = nl.ndarray((P, scratch.n_heads, n), dtype=nl.float32), nl.ndarray((P, 1), dtype=nl.float32)
        row_sums = scratch.sums[0:rows, :, nl.ds(first, n), d]
        nisa.tensor_scalar(dst=inside[0:rows], data=row_sums, op0=nl.greater_equal, operand0=WINDOW[0], engine=nisa.engine.vector)
        nisa.scalar_tensor_tensor(
            dst=inside[0:rows], data=row_sums, op0=nl.less_equal, operand0=WINDOW[1], op1=nl.logical_and, operand1=inside[0:rows]
        )
        nisa.tensor_reduce(dst=least[0:rows], op=nl.minimum, data=inside[0:rows], axis=(1, 2))
        nisa.tensor_tensor(dst=good[0:rows], data1=good[0:rows], data2=least[0:rows], op=nl.minimum, engine=nisa.engine.vector)
    verdict, flag, needed = nl.ndarray((1, 1), dtype=nl.float32), nl.ndarray((1, 1), dtype=nl.int32), nisa.register_alloc()
    reduce_partitions(scratch, verdict, good, nl.minimum)
    nisa.tensor_scalar(dst=flag, data=verdict, op0=nl.multiply, operand0=-1.0, op1=nl.add, operand1=1.0, engine=nisa.engine.vector)
    nisa.register_load(needed, flag)
    nl.fori_loop(0, needed, lambda i: again())
