"""An event-driven schedule of recorded instructions.

Engines issue in program order. An instruction starts when its engine is free, its operands have been written, and what it overwrites
has been read; results of another engine are seen a semaphore later. A DMA starts a fixed latency after its operands are ready, and takes
its share of the 16 DMA engines in the first gap that fits: queues run independently. An iteration of a device loop starts when every
compute engine has finished the one before (DMAs in flight go on).
Memory that the kernel allocates afresh is given to it again as the hardware would: where a new tensor takes the place of a dead one, it
waits for the dead one's last use.
"""

from collections import defaultdict
from dataclasses import replace

from .calendar import Calendar
from .cost import busy_and_latency_ns, dma_ns, matmul_flops
from .placement import predecessors
from .result import Schedule

COMPUTE = ("tensor", "vector", "scalar", "gpsimd", "sync")


def schedule(context, constants, keep_events=False):
    """Schedules what `context` recorded."""
    run = _Run(context, constants, keep_events)
    run.play(0, len(context.instructions))
    return run.result


class _Run:
    def __init__(self, context, constants, keep_events):
        self.c = constants
        self.instructions, self.keep_events = context.instructions, keep_events
        self.result = Schedule(constants=constants)
        self.free = defaultdict(float)
        self.in_flight_until = defaultdict(float)
        self.floor = 0.0
        self.dma_gaps = Calendar()
        self.dge = [0.0] * int(constants["dge_units"])
        self.accesses = defaultdict(dict)
        self.last_access = defaultdict(float)
        self.dead = predecessors(context)
        written = {id(s) for i in context.instructions for s, _ in i.writes}
        read = {id(s) for i in context.instructions for s, _ in i.reads}
        self.static = {id(s) for s in context.storages if not s.on_chip and not (id(s) in written and id(s) in read)}

    def play(self, first, last):
        """Schedules the instructions [first, last)."""
        position = first
        while position < last:
            instruction = self.instructions[position]
            if instruction.engine == "marker":
                self.marker(instruction)
                if instruction.call == "loop_begin" and instruction.work["n_times"] > 1:
                    end = self._loop_end(position)
                    self._play_loop(position + 1, end, instruction.work["n_times"])
                    position = end
                    continue
            else:
                start, end, seen = (self.dma if instruction.engine == "dma" else self.compute)(instruction, position)
                self.commit(instruction, seen)
                if self.keep_events:
                    self.result.events.append((instruction, start, end))
            position += 1

    def _play_loop(self, first, last, n_times):
        """Plays a loop's body until three iterations took equally long, then moves time on by the rest of them at once."""
        took = []
        for done in range(1, n_times + 1):
            before = replace(self.result, busy_ns=dict(self.result.busy_ns), active_ns=dict(self.result.active_ns))
            self.play(first, last)
            took.append(self.result.time_ns - before.time_ns)
            if not self.keep_events and len(took) > 3 and max(took[-3:]) - min(took[-3:]) < 1e-3:
                self._skip(n_times - done, took[-1], before)
                return

    def _skip(self, n, took, before):
        """`n` further iterations like the last: every clock moves on, every total grows."""
        shift = n * took
        for clocks in (self.free, self.in_flight_until, self.last_access):
            for key in clocks:
                clocks[key] += shift
        for regions in self.accesses.values():
            for times in regions.values():
                for by_engine in times:
                    for engine in by_engine:
                        by_engine[engine] += shift
        self.dge = [t + shift for t in self.dge]
        self.floor += shift
        self.dma_gaps.shift(shift)
        for totals, old in ((self.result.busy_ns, before.busy_ns), (self.result.active_ns, before.active_ns)):
            for engine, ns in totals.items():
                totals[engine] = ns + n * (ns - old.get(engine, 0.0))
        self.result.n_bytes += n * (self.result.n_bytes - before.n_bytes)
        self.result.flops += n * (self.result.flops - before.flops)
        self.result.time_ns += shift

    def _loop_end(self, position):
        depth = 0
        while True:
            call = self.instructions[position].call
            depth += (call == "loop_begin") - (call == "loop_end")
            if depth == 0:
                return position
            position += 1

    def ready(self, instruction, position):
        """When the operands are ready and the destinations are free, and which engines made them so."""
        ready = self.floor
        for storage, region in instruction.reads:
            ready = max(ready, self._latest(storage, region, instruction.engine, writes_only=True))
        for storage, region in instruction.writes:
            ready = max(ready, self._latest(storage, region, instruction.engine, writes_only=False))
            for dead in self.dead.get(id(storage), ()) if storage.first_use == position else ():
                ready = max(ready, self.last_access[dead])
        return ready

    def compute(self, instruction, position):
        busy, latency = busy_and_latency_ns(instruction, self.c)
        engine = instruction.engine
        start = max(self.free[engine], self.ready(instruction, position))
        self.free[engine] = start + busy
        seen = start + busy + latency
        self.result.busy_ns[engine] += busy
        self.result.active_ns[engine] += seen - max(start, self.in_flight_until[engine])
        self.in_flight_until[engine] = seen
        self.result.flops += matmul_flops(instruction)
        return start, start + busy, seen

    def dma(self, instruction, position):
        work = instruction.work
        issue = self._issue(work, self.ready(instruction, position))
        each, engines = dma_ns(work, self.c)
        held = each * engines / self.c["dma_engines"]
        start = self.dma_gaps.take(issue + self.c["dma_latency_ns"], held)
        self.result.busy_ns["dma"] += held
        self.result.n_bytes += work["n_bytes"]
        return start, start + max(each, held), start + max(each, held)

    def marker(self, instruction):
        for storage, region in instruction.reads:
            self.floor = max(self.floor, self._latest(storage, region, "marker", writes_only=True))
        if instruction.call == "loop_step":
            self.floor = max([self.floor] + [self.free[e] for e in COMPUTE]) + self.c["loop_ns"]
        elif instruction.call == "loop_end":
            self.floor = max([self.floor] + [self.free[e] for e in COMPUTE])

    def commit(self, instruction, seen):
        """Notes the accesses of an instruction whose results are visible at `seen`."""
        for operands, slot in ((instruction.writes, 0), (instruction.reads, 1)):
            for storage, region in operands:
                self.last_access[id(storage)] = max(self.last_access[id(storage)], seen)
                if id(storage) not in self.static:
                    times = self.accesses[id(storage)].setdefault(region, ({}, {}))[slot]
                    times[instruction.engine] = max(times.get(instruction.engine, 0.0), seen)
        self.result.time_ns = max(self.result.time_ns, seen)

    def _issue(self, work, ready):
        """When the descriptors are there: the hardware DGE and GpSimd take their time, prepared descriptors do not."""
        if work["mode"] == "hwdge":
            unit = self.dge.index(min(self.dge))
            self.dge[unit] = max(self.dge[unit], ready) + self.c["dge_ns"]
            return self.dge[unit]
        if work["mode"] == "swdge":
            busy = self.c["swdge_ns"] + work["n_descriptors"] * self.c["swdge_descriptor_ns"]
            self.free["gpsimd"] = max(self.free["gpsimd"], ready) + busy
            self.result.busy_ns["gpsimd"] += busy
            return self.free["gpsimd"]
        return ready

    def _latest(self, storage, region, engine, writes_only):
        """When the accesses that conflict with `region` are over. An engine waits for itself by issuing in order; DMA queues do not."""
        latest = 0.0
        for other, times in self.accesses[id(storage)].items():
            if other[0] < region[1] and region[0] < other[1] and other[2] < region[3] and region[2] < other[3]:
                for by_engine in times[:1] if writes_only else times:
                    for by, time in by_engine.items():
                        if by != engine or by == "dma":
                            latest = max(latest, time + self.c["semaphore_ns"])
        return latest
