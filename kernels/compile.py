"""Compiles the programs of a model to NEFFs, and writes the manifest that the Rust catalog reads (manifest.py).

    python -m kernels.compile --model llama-3.1-8b --target trn2 --lnc 1 [--out DIR] [--weights float8_e4m3] [--jobs 4] [--stand-in]
    python -m kernels.compile --program matmul m=64 k=576 n=192 weights=bfloat16 --target trn2      one program alone
    python -m kernels.compile --programs FILE --target trn2      those that a JSON file lists

Takes the documented way ahead of time: each kernel is called with NumPy arrays in a process of its own, with
NEURON_PLATFORM_TARGET_OVERRIDE, NEURON_LOGICAL_NC_CONFIG and NKI_ARTIFACTS_DIR set before `nki` is imported; `kernel.neff` remains even
though running it fails without a device. Needs AWS's wheels on x86-64 Linux, any host. This route has not been run: the wheels were not
reachable. `--stand-in` writes NEFFs without a program, which the fake runtime of the tests runs (neff.py).

Nothing is compiled twice: a program's key is the SHA-256 of the kernels' sources, its name and tensors, target, LNC, and the compiler's
and NKI's versions. An interrupted run goes on where it stopped.
"""

import argparse
import concurrent.futures
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from dataclasses import asdict

from . import manifest
from .neff import TARGETS, write_neff
from .programs import MODELS, Model, program_of, programs_for

FOLDER = pathlib.Path(__file__).parent
SOURCES = tuple(f"attention{part}.py" for part in ("", "_exact", "_masks", "_pages", "_plan", "_scratch", "_steps")) + (
    "layouts.py",
    "matmul.py",
    "matmul_steps.py",
)
MISSING = (
    "AWS's `nki` and `neuronx-cc` wheels are not installed here: install them on any x86-64 Linux host, which needs no Trainium, "
    "or give --stand-in for programs that only the fake runtime runs."
)


class StandIn:
    """Writes well-formed NEFFs without a program."""

    compiler, nki = "stand-in 1", "simulator"

    def compile(self, program, target, lnc):
        """The bytes of the program's NEFF."""
        return write_neff(program.name, program.kernel, program.arguments, program.tensors, target, lnc, self.compiler)


class Neuron:
    """AWS's compiler, one process for each program."""

    def __init__(self):
        try:
            self.compiler, self.nki = (importlib.metadata.version(name) for name in ("neuronx-cc", "nki"))
            has_isa = "/sim/" not in (importlib.util.find_spec("nki.isa").origin or "")
        except (importlib.metadata.PackageNotFoundError, ModuleNotFoundError):
            has_isa = False
        if not has_isa:
            raise SystemExit(MISSING)

    def compile(self, program, target, lnc):
        """The bytes of the program's NEFF."""
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {
                "NEURON_PLATFORM_TARGET_OVERRIDE": target,
                "NEURON_LOGICAL_NC_CONFIG": str(lnc),
                "NKI_ARTIFACTS_DIR": folder,
            }
            run = subprocess.run(
                [sys.executable, "-m", "kernels.compile_one"],
                input=json.dumps(asdict(program)),
                text=True,
                env=environment,
                capture_output=True,
                cwd=FOLDER.parent,
                check=False,
            )
            # Documented is kernel.neff; that it may lie elsewhere in the folder, the documentation's own example expects.
            neffs = sorted(pathlib.Path(folder).rglob("*.neff"), key=lambda path: (path.name != "kernel.neff", path))
            if not neffs:
                raise RuntimeError(f"{program.name} for {target}, LNC {lnc}: the compiler wrote no NEFF:\n{run.stderr[-2000:]}")
            return neffs[0].read_bytes()


def key_of(program, target, lnc, compiler):
    """What the program depends on, hashed."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((FOLDER / name).read_bytes())
    facts = [asdict(program), target, lnc, compiler.compiler, compiler.nki]
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()


def compile_all(programs, target, lnc, out, compiler, jobs=1, report=lambda done, total, name: None):
    """Compiles what `out` does not have yet. Returns the number of programs compiled; raises what failed at the end, keeping the rest."""
    out.mkdir(parents=True, exist_ok=True)
    have = {entry["key"]: entry for entry in manifest.read(out)["programs"]}
    todo = [(p, key_of(p, target, lnc, compiler)) for p in programs]
    todo = [(p, key) for p, key in todo if key not in have or not manifest.is_intact(out, have[key])]
    failures = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(compiler.compile, p, target, lnc): (p, key) for p, key in todo}
        for done, future in enumerate(concurrent.futures.as_completed(running), 1):
            program, key = running[future]
            if future.exception():
                failures.append(future.exception())
                continue
            entry = manifest.add(out, program, key, target, lnc, compiler, future.result())
            have = {k: e for k, e in have.items() if manifest.identity(e) != manifest.identity(entry)} | {key: entry}
            manifest.write(out, have.values())
            report(done, len(todo), program.name)
    if failures:
        raise RuntimeError("\n".join(str(failure) for failure in failures)) from failures[0]
    return len(todo)


def _progress(done, total, name):
    bar = "#" * (30 * done // total)
    print(f"\r[{bar:<30}] {done}/{total} {name[:60]:<60}", end="" if done < total else "\n", file=sys.stderr, flush=True)


def _one_program(words):
    """The program of `--program KERNEL NAME=VALUE ...`."""
    kernel, *pairs = words
    value = lambda text: int(text) if text.isdecimal() else text
    try:
        return program_of(kernel, {name: value(text) for name, text in (pair.split("=") for pair in pairs)})
    except ValueError as error:
        raise SystemExit(f"--program {' '.join(words)}: {error}") from None


def _listed_programs(path):
    """The programs of `--programs FILE`."""
    try:
        return [program_of(record["kernel"], record["arguments"]) for record in json.loads(path.read_text())]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"--programs {path}: {error}") from None


def _model_programs(name, weights, pages, lnc):
    """The programs of `--model NAME`."""
    model: Model = MODELS[name]
    if model.n_kv_heads % lnc:
        raise SystemExit(f"{name} has {model.n_kv_heads} KV heads, which LNC {lnc} does not divide: compile it with --lnc 1.")
    return programs_for(model, weights, pages)


def default_out():
    """The folder where src/neuron/catalog looks for programs."""
    return pathlib.Path(os.environ.get("LONGHAUL_PROGRAMS") or "programs")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="kernels.compile", description="Compiles programs ahead of time.")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", choices=sorted(MODELS), help="all programs of a model")
    which.add_argument("--program", nargs="+", metavar=("KERNEL", "NAME=VALUE"), help="one program, by its compile-time arguments")
    which.add_argument("--programs", type=pathlib.Path, metavar="FILE", help='a JSON list of {"kernel", "arguments": {...}}')
    parser.add_argument("--target", required=True, choices=sorted(TARGETS))
    parser.add_argument("--lnc", type=int, choices=(1, 2), default=1)
    parser.add_argument("--weights", choices=("bfloat16", "float8_e4m3"), default="bfloat16", help="of a model")
    parser.add_argument("--pages", type=int, default=1024, help="KV pages of a model's layer")
    parser.add_argument("--out", type=pathlib.Path, default=default_out(), help="folder of programs [default: $LONGHAUL_PROGRAMS, or programs]")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--stand-in", action="store_true", help="NEFFs without a program, for the fake runtime")
    options = parser.parse_args(arguments)
    if options.program:
        programs = [_one_program(options.program)]
    elif options.programs:
        programs = _listed_programs(options.programs)
    else:
        programs = _model_programs(options.model, options.weights, options.pages, options.lnc)
    compiler = StandIn() if options.stand_in else Neuron()
    n = compile_all(programs, options.target, options.lnc, options.out, compiler, options.jobs, _progress)
    print(f"{n} compiled, {len(programs) - n} up to date, manifest in {options.out / 'manifest.json'}")


if __name__ == "__main__":
    main()
