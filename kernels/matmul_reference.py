"""What the matmul kernels compute, in NumPy float64, and how far they may be off. Same arguments as the host has them, unpacked."""

import numpy as np

EPSILON = {"bfloat16": 2.0**-7, "float8_e4m3": 2.0**-3, "float32": 2.0**-23}


def matmul(x, weights, scale=None, bias=None):
    """(x W^T) * scale + bias. x [M, K], weights [N, K], scale and bias [N]."""
    out = x.astype(np.float64) @ weights.astype(np.float64).T
    return out * (1.0 if scale is None else scale) + (0.0 if bias is None else bias)


def matmul_silu_gate(x, gate, up, gate_scale=None, up_scale=None):
    """silu(x Wg^T) * (x Wu^T). x [M, K], gate and up [N, K]."""
    g, u = matmul(x, gate, gate_scale), matmul(x, up, up_scale)
    return g / (1.0 + np.exp(-g)) * u


def tolerance(x, weights, result, scale=None):
    """Largest error allowed, [M, N]: K products summed in float32 in any order, and one rounding to bfloat16.

    |error| <= (K + 2) eps32 * sum |x| |w| * |scale| + eps_bf16 / 2 * |result|, from Higham's bound for a dot product.
    """
    magnitude = np.abs(x.astype(np.float64)) @ np.abs(weights.astype(np.float64)).T
    magnitude = magnitude * (1.0 if scale is None else np.abs(scale))
    return (x.shape[1] + 2) * EPSILON["float32"] * magnitude + EPSILON["bfloat16"] / 2 * np.abs(result) + 1e-30


def gate_tolerance(x, gate, up, result, gate_scale=None, up_scale=None):
    """As `tolerance`, for silu(g) * u: errors of g and u carried through, |silu'| < 1.1 and |silu(g)| <= |g|, 2^-20 for the activation."""
    g, u = matmul(x, gate, gate_scale), matmul(x, up, up_scale)
    dg, du = (tolerance(x, w, 0.0, s) for w, s in ((gate, gate_scale), (up, up_scale)))
    return 1.1 * dg * np.abs(u) + np.abs(g) * du + 2.0**-20 * np.abs(g * u) + EPSILON["bfloat16"] / 2 * np.abs(result) + 1e-30
