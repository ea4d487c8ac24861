"""What is compared, and who takes part.

A case has a fixed amount of work, in FLOP, bytes or tokens; a rate is that amount over a time. So rates of the same
row compare times, also where a peer reads wider numbers than we do.
"""

from dataclasses import dataclass

# Stands for the register loop of the kernel table that runs.
ARITHMETIC = "arithmetic"

# What must pass before a matrix or a context comes again, where memory is what is measured.
ROTATED = (1 << 30) + (1 << 28)


@dataclass(frozen=True)
class Entrant:
    """Somebody who does the work: a worker's name, what it is to use, and the type of weights, or of keys and values."""

    worker: str
    peer: str
    dtype: str

    @property
    def name(self):
        return f"{self.peer} {self.dtype}"


@dataclass(frozen=True)
class Case:
    """A row of the record, for each number of threads."""

    group: str
    what: str
    spec: dict  # as in worker/src/protocol.rs
    work: float  # in units times seconds: FLOP / 1e9, bytes / 1e9, tokens
    unit: str
    ours: Entrant
    peers: tuple[Entrant, ...]
    at_least: str = ""
    roof: str = ""  # the roof that the rate is a share of; ARITHMETIC for that of the table that runs
    headline: bool = False  # whether the README shows it


def longhaul(dtype):
    return Entrant("rust", "longhaul", dtype)


def rust(peer, dtype):
    return Entrant("rust", peer, dtype)


def torch(peer, *dtypes, worker="torch"):
    return tuple(Entrant(worker, peer, dtype) for dtype in dtypes)


def ggml(dtype):
    return Entrant("llama", "ggml", dtype)


def matrix(m, k, n):
    return f"M = {m:,}, {k:,} x {n:,}"


def matmul(group, m, k, n, *, dtype="bf16", peers, rotated=0, table=None, **row):
    """A matmul that counts FLOP, or with `rotated` bytes of weights."""
    spec = {"kind": "matmul", "m": m, "k": k, "n": n, "rotated_bytes": rotated, "table": table}
    bits = {"bf16": 16, "f32": 32, "int8-channel": 8, "int8-g64": 8 + 32 / 64, "int4": 4 + 32 / 32}[dtype]
    work, unit = (k * n * bits / 8e9, "GB/s") if rotated else (2 * m * k * n / 1e9, "GFLOP/s")
    return Case(group, f"{dtype} {matrix(m, k, n)}", spec, work, unit, longhaul(dtype), peers, **row)


BF16 = torch("torch", "bf16") + torch("torch-packed", "bf16")
F32 = torch("torch", "f32") + torch("torch-packed", "f32")


LARGE = [(m, k, n) for k, n in ((4096, 4096), (4096, 14336), (2048, 2048), (2048, 8192)) for m in (512, 2048)]
SHOWN = (512, 4096, 14336)


def large_matmuls():
    slow = F32 + (rust("gemm", "f32"), rust("faer", "f32"), rust("candle", "f32"), rust("candle", "bf16"))
    for m, k, n in LARGE:
        peers = BF16 + (slow if m == 512 else ())
        yield matmul("matmul", m, k, n, peers=peers, at_least="1.3 x", roof=ARITHMETIC, headline=(m, k, n) == SHOWN)


def int8_matmuls():
    for m, k, n in LARGE:
        peers = (longhaul("bf16"), *torch("torch", "int8"), *((ggml("int8"),) if m == 512 else ()))
        bar = "1.3 x longhaul bf16"
        headline = (m, k, n) == SHOWN
        yield matmul("matmul-int8", m, k, n, dtype="int8-channel", peers=peers, at_least=bar, headline=headline)


def small_matmuls():
    for m in (1, 16, 64, 512, 2048):
        yield matmul("matmul-small", m, 576, 1536, peers=BF16, at_least="1.1 x", roof=ARITHMETIC, headline=m == 2048)


def streams():
    for m in (1, 4, 16):
        peers = BF16 + ((rust("candle", "bf16"), ggml("bf16")) if m == 1 else ())
        yield matmul("stream", m, 4096, 14336, peers=peers, rotated=ROTATED, at_least="85% of dram", roof="dram",
                     headline=m == 16)
    for dtype, share in (("int8-g64", 80), ("int8-channel", 80), ("int4", 70)):
        peers = (ggml("int4"),) if dtype == "int4" else (ggml("int8"), *torch("torch", "int8"))
        yield matmul("stream", 1, 4096, 14336, dtype=dtype, peers=peers, rotated=ROTATED,
                     at_least=f"{share}% of dram", roof="dram", headline=dtype == "int4")


def attention(group, what, batch, q_len, kv_len, *, peers, dtype="bf16", rotated=0, shared=0, **row):
    """32 query heads on 8 of keys and values, 128 elements each; counts FLOP, or with `rotated` their bytes, shared ones once."""
    heads = {"n_heads": 32, "n_kv_heads": 8, "head_dim": 128}
    lengths = {"batch": batch, "q_len": q_len, "kv_len": kv_len, "rotated_bytes": rotated, "shared_len": shared}
    spec = {"kind": "attention"} | lengths | heads
    seen = sum(range(kv_len - q_len + 1, kv_len + 1))
    bytes_per_head = {"bf16": 2 * 128, "int8": 128 + 4}[dtype]
    n_bytes = (shared + batch * (kv_len - shared)) * 2 * 8 * bytes_per_head
    flops = batch * 4 * 32 * 128 * seen
    work, unit = (n_bytes / 1e9, "GB/s") if rotated else (flops / 1e9, "GFLOP/s")
    return Case(group, what, spec, work, unit, longhaul(dtype), peers, **row)


def prefills():
    for length in (2048, 8192):
        peers = torch("torch-gqa", "bf16", "f32") + torch("torch-expanded", "bf16")
        yield attention("attention", f"causal prefill of {length:,}", 1, length, length, peers=peers, at_least="2.5 x",
                        roof=ARITHMETIC, headline=True)
    peers = torch("torch-split", "bf16") + torch("torch-gqa", "bf16")
    yield attention("attention", "append of 700 behind 103,300", 1, 700, 104_000, peers=peers,
                    at_least="the rate of the rows above", roof=ARITHMETIC, headline=True)


def decodes():
    for batch in (1, 8):
        for kv_len in (32_768, 131_072):
            peers = torch("torch-folded", "bf16")
            # Each has keys and values of its own; the largest are 4 GB, and f32 would be 8.
            if batch * kv_len <= 8 * 32_768:
                peers += torch("torch-gqa", "bf16") + torch("torch-folded", "f32")
            what = f"decode of {batch} behind {kv_len:,}"
            yield attention("attention-decode", what, batch, 1, kv_len, peers=peers, rotated=ROTATED,
                            at_least="75% of dram", roof="dram", headline=kv_len == 131_072)


# 15,000 tokens in whole pages.
SHARED = 58 * 256


def shared_decodes():
    """The same contexts as copies, as pages that all of them share, and in int8."""
    for shared, what in ((0, "decode of 8 behind 16,000, private copies"), (SHARED, "decode of 8 behind 16,000 that share 14,848")):
        yield attention("attention-shared", what, 8, 1, 16_000, peers=(), rotated=ROTATED, shared=shared,
                        at_least="75% of dram" if shared else "", roof="dram", headline=bool(shared))
    yield attention("attention-shared", "decode of 1 behind 32,768, int8 KV", 1, 1, 32_768, dtype="int8", rotated=ROTATED,
                    peers=(), roof="dram")


def avx2_matmuls():
    peers = torch("torch", "f32", worker="torch-avx2") + torch("torch-packed", "f32", worker="torch-avx2")
    for k, n in ((4096, 4096), (2048, 2048)):
        for m in (512, 2048):
            yield matmul("avx2", m, k, n, dtype="f32", table="avx2", peers=peers, at_least="0.9 x", roof="fma256",
                         headline=(m, k) == (512, 4096))


PEERS_OF_MODEL = {
    "bf16": (Entrant("llama", "llama.cpp", "bf16"), Entrant("torch", "transformers", "bf16")),
    "int8": (Entrant("llama", "llama.cpp", "int8"),),
    "int4": (Entrant("llama", "llama.cpp", "int4"),),
}


def model(dtype, decode, depth, n_tokens, at_least="", headline=False):
    spec = {"kind": "model", "decode": decode, "depth": depth, "n_tokens": n_tokens}
    verb = "decode" if decode else f"prefill of {n_tokens:,}"
    what = f"SmolLM2 {dtype}, {verb}, depth {depth:,}"
    peers = PEERS_OF_MODEL[dtype]
    return Case(f"model-{dtype}", what, spec, n_tokens, "tokens/s", longhaul(dtype), peers, at_least=at_least, headline=headline)


def llama():
    """Reads all weights for each token; the output matrix is the embedding. Bytes of weights alone are counted."""
    spec = {"kind": "model", "preset": "llama-3.2-1b", "decode": True, "depth": 0, "n_tokens": 16}
    work = 16 * 1_235_814_400 * 2 / 1e9
    yield Case("model-llama", "Llama-3.2-1B's shape bf16, decode, depth 0", spec, work, "GB/s", longhaul("bf16"), (),
               at_least="85% of dram", roof="dram", headline=True)


def models():
    bars = {"bf16": 75, "int8": 150, "int4": 240}
    for dtype in PEERS_OF_MODEL:
        bf16 = dtype == "bf16"
        yield model(dtype, False, 0, 2_048, "4,000 tokens/s (2 threads)" if bf16 else "", headline=True)
        yield model(dtype, True, 0, 32, f"{bars[dtype]} tokens/s (2 threads)", headline=True)
        for depth in (4_096, 8_000):
            deep = bf16 and depth == 8_000
            yield model(dtype, True, depth, 16, "35 tokens/s (2 threads)" if deep else "", headline=depth == 8_000)
            yield model(dtype, False, depth, 128)


def all_cases():
    parts = (large_matmuls(), int8_matmuls(), small_matmuls(), streams(), prefills(), decodes(), shared_decodes(), avx2_matmuls(),
             models(), llama())
    return [case for part in parts for case in part]
