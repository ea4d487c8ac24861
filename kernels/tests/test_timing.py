"""The time model: costs from the documents, and the order of things."""

import json

import numpy as np
import pytest

import nki
import nki.isa as nisa
import nki.language as nl
from kernels import ladder, workloads
from kernels.timing import cost, table
from kernels.timing.perfetto import LANES, write_trace
from kernels.timing.schedule import schedule

C = table.constants("gen3")


def timed(kernel, *args, **overrides):
    """(context, schedule) of a kernel, traced without numbers."""
    _, (context,) = nki.trace(kernel, args, numeric=False)
    return context, schedule(context, table.constants("gen3", **overrides), keep_events=True)


def spans(result, call):
    """(start, end) of each instruction of that name."""
    return [(start, end) for i, start, end in result.events if i.call == call]


def tile(shape=(128, 512), dtype=nl.float32, buffer=nl.sbuf):
    return nl.ndarray(shape, dtype=dtype, buffer=buffer)


def test_costs_are_the_documented_ones():
    def kernel():
        half, wide = tile(dtype=nl.bfloat16), tile()
        for t in (half, wide):
            nisa.memset(dst=t, value=0.0, engine=nisa.engine.gpsimd)
        psum = tile(buffer=nl.psum)
        nisa.nc_matmul(dst=psum, stationary=half[:, 0:128], moving=half, accumulate=False)
        nisa.activation(dst=half, op=nl.exp, data=psum)
        for dst, src in ((wide, wide), (half, half), (half, psum)):
            nisa.tensor_copy(dst=dst, src=src, engine=nisa.engine.vector)
        nisa.tensor_tensor(dst=wide, data1=wide, data2=wide, op=nl.add, engine=nisa.engine.vector)

    context, _ = timed(kernel)
    ns = [cost.busy_and_latency_ns(i, C)[0] for i in context.instructions[2:]]
    assert ns == pytest.approx([512 / 2.4, 572 / 1.2, 572 / 0.96, 188 / 0.96, 572 / 0.96, 1084 / 0.96])


def test_dma_time_follows_descriptors_and_engines():
    whole = {"n_partitions": 128, "run_bytes": 4096, "n_descriptors": 128, "n_bytes": 1 << 19}
    assert cost.dma_ns(whole, C) == (pytest.approx(8 * 4096 / 22.6), 16)
    assert cost.dma_ns(whole | {"run_bytes": 2}, C) == (8 * C["dma_descriptor_ns"], 16)
    one_engine = cost.dma_ns(whole | {"n_partitions": 4, "n_descriptors": 4, "run_bytes": 8192}, C)
    assert one_engine == (pytest.approx(4 * 8192 / 22.6), 1)
    assert one_engine[0] == pytest.approx(1416, rel=0.03)  # measured on trn2: "Introduction to DMA with NKI", example 1


def test_an_instruction_waits_for_its_data_and_its_buffer():
    def kernel(x):
        a, b, psum = tile((128, 512), nl.bfloat16), tile(), tile(buffer=nl.psum)
        for _ in range(2):
            nisa.dma_copy(dst=a, src=x)
            nisa.nc_matmul(dst=psum, stationary=a[:, 0:128], moving=a, accumulate=False)
            nisa.tensor_copy(dst=b, src=psum, engine=nisa.engine.vector)

    _, result = timed(kernel, workloads.blank(128, 512))
    (load, reload), (first, second), (copy, _) = (spans(result, c) for c in ("dma_copy", "nc_matmul", "tensor_copy"))
    assert first[0] >= load[1] and copy[0] >= first[1] and reload[0] >= first[1] + C["dma_latency_ns"] and second[0] >= copy[1]


def test_accumulation_does_not_stall_the_tensor_engine():
    def kernel():
        a, psum = tile(dtype=nl.bfloat16), tile(buffer=nl.psum)
        nisa.memset(dst=a, value=0.0)
        for i in range(4):
            nisa.nc_matmul(dst=psum, stationary=a[:, 0:128], moving=a, accumulate=i > 0)

    _, result = timed(kernel)
    starts = [start for start, _ in spans(result, "nc_matmul")]
    assert np.diff(starts) == pytest.approx([512 / 2.4] * 3)


def test_an_engine_is_active_while_a_result_is_under_way():
    def kernel():
        a, psum = tile(dtype=nl.bfloat16), tile(buffer=nl.psum)
        nisa.memset(dst=a, value=0.0)
        for _ in range(3):  # overlapping, then apart
            nisa.nc_matmul(dst=psum, stationary=a[:, 0:128], moving=a, accumulate=False)
        nisa.activation(dst=a, op=nl.copy, data=psum)
        nisa.nc_matmul(dst=psum, stationary=a[:, 0:128], moving=a, accumulate=False)

    _, result = timed(kernel)
    assert result.busy_ns["tensor"] == pytest.approx(4 * 512 / 2.4)
    assert result.active_ns["tensor"] == pytest.approx((4 * 512 + 2 * C["matmul_latency_cycles"]) / 2.4)
    assert result.activity("scalar") == pytest.approx(result.utilisation("scalar"))


def test_a_fresh_tensor_waits_for_the_dead_one_whose_place_it_takes():
    def kernel():
        a = tile(dtype=nl.bfloat16)
        nisa.memset(dst=a, value=0.0)
        for _ in range(16):
            psum = tile(buffer=nl.psum)
            nisa.nc_matmul(dst=psum, stationary=a[:, 0:128], moving=a, accumulate=False)
            nisa.tensor_copy(dst=tile(), src=psum, engine=nisa.engine.vector)

    _, result = timed(kernel)
    matmuls, copies = spans(result, "nc_matmul"), spans(result, "tensor_copy")
    assert all(matmuls[i + 8][0] >= copies[i][1] for i in range(8)) and matmuls[7][0] < copies[6][1]


def test_loops_repeat_as_if_every_iteration_were_played():
    def kernel(n):
        a, psum = tile(dtype=nl.bfloat16), tile(buffer=nl.psum)
        nisa.memset(dst=a, value=0.0)

        def body(i):
            nisa.nc_matmul(dst=psum, stationary=a[:, 0:128], moving=a, accumulate=False)
            nisa.activation(dst=a, op=nl.copy, data=psum)

        nl.fori_loop(0, nisa.register_alloc(n), body)

    _, (context,) = nki.trace(kernel, (50,), numeric=False)
    fast, whole = schedule(context, C), schedule(context, C, keep_events=True)
    assert len(whole.events) == 1 + 100
    totals = lambda result: (result.time_ns, result.flops, result.busy_ns["scalar"], result.active_ns["tensor"])
    assert totals(fast) == pytest.approx(totals(whole))
    assert whole.time_ns >= 50 * C["loop_ns"]


def test_a_skipped_transfer_moves_nothing():
    def kernel(x, index):
        at, row = tile((1, 1), nl.int32), tile((1, 512), nl.bfloat16)
        nisa.dma_copy(dst=at, src=index)
        view = x.ap(pattern=[[512, 1], [1, 512]], scalar_offset=at, indirect_dim=0)
        nisa.dma_copy(dst=row, src=view, oob_mode=nisa.oob_mode.skip, dge_mode=nisa.dge_mode.hwdge)

    for index, n_bytes in ((3, 1024), (-1, 0)):
        context, _ = timed(kernel, workloads.blank(16, 512), np.full((1, 1), index, np.int32))
        assert context.instructions[-1].work["n_bytes"] == n_bytes


def test_trace_opens_as_json_with_a_lane_for_each_engine(tmp_path):
    _, result = timed(ladder.two_stage_k, workloads.blank(512, 512), workloads.blank(512, 512))
    write_trace(result, tmp_path / "trace.json", "two stages")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {e["args"]["name"] for e in events if e["name"] == "thread_name"} == set(LANES)
    assert len([e for e in events if e["ph"] == "X"]) == len(result.events) and all(e["dur"] >= 0 for e in events if e["ph"] == "X")


def test_every_assumption_is_swept_around_its_value():
    assumed = {name for name, constant in table.TABLE.items() if table.ASSUMED in constant.source}
    assert assumed <= set(table.SWEPT)
    assert all(table.TABLE[name].gen3 in values for name, values in table.SWEPT.items())
