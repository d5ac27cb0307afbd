"""Figures of a recorded bench, computed from its raw records."""

from collections.abc import Mapping, Sequence

import numpy as np

from wayra.lab.bench.knee import knee_of, levels_of
from wayra.lab.latency.definitions import DEFINITIONS
from wayra.lab.latency.metrics import Prices, stage_figures, times_of
from wayra.lab.latency.record import RequestRecord, record_from
from wayra.lab.latency.slo import parse_slo
from wayra.lab.runs.stored_run import Run
from wayra.lab.runs.summary import Figure, Summary, with_bounds
from wayra.lab.statistics.bootstrap import bootstrap_quantile


def summarise(run: Run) -> Summary:
    """Raises RunError naming a damaged record."""
    stages: dict[str, list[RequestRecord]] = {}
    for number, line in enumerate(run.records(), start=1):
        # Texts are what takes the memory, and no figure needs them.
        record = record_from({**line, "text": ""}, number)
        if not record.is_warmup:
            stages.setdefault(record.stage, []).append(record)
    figures: list[Figure] = []
    if run.config.get("mode") == "model":
        limits = run.header.facts.get("limit_rates")
        for name, records in stages.items():
            figures += model_figures(name, records, limits if isinstance(limits, Mapping) else {})
        return Summary(tuple(figures), DEFINITIONS)
    slo = run.config.get("slo")
    for name, records in stages.items():
        figures += stage_figures(
            records, name, slo=parse_slo(slo) if isinstance(slo, str) else None, prices=_prices(run.config)
        )
    is_sweep = run.config.get("sweep") is True or "knee_concurrency" in run.header.facts
    knee = knee_of(levels_of(stages)) if is_sweep else None
    if knee is not None:
        figures.append(Figure("knee", knee, "requests"))
    return Summary(tuple(figures), DEFINITIONS)


def model_figures(stage: str, records: Sequence[RequestRecord], limits: Mapping[str, object]) -> list[Figure]:
    """The median rate of one of pp… and tg…, its spread, and its share of the limit when that is known."""
    rates: list[float] = []
    for record in records:
        times = times_of(record)
        if times is None:
            continue
        if stage.startswith("pp") and record.prompt_tokens and times.ttft_s > 0:
            rates.append(record.prompt_tokens / times.ttft_s)
        elif stage.startswith("tg") and times.tpot_s:
            rates.append(1 / times.tpot_s)
    failed = sum(record.status == "failed" for record in records)
    figures = [Figure("failed", failed, group=stage)] if failed else []
    if not rates:
        return [*figures, Figure("rate", None, "tok/s", group=stage, why="no repeat ended well")]
    found = bootstrap_quantile(rates, 0.5)
    rate = Figure("rate", found.value, "tok/s", group=stage, count=len(rates), higher_is_better=True)
    figures.append(with_bounds(rate, found.low, found.high))
    spread = float(np.std(rates, ddof=1)) if len(rates) > 1 else None
    figures.append(Figure("deviation", spread, "tok/s", group=stage))
    limit = limits.get(stage)
    if isinstance(limit, int | float) and limit > 0:
        figures.append(Figure("limit", float(limit), "tok/s", group=stage))
        figures.append(Figure("limit_share", found.value / limit, group=stage, higher_is_better=True))
    return figures


def _prices(config: Mapping[str, object]) -> Prices | None:
    given = [config.get("input_price"), config.get("output_price")]
    if all(price is None for price in given):
        return None
    return Prices(*(float(price) if isinstance(price, int | float) else 0.0 for price in given))
