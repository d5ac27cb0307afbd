"""What a figure's name means: names are made of terms (`ttft_p95`, `macro_acc`, `pass@5`), tables define terms.

A number whose meaning is not beside it will be read as another tool's number of that name.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import cast

_QUANTILE = re.compile(r"^(.+)_(p50|p95|p99)$")
_PASS = re.compile(r"^pass@([0-9]+)(_flexible)?$")
PREFIXES = ("macro_", "difference_")
"""Of names whose rest is a figure of its own, whose definition follows."""

FACTS: Mapping[str, str] = MappingProxyType(
    {
        "load_s": "Seconds until the model could be asked, from its name.",
        "context_len": "Tokens that prompt and answer may have together.",
        "weights_bytes": "Bytes of the weights as the engine holds them.",
        "kv_bytes": "Bytes reserved for keys and values, of all requests together.",
        "tokens_per_word": "Tokens of a word of the made-up prompts, from two short questions before the first stage.",
        "read_gb_s": "10^9 bytes a second that all threads read from memory at most; `how` says where it is from.",
        "int8_gop_s": "10^9 integer operations a second at most, a multiply-add is two; `how` says where it is from.",
        "limit_rates": "Tokens per second that the machine allows at most, by test.",
        "knee_concurrency": "Requests at once at the knee; `knee_rule` says what that is.",
        "loading": "What a model here was loaded with, as the options of the command; null left it to the program.",
        "turns": "Of a comparison: rounds that were measured, and requests of a stage in one round.",
        "architecture": "The model's shape, as its file has it.",
        "questions": "Questions that a suite's data has, before any limit.",
        "passed_over": "Rows of a suite's data that are no questions; the notes name them.",
        "prices": "USD of a million prompt and of a million output tokens, as the price list had them.",
        "results": "What the other harness itself reported.",
    }
)
"""What a run knows beside its figures: of the target, of the machine, of its questions."""


def definition_of(name: str, terms: Mapping[str, str]) -> str | None:
    """What the figure of that name is, from the terms it is made of; None when a term is missing."""
    parts = terms_in(name, terms)
    if parts is None:
        return None
    texts = [terms[part] for part in parts]
    if (quantile := _QUANTILE.match(name)) and name not in terms:
        texts[-1] = f"{quantile[2].upper()}: {texts[-1]}"
    if (passed := _PASS.match(name)) and name not in terms:
        texts[0] = f"k = {passed[1]}{', read flexibly' if passed[2] else ''}: {texts[0]}"
    return " ".join(text if text.endswith((".", ":")) else f"{text}." for text in texts)


def terms_in(name: str, terms: Mapping[str, str]) -> tuple[str, ...] | None:
    """The keys of `terms` that a figure's name is made of; None when one is missing."""
    if name in terms:
        return (name,)
    if found := _QUANTILE.match(name):
        return _known((found[1], "p50/p95/p99"), terms)
    if _PASS.match(name):
        return _known(("pass@k",), terms)
    for prefix in PREFIXES:
        if name.startswith(prefix):
            rest = terms_in(name.removeprefix(prefix), terms)
            return None if rest is None else _known((prefix.removesuffix("_"), *rest), terms)
    return None


def definitions_of(names: Iterable[str], terms: Mapping[str, str]) -> dict[str, str]:
    """Each name that can be defined, with its definition."""
    found = {name: definition_of(name, terms) for name in dict.fromkeys(names)}
    return {name: text for name, text in found.items() if text is not None}


def facts_in(facts: Mapping[str, object]) -> dict[str, str]:
    """What the numbers among a run's facts are, each by its own key or the nearest one above it that is defined."""
    found = (next((name for name in reversed(path) if name in FACTS), None) for path in _numbers(facts, ()))
    return {name: FACTS[name] for name in found if name is not None}


def used_terms(names: Iterable[str], terms: Mapping[str, str]) -> dict[str, str]:
    """Of a table, the terms that these names are made of, in the table's order."""
    used = {part for name in names for part in terms_in(name, terms) or ()}
    return {term: text for term, text in terms.items() if term in used}


def _known(parts: tuple[str, ...], terms: Mapping[str, str]) -> tuple[str, ...] | None:
    return parts if all(part in terms for part in parts) else None


def _numbers(facts: Mapping[str, object], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for key, value in facts.items():
        path = (*above, key)
        if isinstance(value, Mapping):
            yield from _numbers(cast(Mapping[str, object], value), path)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield path
