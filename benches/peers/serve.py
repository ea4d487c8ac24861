"""The half of the protocol that all workers in Python share: one request a line, one answer a line, both JSON
(worker/src/protocol.rs has the requests).

A worker computes only while it answers, so that the others have the machine to themselves in between.
"""

import json
import os
import sys
import time


class Missing(Exception):
    """Something that this peer, or this installation of it, does not have."""


def serve(prepare):
    """Answers until standard input ends. `prepare(peer, dtype, case)` returns a function that does the work once and answers
    how many seconds it took, and a list of numbers of the result, by which those who do the same work are compared.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What libraries print must not be taken for an answer.
    prepared = {}
    for line in sys.stdin:
        try:
            answer = _answer(json.loads(line), prepare, prepared)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)


def _answer(request, prepare, prepared):
    match request["do"]:
        case "prepare":
            run, check = prepare(request["peer"], request["dtype"], request["case"])
            seconds = run()
            prepared[request["id"]] = run
            return {"seconds": seconds, "check": check}
        case "sample":
            return {"seconds": _sample(prepared[request["id"]], request["seconds"])}
        case "drop":
            prepared.clear()
            return {}
    raise Missing(f"no request {request['do']}")


def _sample(run, at_least):
    """Runs again and again for `at_least` seconds; how long each took."""
    began, seconds = time.perf_counter(), []
    while not seconds or time.perf_counter() - began < at_least:
        seconds.append(run())
    return seconds


def in_turn(calls):
    """A run that makes the calls one after the other, one each time."""
    turn = 0

    def run():
        nonlocal turn
        turn = (turn + 1) % len(calls)
        began = time.perf_counter()
        calls[turn]()
        return time.perf_counter() - began

    return run
