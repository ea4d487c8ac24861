"""Which dead tensor's memory a fresh tensor gets: allocation of PSUM banks and SBUF over live ranges."""

from nki._storage import PSUM, SBUF, _loop_ranges, _widen


def predecessors(context):
    """For each storage that takes the place of dead ones: their ids. First fit, longest dead first, in order of first use."""
    found = {}
    bank = context.limit("psum_bank_bytes")
    for buffer, capacity, unit in ((PSUM, context.limit("psum_banks"), bank), (SBUF, context.limit("sbuf_bytes"), 1)):
        _place(context, buffer, capacity, unit, found)
    return found


def _place(context, buffer, capacity, unit, found):
    loops = _loop_ranges(context)
    tensors = [s for s in context.storages if s.buffer == buffer and s.first_use is not None]
    ranges = {id(s): _widen(s.first_use, s.last_use, loops) for s in tensors}
    fresh, dead, live = 0, [], []
    for storage in sorted(tensors, key=lambda s: ranges[id(s)]):
        first, last = ranges[id(storage)]
        for other in [o for o in live if ranges[id(o)][1] < first]:
            live.remove(other)
            dead.append(other)
        live.append(storage)
        size = -(-storage.row_bytes // unit)
        if fresh + size <= capacity:
            fresh += size
            continue
        dead.sort(key=lambda o: ranges[id(o)][1])
        taken, got = [], 0
        while got < size and dead:
            other = dead.pop(0)
            taken.append(id(other))
            got += -(-other.row_bytes // unit)
        found[id(storage)] = taken
