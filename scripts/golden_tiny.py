"""Golden files of tiny random models, one per family: a Hugging Face folder and what transformers computes with it.

    golden_tiny.py OUT_DIR     (started by the script golden)
"""

import os
import random
import shutil
import sys
from pathlib import Path

import torch
from golden_format import kl_per_row, prepare, top_rows, write_golden
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

N_TOKENS = 48
LOGIT_SPREAD = 3.0

COMMON = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}

# Wavelengths of all three kinds: below 16 tokens kept, above 64 divided by the factor, and the ramp between.
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

# Heads wider than the residual stream.
NARROW = {"hidden_size": 32, "intermediate_size": 64, "head_dim": 16}

# Name of the folder, configuration, stored dtype, largest file.
MODELS = [
    ("tiny-llama3", LlamaConfig(**COMMON, tie_word_embeddings=False, rope_parameters=LLAMA3_ROPE), "bfloat16", "1GB"),
    ("tiny-qwen2", Qwen2Config(**COMMON | {"num_key_value_heads": 1}, tie_word_embeddings=True), "float16", "90KB"),
    ("tiny-qwen3", Qwen3Config(**COMMON, head_dim=32, tie_word_embeddings=True), "bfloat16", "1GB"),
    ("tiny-mistral", MistralConfig(**COMMON | NARROW, tie_word_embeddings=False, sliding_window=16), "float32", "1GB"),
]


def main():
    out = Path(sys.argv[1])
    prepare(int(os.environ["GOLDEN_THREADS"]))
    for seed, (name, config, dtype, max_file) in enumerate(MODELS):
        golden = make_model(out / name, config, dtype, max_file, seed)
        write_golden(out / name / "golden.json", golden)
        print(f"{name}: mean KL of bf16 {golden['bf16_mean_kl']:.3e}", flush=True)


def make_model(folder, config, dtype, max_file, seed):
    torch.manual_seed(seed)
    dtype = getattr(torch, dtype)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    spread_weights(model)
    model.generation_config.eos_token_id = [1, 2]
    shutil.rmtree(folder, ignore_errors=True)
    model.to(dtype).save_pretrained(folder, max_shard_size=max_file)

    tokens = random.Random(seed).choices(range(3, config.vocab_size), k=N_TOKENS)
    logits, other = (run(folder, dtype, tokens) for dtype in (torch.float32, torch.bfloat16))
    distances = kl_per_row(logits, other, range(N_TOKENS))
    return {
        "tokens": tokens,
        "bf16_mean_kl": sum(distances) / N_TOKENS,
        "bf16_max_kl": max(distances),
        "rows": top_rows(logits, range(N_TOKENS)),
    }


def spread_weights(model):
    """Weights under which every part matters: activations of order 1, norms and biases away from 1 and 0."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("norm.weight"):
                weight.normal_(1.0, 0.25)
            elif name.endswith("bias"):
                weight.normal_(0.0, 0.5)
            else:
                gain = LOGIT_SPREAD if "embed_tokens" in name or "lm_head" in name else 1.5
                weight.normal_(0.0, gain / weight.shape[1] ** 0.5)


def run(folder, dtype, tokens):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    with torch.inference_mode():
        return model(torch.tensor([tokens])).logits[0].float()


if __name__ == "__main__":
    main()
