"""Makes `kernels` importable from anywhere, and offers both targets."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
import kernels  # noqa: E402,F401  installs the simulator


@pytest.fixture(params=["trn2", "trn3"])
def target(request, monkeypatch):
    """Runs a test for each target."""
    monkeypatch.setenv("NEURON_PLATFORM_TARGET_OVERRIDE", request.param)
    return request.param
