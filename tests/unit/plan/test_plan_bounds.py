"""The table of bounds is what a workload's reader keeps to, and every name in an explanation has a label."""

import copy
import math
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from wayra.base.errors import FileFormatError
from wayra.plan import view
from wayra.plan.bounds import BOUNDS
from wayra.plan.evidence import benchmarks
from wayra.plan.labels import BENCHMARKS, LABELS
from wayra.plan.market import Market
from wayra.plan.planner import make_plan
from wayra.plan.prices.table import shipped_prices
from wayra.plan.workload import workload_of

WORK: dict[str, Any] = {
    "traffic": {"input_tokens": 1, "output_tokens": 0, "requests_per_month": 1000},
    "fine_tuning": {"examples": 10, "tokens_per_example": 10, "runs_per_year": 1},
}


def with_number(key: str, value: float) -> dict[str, Any]:
    tables = copy.deepcopy(WORK)
    table, _, name = key.partition(".")
    if key == "route.share":
        rest = [{"name": "rest", "share": 1 - value}] if value < 1 else []
        tables["route"] = [{"name": "a", "share": value}, *rest]
    else:
        tables.setdefault(table, {})[name or {"quality": "mmlu", "have": "l40s"}[table]] = value
    return tables


@pytest.mark.parametrize("key", BOUNDS)
def test_a_number_is_taken_within_its_bounds_and_refused_beyond(key: str):
    low, high, is_whole = BOUNDS[key]
    # A prompt without tokens needs an answer with some.
    spare = {"traffic.input_tokens": "traffic.output_tokens"}.get(key)
    beyond = [low - 1, high + 1] if is_whole else [math.nextafter(low, -math.inf), math.nextafter(high, math.inf)]
    if low == 0:
        beyond[0] = -1e-9
    for value in (low, high):
        tables = with_number(key, value)
        if spare and value == 0:
            tables["traffic"]["output_tokens"] = 1
        # The longest request must hold the average one.
        if key == "limits.context" and value == low:
            assert tables["traffic"]["input_tokens"] == low
        workload_of(tables, "file")
    for value in beyond:
        with pytest.raises(FileFormatError, match="expected"):
            workload_of(with_number(key, value), "file")
    if is_whole:
        with pytest.raises(FileFormatError, match="whole number"):
            workload_of(with_number(key, low + 0.5), "file")


def names_in(node: Any) -> Iterator[str]:
    """Of every explained number in what the page is sent."""
    if isinstance(node, dict):
        if "inputs" in node and "shown" in node:
            yield node["name"]
        for value in node.values():
            yield from names_in(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from names_in(value)


KEEPING = [
    "llama-3.1-8b", "llama-4-scout", "llama-3.3-70b", "deepseek-v3.2", "qwen3.5-35b-a3b", "nemotron-3-nano",
    "gemma-4-26b-a4b", "gemma-3-27b", "mistral-7b", "llama-3.2-11b-vision",
]  # fmt: skip


def test_every_name_in_an_explanation_has_a_label():
    tables = {
        "traffic": {"input_tokens": 800, "output_tokens": 200, "requests_per_month": 100_000, "cached_share": 0.3},
        "fine_tuning": {"examples": 1000, "tokens_per_example": 512},
        "have": {"rtx4090": 2, "server-zen4": 1},
        "route": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}],
        "choice": {"models": KEEPING, "gpus": ["l40s", "h100-sxm", "h200"]},
    }
    market = Market(shipped_prices(), date(2026, 11, 21))
    made = make_plan(workload_of(tables, "file"), market)
    found = set(names_in(view.as_table(made)))
    kinds = {(row.kind, row.model, row.place and row.place.format): row for row in [*made.options, *made.rejected]}
    for row in kinds.values():
        found |= set(names_in(view.details(made, row, market)))
        found |= set(names_in(view.pace_details(made, row, market, 1)))
    assert {"latent_attention_bytes_per_token", "gated_delta_rule_bytes", "mamba_2_bytes", "window"} <= {
        name.removeprefix("sparse_") for name in found
    }
    assert {"kv_bytes", "rent_usd_per_h", "training_hours", "weights_read", "hybrid_usd_per_month"} <= found
    assert found - set(LABELS) == set()
    assert set(benchmarks()) - set(BENCHMARKS) == set()
    assert [text for text in LABELS.values() if "_" in text or not text] == []
