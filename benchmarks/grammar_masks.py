"""What structured output costs a token: times of masks and of compilation, for a model's own vocabulary.

    python benchmarks/grammar_masks.py smollm2
    python benchmarks/grammar_masks.py PATH/tokenizer.model      (Llama 3's, 128k tokens)

The limit to beat is the model's step; a mask is computed a sequence and step, one after the other. Ends in a JSON line.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from wayra.base.settings import from_environment
from wayra.engine.grammar import CompiledGrammar, GrammarCompiler
from wayra.llm.load import load_tokenizer_of
from wayra.text.from_tiktoken import tokenizer_from_tiktoken
from wayra.text.structure import GrammarSpec, JsonObject, JsonSchema, Regex
from wayra.text.tokenizer import Tokenizer

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"type": "string"}},
        "kind": {"enum": ["good", "bad"]},
    },
    "required": ["name", "age", "tags", "kind"],
    "additionalProperties": False,
}
TEXT = '{"name": "Juan Pérez of the long names", "age": 42, "tags": ["alpha", "beta gamma"], "kind": "good"}'
CASES: dict[str, GrammarSpec] = {
    "json_object": JsonObject(),
    "json_schema": JsonSchema(PERSON),
    "regex": Regex(r"\{.*\}"),
}


def best_of(num: int, work: Callable[[], object]) -> float:
    """Seconds of the quickest of `num` runs."""
    times: list[float] = []
    for _ in range(num):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def mask_times(compiled: CompiledGrammar, token_ids: list[int], num_runs: int) -> list[float]:
    """Microseconds of mask and accept together at each token, the best of the runs."""
    best = [float("inf")] * len(token_ids)
    for _ in range(num_runs):
        constraint = compiled.constraint()
        for i, token_id in enumerate(token_ids):
            started = time.perf_counter()
            constraint.mask()
            constraint.accept(token_id)
            best[i] = min(best[i], (time.perf_counter() - started) * 1e6)
    return best


def measure(tokenizer: Tokenizer, num_runs: int) -> dict[str, object]:
    """Figures of every case. The first run of a grammar, whose lexer is cold, is reported apart."""
    started = time.perf_counter()
    compiler = GrammarCompiler(tokenizer)
    compiler.compile(Regex("a"))
    figures: dict[str, object] = {"vocab_size": tokenizer.vocab_size, "first_use_s": time.perf_counter() - started}
    token_ids = tokenizer.encode(TEXT, add_bos=False)
    for name, spec in CASES.items():
        compile_s = best_of(3, lambda spec=spec: GrammarCompiler._compile(compiler, spec))  # pyright: ignore[reportPrivateUsage]
        compiled = compiler.compile(spec)
        cold, warm = mask_times(compiled, token_ids, 1), mask_times(compiled, token_ids, num_runs)
        figures[name] = {
            "compile_ms": compile_s * 1e3,
            "cold_mean_us": statistics.mean(cold),
            "cold_max_us": max(cold),
            "warm_mean_us": statistics.mean(warm),
            "warm_max_us": max(warm),
            "new_constraint_us": best_of(20, compiled.constraint) * 1e6,
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a model, or a tiktoken file")
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    path = Path(options.model)
    if path.name == "tokenizer.model":
        tokenizer = tokenizer_from_tiktoken(path)
    else:
        tokenizer = load_tokenizer_of(options.model, from_environment())
    print(json.dumps(measure(tokenizer, options.runs)))


if __name__ == "__main__":
    main()
