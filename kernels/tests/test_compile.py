"""Compiling ahead of time with the stand-in: NEFFs that are well formed, a manifest that is true, and nothing compiled twice."""

import hashlib
import io
import json
import os
import pathlib
import struct
import subprocess
import sys
import tarfile

import pytest

import nki
from kernels import compile as aot
from kernels import attention, attention_plan, compile_one, golden, matmul, programs

SMALL = [
    programs.matmul_program("matmul", 1, 192, 128),
    programs.matmul_program("matmul_silu_gate", 4, 128, 128, "float8_e4m3"),
    programs.attention_program(programs.Model(256, 512, 4, 2, 64, 1000), 1, 1, 4096, 4),
]


class Counting(aot.StandIn):
    """Counts what it compiles, and fails on the programs named."""

    def __init__(self, broken=()):
        self.compiled, self.broken = [], broken

    def compile(self, program, target, lnc):
        if program.kernel in self.broken:
            raise RuntimeError(f"{program.kernel} is broken")
        self.compiled.append(program.name)
        return super().compile(program, target, lnc)


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


@pytest.mark.parametrize("target, lnc", [("trn2", 1), ("trn3", 2)])
def test_neff_is_well_formed(target, lnc):
    program = SMALL[0]
    data = aot.StandIn().compile(program, target, lnc)
    version, header_size, data_size, major, _ = struct.unpack_from("<5Q", data)
    assert (version, header_size, data_size, major) == (2, 1024, len(data) - 1024, 2)
    assert struct.unpack_from("<I", data, 168) == (1,) and struct.unpack_from("<I", data, 552) == (lnc,)
    digest = hashlib.md5(data[1024:]).digest()
    assert data[172:188] == b"".join(digest[i : i + 4][::-1] for i in range(0, 16, 4)) and data[188:204] == bytes(16)
    archive = tarfile.open(fileobj=io.BytesIO(data[1024:]))
    read = lambda name: json.load(archive.extractfile(name))
    assert read("longhaul.json") == {"arguments": program.arguments, "kernel": "matmul"}
    assert read("kelf-0.json") == {"target": {"trn2": "cayman", "trn3": "mariana"}[target]}
    assert [n for n in archive.getnames() if n.startswith("sg")] == [f"sg{core:02}/tensor_map.json" for core in range(lnc)]
    assert read("sg00/tensor_map.json")["out"] == {"dtype": "bfloat16", "kind": "output", "tf_shape": [128, 1, 1]}


def test_stand_in_neff_has_the_golden_bytes():
    """The Rust writer is held to the same file. To change the specification, write it anew: python -m kernels.golden."""
    assert aot.StandIn().compile(golden.NEFF_PROGRAM, "trn2", 1) == (golden.FOLDER / "stand-in.neff").read_bytes()


def test_manifest_names_each_program_and_its_hash(tmp_path):
    assert aot.compile_all(SMALL, "trn2", 1, tmp_path, Counting()) == len(SMALL)
    entries = manifest(tmp_path)["programs"]
    assert sorted(e["kernel"] for e in entries) == sorted(p.kernel for p in SMALL)
    for entry in entries:
        data = (tmp_path / entry["neff"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        assert (entry["target"], entry["lnc"], entry["compiler"]) == ("trn2", 1, "stand-in 1")


def test_nothing_is_compiled_twice(tmp_path):
    aot.compile_all(SMALL, "trn2", 1, tmp_path, Counting())
    again = Counting()
    assert aot.compile_all(SMALL, "trn2", 1, tmp_path, again) == 0 and again.compiled == []
    assert aot.compile_all(SMALL, "trn3", 1, tmp_path, again) == len(SMALL)
    assert len(manifest(tmp_path)["programs"]) == 2 * len(SMALL)


def test_a_failure_keeps_the_rest_and_the_next_run_goes_on(tmp_path):
    with pytest.raises(RuntimeError, match="attention is broken"):
        aot.compile_all(SMALL, "trn2", 1, tmp_path, Counting(broken=("attention",)))
    assert len(manifest(tmp_path)["programs"]) == 2
    again = Counting()
    assert aot.compile_all(SMALL, "trn2", 1, tmp_path, again, jobs=2) == 1 and again.compiled == [SMALL[2].name]


def test_a_damaged_neff_is_compiled_again(tmp_path):
    aot.compile_all(SMALL, "trn2", 1, tmp_path, Counting())
    path = tmp_path / manifest(tmp_path)["programs"][0]["neff"]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert aot.compile_all(SMALL, "trn2", 1, tmp_path, Counting()) == 1 and path.read_bytes() == whole


def test_a_program_compiled_anew_takes_its_predecessors_place(tmp_path):
    aot.compile_all(SMALL, "trn2", 1, tmp_path, Counting())
    newer = Counting()
    newer.compiler = "stand-in 2"
    assert aot.compile_all(SMALL, "trn2", 1, tmp_path, newer) == len(SMALL)
    assert [e["compiler"] for e in manifest(tmp_path)["programs"]] == ["stand-in 2"] * len(SMALL)


@pytest.mark.parametrize("program", SMALL, ids=lambda p: p.kernel)
def test_one_program_is_compiled_by_its_arguments(program, tmp_path):
    words = [f"{name}={value}" for name, value in program.arguments.items()]
    aot.main(["--program", program.kernel, *words, "--target", "trn3", "--out", str(tmp_path), "--stand-in"])
    (entry,) = manifest(tmp_path)["programs"]
    assert entry["arguments"] == program.arguments
    assert entry["tensors"] == [{"name": t.name, "kind": t.kind, "dtype": t.dtype, "shape": list(t.shape)} for t in program.tensors]


def test_listed_programs_are_compiled_and_every_failure_is_told(tmp_path):
    listed = tmp_path / "listed.json"
    listed.write_text(json.dumps([{"kernel": p.kernel, "arguments": p.arguments} for p in SMALL]))
    aot.main(["--programs", str(listed), "--target", "trn2", "--out", str(tmp_path / "out"), "--stand-in"])
    assert len(manifest(tmp_path / "out")["programs"]) == len(SMALL)
    with pytest.raises(RuntimeError, match="(?s)(attention|matmul) is broken.*(attention|matmul) is broken"):
        aot.compile_all(SMALL, "trn2", 1, tmp_path / "other", Counting(broken=("attention", "matmul")))


@pytest.mark.parametrize("text", ["[", '{"kernel": 1}', '[{"kernel": "conv", "arguments": {}}]', "[1]"])
def test_a_list_that_is_none_is_refused(text, tmp_path):
    listed = tmp_path / "listed.json"
    listed.write_text(text)
    with pytest.raises(SystemExit, match="--programs .*listed.json: "):
        aot.main(["--programs", str(listed), "--target", "trn2", "--out", str(tmp_path / "out"), "--stand-in"])


def test_the_catalogs_folder_is_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv("LONGHAUL_PROGRAMS", str(tmp_path / "mine"))
    aot.main(["--program", "matmul", "m=1", "k=192", "n=128", "--target", "trn2", "--stand-in"])
    assert len(manifest(tmp_path / "mine")["programs"]) == 1
    monkeypatch.setenv("LONGHAUL_PROGRAMS", "")
    assert aot.default_out() == pathlib.Path("programs")


@pytest.mark.parametrize("words", [["matmul"], ["matmul", "m=1", "k=2", "n=3", "p=4"], ["attention", "q_len=1"], ["conv"], ["matmul", "m"]])
def test_a_program_that_is_none_is_refused(words, tmp_path):
    with pytest.raises(SystemExit, match=f"--program {' '.join(words)}: "):
        aot.main(["--program", *words, "--target", "trn2", "--out", str(tmp_path), "--stand-in"])
    assert not list(tmp_path.iterdir())


def test_key_depends_on_all_that_the_program_does(monkeypatch, tmp_path):
    stand_in, key = aot.StandIn(), aot.key_of(SMALL[0], "trn2", 1, aot.StandIn())
    assert key == aot.key_of(SMALL[0], "trn2", 1, stand_in)
    other = [
        aot.key_of(SMALL[1], "trn2", 1, stand_in),
        aot.key_of(SMALL[0], "trn3", 1, stand_in),
        aot.key_of(SMALL[0], "trn2", 2, stand_in),
    ]
    for attribute in ("compiler", "nki"):
        newer = aot.StandIn()
        setattr(newer, attribute, "newer")
        other.append(aot.key_of(SMALL[0], "trn2", 1, newer))
    for name in aot.SOURCES:
        (tmp_path / name).write_bytes((aot.FOLDER / name).read_bytes())
    (tmp_path / "matmul.py").write_text("# changed")
    monkeypatch.setattr(aot, "FOLDER", tmp_path)
    other.append(aot.key_of(SMALL[0], "trn2", 1, stand_in))
    assert len({key, *other}) == 1 + len(other)


def test_sources_of_the_key_are_all_that_kernels_import():
    imported = {"matmul.py", "attention.py"}
    for name in sorted(imported | {name for name in aot.SOURCES if name.startswith("attention_")}):
        text = (aot.FOLDER / name).read_text()
        imported |= {f"{line.split()[1][1:]}.py" for line in text.splitlines() if line.startswith("from .")}
    assert imported <= set(aot.SOURCES)


@pytest.mark.skipif(not getattr(nki, "IS_SIMULATOR", False), reason="AWS's nki is installed")
def test_without_the_wheels_one_sentence_says_what_to_do(tmp_path):
    command = [sys.executable, "-m", "kernels.compile", "--model", "smollm2-135m", "--target", "trn2", "--out", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=pathlib.Path(__file__).parents[2], check=False)
    assert run.returncode == 1 and run.stderr.strip() == aot.MISSING and not list(tmp_path.iterdir())


FAKE_NKI = """import os, pathlib
FOLDER = pathlib.Path(os.environ.get("NKI_ARTIFACTS_DIR", ""))  # which AWS's package, too, reads when it is imported
def jit(fn=None, **kwargs):
    def call(*args):
        facts = [os.environ[name] for name in ("NEURON_PLATFORM_TARGET_OVERRIDE", "NEURON_LOGICAL_NC_CONFIG")]
        facts += [fn.__name__, args[0].dtype, args[0].shape]
        (FOLDER / "kernel.neff").write_text(" ".join(map(str, facts)))
        raise RuntimeError("no device")
    return call
"""


def test_the_documented_route_is_taken(tmp_path):
    """With a package in place of AWS's that behaves as documented: the NEFF is kept although the call that compiled it fails."""
    packages, out = tmp_path / "packages", tmp_path / "out"
    for name, text in (("__init__", FAKE_NKI), ("isa", ""), ("language", "")):
        (packages / "nki").mkdir(parents=True, exist_ok=True)
        (packages / "nki" / f"{name}.py").write_text(text)
    for name, version in (("nki", "0.7.0"), ("neuronx_cc", "2.28.1")):
        (packages / f"{name}-{version}.dist-info").mkdir()
        (packages / f"{name}-{version}.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    command = [sys.executable, "-m", "kernels.compile", "--program", "matmul", "m=4", "k=192", "n=128", "--target", "trn3", "--lnc", "2"]
    root = pathlib.Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(packages)}
    subprocess.run([*command, "--out", str(out)], capture_output=True, env=environment, cwd=root, check=True)
    (entry,) = manifest(out)["programs"]
    assert (entry["compiler"], entry["nki"], entry["target"], entry["lnc"]) == ("2.28.1", "0.7.0", "trn3", 2)
    assert (out / entry["neff"]).read_text() == "trn3 2 matmul bfloat16 (128, 2, 4)"


@pytest.mark.parametrize("lnc", [1, 2])
def test_every_program_can_be_called(lnc, monkeypatch):
    monkeypatch.setenv("NEURON_LOGICAL_NC_CONFIG", str(lnc))
    for program in SMALL:
        results = compile_one.call(program)
        shapes = [r.shape for r in (results if isinstance(results, tuple) else (results,))]
        assert shapes == [t.shape for t in program.tensors if t.kind == "output"]


@pytest.mark.parametrize("name", programs.MODELS)
def test_attention_of_every_preset_fits_in_sbuf(name, target):
    """Tracing checks every limit; the largest buckets need the most memory."""
    model = programs.MODELS[name]
    for n_seqs, q_len in (programs.SEQUENCES[2], programs.SEQUENCES[-1]):
        program = programs.attention_program(model, n_seqs, q_len, max(programs.CONTEXTS), 4)
        arguments = {k: v for k, v in program.arguments.items() if k != "n_pages"}
        nki.trace(attention.attention, (*program.inputs(), attention_plan.Bucket(**arguments), 0.1), numeric=False)


@pytest.mark.parametrize("name", programs.MODELS)
def test_matmul_of_every_preset_fits_in_sbuf(name, target):
    model = programs.MODELS[name]
    for kernel, k, n in (("matmul", model.d_ff, 256), ("matmul_silu_gate", model.d_model, 256)):
        for weights in ("bfloat16", "float8_e4m3"):
            program = programs.matmul_program(kernel, max(programs.ROWS), k, n, weights)
            x, w, *scale = program.inputs()
            nki.trace(getattr(matmul, kernel), (x, w, k, n, *scale), numeric=False)
