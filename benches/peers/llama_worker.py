"""llama.cpp, through the package llama-cpp-python, and ggml's matmul below it. Usage: llama_worker.py THREADS GGUF_DIR

The flash attention of llama.cpp is on; keys and values are f16, which is faster there than bf16.
"""

import ctypes
import functools
import sys
import time
from pathlib import Path

import llama_cpp
import numpy as np

from serve import Missing, serve

GGUF_NAMES = {"bf16": "bf16", "int8": "q8_0", "int4": "q4_1"}
CONTEXT_LEN = 8_704
STEP_LEN = 512
# Depths above this are loaded from a file; computing them takes a minute.
LONGEST_COMPUTED = 64
DEEPEST = 8_000


def main():
    n_threads, gguf_dir = int(sys.argv[1]), Path(sys.argv[2])
    contexts = functools.cache(functools.partial(Context, n_threads, gguf_dir))

    def prepare(peer, dtype, case):
        if case["kind"] == "model":
            return contexts(dtype).prepare(case), []
        if case["kind"] == "matmul":
            import ggml_matmul

            return ggml_matmul.prepare(n_threads, dtype, case)
        raise Missing(f"{peer} does not take part in {case['kind']}")

    llama_cpp.llama_log_set(QUIET, None)
    llama_cpp.llama_backend_init()
    serve(prepare)


@llama_cpp.llama_log_callback
def QUIET(_level, _text, _data):
    pass


class Context:
    """A model and one sequence of it."""

    def __init__(self, n_threads, gguf_dir, dtype):
        path = gguf_dir / f"{GGUF_NAMES[dtype]}.gguf"
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            raise Missing(f"llama.cpp cannot load {path.name}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = CONTEXT_LEN, 2_048, STEP_LEN
        params.n_threads = params.n_threads_batch = n_threads
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.random = np.random.default_rng(0)
        self.saved = gguf_dir / f"kv-{DEEPEST}.bin"

    def prepare(self, case):
        """A run of a case (`ModelCase` in worker/src/protocol.rs)."""
        depth, n_tokens = case["depth"], case["n_tokens"]
        self.bring_to(depth)

        def run():
            self.cut(depth)
            prompts = [[500]] * n_tokens if case["decode"] else [self.random_tokens(n_tokens)]
            began = time.perf_counter()
            for prompt in prompts:
                self.step(prompt)
            return time.perf_counter() - began

        return run

    def bring_to(self, depth):
        """Fills the sequence up to `depth`. How long a step takes does not depend on whose keys and values these are, so one
        file serves all models.
        """
        self.cut(0)
        if depth <= LONGEST_COMPUTED:
            return depth and self.step(self.random_tokens(depth))
        if not self.saved.exists():
            tokens = self.random_tokens(DEEPEST)
            for first in range(0, DEEPEST, STEP_LEN):
                self.step(tokens[first:first + STEP_LEN])
            array = (ctypes.c_int32 * DEEPEST)(*tokens)
            llama_cpp.llama_state_seq_save_file(self.context, str(self.saved).encode(), 0, array, DEEPEST)
        tokens, count = (ctypes.c_int32 * DEEPEST)(), ctypes.c_size_t()
        path = str(self.saved).encode()
        if not llama_cpp.llama_state_seq_load_file(self.context, path, 0, tokens, DEEPEST, ctypes.byref(count)):
            raise Missing(f"llama.cpp does not take {self.saved.name}; remove it")
        self.cut(depth)

    def cut(self, depth):
        llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(self.context), 0, depth, -1)

    def random_tokens(self, n):
        return self.random.integers(100, 40_000, n).tolist()

    def step(self, tokens):
        """Runs the tokens and draws the likeliest next one."""
        array = (ctypes.c_int32 * len(tokens))(*tokens)
        status = llama_cpp.llama_decode(self.context, llama_cpp.llama_batch_get_one(array, len(tokens)))
        if status:
            raise Missing(f"llama_decode answers {status}")
        logits = llama_cpp.llama_get_logits_ith(self.context, -1)
        return int(np.ctypeslib.as_array(logits, (self.vocab,)).argmax())


if __name__ == "__main__":
    main()
