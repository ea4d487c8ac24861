"""Attention over pages against the float64 reference: every case within the computed tolerance, every page as it must be."""

import ml_dtypes
import numpy as np
import pytest
from pairs import all_pairs

import nki
from kernels import attention, attention_exact, attention_host, attention_plan

BF16 = np.dtype(ml_dtypes.bfloat16)
CASES = all_pairs(
    head_dim=(64, 128),
    group=(1, 3, 4),
    q_len=(1, 2, 127, 128, 129, 700),
    before=(0, 1, "page - 1", "page", "page + 1", 5000),
    n_seqs=(1, 2),
    window=(0, 300),
    variant=("device loop", "static"),
    target=("trn2", "trn3"),
)


def sequences(rng, starts, n_new, n_heads, n_kv_heads, d, gain=1.0):
    """q, k, v of a ragged batch, rounded to bfloat16."""
    draw = lambda n, heads: rng.standard_normal((n, heads, d)).astype(np.float32)
    q = [(draw(n, n_heads) * gain).astype(BF16) for n in n_new]
    k, v = ([draw(start + n, n_kv_heads).astype(BF16) for start, n in zip(starts, n_new)] for _ in range(2))
    return q, k, v


def check(bucket, q, k, v, starts, seed=0, n_cores=1):
    """Runs the kernel; compares results and pages."""
    rng, scale = np.random.default_rng(seed), bucket.head_dim**-0.5
    batch = attention_host.Batch(q, k, v, starts)
    pages = attention_host.place(rng, batch, bucket.page_len)
    got = attention_host.attend(bucket, batch, pages, scale, n_cores)
    want = attention_plan.reference(q, k, v, starts, scale, bucket.window)
    for s, table in enumerate(pages.tables):
        error = np.abs(got[s].astype(np.float64) - want[s])
        assert (
            error <= attention_plan.tolerance(q[s], k[s], v[s], want[s], scale)
        ).all(), f"sequence {s}: {np.nanmax(error)}, NaN {np.isnan(error).sum()}"
        stored = np.concatenate([attention_plan.to_canonical(pages.k[p], pages.v[p], bucket.head_dim) for p in table], axis=1)
        assert np.array_equal(stored[:, : len(k[s])], np.stack([k[s], v[s]])), f"pages of sequence {s}"


def bucket_for(q, starts, page_len, n_kv_heads, window=0, static=False, unroll=2, q_len=None):
    """The smallest bucket that holds a batch."""
    n_new = max(map(len, q))
    pages = max(-(-(start + len(queries)) // page_len) for start, queries in zip(starts, q))
    return attention_plan.Bucket(
        len(q),
        q_len or n_new,
        q[0].shape[1],
        n_kv_heads,
        q[0].shape[2],
        page_len,
        pages,
        unroll,
        window,
        max(1, max(starts) // page_len) if static else 0,
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_attention_matches_reference(case, monkeypatch):
    monkeypatch.setenv("NEURON_PLATFORM_TARGET_OVERRIDE", case["target"])
    page_len, q_len = 128 * (128 // case["head_dim"]), case["q_len"]
    static = case["variant"] == "static"
    before = {"page - 1": page_len - 1, "page": page_len, "page + 1": page_len + 1}.get(case["before"], case["before"])
    n_kv_heads = 1 if q_len > 2 else 2
    starts, n_new = [before, 3][: case["n_seqs"]], [q_len, max(1, q_len - 1)][: case["n_seqs"]]
    q, k, v = sequences(np.random.default_rng(q_len), starts, n_new, n_kv_heads * case["group"], n_kv_heads, case["head_dim"])
    check(bucket_for(q, starts, page_len, n_kv_heads, case["window"], static), q, k, v, starts)


def test_long_context_runs_whole_steps_and_single_pages():
    starts = [5000]
    q, k, v = sequences(np.random.default_rng(1), starts, [5], 8, 2, 128)
    check(bucket_for(q, starts, 128, 2), q, k, v, starts)


@pytest.mark.parametrize("gain, window", [(60.0, 0), (60.0, 300), (300.0, 0)])
def test_scores_far_apart_are_computed_again_exactly(gain, window, monkeypatch):
    ran = []
    exact = attention_exact.attend_exactly
    monkeypatch.setattr(attention, "attend_exactly", lambda *args: (ran.append(1), exact(*args)))
    starts = [1000]
    q, k, v = sequences(np.random.default_rng(2), starts, [7], 4, 2, 128, gain)
    check(bucket_for(q, starts, 128, 2, window), q, k, v, starts)
    assert ran


def test_ordinary_scores_are_not_computed_again(monkeypatch):
    monkeypatch.setattr(attention, "attend_exactly", lambda *args: pytest.fail("the exact softmax ran"))
    starts = [1000]
    q, k, v = sequences(np.random.default_rng(2), starts, [7], 4, 2, 128)
    check(bucket_for(q, starts, 128, 2), q, k, v, starts)


@pytest.mark.parametrize("static", [False, True])
def test_two_cores_share_the_heads(static):
    starts = [300, 40]
    q, k, v = sequences(np.random.default_rng(4), starts, [3, 2], 8, 2, 128)
    check(bucket_for(q, starts, 128, 2, static=static), q, k, v, starts, n_cores=2)


def test_padded_rows_change_nothing():
    starts = [300, 10]
    q, k, v = sequences(np.random.default_rng(3), starts, [3, 9], 4, 1, 128)
    check(bucket_for(q, starts, 128, 1, q_len=16), q, k, v, starts)


def test_context_is_read_as_long_as_it_is():
    """Bytes loaded grow with the context, not with the largest context of the bucket."""

    def n_bytes(start, max_pages):
        bucket = attention_plan.Bucket(1, 1, 8, 2, 128, 128, max_pages)
        tables = [list(range(1, start // 128 + 2))]
        zeros = lambda *shape: np.broadcast_to(np.zeros((), BF16), shape)
        pages = zeros(4096, 128, 2, 128), zeros(4096, 128, 1, 2, 128)
        plan = attention_plan.plan(bucket, [start], [1], tables)
        args = zeros(128, 8, 1), zeros(128, 2, 1), zeros(1, 256), *pages, plan.counts, plan.tables, plan.tails, plan.rows, plan.bounds
        _, (context,) = nki.trace(attention.attention, (*args, bucket, 0.1), numeric=False)
        times, total = [1], 0
        for i in context.instructions:
            times = times + [times[-1] * i.work["n_times"]] if i.call == "loop_begin" else times[: -1 if i.call == "loop_end" else None]
            total += times[-1] * i.work["n_bytes"] if i.name in ("keys", "values") else 0
        return total

    page_bytes = 2 * 128 * 2 * 128 * 2
    assert n_bytes(4096, 1024) == n_bytes(4096, 32) == 32 * page_bytes + page_bytes // 2
    assert n_bytes(65536, 1024) == 512 * page_bytes + page_bytes // 2


def test_pages_convert_to_the_canonical_layout_and_back():
    for head_dim, page_len in ((64, 256), (128, 128), (128, 512)):
        page = np.random.default_rng(0).standard_normal((2, page_len, 3, head_dim)).astype(BF16)
        assert np.array_equal(attention_plan.to_canonical(*attention_plan.from_canonical(page), head_dim), page)


@pytest.mark.parametrize(
    "starts, n_new, message",
    [
        ([0], [5], "the bucket takes 1 to 4"),
        ([0], [0], "the bucket takes"),
        ([600], [1], "the table has 4"),
        ([500], [4], "the bucket takes 2"),
    ],
)
def test_plan_refuses_what_the_bucket_does_not_hold(starts, n_new, message):
    bucket = attention_plan.Bucket(1, 4, 2, 1, 128, 128, 2)
    with pytest.raises(ValueError, match=message):
        attention_plan.plan(bucket, starts, n_new, [[1, 2, 3, 4]])


def test_page_length_gives_runs_of_four_kibibytes():
    assert attention_plan.page_len_for(8, 128) == 256
    assert attention_plan.page_len_for(1, 128) == 2048
    assert attention_plan.page_len_for(3, 64) == 2048
