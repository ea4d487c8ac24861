"""Kernels are short and say what they take; a limit stands in one table; the README names every file."""

import ast
import pathlib
import re

import pytest

from kernels import attention_scratch, ladder, layouts, matmul, matmul_steps, report, tutorial
from nki._limits import LIMITS

FOLDER = pathlib.Path(report.__file__).parent
KERNELS = [path for path in sorted(FOLDER.glob("*.py")) if "import nki.isa" in path.read_text()]
ENTRIES = [
    (path, node)
    for path in KERNELS
    if path.name not in ("ladder.py", "tutorial.py")  # what is measured elsewhere, not for use
    for node in ast.parse(path.read_text()).body
    if isinstance(node, ast.FunctionDef) and any(ast.unparse(d) == "nki.jit" for d in node.decorator_list)
]


@pytest.mark.parametrize("path", KERNELS, ids=lambda p: p.name)
def test_kernel_files_stay_under_200_lines(path):
    assert len(path.read_text().splitlines()) < 200


@pytest.mark.parametrize("path, node", ENTRIES, ids=lambda v: getattr(v, "name", ""))
def test_kernels_document_dimensions_arguments_and_method(path, node):
    text = ast.get_docstring(node)
    for section in ("Dimensions", "Args:", "Returns:", "Pseudocode:"):
        assert section in text, f"{path.name}: {node.name} has no {section}"
    for argument in node.args.args:
        assert re.search(rf"\b{argument.arg}\b", text), f"{path.name}: {node.name} does not document {argument.arg}"


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda p: str(p.relative_to(FOLDER)))
def test_every_function_is_documented_and_files_are_small(path):
    assert len(path.read_text().splitlines()) < 250
    if path.parent.name in ("tests", "nki"):
        return
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    public = [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name[0] != "_" and n.name != "main"]
    assert [n.name for n in public if not ast.get_docstring(n)] == []


def test_constants_of_kernels_are_the_limits_of_the_table():
    assert {module.P for module in (attention_scratch, ladder, layouts, matmul, matmul_steps, tutorial)} == {LIMITS["partitions"].gen3}
    assert {matmul.CHUNK, attention_scratch.CHUNK, ladder.N_TILE, tutorial.N_TILE} == {LIMITS["psum_bank_bytes"].gen3 // 4}
    assert matmul.CHUNK <= LIMITS["matmul_moving_free"].gen3 and matmul.P <= LIMITS["matmul_stationary_free"].gen3
    assert matmul.N_BANKS == LIMITS["psum_banks"].gen3
    assert all(limit.source for limit in LIMITS.values())


def test_readme_names_every_module():
    text = report.README.read_text()
    for path in FOLDER.glob("*.py"):
        stem = path.stem.removeprefix("attention_")
        assert f"`{path.name}`" in text or f"`{stem}`" in text or path.stem == "__init__", path.name
