"""What a schedule adds up to."""

from collections import defaultdict
from dataclasses import dataclass, field

PEAK_FLOPS_PER_CYCLE = 2 * 128 * 128


@dataclass
class Schedule:
    """The result: when everything ran, and what it adds up to.

    `busy_ns` is how long each engine was held, `active_ns` how long a compute engine had an instruction in flight, as AWS's profiler
    counts.
    """

    time_ns: float = 0.0
    busy_ns: dict = field(default_factory=lambda: defaultdict(float))
    active_ns: dict = field(default_factory=lambda: defaultdict(float))
    n_bytes: int = 0
    flops: int = 0
    events: list = field(default_factory=list)
    constants: dict = field(default_factory=dict)

    def utilisation(self, engine):
        """Share of the time in which `engine` was held."""
        return self.busy_ns[engine] / self.time_ns

    def activity(self, engine):
        """Share of the time in which `engine` had an instruction in flight."""
        return self.active_ns[engine] / self.time_ns

    @property
    def busiest(self):
        """The engine held the longest."""
        return max(self.busy_ns, key=self.busy_ns.get)

    @property
    def bf16_utilisation(self):
        """Useful matmul operations over what the tensor engine could do in bf16 in that time."""
        return self.flops / (self.time_ns * self.constants["tensor_ghz"] * PEAK_FLOPS_PER_CYCLE)

    @property
    def dma_bandwidth_share(self):
        """Bytes moved over what the DMA engines could move in that time."""
        return self.share_of_bandwidth(self.n_bytes)

    def share_of_bandwidth(self, n_bytes):
        """`n_bytes` over what the DMA engines could move in the time of this schedule."""
        peak = self.constants["dma_engines"] * self.constants["dma_engine_bytes_per_ns"]
        return n_bytes / (self.time_ns * peak)
