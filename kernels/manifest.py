"""The manifest of a folder of programs, which src/neuron/catalog reads.

DIR/manifest.json, rewritten whole after each program is compiled:
    {"schema": 1, "programs": [{"kernel", "arguments": {...}, "tensors": [{"name", "kind", "dtype", "shape"}], "target", "lnc", "compiler",
    "nki", "key", "neff": file in DIR, "sha256" of that file}]}, sorted by kernel, target, LNC and name. `arguments` are the bucket:
counts and names. A kernel, its arguments, target and LNC stand there once: what is compiled anew takes its predecessor's place, whose file remains.
"""

import hashlib
import json
import os
from dataclasses import asdict


def add(out, program, key, target, lnc, compiler, data):
    """Stores a NEFF under its key, whole or not at all, and describes it."""
    name = f"{program.kernel}-{key[:16]}.neff"
    _replace(out / name, data)
    return {
        "kernel": program.kernel,
        "arguments": program.arguments,
        "tensors": [asdict(t) | {"shape": list(t.shape)} for t in program.tensors],
        "target": target,
        "lnc": lnc,
        "compiler": compiler.compiler,
        "nki": compiler.nki,
        "key": key,
        "neff": name,
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def identity(entry):
    """What a catalog looks a program up by."""
    return entry["kernel"], json.dumps(entry["arguments"], sort_keys=True), entry["target"], entry["lnc"]


def is_intact(out, entry):
    """Whether an entry's NEFF is there, as it was compiled."""
    path = out / entry["neff"]
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]


def read(out):
    """The manifest of a folder; an empty one where there is none."""
    path = out / "manifest.json"
    return json.loads(path.read_text()) if path.exists() else {"schema": 1, "programs": []}


def write(out, entries):
    """Writes the manifest of a folder anew, in an order that does not depend on when things were compiled."""
    order = lambda e: (e["kernel"], e["target"], e["lnc"], json.dumps(e["arguments"], sort_keys=True), e["key"])
    _replace(out / "manifest.json", (json.dumps({"schema": 1, "programs": sorted(entries, key=order)}, indent=1) + "\n").encode())


def _replace(path, data):
    """The file is there whole, or as it was."""
    temporary = path.with_suffix(path.suffix + ".part")
    temporary.write_bytes(data)
    os.replace(temporary, path)
