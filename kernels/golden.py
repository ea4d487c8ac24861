"""Golden files: inputs, the float64 NumPy reference's result and the kernel's, for the Rust side to compare its own with.

    python -m kernels.golden            writes kernels/golden/*.safetensors

Inputs are exact in bfloat16 (weights of the fp8 case are U8 bits of float8_e4m3 with a scale per channel), so every side computes
from the same numbers. `out` is the reference in F64, `kernel` what the simulated kernel gave in BF16, `tolerance` how far apart they may
be. Shapes are the plain ones of `src/reference`, not the kernels' layouts; `packed` shows one weight matrix as the matmul kernel wants
it, and `k_page`, `v_page` the last page of the attention case. `stand-in.neff` is what compile.StandIn makes of NEFF_PROGRAM for trn2,
LNC 1. Metadata: kernel, start, scale, window (0 is none), seed.
"""

import pathlib

import ml_dtypes
import numpy as np

from . import attention_host, attention_plan, layouts, matmul, matmul_reference, safetensors
from .compile import StandIn
from .programs import matmul_program

FOLDER = pathlib.Path(__file__).with_name("golden")
BF16 = np.dtype(ml_dtypes.bfloat16)
NEFF_PROGRAM = matmul_program("matmul", 4, 192, 320)


def draw(rng, *shape):
    """Normal values, exact in bfloat16."""
    return rng.standard_normal(shape).astype(np.float32).astype(BF16)


def matmul_case(seed, m, k, n, fp8=False):
    """x [M, K], w [N, K], bias [N], scale [N] if fp8; out [M, N]."""
    rng = np.random.default_rng(seed)
    x, w, bias, scale = draw(rng, m, k), draw(rng, n, k), draw(rng, n).astype(np.float32), None
    if fp8:
        w, scale = layouts.quantise_weights(w)
    channels = lambda v: None if v is None else layouts.pack_channels(v)
    packed = layouts.pack_weights(w)
    got = layouts.unpack_features(matmul.matmul(layouts.pack_features(x), packed, k, n, channels(scale), channels(bias)), n)
    want = matmul_reference.matmul(x, w, scale, bias)
    tensors = {
        "x": x,
        "w": w,
        "bias": bias,
        "packed": packed,
        "out": want,
        "kernel": np.ascontiguousarray(got),
        "tolerance": matmul_reference.tolerance(x, w, want, scale),
    }
    return tensors | ({} if scale is None else {"scale": scale}), {"kernel": "matmul", "seed": str(seed)}


def silu_gate_case(seed, m, k, n):
    """x [M, K], gate and up [N, K]; out [M, N]."""
    rng = np.random.default_rng(seed)
    x, (gate, up) = draw(rng, m, k), ((draw(rng, n, k).astype(np.float32) / np.sqrt(k)).astype(BF16) for _ in range(2))
    got = layouts.unpack_features(matmul.matmul_silu_gate(layouts.pack_features(x), layouts.pack_gate_up(gate, up), k, n), n)
    want = matmul_reference.matmul_silu_gate(x, gate, up)
    return {
        "x": x,
        "gate": gate,
        "up": up,
        "out": want,
        "kernel": np.ascontiguousarray(got),
        "tolerance": matmul_reference.gate_tolerance(x, gate, up, want),
    }, {"kernel": "silu_gate", "seed": str(seed)}


def attention_case(seed, start, n_new, n_heads, n_kv_heads, head_dim, window=0):
    """q [n_new, n_heads, d], k and v [start + n_new, n_kv_heads, d]; out [n_new, n_heads, d]."""
    rng = np.random.default_rng(seed)
    q, (k, v) = draw(rng, n_new, n_heads, head_dim), (draw(rng, start + n_new, n_kv_heads, head_dim) for _ in range(2))
    page_len, scale = 128 * (128 // head_dim), float(np.float32(head_dim**-0.5))
    n_pages = -(-(start + n_new) // page_len)
    bucket = attention_plan.Bucket(1, n_new, n_heads, n_kv_heads, head_dim, page_len, n_pages, 2, window)
    batch = attention_host.Batch([q], [k], [v], [start])
    pages = attention_host.place(rng, batch, page_len)
    (got,) = attention_host.attend(bucket, batch, pages, scale)
    (want,) = attention_plan.reference([q], [k], [v], [start], scale, window)
    used = (start + n_new - 1) % page_len + 1
    last = pages.tables[0][-1]
    canonical = attention_plan.to_canonical(pages.k[last], pages.v[last], head_dim)
    canonical[:, used:] = 0
    k_page, v_page = attention_plan.from_canonical(canonical)
    tensors = {
        "q": q,
        "k": k,
        "v": v,
        "k_page": k_page,
        "v_page": v_page,
        "out": want,
        "kernel": got,
        "tolerance": attention_plan.tolerance(q, k, v, want, scale),
    }
    return tensors, {
        "kernel": "attention",
        "start": str(start),
        "scale": repr(scale),
        "window": str(window),
        "page_len": str(page_len),
        "seed": str(seed),
    }


CASES = {
    "matmul-decode": lambda: matmul_case(1, 1, 96, 80),
    "matmul-tails": lambda: matmul_case(2, 5, 150, 70),
    "matmul-fp8": lambda: matmul_case(3, 3, 128, 64, fp8=True),
    "silu-gate": lambda: silu_gate_case(4, 3, 96, 40),
    "attention-decode": lambda: attention_case(5, 40, 1, 4, 2, 64),
    "attention-append": lambda: attention_case(6, 25, 6, 4, 1, 64),
    "attention-window": lambda: attention_case(7, 50, 4, 2, 1, 128, window=16),
    "attention-pages": lambda: attention_case(8, 126, 5, 2, 1, 128),
}


def main():
    FOLDER.mkdir(exist_ok=True)
    for name, make in CASES.items():
        (FOLDER / f"{name}.safetensors").write_bytes(safetensors.encode(*make()))
    (FOLDER / "stand-in.neff").write_bytes(StandIn().compile(NEFF_PROGRAM, "trn2", 1))
    print(f"{len(CASES) + 1} files in {FOLDER}")


if __name__ == "__main__":
    main()
