"""Attention over pages: what lives in SBUF and PSUM, how plan and queries get there, and how results are stored."""

import nki.isa as nisa
import nki.language as nl

P = 128
CHUNK = 512  # columns of one PSUM bank in float32


class Scratch:
    """SBUF and PSUM of one kernel, allocated once; `n_heads` KV heads are worked on together.

    queries [128, n_heads, columns]: a copy of the queries for each half of the partitions; column g * q_len + i is query i of group g.
    pages: k [128, 2, unroll, n_heads, R], v [128, 2, unroll, J, n_heads, head_dim], two buffers.
    tail [head_dim, n_heads, n_tail * page_len]: keys of the pages that the new tokens touch.
    sums [128, n_heads, subtiles, head_dim + 1]: unnormalised outputs of 128 columns each, their row sums in the last column.
    """

    def __init__(self, bucket, n_heads, scale, k_pages, v_pages):
        b, d = bucket, bucket.head_dim
        self.bucket, self.n_heads, self.scale = b, n_heads, scale
        self.k_pages, self.v_pages = k_pages, v_pages
        self.columns = b.group * b.q_len
        self.key_tiles = b.page_len // P
        self.run = b.page_len * d // P
        self.masks_context = b.window > 0 or b.static_pages > 0
        unroll = 1 if b.static_pages else b.unroll
        self.queries = nl.ndarray((P, n_heads, self.columns), dtype=nl.bfloat16)
        self.k = nl.ndarray((P, 2, unroll, n_heads, self.run), dtype=nl.bfloat16)
        self.v = nl.ndarray((P, 2, unroll, self.key_tiles, n_heads, d), dtype=nl.bfloat16)
        self.tail = nl.ndarray((d, n_heads, b.n_tail * b.page_len), dtype=nl.bfloat16)
        self.fresh_keys = nl.ndarray((d, n_heads, b.q_len), dtype=nl.bfloat16)
        self.sums = nl.ndarray((P, n_heads, -(-self.columns // P), d + 1), dtype=nl.float32)
        # Short queries leave room in PSUM for the scores of several heads at once, and so to look further ahead.
        self.n_slots = 4 if unroll * self.key_tiles * self.columns <= CHUNK else 2
        self.values = [nl.ndarray((P, unroll * self.key_tiles, d + 4), dtype=nl.bfloat16) for _ in range(self.n_slots + 1)]
        self.weights = [nl.ndarray((P, 4 // self.n_slots, CHUNK), dtype=nl.bfloat16) for _ in range(self.n_slots + 1)]
        self.masks = nl.ndarray((P, self.key_tiles, self.columns), dtype=nl.uint8)
        self.shifts = nl.ndarray((P, n_heads * len(self.query_tiles())), dtype=nl.float32)
        self.scores = nl.ndarray((P, 4, CHUNK), dtype=nl.float32, buffer=nl.psum)
        self.scores_bf16 = self.scores.view(nl.bfloat16)
        self.products = nl.ndarray((P, 2, 2, 2, CHUNK // 2), dtype=nl.float32, buffer=nl.psum)
        self.n_plan, self.n_table = 4 + 2 * b.unroll, -(-b.max_pages // (2 * b.unroll)) + 1
        self.plans = nl.ndarray((1, b.n_seqs, self.n_plan), dtype=nl.int32)
        self.plan = nl.ndarray((1, self.n_plan), dtype=nl.int32)
        self.table = nl.ndarray((1, self.n_table, 2 * b.unroll), dtype=nl.int32)
        self.tables = nl.ndarray((1, b.n_seqs, self.n_table, 2 * b.unroll), dtype=nl.int32)
        self.ids = [nl.ndarray((1, b.unroll), dtype=nl.int32) for _ in range(2)]
        self.all_tails = nl.ndarray((1, b.n_seqs, b.n_tail), dtype=nl.int32)
        self.all_bounds = nl.ndarray((P, b.n_seqs, 3), dtype=nl.float32)
        self.maxima = nl.ndarray((P, n_heads, -(-self.columns // P)), dtype=nl.float32)
        self.low = nl.ndarray((P, 1), dtype=nl.float32)
        self.n_steps, self.n_singles, self.n_context = nisa.register_alloc(), nisa.register_alloc(), nisa.register_alloc()
        self._constants()

    def bank(self, at):
        """First PSUM bank of the scores of work item `at`."""
        return at % self.n_slots * (4 // self.n_slots)

    def _constants(self):
        """A column of ones beside the values, the distances i - p, and an identity matrix."""
        b = self.bucket
        for values in self.values:
            nisa.memset(dst=values[:, :, self.bucket.head_dim :], value=1.0, engine=nisa.engine.gpsimd)
        self.distance = nl.ndarray((P, b.q_len), dtype=nl.float32)
        nisa.iota(dst=self.distance, pattern=[[1, b.q_len]], offset=0, channel_multiplier=-1)
        self.slots = nl.ndarray((P, 1), dtype=nl.float32)
        nisa.iota(dst=self.slots, pattern=[[1, 1]], offset=0, channel_multiplier=1)
        self.ones = nl.ndarray((P, P), dtype=nl.float32)
        self.identity = nl.ndarray((P, P), dtype=nl.float32)
        nisa.memset(dst=self.ones, value=1.0, engine=nisa.engine.gpsimd)
        nisa.affine_select(dst=self.identity, pattern=[[-1, P]], channel_multiplier=1, on_true_tile=self.ones, on_false_value=0.0)

    def query_tiles(self):
        """(first column, columns) of each tile of at most 512 columns."""
        return [(c, min(CHUNK, self.columns - c)) for c in range(0, self.columns, CHUNK)]

    def load_plans(self, counts, tables, tails, bounds):
        """The plans of all sequences: a few integers each."""
        nisa.dma_copy(dst=self.plans, src=counts)
        nisa.dma_copy(dst=self.tables, src=tables[:, 0])
        nisa.dma_copy(dst=self.all_tails, src=tails)
        nisa.dma_copy(dst=self.all_bounds, src=bounds)

    def take_plan(self, s):
        """Makes sequence `s` the current one: its table where the loops look for it, its loop bounds in registers."""
        nisa.tensor_copy(dst=self.plan, src=self.plans[:, s], engine=nisa.engine.vector)
        nisa.tensor_copy(dst=self.table, src=self.tables[:, s], engine=nisa.engine.vector)
        self.tail_ids, self.bounds, self.slot = self.all_tails[:, s], self.all_bounds[:, s], self.plan[0:1, 2:3]
        if not self.bucket.static_pages:
            nisa.register_load(self.n_steps, self.plan[0:1, 0:1])
            nisa.register_load(self.n_singles, self.plan[0:1, 1:2])
            nisa.register_load(self.n_context, self.plan[0:1, 3:4])

    def load_tokens(self, q, k_new, first):
        """Queries and new keys of a pass, of all sequences when they are short: a token alone would be a run of two bytes."""
        b = self.bucket
        self.first, self.heads, self.q, self.k_new = first, nl.ds(first, self.n_heads), q, k_new
        if b.q_len * 2 < 512:
            heads = nl.ds(first * b.group, self.n_heads * b.group)
            self.q = nl.ndarray((P, self.n_heads * b.group, q.shape[2]), dtype=nl.bfloat16)
            for half in range(P // b.head_dim):
                nisa.dma_copy(dst=self.q[nl.ds(half * b.head_dim, b.head_dim)], src=q[:, heads], name="queries")
            self.k_new = nl.ndarray((b.head_dim, self.n_heads, q.shape[2]), dtype=nl.bfloat16)
            nisa.dma_copy(dst=self.k_new, src=k_new[:, self.heads], name="new keys")

    def take_tokens(self, s):
        """The queries of sequence `s`, once for each half of the partitions that keys use, and its new keys."""
        b = self.bucket
        tokens = nl.ds(s * b.q_len, b.q_len)
        queries = self.queries.reshape((P, self.n_heads * b.group, b.q_len))
        if nl.is_sbuf(self.q.buffer):
            nisa.tensor_copy(dst=queries, src=self.q[:, :, tokens], engine=nisa.engine.vector)
            nisa.tensor_copy(dst=self.fresh_keys, src=self.k_new[:, :, tokens], engine=nisa.engine.vector)
            return
        for half in range(P // b.head_dim):
            nisa.dma_copy(
                dst=queries[nl.ds(half * b.head_dim, b.head_dim)],
                src=self.q[:, nl.ds(self.first * b.group, self.n_heads * b.group), tokens],
                name="queries",
            )
        nisa.dma_copy(dst=self.fresh_keys, src=self.k_new[:, self.heads, tokens], name="new keys")

    def clear(self):
        """Before a pass: nothing summed, and the context starts at its first page."""
        nisa.memset(dst=self.sums, value=0.0, engine=nisa.engine.gpsimd)
        nisa.tensor_copy(dst=self.low, src=self.bounds[:, 1:2], engine=nisa.engine.vector)

    def keys_of(self, buffer, page, tile, head, tail_page):
        """(keys [head_dim, 128], partitions of the queries that go with them) of a tile of 128 keys."""
        d = self.bucket.head_dim
        if tail_page is not None:
            return self.tail[:, head, nl.ds(tail_page * self.bucket.page_len + tile * P, P)], nl.ds(0, d)
        half, start = divmod(tile * P, self.run)
        rows = nl.ds(half * d, d)
        return self.k[rows, buffer, page, head, nl.ds(start, P)], rows

    def store(self, out, s):
        """out = sums / row sum, rows of 128 columns at a time, split where the group changes."""
        b, d = self.bucket, self.bucket.head_dim
        for head in range(self.n_heads):
            for sub in range(-(-self.columns // P)):
                rows = min(P, self.columns - sub * P)
                inverse, result = nl.ndarray((P, 1), dtype=nl.float32), nl.ndarray((P, d), dtype=nl.bfloat16)
                nisa.reciprocal(dst=inverse[0:rows], data=self.sums[0:rows, head, sub, d : d + 1])
                nisa.tensor_scalar(
                    dst=result[0:rows],
                    data=self.sums[0:rows, head, sub, 0:d],
                    op0=nl.multiply,
                    operand0=inverse[0:rows],
                    engine=nisa.engine.vector,
                )
                row = 0
                while row < rows:
                    g, i = divmod(sub * P + row, b.q_len)
                    # Decode stores a whole group at once: its rows are neighbours in `out`.
                    n = min(rows - row, b.q_len - i) if b.q_len > 1 else rows
                    at = (self.first + head) * b.group + g
                    target = out[nl.ds(s * b.q_len + i, n), at] if b.q_len > 1 else out[s, nl.ds(at, n)]
                    nisa.dma_copy(dst=target, src=result[row : row + n], name="store")
                    row += n
