"""Layouts that the kernels read, made on the host from the layouts that everybody else uses. The Rust side packs the same way.

Features lie on partitions, 128 at a time: feature `f` is at partition `f % 128` of tile `f // 128`. With weights stationary and
activations moving, a matmul's output has the layout of the next one's input, so nothing is transposed at inference.

    activations [M, K]   ->  [128, ceil(K / 128), M]          x[f % 128, f // 128, m] = X[m, f]
    weights     [N, K]   ->  [128, N tiles, K tiles, 128]     w[k % 128, n // 128, k // 128, n % 128] = W[n, k]; zero where there is none
    gate and up          ->  [128, 2 N tiles, K tiles, 128]   tile 2 t is tile t of gate, tile 2 t + 1 is tile t of up
    bias, scale [N]      ->  [128, N tiles]  float32          b[n % 128, n // 128] = B[n]

A partition's weights are contiguous in HBM over all tiles, so a DMA descriptor carries whole rows of any number of tiles: at K = 4096
one tile of 128 outputs is a run of 8 KiB per partition.
"""

import ml_dtypes
import numpy as np

P = 128
FP8 = np.dtype(ml_dtypes.float8_e4m3)
FP8_MAX = float(ml_dtypes.finfo(FP8).max)


def tiles(n):
    """Tiles of 128 that hold `n` features."""
    return -(-n // P)


def pack_features(x, dtype=None):
    """[M, K] -> [128, K tiles, M]; features beyond K are zero."""
    m, k = x.shape
    padded = np.zeros((m, tiles(k) * P), dtype or x.dtype)
    padded[:, :k] = x
    return np.ascontiguousarray(padded.reshape(m, tiles(k), P).transpose(2, 1, 0))


def unpack_features(packed, k):
    """[128, K tiles, M] -> [M, K]."""
    return packed.transpose(2, 1, 0).reshape(packed.shape[2], -1)[:, :k]


def pack_weights(w):
    """[N, K] as Hugging Face stores a linear layer -> [128, N tiles, K tiles, 128], same type."""
    n, k = w.shape
    padded = np.zeros((tiles(n) * P, tiles(k) * P), w.dtype)
    padded[:n, :k] = w
    return np.ascontiguousarray(padded.reshape(tiles(n), P, tiles(k), P).transpose(3, 0, 2, 1))


def pack_gate_up(gate, up):
    """Two [N, K] -> [128, 2 N tiles, K tiles, 128], tiles alternating."""
    both = np.stack([pack_weights(gate), pack_weights(up)], axis=2)
    return np.ascontiguousarray(both.reshape(P, -1, *both.shape[3:]))


def pack_channels(values):
    """[N] -> [128, N tiles] float32; zero beyond N."""
    padded = np.zeros(tiles(len(values)) * P, np.float32)
    padded[: len(values)] = values
    return np.ascontiguousarray(padded.reshape(-1, P).T)


def quantise_weights(w):
    """[N, K] -> (float8_e4m3 [N, K], scale [N] float32) with W = quantised * scale; the largest of a row becomes 240."""
    w = w.astype(np.float32)
    scale = np.maximum(np.abs(w).max(1), np.float32(1e-30)) / np.float32(FP8_MAX)
    return (w / scale[:, None]).astype(FP8), scale.astype(np.float32)
