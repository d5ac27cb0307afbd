"""Speeds of a comparison: measured in turns, so that what the machine did meanwhile meets all models alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from wayra.lab.compare.tables import Cell, Race, Row, Side
from wayra.lab.latency.metrics import span_s, times_of
from wayra.lab.latency.record import RequestRecord, record_from
from wayra.lab.runs import Figure, Run, summarise
from wayra.lab.statistics.student import paired_ratio

LATENCIES = ("output_rate", "ttft_p50", "ttft_p95", "tpot_p50")
TESTED = ("rate", "output_rate", "ttft_p50")
"""TPOT says again what the output rate says."""
NAMES: Mapping[str, tuple[str, str, bool]] = {
    "rate": ("", "tok/s", True),
    "output_rate": ("output", "tok/s", True),
    "ttft_p50": ("first token, median", "ms", False),
    "ttft_p95": ("first token, P95", "ms", False),
    "tpot_p50": ("time per token, median", "ms", False),
}

Key = tuple[str, str]
"""Stage and metric."""


@dataclass(frozen=True, slots=True)
class Speeds:
    """Of one model. rounds: a value a round where it was measured in turns. figures: of whole runs elsewhere."""

    rounds: Mapping[Key, tuple[float, ...]]
    figures: Mapping[Key, Figure]


def speeds_of(side: Side) -> Speeds:
    """Raises RunError naming a damaged record."""
    rounds: dict[Key, tuple[float, ...]] = {}
    figures: dict[Key, Figure] = {}
    for run in (run for run in side.runs if run.kind == "bench"):
        turns = run.header.facts.get("turns")
        if isinstance(turns, Mapping) and isinstance(per_turn := turns.get("requests"), int):
            rounds |= _by_round(run, per_turn)
        else:
            figures |= {(figure.group, figure.name): figure for figure in summarise(run).figures}
    return Speeds(rounds, figures)


def speed_rows(found: Sequence[Speeds]) -> tuple[Row, ...]:
    """A row for each stage and metric that any model has."""
    keys = dict.fromkeys(key for one in found for key in (*one.rounds, *one.figures) if key[1] in NAMES)
    rows: list[Row] = []
    for key in keys:
        _, unit, higher = NAMES[key[1]]
        cells = tuple(_cell(one, key) for one in found)
        rows.append(Row(speed_name(key), unit, cells, higher, *key))
    return tuple(rows)


def best_output_rate(found: Speeds) -> float:
    """Tokens per second at the concurrency that gave most; 0 when none was measured."""
    rates = [median(values) for (_, metric), values in found.rounds.items() if metric == "output_rate"]
    rates += [figure.value or 0.0 for (_, metric), figure in found.figures.items() if metric == "output_rate"]
    return max(rates, default=0.0)


def best_prefill_rate(found: Speeds) -> float:
    """Prompt tokens per second of the length that gave most, one request at a time; 0 when none was measured."""
    rates = [median(values) for (stage, metric), values in found.rounds.items() if _is_prefill(stage, metric)]
    rates += [one.value or 0.0 for (stage, metric), one in found.figures.items() if _is_prefill(stage, metric)]
    return max(rates, default=0.0)


def _is_prefill(stage: str, metric: str) -> bool:
    return metric == "rate" and stage.startswith("pp")


def races(sides: Sequence[Side], found: Sequence[Speeds]) -> list[Race]:
    """Every tested speed of every two models that ran in the same rounds."""
    labelled = list(zip(sides, found, strict=True))
    return [
        race
        for (first, one), (second, other) in combinations(labelled, 2)
        for key in one.rounds
        if key[1] in TESTED and (race := _race(key, (first.label, second.label), (one, other))) is not None
    ]


def speed_name(key: Key) -> str:
    """In words: "prefill of 512 tokens", "8 at once: output"."""
    stage, metric = key
    if metric == "rate":
        return f"prefill of {stage[2:]} tokens" if stage.startswith("pp") else f"decode of {stage[2:]} tokens"
    what = stage.removeprefix("concurrency ")
    return f"{what} at once: {NAMES[metric][0]}" if what != stage else f"{stage}: {NAMES[metric][0]}"


def _race(key: Key, labels: tuple[str, str], found: tuple[Speeds, Speeds]) -> Race | None:
    one, other = found[0].rounds[key], found[1].rounds.get(key, ())
    if len(one) != len(other) or len(one) < 2:
        return None
    ratio = paired_ratio(one, other)
    # Rounds whose ratios are all alike tell nothing of how much they might differ.
    if ratio is None or ratio.p_value is None or ratio.low == ratio.high:
        return None
    bounds = (ratio.value, ratio.low, ratio.high)
    return Race(speed_name(key), *labels, len(one), *bounds, NAMES[key[1]][2], ratio.p_value, *key)


def _cell(found: Speeds, key: Key) -> Cell:
    if key in found.rounds:
        values = found.rounds[key]
        return Cell(median(values), min(values), max(values))
    figure = found.figures.get(key)
    return Cell() if figure is None else Cell(figure.value, figure.low, figure.high)


def _by_round(run: Run, per_turn: int) -> dict[Key, tuple[float, ...]]:
    """A stage's metric is there only if every round has it: rounds are compared one by one."""
    stages: dict[str, dict[int, list[RequestRecord]]] = {}
    for number, line in enumerate(run.records(), start=1):
        record = record_from({**line, "text": ""}, number)
        index = record.key.rpartition("/")[2]
        if not record.is_warmup and index.isdecimal():
            stages.setdefault(record.stage, {}).setdefault(int(index) // per_turn, []).append(record)
    is_model = run.config.get("mode") == "model"
    found: dict[Key, tuple[float, ...]] = {}
    for stage, by_round in stages.items():
        values = [(_rate if is_model else _load)(stage, by_round[number]) for number in sorted(by_round)]
        for metric in dict.fromkeys(name for one in values for name in one):
            if all(metric in one for one in values):
                found[stage, metric] = tuple(one[metric] for one in values)
    return found


def _rate(stage: str, records: Sequence[RequestRecord]) -> dict[str, float]:
    """Prefill or decode of one round: the median of its repeats."""
    rates: list[float] = []
    for record in records:
        times = times_of(record)
        if times is not None and stage.startswith("pp") and record.prompt_tokens and times.ttft_s > 0:
            rates.append(record.prompt_tokens / times.ttft_s)
        elif times is not None and stage.startswith("tg") and times.tpot_s:
            rates.append(1 / times.tpot_s)
    return {"rate": median(rates)} if rates else {}


def _load(_stage: str, records: Sequence[RequestRecord]) -> dict[str, float]:
    """One closed loop of one round; nothing where a request failed, since the others then had the machine."""
    times = [found for record in records if (found := times_of(record)) is not None]
    if len(times) < len(records):
        return {}
    found = {"ttft_p50": 1000 * median(one.ttft_s for one in times)}
    tokens = [record.completion_tokens for record in records if record.completion_tokens is not None]
    if len(tokens) == len(records) and (span := span_s(records)) > 0:
        found["output_rate"] = sum(tokens) / span
    gaps = [one.tpot_s for one in times if one.tpot_s is not None]
    if gaps:
        found["tpot_p50"] = 1000 * median(gaps)
    return {name: found[name] for name in LATENCIES if name in found}
