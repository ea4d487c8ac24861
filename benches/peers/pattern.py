"""The numbers that everybody computes with: the same as in worker/src/pattern.rs, exact in bf16."""

import numpy as np

KV_PERIOD = 4096


def _small(seed, modulus, offset):
    return (seed % modulus - offset).astype(np.float32)


def _grid(*lengths):
    return np.ogrid[tuple(slice(0, n) for n in lengths)]


def activations(m, k):
    """`[m, k]`"""
    row, col = _grid(m, k)
    return _small(row * 131 + col * 31, 17, 4) / 8


def weights(n, k):
    """`[n, k]`"""
    row, col = _grid(n, k)
    return _small(row * 37 + col * 101, 19, 5) / 16


def queries(first, q_len, n_heads, head_dim):
    """`[n_heads, q_len, head_dim]`, of the tokens from `first` on."""
    head, token, i = _grid(n_heads, q_len, head_dim)
    return _small((first + token) * 7 + head * 13 + i * 31, 17, 4) / 8


def keys_and_values(kv_len, n_heads, head_dim):
    """Two of `[n_heads, min(kv_len, KV_PERIOD), head_dim]`; further tokens repeat them."""
    head, token, i = _grid(n_heads, min(kv_len, KV_PERIOD), head_dim)
    return _small(token * 37 + head * 11 + i * 101, 19, 9) / 16, _small(token * 23 + head * 5 + i * 3, 13, 3) / 8


def n_copies(rotated_bytes, n_bytes):
    """Copies of something of `n_bytes` until `rotated_bytes` are full."""
    return max(1, -(-rotated_bytes // n_bytes))
