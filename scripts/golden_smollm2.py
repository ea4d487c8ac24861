"""Golden files of SmolLM2: what transformers computes, and how llama.cpp tokenises; four minutes on two cores.

    golden_smollm2.py MODEL_DIR GGUF OUT_DIR     (started by the script golden)
"""

import os
import sys
from pathlib import Path

import torch
from golden_format import kl_per_row, prepare, top_rows, write_golden
from golden_prompts import CHAT, PLAIN, TRICKY, UNICODE, long_text
from llama_cpp import Llama
from transformers import AutoModelForCausalLM, AutoTokenizer

N_GREEDY = 64
N_LONG = 2000
LONG_STRIDE = 40


def main():
    model_dir, gguf, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    prepare(int(os.environ["GOLDEN_THREADS"]))
    reader = AutoTokenizer.from_pretrained(model_dir)
    llama = Llama(gguf, vocab_only=True, verbose=False)
    rendered_chat = reader.apply_chat_template(CHAT, add_generation_prompt=True, tokenize=False)
    prompts = {
        "plain": {"text": PLAIN},
        "chat": {"text": rendered_chat, "messages": CHAT},
        "unicode": {"text": UNICODE},
        "long": {"text": cut_to(N_LONG, long_text(), llama)},
    }
    write_golden(out / "tokenizer.json", tokenizer_cases(llama, [p["text"] for p in prompts.values()]))

    exact = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    rounded = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16).eval()
    for name, prompt in prompts.items():
        tokens = llama_tokens(llama, prompt["text"], True)
        if tokens != reader.encode(prompt["text"], add_special_tokens=False):
            sys.exit(f"golden: llama.cpp and the rebuilt tokenizer disagree on the prompt {name}")
        golden = prompt | golden_run(exact, rounded, tokens)
        write_golden(out / f"{name}.json", golden)
        print(f"{name}: {len(tokens)} tokens, mean KL of bf16 {golden['bf16_mean_kl']:.3e}", flush=True)


def golden_run(exact, rounded, tokens):
    """64 greedy tokens of the f32 model, then both models teacher-forced over prompt and greedy tokens."""
    greedy = greedy_tokens(exact, tokens)
    context = torch.tensor([tokens + greedy])
    with torch.inference_mode():
        logits, other = exact(context).logits[0], rounded(context).logits[0].float()
    stride = LONG_STRIDE if len(tokens) >= N_LONG else 1
    positions = sorted({*range(0, len(tokens), stride), *range(len(tokens) - 1, context.shape[1])})
    distances = kl_per_row(logits, other, positions)
    return {
        "tokens": tokens,
        "greedy": greedy,
        "bf16_mean_kl": sum(distances) / len(distances),
        "bf16_max_kl": max(distances),
        "rows": top_rows(logits, positions),
    }


def greedy_tokens(model, tokens):
    """Greedy decoding with a KV cache; an end token does not end it."""
    chosen, cache, step = [], None, torch.tensor([tokens])
    with torch.inference_mode():
        while len(chosen) < N_GREEDY:
            output = model(step, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = output.past_key_values
            chosen.append(output.logits[0, -1].argmax().item())
            step = torch.tensor([[chosen[-1]]])
    return chosen


def tokenizer_cases(llama, prompts):
    texts = TRICKY + prompts
    cases = [
        {"text": text, "special": special, "tokens": llama_tokens(llama, text, special == "parse")}
        for text in texts
        for special in ("as_text", "parse")
    ]
    return {"source": "llama.cpp", "cases": cases}


def llama_tokens(llama, text, parse_special):
    return llama.tokenize(text.encode(), add_bos=False, special=parse_special)


def cut_to(n_tokens, text, llama):
    """The shortest start of the text that has n_tokens."""
    for end in range(len(text) // 8, len(text) + 1):
        if len(llama_tokens(llama, text[:end], True)) == n_tokens:
            return text[:end]
    sys.exit(f"golden: the long text has fewer than {n_tokens} tokens")


if __name__ == "__main__":
    main()
