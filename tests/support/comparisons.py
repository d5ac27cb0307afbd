"""A comparison as data, with every kind of row that one can have."""

from dataclasses import replace

from wayra.lab.compare.definitions import defined
from wayra.lab.compare.quality import Tested
from wayra.lab.compare.tables import Cell, Comparison, Origin, Raced, Row
from wayra.lab.compare.verdict import verdict


def one_test(suite: str, first: float, second: float, *, is_significant: bool = False, metric: str = "score") -> Tested:
    delta = second - first
    return Tested(
        suite=suite, metric=metric, first="A", second="B", count=30, differing=12 if delta else 0,
        first_value=first, second_value=second, difference=delta, low=delta - 0.1, high=delta + 0.1, test="sign flips",
        p_value=0.001, adjusted_p=0.01 if is_significant else 0.4, is_significant=is_significant,
        settling_delta=None if is_significant else abs(delta) or 0.05, settling_items=None if is_significant else 420,
    )  # fmt: skip


def comparison(first: str = "small", second: str = "large") -> Comparison:
    """A decided benchmark, an open one and one that a model judged; speeds in turns; a price on one side only."""
    found = (
        one_test("task:maths", 0.4, 0.8, is_significant=True),
        one_test("task:sql", 0.5, 0.5),
        one_test("task:writing", 0.5, 0.45),
    )
    raced = (
        Raced("decode of 64 tokens", "A", "B", 5, 0.5, 0.45, 0.55, True, 0.0001, "tg64", "rate", 0.002, True),
        Raced("1 at once: output", "A", "B", 5, 0.9, 0.7, 1.1, True, 0.3, "concurrency 1", "output_rate", 0.6, False),
    )
    speeds = [
        Row(
            "decode of 64 tokens", "tok/s", (Cell(240.0, 230.0, 250.0), Cell(120.0, 110.0, 130.0)), True, "tg64", "rate"
        )
    ]
    for width in (1, 4, 8):
        cells = (Cell(100.0 * width, 90.0 * width, 110.0 * width), Cell(50.0 * width, 45.0 * width, 55.0 * width))
        stage = f"concurrency {width}"
        speeds.append(Row(f"{width} at once: output", "tok/s", cells, True, stage, "output_rate"))
    tables = {
        "Specification": (Row("parameters", "", (Cell(134_515_008.0), Cell(None)), metric="parameters"),),
        "Speed": tuple(speeds),
        "Memory held while running": (
            Row("weights", "MB", (Cell(96.4), Cell(142.9)), False, metric="held_weights_mb"),
        ),
        "Cost": (
            Row(
                "3 prompt tokens to 1 of output",
                "USD/Mtok",
                (Cell(None), Cell(4.375)),
                False,
                metric="blended_usd_per_mtok",
            ),
        ),
    }
    scores = tuple(
        Row(one.suite, one.metric, tuple(Cell(value, value - 0.15, value + 0.15)
                                         for value in (one.first_value, one.second_value)), True, "", one.metric)
        for one in found
    )  # fmt: skip
    made = Comparison(
        names={"A": first, "B": second},
        tables=tables,
        scores=scores,
        titles={"task:maths": "Maths word problems", "task:sql": "SQL", "task:writing": "Creative writing"},
        tested=found,
        raced=raced,
        verdict=tuple(verdict(found, raced)),
        notes=("A note with <b>markup</b>.",),
        origins=tuple(
            Origin(label, target, (f"20261121T000000-bench-00000{label.lower()}",), "2026-11-21T00:00:00.000+00:00",
                   "A processor, 2 cores", {"wayra": "0.1.0"})
            for label, target in (("A", "small"), ("B", "http://127.0.0.1:9"))
        ),
        judge="a judge",
    )  # fmt: skip
    return replace(made, definitions=defined(made))
