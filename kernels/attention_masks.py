"""What a query must not see: causal and window masks of a page, and the slots of the tail that hold no token."""

import nki.isa as nisa
import nki.language as nl

from .attention_scratch import P

FAR = 1e9  # a distance that no key is within


def make_masks(scratch, low, offset):
    """masks[p, tile, column] = 1 where slot offset + 128 tile + p of the page at `low` must not be seen by the column's query.

    Positions count from the first new token: key `k` is seen by query `i` if k <= i, and with a window if k > i - window.
    """
    b = scratch.bucket
    edge, limit = nl.ndarray((P, 1), dtype=nl.float32), nl.ndarray((P, b.q_len), dtype=nl.uint8)
    for tile in range(scratch.key_tiles):
        mask = scratch.masks[:, tile].reshape((P, b.group, b.q_len))
        nisa.tensor_scalar(dst=edge, data=low, op0=nl.add, operand0=float(offset + tile * P), engine=nisa.engine.vector)
        distance = scratch.distance.expand_dim(1)
        nisa.tensor_scalar(
            dst=mask[:, 0:1], data=distance, op0=nl.subtract, operand0=edge, op1=nl.less, operand1=0.0, engine=nisa.engine.vector
        )
        if b.window:
            nisa.tensor_scalar(
                dst=limit,
                data=scratch.distance,
                op0=nl.subtract,
                operand0=edge,
                op1=nl.greater_equal,
                operand1=float(b.window),
                engine=nisa.engine.vector,
            )
            nisa.tensor_tensor(dst=mask[:, 0:1], data1=mask[:, 0:1], data2=limit.expand_dim(1), op=nl.logical_or, engine=nisa.engine.vector)
        if b.group > 1:
            nisa.tensor_copy(dst=mask[:, 1:], src=mask[:, 0:1].broadcast(1, b.group - 1), engine=nisa.engine.vector)


def make_context_masks(scratch):
    """Masks of the next context page. A page past the context, which the static variant reads, is out of sight altogether."""
    low, beyond = scratch.low, nl.ndarray((P, 1), dtype=nl.float32)
    nisa.tensor_scalar(
        dst=beyond,
        data=low,
        op0=nl.greater_equal,
        operand0=scratch.bounds[:, 0:1],
        op1=nl.multiply,
        operand1=FAR,
        engine=nisa.engine.vector,
    )
    nisa.tensor_tensor(dst=beyond, data1=beyond, data2=low, op=nl.add, engine=nisa.engine.vector)
    make_masks(scratch, beyond, 0)
    nisa.tensor_scalar(dst=low, data=low, op0=nl.add, operand0=float(scratch.bucket.page_len), engine=nisa.engine.vector)


def zero_unused_values(scratch, page):
    """Values of tail slots that hold no token become 0: selected, so that what they held never reaches a sum."""
    unused = nl.ndarray((P, 1), dtype=nl.uint8)
    for tile in range(scratch.key_tiles):
        first = float(page * scratch.bucket.page_len + tile * P)
        nisa.tensor_scalar(
            dst=unused,
            data=scratch.slots,
            op0=nl.add,
            operand0=first,
            op1=nl.greater_equal,
            operand1=scratch.bounds[:, 2:3],
            engine=nisa.engine.vector,
        )
        row = scratch.v[:, 0, 0, tile]
        predicate = unused.expand_dim(1).broadcast(1, row.shape[1]).broadcast(2, row.shape[2])
        nisa.tensor_copy_predicated(dst=row, src=0.0, predicate=predicate)
