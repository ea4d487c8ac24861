"""PyTorch's matmul and attention, and transformers on top of it. Usage: torch_worker.py THREADS MODEL_DIR"""

import functools
import sys

import torch
import torch.nn.functional as F

import pattern
from serve import Missing, in_turn, serve

DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}


def main():
    n_threads, model_dir = int(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(n_threads)
    torch.set_grad_enabled(False)
    models = functools.cache(functools.partial(load_model, model_dir))

    def prepare(peer, dtype, case):
        match case["kind"]:
            case "matmul":
                return matmul(peer, dtype, case)
            case "attention":
                return attention(peer, dtype, case)
            case "model":
                return models(dtype).prepare(case), []
        raise Missing(f"{peer} does not take part in {case['kind']}")

    serve(prepare)


def load_model(model_dir, dtype):
    from transformers_model import Model

    return Model(model_dir, DTYPES[dtype])


def matmul(peer, dtype, case):
    """Weights as `dtype`. Activations have that type too, except with int8, where they are f32 and quantised on the way."""
    m, k, n = case["m"], case["k"], case["n"]
    x, w = torch.from_numpy(pattern.activations(m, k)), torch.from_numpy(pattern.weights(n, k))
    if dtype == "int8":
        calls = [functools.partial(torch.ops.quantized.linear_dynamic, x, packed) for packed in int8_copies(w, case)]
    else:
        x, w = x.to(DTYPES[dtype]), w.to(DTYPES[dtype])
        copies = [w.clone() for _ in range(pattern.n_copies(case["rotated_bytes"], w.nbytes))]
        calls = [linear(peer, x, copy) for copy in copies]
    return in_turn(calls), ends(calls[0]())


def int8_copies(w, case):
    """One scale for each output channel."""
    scales = w.abs().amax(1) / 127
    quantised = torch.quantize_per_channel(w, scales.double(), torch.zeros(len(w), dtype=torch.long), 0, torch.qint8)
    n_copies = pattern.n_copies(case["rotated_bytes"], w.nelement())
    return [torch.ops.quantized.linear_prepack(quantised, None) for _ in range(n_copies)]


def linear(peer, x, w):
    """`x w^T`, by the plain call or with the weights in oneDNN's own layout."""
    if peer == "torch":
        return functools.partial(F.linear, x, w)
    if peer == "torch-packed":
        packed = torch.ops.mkldnn._reorder_linear_weight(w, len(x))
        return functools.partial(torch.ops.mkldnn._linear_pointwise, x, packed, None, "none", [], "")
    raise Missing(f"no matmul {peer}")


def attention(peer, dtype, case):
    """The ways to say it that PyTorch has:

    - `torch-gqa`: `enable_gqa`, the query heads as they are;
    - `torch-expanded`: a copy of keys and values for each query head, made before;
    - `torch-folded`: the query heads of a KV head as rows of one head; for one token only, since it is not causal;
    - `torch-split`: for a few tokens behind a long context, that context without a mask, those tokens causally, and the
      two merged.
    """
    q_len, kv_len = case["q_len"], case["kv_len"]
    q = torch.from_numpy(pattern.queries(kv_len - q_len, q_len, case["n_heads"], case["head_dim"])).to(DTYPES[dtype])
    q = q.expand(case["batch"], -1, -1, -1).contiguous()
    calls = [attend(peer, q, k, v) for k, v in kv_copies(dtype, case)]
    return in_turn(calls), ends(calls[0]())


def kv_copies(dtype, case):
    """Pairs of `[batch, n_kv_heads, kv_len, head_dim]`."""
    shape = (case["batch"], case["n_kv_heads"], case["kv_len"], case["head_dim"])
    patterns = pattern.keys_and_values(case["kv_len"], case["n_kv_heads"], case["head_dim"])
    patterns = [torch.from_numpy(p).to(DTYPES[dtype]) for p in patterns]
    n_bytes = 2 * torch.Size(shape).numel() * patterns[0].element_size()
    return [[repeated(p, shape) for p in patterns] for _ in range(pattern.n_copies(case["rotated_bytes"], n_bytes))]


def repeated(values, shape):
    """A tensor of `shape` that repeats `[n_kv_heads, n_tokens, head_dim]` in its tokens and in its batch."""
    out = torch.empty(shape, dtype=values.dtype)
    for first in range(0, shape[2], values.shape[1]):
        part = out[:, :, first:first + values.shape[1]]
        part.copy_(values[:, :part.shape[2]])
    return out


def attend(peer, q, k, v):
    sdpa = F.scaled_dot_product_attention
    q_len, kv_len, group_len = q.shape[2], k.shape[2], q.shape[1] // k.shape[1]
    masks = {} if q_len == 1 else {"is_causal": True}
    if 1 < q_len < kv_len:
        # is_causal counts from the first key; these tokens are the last ones.
        masks = {"attn_mask": torch.ones(q_len, kv_len, dtype=torch.bool).tril(kv_len - q_len)}
    match peer:
        case "torch-gqa":
            return functools.partial(sdpa, q, k, v, enable_gqa=True, **masks)
        case "torch-expanded":
            k, v = (t.repeat_interleave(group_len, 1) for t in (k, v))
            return functools.partial(sdpa, q, k, v, **masks)
        case "torch-folded" if q_len == 1:
            batch, _, _, head_dim = q.shape
            return functools.partial(sdpa, q.view(batch, k.shape[1], group_len, head_dim), k, v)
        case "torch-split" if 1 < q_len < kv_len:
            return functools.partial(split, q, k, v, group_len)
    raise Missing(f"no attention {peer} of this shape")


def split(q, k, v, group_len):
    """Attention to what was there before and to the new tokens, merged by their log-sums."""
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    batch, n_heads, q_len, head_dim = q.shape
    before = k.shape[2] - q_len
    folded = q.reshape(batch, k.shape[1], group_len * q_len, head_dim)
    old, old_sum = flash(folded, k[:, :, :before], v[:, :, :before])
    old, old_sum = old.reshape(q.shape), old_sum.reshape(batch, n_heads, q_len)
    new_k, new_v = (t[:, :, before:].repeat_interleave(group_len, 1) for t in (k, v))
    new, new_sum = flash(q, new_k, new_v, 0.0, True)
    share = torch.sigmoid(old_sum - new_sum.reshape(batch, n_heads, q_len)).unsqueeze(-1)
    return (old * share + new * (1 - share)).to(q.dtype)


def ends(y):
    """The first and last four numbers."""
    return y.reshape(-1)[[0, 1, 2, 3, -4, -3, -2, -1]].float().tolist()


if __name__ == "__main__":
    main()
