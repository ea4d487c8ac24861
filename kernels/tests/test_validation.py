"""The time model against what was measured, and what the kernels are asked to show: the README tells what the code finds today."""

import re

import numpy as np
import pytest

from kernels import goals, ladder, report, tutorial, validation, workloads
from kernels.timing import table
from kernels.timing.schedule import schedule

README = report.README.read_text()
RESOLUTION = (float(re.search(r"The largest error of a share, \*\*(\S+) points\*\*", README)[1]) + 0.05) / 100
STALE = "run python -m kernels.report --write"


def check(kernel, size, dtype):
    """That a kernel's product is right, to the rounding of bfloat16."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size)).astype(dtype) for _ in range(2))
    want = a.astype(np.float64).T @ b.astype(np.float64)
    assert np.abs(kernel(a, b).astype(np.float64) - want).max() < 2.0**-6 * np.abs(want).max()


@pytest.mark.parametrize("rung", ladder.RUNGS, ids=lambda r: r.__name__)
def test_rungs_multiply_matrices(rung):
    check(rung, 512, workloads.BF16)


@pytest.mark.parametrize("variant", tutorial.VARIANTS, ids=lambda v: v.__name__)
def test_variants_of_the_tutorial_multiply_matrices(variant):
    check(variant, 1024, np.float32)


def test_the_ladder_is_reproduced_within_the_resolution_and_stands_in_the_readme():
    rows = validation.ladder_rows()
    assert max(abs(error) for *_, error in rows) <= RESOLUTION
    assert report.ladder_table(rows) in README, STALE


@pytest.mark.parametrize("name", tutorial.PUBLISHED)
def test_the_tutorial_is_reproduced_within_the_resolution(name, monkeypatch):
    """Over one block of rows: every figure is a rate, in which start and end weigh a little more than in the whole."""
    monkeypatch.setattr(workloads, "TUTORIAL", {name: workloads.TUTORIAL[name]})
    ((_, measured, modelled),) = validation.tutorial_rows(1024 if name == "blocked_all" else 256)
    assert all(abs(error) <= RESOLUTION + 0.005 for error in validation.errors(measured, modelled) if error is not None)


@pytest.fixture(scope="module")
def timed():
    """The kernels of the goals, timed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEURON_PLATFORM_TARGET_OVERRIDE", "trn2")
        traced = {name: workloads.KERNELS[name]() for name in goals.KERNELS}
    return {name: goals.Timed(t, schedule(t.context, table.constants("gen3"))) for name, t in traced.items()}


@pytest.mark.parametrize("goal", goals.GOALS, ids=lambda g: g.what)
def test_what_is_asked_is_modelled_and_stands_in_the_readme(goal, timed):
    value = goal.read(timed)
    assert value <= goal.least if goal.is_ratio else value >= goal.least
    assert f"| {goal.what} | {goal.text(goal.least)} | {goal.text(goal.aim)} | {goal.text(value)} |" in README, STALE
