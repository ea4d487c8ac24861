"""Every rule of the hardware that the simulator enforces, broken once: the error names the call, the operand and the rule."""

import ast
import pathlib

import broken_engines
import broken_memory
import ml_dtypes
import numpy as np
import pytest
from broken import F32, I32, tile

import nki
import nki.isa as nisa
import nki.language as nl

if not getattr(nki, "IS_SIMULATOR", False):
    pytest.skip("AWS's nki is installed: these are tests of the simulator", allow_module_level=True)

BROKEN = broken_engines.CASES | {f"memory, {name}": case for name, case in broken_memory.CASES.items()}
RAISING = ("require", "at_most", "NkiValidationError", "OutOfBoundsError")
SIM = pathlib.Path(nki.__file__).parent


def error_of(name):
    """What breaking a rule raises on trn2."""
    broken, call, text = BROKEN[name]
    with pytest.raises(nisa.NkiValidationError) as error:
        nki.simulate(lambda: broken() and None)()
    assert error.value.call == call and text in str(error.value)
    assert error.value.source and error.value.operand in str(error.value)
    return error


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rule_is_named(name, monkeypatch):
    monkeypatch.setenv("NEURON_PLATFORM_TARGET_OVERRIDE", "trn2")
    error_of(name)


def test_every_rule_and_every_limit_is_broken_by_a_case(monkeypatch):
    from nki._limits import LIMITS

    monkeypatch.setenv("NEURON_PLATFORM_TARGET_OVERRIDE", "trn2")
    errors = [error_of(name) for name in BROKEN]
    assert {limit.source for limit in LIMITS.values()} <= {error.value.source for error in errors}
    raised = {(entry.path.name, entry.lineno + 1) for error in errors for entry in error.traceback}
    for path in sorted(SIM.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in RAISING and path.name != "_errors.py":
                lines = range(node.lineno, node.end_lineno + 1)
                assert any((path.name, line) in raised for line in lines), f"{path.name}:{node.lineno} is broken by no case"


def test_sbuf_is_larger_on_trn3(monkeypatch):
    kernel = lambda: nisa.memset(dst=nl.ndarray((128, 56_000), dtype=F32), value=0.0)
    monkeypatch.setenv("NEURON_PLATFORM_TARGET_OVERRIDE", "trn3")
    nki.simulate(kernel)()
    monkeypatch.setenv("NEURON_PLATFORM_TARGET_OVERRIDE", "trn2")
    with pytest.raises(nisa.NkiValidationError, match="212984"):
        nki.simulate(kernel)()


def test_dead_tensors_give_their_memory_back():
    def kernel():
        for _ in range(20):
            nisa.memset(dst=nl.ndarray((128, 10_000), dtype=F32), value=0.0)

    nki.simulate(kernel)()


def test_a_tensor_of_a_device_loop_lives_through_it():
    def kernel(n):
        outer = tile((128, 30_000))
        register = nisa.register_alloc(n)
        nl.fori_loop(0, register, lambda i: nisa.memset(dst=nl.ndarray((128, 30_000), dtype=F32), value=0.0))
        nisa.tensor_copy(dst=outer[:, 0:1], src=outer[:, 1:2])

    with pytest.raises(nisa.NkiValidationError, match="bytes per partition live"):
        nki.simulate(kernel)(3)


def test_register_has_no_value_while_tracing():
    def kernel():
        if nisa.register_alloc(1):
            pass

    with pytest.raises(TypeError, match="fori_loop"):
        nki.simulate(kernel)()


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3, np.float16])
def test_every_store_rounds_to_its_type(dtype):
    values = np.random.default_rng(0).standard_normal((128, 64)).astype(np.float32)

    def kernel(x):
        out = nl.ndarray(x.shape, dtype=np.dtype(dtype).name, buffer=nl.shared_hbm)
        wide, narrow = tile((128, 64), value=None), nl.ndarray((128, 64), dtype=np.dtype(dtype).name)
        nisa.dma_copy(dst=wide, src=x)
        nisa.tensor_scalar(dst=narrow, data=wide, op0=nl.multiply, operand0=3.0)
        nisa.dma_copy(dst=out, src=narrow)
        return out

    assert np.array_equal(nki.simulate(kernel)(values), (values * np.float32(3.0)).astype(dtype))


def test_scatter_skips_indices_out_of_bounds():
    data, index = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([[2], [-1], [0], [9]], np.int32)

    def kernel(x, i):
        out = nl.ndarray((4, 3), dtype=F32, buffer=nl.shared_hbm)
        rows, at = tile((4, 3), value=None), nl.ndarray((4, 1), dtype=I32)
        nisa.dma_copy(dst=rows, src=x)
        nisa.dma_copy(dst=at, src=i)
        target = out.ap(pattern=[[3, 4], [1, 3]], vector_offset=at, indirect_dim=0)
        nisa.dma_copy(dst=target, src=rows, oob_mode=nisa.oob_mode.skip)
        return out

    got = nki.simulate(kernel)(data, index)
    assert np.array_equal(got[[2, 0]], data[[0, 2]]) and np.isnan(got[[1, 3]]).all()
