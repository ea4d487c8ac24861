"""What the kernels are asked to show, each with how it is read off the modelled times, and the sweep of assumptions over all of it."""

from dataclasses import dataclass

from . import workloads
from .timing.result import PEAK_FLOPS_PER_CYCLE
from .timing.schedule import schedule
from .timing.table import SWEPT, TABLE, constants

WORST = {"stationary_speedup": 1}  # the one constant whose smallest value is the worst


@dataclass(frozen=True)
class Timed:
    """A kernel's schedule, and the work of it that is useful."""

    traced: workloads.Traced
    result: object

    @property
    def share_of_peak(self):
        """Useful operations over what the tensor engine could do in bf16 in that time."""
        return self.traced.flops / (self.result.time_ns * self.result.constants["tensor_ghz"] * PEAK_FLOPS_PER_CYCLE)

    @property
    def share_of_bandwidth(self):
        """Bytes that must be read over what the DMA engines could move in that time."""
        return self.result.share_of_bandwidth(self.traced.n_bytes)

    @property
    def busiest(self):
        """How long the busiest engine was held, over the time."""
        return self.result.utilisation(self.result.busiest)


@dataclass(frozen=True)
class Goal:
    """`read` takes the timed kernels by name; `least` and `aim` are shares, or where less is better (`is_ratio`) times as long."""

    what: str
    read: object
    least: float
    aim: float | None
    published: str
    is_ratio: bool = False

    def text(self, value):
        """A value as text."""
        return "" if value is None else f"{value:.3f}x" if self.is_ratio else f"{100 * value:.1f}%"


def _of(kernel, measure):
    return lambda timed: getattr(timed[kernel], measure)


SQUARE, DECODE = "matmul 2048 x 2048 x 2048, bf16", "decode, batch 8, kv = 104k, 32/8 heads of 128"
PREFILL = "append-prefill q = 700 over 104k, 32/8 heads of 128"
LONG, SHORT = "decode, batch 8, kv = 4k of 131,072", "decode, batch 8, kv = 4k of 4,096"
WIDE = "matmul M = {}, K = 4096, N = 14336, bf16"
GOALS = (
    Goal("matmul 2048 x 2048 x 2048, tensor engine", _of(SQUARE, "share_of_peak"), 0.85, 0.92, "best NKI 90.9%, compiler 86.7%"),
    Goal("matmul M = 1, K = 4096, N = 14336, DMA bandwidth", _of(WIDE.format(1), "share_of_bandwidth"), 0.80, 0.90, "AWS calls 60% good"),
    Goal("matmul M = 16, same K and N, DMA bandwidth", _of(WIDE.format(16), "share_of_bandwidth"), 0.80, 0.90, "AWS calls 60% good"),
    Goal("prefill of 700 over 104k, tensor engine", _of(PREFILL, "share_of_peak"), 0.45, 0.60, "AWS 30% at 2k, 46% at 16k"),
    Goal("prefill of 700 over 104k, busiest engine", _of(PREFILL, "busiest"), 0.85, None, ""),
    Goal("decode of 8 over 104k, DMA bandwidth", _of(DECODE, "share_of_bandwidth"), 0.75, 0.85, "none above 46%"),
    Goal(
        "decode over 4k, time in a 131,072 configuration over that in one of 4,096",
        lambda timed: timed[LONG].result.time_ns / timed[SHORT].result.time_ns,
        1.2,
        1.05,
        "AWS's default pays about 32x",
        True,
    ),
)
KERNELS = (SQUARE, WIDE.format(1), WIDE.format(16), PREFILL, DECODE, LONG, SHORT)


def sweep():
    """(constant, value, what each goal reads): each assumption over its range, the others at their values; last, all at their worst."""
    traced = {name: workloads.KERNELS[name]() for name in KERNELS}
    defaults = constants("gen3")
    cases = [(name, f"{value:g} {TABLE[name].unit}", {name: value}) for name, values in SWEPT.items() for value in values]
    cases.append(("all at their worst", "", {name: WORST.get(name, max(values)) for name, values in SWEPT.items()}))
    for name, value, overrides in cases:
        timed = {kernel: Timed(t, schedule(t.context, constants("gen3", **overrides))) for kernel, t in traced.items()}
        default = " (default)" if overrides == {name: defaults.get(name)} else ""
        yield name + default, value, [goal.read(timed) for goal in GOALS]
