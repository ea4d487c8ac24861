"""What one run of a kernel knows: the target, whether numbers are computed, and the instructions recorded so far."""

import os
from contextlib import contextmanager
from dataclasses import dataclass, field

from ._limits import LIMITS, TARGETS


@dataclass
class Instruction:
    """One recorded instruction, as the time model reads it.

    `reads` and `writes` are lists of (storage, region); a region is (partition_lo, partition_hi, byte_lo, byte_hi) on chip and
    (0, 1, byte_lo, byte_hi) in HBM. `work` holds what the cost depends on.
    """

    engine: str
    call: str
    reads: list
    writes: list
    work: dict
    name: str = ""


@dataclass
class LoopBody:
    """The memory that the body of a device loop allocates, in order; every iteration gets the same."""

    storages: list = field(default_factory=list)
    cursor: int = 0


@dataclass
class Context:
    """The state of a run. `numeric=False` records instructions and computes integers only, to time shapes too large to compute."""

    generation: str
    numeric: bool = True
    program_id: int = 0
    n_programs: int = 1
    instructions: list = field(default_factory=list)
    storages: list = field(default_factory=list)
    loops: list = field(default_factory=list)

    def limit(self, name):
        """The value of a limit on this target."""
        return LIMITS[name].on(self.generation)

    def allocation(self, make):
        """A new storage; in a device loop the one that the same line got in the first iteration, its contents forgotten."""
        if not self.loops:
            return make()
        body = self.loops[-1]
        body.cursor += 1
        if body.cursor > len(body.storages):
            body.storages.append(make())
        storage = body.storages[body.cursor - 1]
        if storage.written is not None:
            storage.written[:] = False
        return storage

    def record(self, engine, call, reads, writes, name="", **work):
        """Appends an instruction; operands are tensors."""
        position = len(self.instructions)
        instruction = Instruction(engine, call, [t.region() for t in reads], [t.region() for t in writes], work, name or "")
        for storage, _ in instruction.reads + instruction.writes:
            storage.touch(position)
        self.instructions.append(instruction)

    def mark(self, call, reads=(), **work):
        """Appends a marker: the boundaries of device loops, and the registers that hold their bounds."""
        self.instructions.append(Instruction("marker", call, [r.region() for r in reads], [], work))


def target_generation():
    """The generation named by NEURON_PLATFORM_TARGET_OVERRIDE; trn2 when it is not set."""
    target = os.environ.get("NEURON_PLATFORM_TARGET_OVERRIDE", "trn2")
    if target not in TARGETS:
        raise ValueError(f"NEURON_PLATFORM_TARGET_OVERRIDE={target}: kernels run on {', '.join(TARGETS)}")
    return TARGETS[target]


_stack = []


def current():
    """The running context. Calls outside of a run have none."""
    if not _stack:
        raise RuntimeError("an nki call outside of a kernel: call the kernel through @nki.jit or nki.simulate")
    return _stack[-1]


@contextmanager
def running(context):
    """Makes `context` the current one."""
    _stack.append(context)
    try:
        yield context
    finally:
        _stack.pop()
