"""Attention over pages: what lives in SBUF and PSUM, and how the plan, queries and pages are loaded and results stored."""

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

    def __init__(self, bucket, n_heads, scale):
        b, d = bucket, bucket.head_dim
        self.bucket, self.n_heads, self.scale = b, n_heads, scale
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
        self.first, self.q, self.k_new = first, q, k_new
        if b.q_len * 2 < 512:
            heads = nl.ds(first * b.group, self.n_heads * b.group)
            self.q = nl.ndarray((P, self.n_heads * b.group, q.shape[2]), dtype=nl.bfloat16)
            for half in range(P // b.head_dim):
                nisa.dma_copy(dst=self.q[nl.ds(half * b.head_dim, b.head_dim)], src=q[:, heads], name="queries")
            self.k_new = nl.ndarray((b.head_dim, self.n_heads, q.shape[2]), dtype=nl.bfloat16)
            nisa.dma_copy(dst=self.k_new, src=k_new[:, nl.ds(first, self.n_heads)], name="new keys")

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
            nisa.dma_copy(dst=queries[nl.ds(half * b.head_dim, b.head_dim)], src=self.q[:, nl.ds(self.first * b.group, self.n_heads * b.group), tokens],
                          name="queries")
        nisa.dma_copy(dst=self.fresh_keys, src=self.k_new[:, nl.ds(self.first, self.n_heads), tokens], name="new keys")

    def clear(self):
        """Before a pass: nothing summed, and the context starts at its first page."""
        nisa.memset(dst=self.sums, value=0.0, engine=nisa.engine.gpsimd)
        nisa.tensor_copy(dst=self.low, src=self.bounds[:, 1:2], engine=nisa.engine.vector)

    def load_page(self, k_pages, v_pages, heads, buffer, slot, page_id):
        """One page's keys and values of `heads`; `page_id` is a 1x1 tensor, and page -1 is skipped."""
        _, _, n_kv_heads, run = k_pages.shape
        keys = [[n_kv_heads * run, P], [run, heads.size], [1, run]]
        nisa.dma_copy(dst=self.k[:, buffer, slot], src=k_pages.ap(pattern=keys, offset=heads.start * run, scalar_offset=page_id),
                      oob_mode=nisa.oob_mode.skip, dge_mode=nisa.dge_mode.hwdge, engine=nisa.engine.sync, name="keys")
        self.load_values(v_pages, heads, buffer, slot, page_id)

    def load_values(self, v_pages, heads, buffer, slot, page_id):
        """One page's values of `heads`; page -1 is skipped."""
        d, width = self.bucket.head_dim, v_pages.shape[3] * self.bucket.head_dim
        pattern = [[self.key_tiles * width, P], [width, self.key_tiles], [1, heads.size * d]]
        nisa.dma_copy(dst=self.v[:, buffer, slot], src=v_pages.ap(pattern=pattern, offset=heads.start * d, scalar_offset=page_id),
                      oob_mode=nisa.oob_mode.skip, dge_mode=nisa.dge_mode.hwdge, engine=nisa.engine.sync, name="values")

    def load_pages(self, k_pages, v_pages, heads, buffer, step, first):
        """`unroll` pages of the table, from entry step * 2 * unroll + first; `step` is a register or 0."""
        unroll = self.bucket.unroll
        pattern = [[self.n_table * 2 * unroll, 1], [1, unroll]]
        dynamic = {} if isinstance(step, int) else {"scalar_offset": step, "indirect_dim": 1}
        nisa.tensor_copy(dst=self.ids[buffer], src=self.table.ap(pattern=pattern, offset=first, **dynamic), engine=nisa.engine.vector)
        for u in range(unroll):
            self.load_page(k_pages, v_pages, heads, buffer, u, self.ids[buffer][:, u : u + 1])

    def load_single(self, k_pages, v_pages, heads, i):
        """The `i`-th of the pages that do not fill two buffers."""
        source = self.plan.ap(pattern=[[4 + 2 * self.bucket.unroll, 1], [1, 1]], offset=4, scalar_offset=i, indirect_dim=1)
        nisa.tensor_copy(dst=self.ids[1][:, 0:1], src=source, engine=nisa.engine.vector)
        self.load_page(k_pages, v_pages, heads, 1, 0, self.ids[1][:, 0:1])

    def load_context(self, k_pages, v_pages, heads, tables, s):
        """A function that loads the `i`-th context page of sequence `s` into the second buffer."""
        n = self.n_table * 2 * self.bucket.unroll
        pages = nl.ndarray((1, n), dtype=nl.int32)
        nisa.dma_copy(dst=pages, src=tables[s, 1].reshape((1, n)))

        def load(i):
            nisa.tensor_copy(dst=self.ids[1][:, 0:1], src=pages.ap(pattern=[[n, 1], [1, 1]], scalar_offset=i, indirect_dim=1), engine=nisa.engine.vector)
            self.load_page(k_pages, v_pages, heads, 1, 0, self.ids[1][:, 0:1])

        return load

    def keys_of(self, buffer, page, tile, head, tail_page):
        """(keys [head_dim, 128], partitions of the queries that go with them) of a tile of 128 keys."""
        d = self.bucket.head_dim
        if tail_page is not None:
            return self.tail[:, head, nl.ds(tail_page * self.bucket.page_len + tile * P, P)], nl.ds(0, d)
        half, start = divmod(tile * P, self.run)
        rows = nl.ds(half * d, d)
        return self.k[rows, buffer, page, head, nl.ds(start, P)], rows

    def store(self, out, first, s):
        """out = sums / row sum, rows of 128 columns at a time, split where the group changes."""
        b, d = self.bucket, self.bucket.head_dim
        for head in range(self.n_heads):
            for sub in range(-(-self.columns // P)):
                rows = min(P, self.columns - sub * P)
                inverse, result = nl.ndarray((P, 1), dtype=nl.float32), nl.ndarray((P, d), dtype=nl.bfloat16)
                nisa.reciprocal(dst=inverse[0:rows], data=self.sums[0:rows, head, sub, d : d + 1])
                nisa.tensor_scalar(dst=result[0:rows], data=self.sums[0:rows, head, sub, 0:d], op0=nl.multiply, operand0=inverse[0:rows],
                                   engine=nisa.engine.vector)
                row = 0
                while row < rows:
                    g, i = divmod(sub * P + row, b.q_len)
                    # Decode stores a whole group at once: its rows are neighbours in `out`.
                    n = min(rows - row, b.q_len - i) if b.q_len > 1 else rows
                    at = (first + head) * b.group + g
                    target = out[nl.ds(s * b.q_len + i, n), at] if b.q_len > 1 else out[s, nl.ds(at, n)]
                    nisa.dma_copy(dst=target, src=result[row : row + n], name="store")
                    row += n
