"""Writes a schedule as a Chrome trace: open it in ui.perfetto.dev or chrome://tracing."""

import json

LANES = ("tensor", "scalar", "vector", "gpsimd", "sync", "dma")


def write_trace(schedule, path, title):
    """Writes the events of `schedule` (made with `keep_events=True`) to `path`, one lane for each engine; times in microseconds."""
    rows = [{"ph": "M", "name": "process_name", "pid": 0, "args": {"name": f"{title} (modelled)"}}]
    rows += [{"ph": "M", "name": "thread_name", "pid": 0, "tid": i, "args": {"name": lane}} for i, lane in enumerate(LANES)]
    for instruction, start, end in schedule.events:
        args = {k: v for k, v in instruction.work.items() if isinstance(v, (int, float, str, bool))}
        rows.append(
            {
                "ph": "X",
                "pid": 0,
                "tid": LANES.index(instruction.engine),
                "name": instruction.name or instruction.call,
                "ts": start / 1e3,
                "dur": (end - start) / 1e3,
                "args": args,
            }
        )
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"traceEvents": rows, "displayTimeUnit": "ns"}, file)
