"""Answers what the planner's page asks: plans, options with their reasons, and what may be chosen from.

It computes where it is called and is no part of the event loop. wayra's planner is imported when it is first asked,
since most servers never are.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from wayra.base.errors import FileFormatError, InvalidParameter
from wayra.server.errors import ApiError

if TYPE_CHECKING:
    from wayra.plan.market import Market
    from wayra.plan.planner import Plan

MAX_KEPT = 6
MAX_MESSAGE = 600

Document = Mapping[str, object]


class Question(Struct):
    """workload: None asks what may be chosen from. option: an id of the plan's answer; None asks for the plan.

    batch: sequences at once, for what the option's machine does with so many.
    """

    workload: dict[str, Any] | None = None
    option: str | None = None
    batch: int | None = None


@dataclass(frozen=True, slots=True)
class _Kept:
    plan: "Plan"
    market: "Market"


class Planning:
    """For one thread. market_on: prices and machines on a day; None: those shipped. start: the first workload shown."""

    def __init__(self, market_on: "Callable[[date], Market] | None" = None, start: Document | None = None) -> None:
        self._market_on = market_on
        self._start = start
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def answer(self, question: Question) -> dict[str, Any]:
        """Raises ApiError: 400 with what is wrong, 404 for an option that is none."""
        if question.workload is None:
            return self._facts()
        if question.option is None:
            return self._weigh(question.workload)
        return self._explain(question.workload, question.option, question.batch)

    def _weigh(self, workload: Document) -> dict[str, Any]:
        from wayra.plan.view import as_table

        return as_table(self._planned(workload).plan)

    def _explain(self, workload: Document, option: str, batch: int | None) -> dict[str, Any]:
        from wayra.plan.view import details, option_called, pace_details

        kept = self._planned(workload)
        found = option_called(kept.plan, option)
        if found is None:
            raise ApiError(404, f"the plan has no option {option!r:.20}; ids are those of its answer", "option")
        if batch is None:
            return details(kept.plan, found, kept.market)
        made = pace_details(kept.plan, found, kept.market, batch)
        if made is None:
            raise ApiError(400, f"that option takes no batch of {batch:,}", "batch")
        return made

    def _planned(self, workload: Document) -> _Kept:
        from wayra.plan.planner import make_plan
        from wayra.plan.workload import workload_of

        today = datetime.now(tz=UTC).date()
        try:
            key = f"{today} {json.dumps(workload, sort_keys=True)}"
            kept = self._kept.get(key)
            if kept is None:
                market = self._market(today)
                kept = _Kept(make_plan(workload_of(workload, "the workload"), market), market)
        except (FileFormatError, InvalidParameter) as error:
            raise ApiError(400, _cut(str(error))) from None
        except RecursionError:
            raise ApiError(400, "the workload is nested too deeply") from None
        self._kept[key] = kept
        self._kept.move_to_end(key)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return kept

    def _market(self, today: date) -> "Market":
        if self._market_on is not None:
            return self._market_on(today)
        from wayra.plan.market import Market
        from wayra.plan.prices.table import shipped_prices

        return Market(shipped_prices(), today)

    def _facts(self) -> dict[str, Any]:
        from wayra.plan.bounds import BOUNDS
        from wayra.plan.catalogue import candidates
        from wayra.plan.cost import Ownership
        from wayra.plan.evidence import benchmarks, scores
        from wayra.plan.finetune import DEFAULT_MFU, DEFAULT_RANK
        from wayra.plan.labels import BENCHMARKS, LABELS
        from wayra.plan.workload import METHODS, PRIVACY, SCENARIOS, scenario_document

        market = self._market(datetime.now(tz=UTC).date())
        own = {row.benchmark for row in market.own_scores}
        owning = Ownership()
        return {
            "start": self._start,
            "scenarios": {name: scenario_document(name) for name in SCENARIOS},
            "benchmarks": [
                {
                    "name": name,
                    "title": BENCHMARKS.get(name, name),
                    "models": len({row.model for row in scores(benchmark=name)}),
                }
                for name in sorted({*benchmarks(), *own})
            ],
            "models": [{"name": row.id, "title": row.title, "open": row.open_weights} for row in candidates()],
            "hardware": [
                {"name": row.name, "title": row.title, "kind": row.kind, "gb": row.memory_bytes / 1e9}
                for row in market.hardware()
            ],
            "privacy": PRIVACY,
            "methods": METHODS,
            "training": {"runs_per_year": 1, "epochs": 1, "lora_rank": DEFAULT_RANK, "mfu": DEFAULT_MFU["lora"]},
            "labels": dict(LABELS),
            "bounds": {key: {"low": low, "high": high, "whole": whole} for key, (low, high, whole) in BOUNDS.items()},
            "owning": {
                "years": owning.years,
                "usd_per_kwh": owning.usd_per_kwh,
                "pue": owning.pue,
                "server_factor": owning.server_factor,
                "host_usd": owning.host_usd,
                "busy_power_share": owning.busy_power_share,
                "resale_share": owning.resale_share,
                "staff_usd_per_year": owning.staff_usd_per_year,
            },
        }


def _cut(message: str) -> str:
    """What a message cites may be as long as the request."""
    return (
        message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE // 2]} ... {message[-MAX_MESSAGE // 2 :]}"
    )
