"""What each figure of a comparison means, and how the report calls it: no number stands there undefined."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from wayra.lab.compare.tables import Comparison
from wayra.lab.latency.definitions import DEFINITIONS as MEASURED
from wayra.lab.runs.definitions import definitions_of
from wayra.lab.scoring.grade import DEFINITIONS as SCORED

DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "parameters": "All weights of the model, embeddings counted once.",
        "active_parameters": "Weights that take part in one token: of experts those that a token is sent to.",
        "num_layers": "Blocks of attention and feed-forward.",
        "hidden_size": "Numbers that stand for one token between layers.",
        "num_heads": "Heads of attention in a layer.",
        "num_kv_heads": "Heads of keys and values in a layer; fewer than heads where several share them.",
        "context_len": "Tokens that the model was made to attend to at most.",
        "vocab_size": "Different tokens.",
        "experts": "Experts of a layer; 0: a dense model.",
        "weights_mb": "10^6 bytes of all weights at that precision, scales included, as the planner counts them.",
        "kv_kb_per_token": "10^3 bytes of keys and values that one token of context takes, of 16 bits a number.",
        "state_mb": "10^6 bytes that layers without keys and values keep of a sequence, whatever its length.",
        "held_weights_mb": "10^6 bytes of weights as the engine held them while it was measured.",
        "held_kv_mb": "10^6 bytes that the engine had reserved for keys and values of all requests together.",
        "machine_usd_per_h": "What an hour of the machine that answers costs: its rent, or of one bought its price "
        "and its power by the hour.",
        "input_usd_per_mtok": "USD of a million prompt tokens. Of a model sold by tokens: its price. Of a machine "
        "paid by the hour: an hour over the prompt tokens it reads in one at the best prefill rate of this report, "
        "busy all the time, one request at a time.",
        "output_usd_per_mtok": "USD of a million output tokens. Of a model sold by tokens: its price. Of a machine "
        "paid by the hour: an hour over the output tokens it makes in one at the best output rate of this report's "
        "closed loops, busy all the time; reading the loops' prompts is paid for in it.",
        "blended_usd_per_mtok": "USD of a million tokens, three of prompts to one of output. Of a machine a bound "
        "from above, since its output tokens have paid for some prompts already.",
        "rate": "Tokens per second, one request at a time, of one turn the median of its repeats. Prefill: the "
        "prompt's length over the time to the first token, no cache. Decode: tokens after the first, from a prompt of "
        "one token, no speculation.",
        "p50/p95/p99": "A quantile over the requests of one turn (of separate runs: of a whole run), interpolated "
        "linearly.",
        "spread": "Of a speed measured in rounds: the value is the median of the rounds, low and high are the slowest "
        "and the fastest round. Of a benchmark and of separate runs: low and high are the interval of 95 %.",
        "count": "Items that both models answered; failed ones are left out.",
        "differing": "Items that both answered and the two models scored differently.",
        "first_value": "Mean score of the first model over the items that both answered, 0 to 1.",
        "second_value": "Mean score of the second model over the items that both answered, 0 to 1.",
        "difference": "Second less first: the mean over the items that both answered, with an interval of 95 % that "
        "resamples items, of this benchmark alone. Where all items differ by the same (or none does) there is nothing "
        "to resample: the bounds are then Wilson's, for a share of items that might still differ.",
        "ratio": "Second over first: the geometric mean over the rounds, with Student's interval of 95 % of that mean.",
        "rounds": "Turns that each model had.",
        "p_value": "Chance of a difference at least as large between equal models, of one test alone.",
        "adjusted_p": "Chance of a difference at least as large between equal models, corrected by Holm for all tests "
        "of the comparison; below 0.05 is called significant.",
        "settling_delta": "The difference asked about in settling_items: the one seen, or 0.05 where none was seen.",
        "settling_items": "Items after which the difference that was seen (0.05 where none was), if it is real, would "
        "show at the corrected level four times in five. Where no item differed, at the least: as if all that will "
        "differ favoured one model.",
    }
)
TERMS: Mapping[str, str] = MappingProxyType({**SCORED, **MEASURED, **DEFINITIONS})
WORDS: Mapping[str, str] = MappingProxyType(
    {
        "rate": "prefill, decode",
        "ttft_p50": "first token, median (TTFT)",
        "ttft_p95": "first token, P95 (TTFT)",
        "tpot_p50": "time per token, median (TPOT)",
        "output_rate": "output",
        "input_usd_per_mtok": "prompt tokens, USD/Mtok",
        "output_usd_per_mtok": "output tokens, USD/Mtok",
        "blended_usd_per_mtok": "3 prompt tokens to 1 of output, USD/Mtok",
        "machine_usd_per_h": "an hour of the machine",
        "kv_kb_per_token": "keys and values of a token",
        "state_mb": "state of a sequence",
        "num_layers": "layers",
        "num_heads": "heads",
        "num_kv_heads": "KV heads",
        "context_len": "context",
        "vocab_size": "vocabulary",
        "weights_mb": "weights in fp16, q8_0, ...",
        "held_weights_mb": "weights, held while running",
        "held_kv_mb": "KV cache, reserved",
        "adjusted_p": "p after Holm",
        "settling_items": "items that would settle it",
        "spread": "in brackets, or low and high",
    }
)
"""What the report calls a figure, where that is not its name."""
TESTED = (
    "count",
    "differing",
    "first_value",
    "second_value",
    "difference",
    "p_value",
    "adjusted_p",
    "settling_delta",
    "settling_items",
)
RACED = ("ratio", "rounds", "p_value", "adjusted_p")
FOR_PROGRAMS = ("count", "differing", "first_value", "second_value", "p_value", "rounds", "settling_delta")
"""Fields of the JSON that the report for people does not show, or whose heads say what they are."""


def defined(found: Comparison) -> dict[str, str]:
    """The definition of every figure: of a table's cells by the row's metric, of a test's numbers by their field."""
    return definitions_of(_names(found), TERMS)


def glossary(found: Comparison) -> list[tuple[str, str]]:
    """The same for people: each figure as the report calls it, with its definition."""
    return [
        (WORDS.get(name, name.replace("_", " ")), text[:1].upper() + text[1:])
        for name, text in found.definitions.items()
        if name not in FOR_PROGRAMS
    ]


def _names(found: Comparison) -> Iterator[str]:
    for title, rows in found.tables.items():
        if title != "Specification":
            yield from (row.metric for row in rows)
    yield "spread"
    yield from (row.metric for row in found.scores)
    if found.tested:
        yield from TESTED
    if found.raced:
        yield from RACED
    yield from (row.metric for row in found.tables.get("Specification", ()))
