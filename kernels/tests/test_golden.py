"""The golden files are what the code makes today, and the kernel's results in them are within tolerance of the reference's."""

import numpy as np
import pytest

from kernels import golden, safetensors

INPUTS = {"x", "w", "bias", "scale", "packed", "gate", "up", "q", "k", "v", "k_page", "v_page"}


@pytest.mark.parametrize("name", golden.CASES)
def test_golden_file_is_current(name):
    stored, metadata = safetensors.decode((golden.FOLDER / f"{name}.safetensors").read_bytes())
    fresh, fresh_metadata = golden.CASES[name]()
    assert metadata == fresh_metadata and stored.keys() == fresh.keys()
    for key, array in fresh.items():
        if key in INPUTS:
            assert np.array_equal(stored[key].view(np.uint8), np.ascontiguousarray(array).view(np.uint8)), key
        else:
            assert np.allclose(stored[key].astype(np.float64), array.astype(np.float64), rtol=2.0**-7, atol=1e-6), key
    assert (np.abs(stored["kernel"].astype(np.float64) - stored["out"]) <= stored["tolerance"]).all()
