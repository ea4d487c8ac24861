"""Test cases such that every pair of values of any two parameters occurs, and not their whole product."""

import itertools


def all_pairs(**parameters):
    """Cases, as dictionaries, that cover each pair of values of each two parameters. Greedy and deterministic."""
    names = list(parameters)
    missing = {((a, x), (b, y)) for a, b in itertools.combinations(names, 2) for x in parameters[a] for y in parameters[b]}
    cases = []
    while missing:
        case = dict(min(missing, key=repr))
        for name in names:
            if name not in case:
                case[name] = max(parameters[name], key=lambda value: len(missing & _pairs({**case, name: value}, names)))
        missing -= _pairs(case, names)
        cases.append({name: case[name] for name in names})
    return cases


def _pairs(case, names):
    present = [name for name in names if name in case]
    return {((a, case[a]), (b, case[b])) for a, b in itertools.combinations(present, 2)}
