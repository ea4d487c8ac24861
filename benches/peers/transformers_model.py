"""SmolLM2 in transformers, with PyTorch's scaled_dot_product_attention and without torch.compile."""

import time

import torch
from transformers import AutoModelForCausalLM, DynamicCache


class Model:
    def __init__(self, model_dir, dtype):
        model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=dtype, attn_implementation="sdpa")
        self.model, self.config, self.dtype = model.eval(), model.config, dtype
        self.generator = torch.Generator().manual_seed(0)

    def prepare(self, case):
        """A run of a case (`ModelCase` in worker/src/protocol.rs)."""
        depth, n_tokens = case["depth"], case["n_tokens"]
        kept = self.cache(depth)

        def run():
            cache = kept if depth else self.cache(0)
            if excess := cache.get_seq_length() - depth:
                cache.crop(-excess)
            return self.decode(cache, n_tokens) if case["decode"] else self.prefill(cache, n_tokens)

        return run

    def cache(self, depth):
        """A cache of random keys and values; how long a step takes does not depend on them."""
        cache, config = DynamicCache(config=self.config), self.config
        head_dim = config.hidden_size // config.num_attention_heads
        for layer in range(config.num_hidden_layers if depth else 0):
            kv = torch.randn(2, 1, config.num_key_value_heads, depth, head_dim, generator=self.generator).to(self.dtype)
            cache.update(kv[0].clone(), kv[1].clone(), layer)
        return cache

    def prefill(self, cache, n_tokens):
        tokens = torch.randint(100, 40_000, (1, n_tokens), generator=self.generator)
        began = time.perf_counter()
        self.model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1).logits.argmax(-1)
        return time.perf_counter() - began

    def decode(self, cache, n_tokens):
        token = torch.tensor([[500]])
        began = time.perf_counter()
        for _ in range(n_tokens):
            token = self.model(token, past_key_values=cache, use_cache=True).logits[:, -1:].argmax(-1)
        return time.perf_counter() - began
