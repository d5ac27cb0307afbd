"""llama.cpp behind the workers' calls, through its low-level API: the same batches its own benchmark would decode.

Only tokens whose logits are wanted compute them. Nothing is sampled while the time is taken; reading the logits is left
out as well, which favours llama.cpp slightly.
"""

import ctypes
import time
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np

UBATCH_TOKENS = 512
BATCH_TOKENS = 2048


@llama_cpp.llama_log_callback
def _silent(_level: int, _text: bytes, _data: ctypes.c_void_p) -> None:
    """llama.cpp tells its life on stderr; nobody reads it."""


class LlamaCppEngine:
    """A model and a context of one sequence. flash_attn: "auto" is llama.cpp's own default."""

    CALLS = ("prefill", "decode", "greedy", "logits", "tokenize")

    def __init__(self, path: str, threads: int, context_len: int, flash_attn: str = "auto", **_other: Any) -> None:
        llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        started = time.perf_counter()
        model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        if model is None:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = context_len, BATCH_TOKENS, UBATCH_TOKENS
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = {"auto": -1, "off": 0, "on": 1}[flash_attn]
        context = llama_cpp.llama_init_from_model(model, params)
        if context is None:
            raise RuntimeError(f"llama.cpp cannot make a context of {context_len} tokens")
        self._model, self._context = model, context
        self._vocab = llama_cpp.llama_model_get_vocab(model)
        self._vocab_size: int = llama_cpp.llama_vocab_n_tokens(self._vocab)
        self._batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)
        self.facts = {
            "version": f"llama-cpp-python {llama_cpp.__version__}",
            "system": llama_cpp.llama_print_system_info().decode(errors="replace"),
            "settings": f"n_ubatch {UBATCH_TOKENS}, flash_attn {flash_attn}, KV f16",
            "load_s": time.perf_counter() - started,
            "vocab_size": self._vocab_size,
        }

    def prefill(self, token_ids: Sequence[int]) -> float:
        """Seconds to read a prompt from nothing to the logits of its last token."""
        self._clear()
        started = time.perf_counter()
        self._run(token_ids, 0, last_only=True)
        return time.perf_counter() - started

    def decode(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> float:
        """Seconds to take in `token_ids` one by one after a prompt, with the logits of each."""
        self._clear()
        self._run(prompt_ids, 0, last_only=True)
        started = time.perf_counter()
        for position, token_id in enumerate(token_ids, len(prompt_ids)):
            self._run((token_id,), position, last_only=True)
        return time.perf_counter() - started

    def greedy(self, prompt_ids: Sequence[int], count: int) -> dict[str, list[Any]]:
        """The likeliest continuation, and the distance between the two highest logits at each step."""
        self._clear()
        self._run(prompt_ids, 0, last_only=True)
        found: list[int] = []
        gaps: list[float] = []
        while True:
            logits = self._logits(-1)
            first = int(np.argmax(logits))
            second = np.partition(logits, -2)[-2]
            found.append(first)
            gaps.append(float(logits[first] - second))
            if len(found) == count:
                return {"token_ids": found, "gaps": gaps}
            self._run((first,), len(prompt_ids) + len(found) - 1, last_only=True)

    def logits(self, token_ids: Sequence[int], first_row: int, last_row: int, path: str) -> None:
        """Write the logits of tokens first_row..last_row (exclusive) to `path`, float32 [rows, vocab]."""
        self._clear()
        self._run(token_ids, 0, last_only=False)
        out = np.lib.format.open_memmap(path, "w+", np.float32, (last_row - first_row, self._vocab_size))
        for row in range(first_row, last_row):
            out[row - first_row] = self._logits(row)

    def tokenize(self, text: str, add_special: bool, parse_special: bool) -> list[int]:
        stored = text.encode()
        room = len(stored) + 8
        ids = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self._vocab, stored, len(stored), ids, room, add_special, parse_special)
        return list(ids[:count])

    def _clear(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), False)

    def _run(self, token_ids: Sequence[int], start: int, last_only: bool) -> None:
        """Decode in batches; with all logits wanted the tokens must fit one batch."""
        for begin in range(0, len(token_ids), BATCH_TOKENS):
            chunk = token_ids[begin : begin + BATCH_TOKENS]
            batch = self._batch
            batch.n_tokens = len(chunk)
            for i, token_id in enumerate(chunk):
                batch.token[i] = token_id
                batch.pos[i] = start + begin + i
                batch.n_seq_id[i] = 1
                batch.seq_id[i][0] = 0
                batch.logits[i] = not last_only or begin + i == len(token_ids) - 1
            code = llama_cpp.llama_decode(self._context, batch)
            if code:
                raise RuntimeError(f"llama_decode returned {code}")
        llama_cpp.llama_synchronize(self._context)

    def _logits(self, row: int) -> Any:
        """float32 [vocab], valid until the next batch."""
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self._context, row), (self._vocab_size,))
