"""Walks through compiled grammars: whether they take a text, and random answers of the whole engine."""

import json
from collections.abc import Sequence
from typing import Any

from wayra.backends.null import NullModel, null_spec
from wayra.engine.engine import Engine
from wayra.engine.grammar import CompiledGrammar, GrammarCompiler
from wayra.engine.request import Output, Request, SamplingParams
from wayra.engine.settings import EngineSettings
from wayra.text.structure import GrammarSpec
from wayra.text.tokenizer import Tokenizer


def allows(compiled: CompiledGrammar, token_ids: Sequence[int]) -> bool:
    """Whether the tokens are a complete answer, and the mask allowed each of them."""
    constraint = compiled.constraint()
    for token_id in token_ids:
        if not (int(constraint.mask()[token_id // 32]) >> (token_id % 32)) & 1:
            return False
        constraint.accept(token_id)
    return constraint.is_accepting()


def takes(compiled: CompiledGrammar, tokenizer: Tokenizer, text: str) -> bool:
    """Whether the grammar allows the text as a complete answer."""
    return allows(compiled, tokenizer.encode(text, add_bos=False))


def takes_json(compiled: CompiledGrammar, tokenizer: Tokenizer, value: Any) -> bool:
    """Whether the grammar allows the value in one of the usual spellings."""
    spellings = (json.dumps(value, ensure_ascii=False), json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return any(takes(compiled, tokenizer, text) for text in spellings)


def random_answers(tokenizer: Tokenizer, spec: GrammarSpec, num_answers: int, max_tokens: int = 200) -> list[str]:
    """The texts of the answers that ended with "stop", from a model that says nearly anything, `num_answers` asked."""
    compiler = GrammarCompiler(tokenizer, tokenizer.vocab_size)
    engine = Engine(NullModel(null_spec(tokenizer.vocab_size)), EngineSettings(), tokenizer.eos_ids)
    compiled = compiler.compile(spec)
    # Without it strings and lists of a random model hardly ever end.
    closers = {token_id: 4.0 for text in '"}],0' for token_id in tokenizer.encode(text, add_bos=False)}
    bias = closers | dict.fromkeys(tokenizer.eos_ids, 4.0)
    for seed in range(num_answers):
        params = SamplingParams(temperature=3.0, seed=seed, max_tokens=max_tokens, logit_bias=bias)
        engine.add(Request(str(seed), (1, 2, seed % 50), params, constraint=compiled.constraint()))
    outputs: dict[str, list[Output]] = {}
    while engine.has_work():
        for output in engine.step():
            outputs.setdefault(output.request_id, []).append(output)
    engine.check_integrity()
    assert {o[-1].finish_reason for o in outputs.values()} <= {"stop", "length"}
    return [
        tokenizer.decode([i for o in parts for i in o.token_ids])
        for parts in outputs.values()
        if parts[-1].finish_reason == "stop"
    ]
