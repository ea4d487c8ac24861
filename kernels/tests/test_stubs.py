"""Every call that the kernels make was compared with AWS's stubs, as it stands today; and the comparison finds differences."""

import importlib.util
import re
from importlib.machinery import SourceFileLoader

import pytest

from kernels import report

SCRIPT = report.README.parents[1] / "scripts" / "check-nki-stubs"
ENUMERATION = re.compile(r"\w+=\S+(, \w+=\S+)*")


@pytest.fixture(scope="module")
def check():
    """The script as a module."""
    loader = SourceFileLoader("check_nki_stubs", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@pytest.fixture
def recorded(check):
    """Full name -> signature, or None for a constant, of what was compared."""
    lines = check.RECORD.read_text().splitlines()[1:]
    return {name: text.removesuffix(")") if bracket else None for name, bracket, text in (line.partition("(") for line in lines)}


def test_all_that_kernels_use_was_compared(check, recorded):
    assert check.used() <= recorded.keys()
    assert {"nki.isa.nc_matmul", "nki.language.fori_loop", "nki.language.NkiTensor.ap", "nki.isa.oob_mode"} <= check.used()


def test_signatures_are_those_that_were_compared(check, recorded):
    functions, values = check.ours()
    for name, signature in recorded.items():
        assert check.text_of(functions[name]) == signature if signature is not None else name in values, name


def test_readme_and_record_tell_the_same(check, recorded):
    head, readme = check.RECORD.read_text(), report.README.read_text()
    date, commit, n = re.match(r"# (\S+): compared with aws-neuron-sdk at (\w+) .*, (\d+) names, 0 differences", head).groups()
    assert int(n) == len(recorded)
    assert f"{date}, aws-neuron-sdk at {commit}" in readme and f"{n} names compared, 0 differences" in readme


def write_stubs(root, recorded):
    """Stub files that agree with the record."""
    parts = {"nki": [], "nki.isa": [], "nki.language": [], "nki.language.NkiTensor": []}
    for name, signature in recorded.items():
        module, _, short = name.rpartition(".")
        if signature is None:
            parts[module].append(f"{short}: object = ...")
        elif ENUMERATION.fullmatch(signature):
            parts[module].append("\n".join([f"class {short}:", *(f"    {m.replace('=', ' = ')}" for m in signature.split(", "))]))
        else:
            parts[module].append(f"def {short}({signature}): ...")
    tensor = ["class NkiTensor:", *(f"    {line}" for line in parts.pop("nki.language.NkiTensor"))]
    parts["nki.language"].append("\n".join(tensor))
    for module, lines in parts.items():
        folder = root.joinpath(*module.split(".")[1:])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text("\n".join(lines) + "\n")


def test_the_comparison_finds_what_differs(check, recorded, tmp_path):
    write_stubs(tmp_path, recorded)
    agreed, differences = check.compare(tmp_path)
    assert len(agreed) == len(recorded) and differences == []
    changed = recorded | {"nki.isa.memset": "dst, value"}
    del changed["nki.isa.iota"], changed["nki.language.bfloat16"], changed["nki.language.NkiTensor.ap"]
    write_stubs(tmp_path, changed)
    named = [difference.partition(":")[0] for difference in check.compare(tmp_path)[1]]
    assert named == ["nki.isa.iota", "nki.isa.memset", "nki.language.NkiTensor.ap", "nki.language.bfloat16"]
