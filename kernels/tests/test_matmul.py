"""The matmul kernels against the float64 reference, within the computed tolerance."""

import ml_dtypes
import numpy as np
import pytest
from pairs import all_pairs

from kernels import layouts, matmul, matmul_reference

BF16 = np.dtype(ml_dtypes.bfloat16)
CASES = all_pairs(
    m=(1, 2, 16, 127, 128, 129, 513, 700, 2500),  # of which the last takes two blocks
    k=(64, 128, 300, 576),
    n=(1, 128, 192, 320),
    weights=("bfloat16", "fp8", "fp8 double row"),
    bias=(False, True),
    target=("trn2", "trn3"),
)


def operands(case):
    """x [M, K] and W [N, K] as the kernel gets them, scale and bias [N] or None."""
    rng = np.random.default_rng(case["m"] * 1000 + case["k"])
    x, w = rng.standard_normal((case["m"], case["k"])).astype(BF16), rng.standard_normal((case["n"], case["k"])).astype(BF16)
    bias = rng.standard_normal(case["n"]).astype(np.float32) if case["bias"] else None
    scale = None
    if case["weights"] != "bfloat16":
        w, scale = layouts.quantise_weights(w)
    if case["weights"] == "fp8 double row":
        x = x.astype(layouts.FP8)
    return x, w, scale, bias


@pytest.mark.parametrize("case", CASES, ids=str)
def test_matmul_matches_reference(case, monkeypatch):
    monkeypatch.setenv("NEURON_PLATFORM_TARGET_OVERRIDE", case["target"])
    x, w, scale, bias = operands(case)
    channels = lambda values: None if values is None else layouts.pack_channels(values)
    features = layouts.pack_features(x)
    features[case["k"] % 128 or 128 :, -1] = np.nan  # what an output beyond N leaves in HBM must not matter
    packed = matmul.matmul(features, layouts.pack_weights(w), case["k"], case["n"], channels(scale), channels(bias))
    got = layouts.unpack_features(packed, case["n"]).astype(np.float64)
    want = matmul_reference.matmul(x, w, scale, bias)
    assert (np.abs(got - want) <= matmul_reference.tolerance(x, w, want, scale)).all()


@pytest.mark.parametrize("m, k, n", [(1, 576, 192), (16, 128, 256), (700, 300, 130), (1500, 64, 130)])
@pytest.mark.parametrize("quantised", [False, True])
def test_silu_gate_matches_reference(m, k, n, quantised):
    rng = np.random.default_rng(m)
    x = rng.standard_normal((m, k)).astype(BF16)
    gate, up = ((rng.standard_normal((n, k)) / np.sqrt(k)).astype(BF16) for _ in range(2))
    gate_scale = up_scale = scale = None
    if quantised:
        (gate, gate_scale), (up, up_scale) = layouts.quantise_weights(gate), layouts.quantise_weights(up)
        scale = np.stack([layouts.pack_channels(s) for s in (gate_scale, up_scale)], axis=2).reshape(128, -1)
    packed = matmul.matmul_silu_gate(layouts.pack_features(x), layouts.pack_gate_up(gate, up), k, n, scale)
    got = layouts.unpack_features(packed, n).astype(np.float64)
    want = matmul_reference.matmul_silu_gate(x, gate, up, gate_scale, up_scale)
    assert (np.abs(got - want) <= matmul_reference.gate_tolerance(x, gate, up, want, gate_scale, up_scale)).all()


@pytest.mark.parametrize("m, n", [(1, 700), (600, 192), (3, 64)])
def test_two_cores_share_the_outputs(m, n):
    rng = np.random.default_rng(n)
    x, w = rng.standard_normal((m, 192)).astype(BF16), rng.standard_normal((n, 192)).astype(BF16)
    args = layouts.pack_features(x), layouts.pack_weights(w), 192, n
    one, two = (layouts.unpack_features(matmul.matmul[cores](*args), n).astype(np.float32) for cores in (1, 2))
    assert np.allclose(one, two, rtol=2.0**-7, atol=1e-6)


def test_packed_weights_are_where_the_layout_says():
    w = np.arange(192 * 300, dtype=np.float32).reshape(192, 300)
    packed = layouts.pack_weights(w)
    assert packed.shape == (128, 2, 3, 128)
    for n, k in ((0, 0), (191, 299), (128, 128), (5, 200)):
        assert packed[k % 128, n // 128, k // 128, n % 128] == w[n, k]
    assert packed[300 % 128 :, :, 2].max() == 0 and packed[:, 1, :, 64:].max() == 0


def test_features_come_back_as_they_were():
    x = np.random.default_rng(0).standard_normal((7, 300)).astype(np.float32)
    assert np.array_equal(layouts.unpack_features(layouts.pack_features(x), 300), x)
