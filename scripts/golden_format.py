"""The rows of a golden file, and the distance between two runs; described in tests/golden/README.md."""

import json
import math

import torch
from transformers.utils.logging import disable_progress_bar

TOP = 20


def top_rows(logits, positions):
    """The TOP largest logits and the log-sum-exp at each position; logits are [n_tokens, vocab]."""
    rows = []
    for position in positions:
        row = logits[position].double()
        values, ids = row.topk(TOP)
        rows.append(
            {
                "position": position,
                "ids": ids.tolist(),
                "logits": [round(value, 5) for value in values.tolist()],
                "logsumexp": round(row.logsumexp(0).item(), 5),
            }
        )
    return rows


def kl_per_row(logits, other, positions):
    """KL(logits || other) in nats at each position, over the TOP tokens of `logits` and all others as one class."""
    distances = []
    for position in positions:
        p, q = logits[position].double().log_softmax(0), other[position].double().log_softmax(0)
        ids = p.topk(TOP).indices
        p, q = with_rest(p[ids].exp()), with_rest(q[ids].exp())
        distances.append(sum(a * math.log(a / b) for a, b in zip(p, q) if a > 0))
    return distances


def with_rest(probabilities):
    listed = probabilities.tolist()
    return listed + [max(1.0 - math.fsum(listed), 1e-12)]


def write_golden(path, golden):
    """JSON with one line per entry of a list of objects, so that differences can be read."""
    fields = []
    for key, value in golden.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            entries = ",\n".join("    " + json.dumps(entry, ensure_ascii=False) for entry in value)
            text = f"[\n{entries}\n  ]"
        else:
            text = json.dumps(value, ensure_ascii=False)
        fields.append(f"  {json.dumps(key)}: {text}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(fields) + "\n}\n", encoding="utf-8", newline="\n")


def prepare(n_threads):
    torch.set_num_threads(n_threads)
    disable_progress_bar()
