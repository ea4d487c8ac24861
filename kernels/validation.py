"""The time model against measurements: the published matmul ladder, and AWS's matmul tutorial. Their largest error is its resolution."""

from . import ladder, tutorial, workloads
from .timing.schedule import schedule
from .timing.table import constants

FLOAT32_SHARE = 1 / 4  # of bf16's peak, which float32 can reach


def ladder_rows():
    """(rung, measured, modelled, error) of the published ladder; shares of the tensor engine's bf16 peak."""
    rows = []
    for name, trace in workloads.LADDER.items():
        modelled = schedule(trace().context, constants("gen3")).bf16_utilisation
        rows.append((name, ladder.PUBLISHED[name], modelled, modelled - ladder.PUBLISHED[name]))
    return rows


def tutorial_rows(m=tutorial.SHAPE[0]):
    """(variant, measured profile, modelled profile) of AWS's tutorial, for the first `m` rows of its product; time as if for all."""
    rows = []
    for name, trace in workloads.TUTORIAL.items():
        result = schedule(trace(m).context, constants("gen3"))
        activity = result.activity("tensor"), result.activity("vector")
        time_ms = result.time_ns / 1e6 * tutorial.SHAPE[0] / m
        rows.append((name, tutorial.PUBLISHED[name], tutorial.Profile(time_ms, result.bf16_utilisation, *activity)))
    return rows


def errors(measured, modelled):
    """Errors of a modelled profile: of time, relative; of the share of float32's peak; of the activity of the tensor and vector engines."""
    vector = None if measured.vector_active is None else modelled.vector_active - measured.vector_active
    return (
        modelled.time_ms / measured.time_ms - 1,
        (modelled.mfu - measured.mfu) / FLOAT32_SHARE,
        modelled.tensor_active - measured.tensor_active,
        vector,
    )


def resolution(rungs, variants):
    """The largest error of a share among rows of both, of whichever engine: what differs by less cannot be told apart."""
    shares = [row[3] for row in rungs]
    shares += [error for _, measured, modelled in variants for error in errors(measured, modelled)[1:] if error is not None]
    return max(map(abs, shares))
