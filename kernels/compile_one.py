"""Specialises one kernel in a process of its own: `python -m kernels.compile_one`, the program as JSON on standard input.

AWS's `nki` compiles when a kernel is called and keeps the NEFF in NKI_ARTIFACTS_DIR; that the call then fails without a device is expected.
Target and LNC are those of the environment; the launch in brackets, `kernel[lnc]`, is being deprecated.
"""

import json
import sys

from . import attention, attention_plan, matmul
from .neff import Tensor
from .programs import Program


def call(program):
    """Calls the program's kernel on zeros."""
    arguments, inputs = dict(program.arguments), program.inputs()
    if program.kernel == "attention":
        arguments.pop("n_pages")
        bucket = attention_plan.Bucket(**arguments)
        return attention.attention(*inputs, bucket, bucket.head_dim**-0.5)
    x, weights, *scale = inputs
    return getattr(matmul, program.kernel)(x, weights, arguments["k"], arguments["n"], *scale)


def main():
    record = json.load(sys.stdin)
    tensors = tuple(Tensor(t["name"], t["kind"], t["dtype"], tuple(t["shape"])) for t in record["tensors"])
    call(Program(record["kernel"], record["arguments"], tensors))


if __name__ == "__main__":
    main()
