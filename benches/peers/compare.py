"""Measures longhaul and its peers in turn, in one run; started by scripts/compare, which installs the peers first.

For each case all entrants are made ready and run once, which does not count. Then they take turns, each for about a
tenth of a second, in rounds whose order rotates. An entrant's figure is the median over the rounds of the median in a
round; its best is its shortest time of all. Where a case is compared with a roof of the machine, that is measured before
and after the group of cases, and the higher one counts.
"""

import argparse
import itertools
import statistics
import sys
import time
from dataclasses import replace

from bystanders import Bystanders
from cases import ARITHMETIC, all_cases
from record import Measured, Record, Row
from workers import Failed, Workers

# Seconds of a sample; seconds for all samples of a case; rounds, at least and at most.
SAMPLE = 0.1
BUDGET, QUICK_BUDGET = 5.0, 1.5
ROUNDS = (3, 9)
# Results that are compared may differ by so much of their size: what four bits of weights and bf16 results cost.
TOLERANCE = 0.05
# Cores that others may keep busy before it is worth a warning.
QUIET = 0.1


def main():
    args = arguments()
    cases = [case for case in all_cases() if not args.only or case.group in args.only]
    record = Record(args.record, quick=args.quick)
    began = time.monotonic()
    for n_threads in args.threads:
        with Workers(n_threads) as workers:
            machine = workers.ask("rust", do="about")
            record.about(machine)
            resolved = [replace(case, roof=machine["roof"]) if case.roof == ARITHMETIC else case for case in cases]
            for group, members in itertools.groupby(resolved, lambda case: case.group):
                rows = measure_group(workers, list(members), QUICK_BUDGET if args.quick else BUDGET)
                record.replace(group, n_threads, rows)
                # A run that is ended has its groups so far; --only takes the others.
                record.save()
    print(f"wrote {record.path}, {time.monotonic() - began:.0f} s")


def arguments():
    groups = list(dict.fromkeys(case.group for case in all_cases()))
    as_list = lambda text: text.split(",")
    about = {"description": __doc__.splitlines()[0], "epilog": f"groups: {', '.join(groups)}"}
    parser = argparse.ArgumentParser(prog="compare", **about)
    add = parser.add_argument
    add("--only", type=as_list, metavar="GROUP,..",
        help="these groups of cases alone; other rows of the record stay, if they are of the same code")
    add("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2], metavar="N,..",
        help="numbers of threads, 1,2 if nothing is said")
    add("--quick", action="store_true", help="fewer rounds, to see whether everything works; the record says so")
    add("--record", default="compare", metavar="NAME", help="writes benches/records/NAME.json")
    args = parser.parse_args()
    if unknown := set(args.only or []) - set(groups):
        parser.error(f"no group {', '.join(sorted(unknown))}; there are {', '.join(groups)}")
    return args


def measure_group(workers, cases, budget):
    """The rows of a group, with the roofs of that time."""
    names = sorted({case.roof for case in cases} - {""})
    roofs = [measure_roofs(workers, names)]
    rows = []
    for case in cases:
        print(f"{workers.n_threads} thread(s), {case.group}: {case.what}", flush=True)
        rows.append(measure(workers, case, budget))
        print(f"    {rows[-1].summary()}", flush=True)
    roofs.append(measure_roofs(workers, names))
    highest = {name: max(roof[name] for roof in roofs) for name in names if name in roofs[0]}
    return [replace(row, roof=highest.get(case.roof)) for row, case in zip(rows, cases)]


def measure_roofs(workers, names):
    """Medians by name, in GFLOP/s or GB/s; one that this machine does not have is left out."""
    if not names:
        return {}
    return {name: roof["median"] for name, roof in workers.ask("rust", do="roofs", names=names).items()}


def measure(workers, case, budget):
    """All entrants of a case, in turn."""
    entrants = [case.ours, *case.peers]
    ready, missing = prepare(workers, case, entrants)
    n_rounds = rounds(ready.values(), budget)
    bystanders = Bystanders(workers.pids())
    rates = {entrant: [] for entrant in ready}
    for round_idx in range(n_rounds):
        order = list(ready)
        for entrant in order[round_idx % len(order):] + order[:round_idx % len(order)]:
            # One that is very slow is not needed as often.
            if len(rates[entrant]) >= ROUNDS[0] and ready[entrant] > budget / 8:
                continue
            answer = workers.ask(entrant.worker, do="sample", id=entrants.index(entrant), seconds=SAMPLE)
            rates[entrant].append([case.work / seconds for seconds in answer["seconds"]])
    others = bystanders.cores()
    if others > QUIET:
        print(f"    DISTURBED: other processes keep {others:.2f} cores busy", flush=True)
    workers.drop()
    measured = [
        Measured(entrant.name, statistics.median(map(statistics.median, samples)), max(itertools.chain(*samples)))
        for entrant, samples in rates.items()
    ]
    return Row(case, workers.n_threads, measured, missing, others)


def prepare(workers, case, entrants):
    """How many seconds the first run of each took, and why others cannot take part."""
    ready, missing, expected = {}, {}, None
    for idx, entrant in enumerate(entrants):
        try:
            answer = workers.ask(entrant.worker, do="prepare", id=idx, peer=entrant.peer, dtype=entrant.dtype, case=case.spec)
            expected = expected or answer["check"]
            if not agree(expected, answer["check"]):
                raise Failed(f"its result {answer['check']} is not {expected}")
            ready[entrant] = answer["seconds"]
        except Failed as failure:
            missing[entrant.name] = str(failure)
            print(f"    {entrant.name} is MISSING: {failure}", flush=True)
    return ready, missing


def agree(expected, got):
    size = max(map(abs, expected), default=0)
    return len(expected) == len(got) and all(abs(e - g) <= TOLERANCE * size for e, g in zip(expected, got))


def rounds(first_runs, budget):
    """How many rounds fit into the budget."""
    one_round = sum(max(seconds, SAMPLE) for seconds in first_runs)
    fewest, most = ROUNDS
    return min(most, max(fewest, int(budget / one_round))) if one_round else 0


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"compare: {failure}")
