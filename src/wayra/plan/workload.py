"""A workload: what must be served, how fast, under which rules and for how much; read from a TOML or JSON file.

Every number is bounded when read, every key known: an unknown one is refused with the nearest known.
"""

import difflib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Literal, cast

from wayra.base.errors import FileFormatError, InvalidParameter
from wayra.plan.bounds import BOUNDS, between, check
from wayra.plan.cost import ASSUMED, STATED, Ownership, Traffic
from wayra.plan.files import read_text
from wayra.plan.finetune import DEFAULT_RANK
from wayra.plan.quantity import Quantity, derived, given

Privacy = Literal["any", "no-third-party", "on-premises"]
PRIVACY: tuple[Privacy, ...] = ("any", "no-third-party", "on-premises")
SECONDS_PER_MONTH = 730 * 3600.0
DEFAULT_PEAK_FACTOR = 4.0
MAX_FILE_BYTES = 1 << 20
MAX_NUMBER = 1e18
MAX_ROUTES = 8
MAX_NAME = 200
METHODS = ("cheapest", "lora", "qlora", "full")
SCENARIOS = ("startup-chatbot", "hipaa-on-premises", "research-lab")


@dataclass(frozen=True, slots=True)
class Route:
    """A part of the requests with quality floors of its own. share: of the requests, 0 to 1."""

    name: str
    share: float
    quality: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class FineTuning:
    """Training wanted before serving. examples, tokens: of the data set. runs_per_year: how often it is repeated.

    method: "full", "lora" or "qlora"; "cheapest" is whichever of the latter two costs less. epochs: passes over the
    examples. lora_rank: of adapters. mfu: share of the peak that training reaches, None for the usual one.
    assumed: names of the numbers that nobody stated.
    """

    examples: int
    tokens_per_example: int
    runs_per_year: float = 1.0
    method: str = "cheapest"
    epochs: float = 1.0
    lora_rank: int = DEFAULT_RANK
    mfu: float | None = None
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """What is wanted. Limits and floors that are None or empty are not set.

    peak_factor: requests a second in the busiest minutes by the month's average.
    latency_p95_s: of a whole answer. ttft_p95_s: to its first token. context_len: longest prompt with its answer.
    privacy: "no-third-party" forbids APIs, "on-premises" rented machines too. region: where data must stay.
    quality: floors in points by benchmark. budget_usd_per_month: running costs, with the depreciation of what is owned.
    budget_upfront_usd: money for hardware. routes: parts of the traffic with floors of their own, for hybrids.
    have: GPUs already there, by name. models, gpus: only these are considered; empty for all.
    is_peak_assumed: nobody stated the peak factor.
    Raises: InvalidParameter outside the bounds.
    """

    name: str
    traffic: Traffic
    peak_factor: float = DEFAULT_PEAK_FACTOR
    latency_p95_s: float | None = None
    ttft_p95_s: float | None = None
    context_len: int = 0
    privacy: Privacy = "any"
    region: str = ""
    open_weights: bool = False
    fine_tuning: FineTuning | None = None
    quality: Mapping[str, float] = field(default_factory=dict[str, float])
    budget_usd_per_month: float | None = None
    budget_upfront_usd: float | None = None
    routes: tuple[Route, ...] = ()
    have: Mapping[str, int] = field(default_factory=dict[str, int])
    models: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    ownership: Ownership = field(default_factory=Ownership)
    is_peak_assumed: bool = False

    def __post_init__(self) -> None:
        if len(self.name) > MAX_NAME:
            raise InvalidParameter(f"the name has {len(self.name):,} characters; expected at most {MAX_NAME}")
        check("traffic.peak_factor", "peak factor", self.peak_factor)
        for key, what, value in (
            ("limits.latency_p95_s", "P95 latency", self.latency_p95_s),
            ("limits.ttft_p95_s", "P95 time to the first token", self.ttft_p95_s),
            ("budget.usd_per_month", "monthly budget", self.budget_usd_per_month),
            ("budget.upfront_usd", "budget for hardware", self.budget_upfront_usd),
        ):
            if value is not None:
                check(key, what, value)
        # 0 is that of an average request.
        between("context", self.context_len, 0, BOUNDS["limits.context"].high)
        if 0 < self.context_len < self.traffic.input_tokens + self.traffic.output_tokens:
            raise InvalidParameter(
                f"a context of {self.context_len:,} tokens is shorter than an average request of "
                f"{self.traffic.input_tokens + self.traffic.output_tokens:,.0f}; raise it or leave it out"
            )
        if self.privacy not in PRIVACY:
            raise InvalidParameter(f"privacy {self.privacy!r} is unknown; expected {', '.join(PRIVACY)}")
        for benchmark, floor in self.quality.items():
            check("quality", f"the floor of {benchmark}", floor)
        for gpu, count in self.have.items():
            check("have", f"cards {gpu} that are there", count)
        self._check_routes()

    def _check_routes(self) -> None:
        if not self.routes:
            return
        if len(self.routes) > MAX_ROUTES:
            raise InvalidParameter(f"{len(self.routes):,} routes; expected at most {MAX_ROUTES}")
        for route in self.routes:
            check("route.share", f"the share of route {route.name!r}", route.share)
        total = sum(route.share for route in self.routes)
        if abs(total - 1) > 1e-6:
            raise InvalidParameter(f"the routes' shares add up to {total:g}; expected 1")

    @property
    def longest(self) -> int:
        """The context every option must hold."""
        return self.context_len or int(self.traffic.input_tokens + self.traffic.output_tokens)

    @property
    def peak_requests_per_s(self) -> float:
        return self.traffic.requests_per_month / SECONDS_PER_MONTH * self.peak_factor

    def peak(self) -> Quantity:
        """The peak factor with where it is from."""
        return given("peak_factor", self.peak_factor, "", ASSUMED if self.is_peak_assumed else STATED)

    def peak_rate(self) -> Quantity:
        """`peak_requests_per_s` with its reasons."""
        return _peak_rate(self.traffic, self.peak())


@lru_cache(maxsize=64)
def _peak_rate(traffic: Traffic, peak: Quantity) -> Quantity:
    """Hundreds of options ask for the same."""
    formula = "requests_per_month / seconds_per_month * peak_factor"
    return derived("peak_requests_per_s", "1/s", formula, traffic.quantities()[2], seconds_per_month(), peak)


def seconds_per_month() -> Quantity:
    return given("seconds_per_month", SECONDS_PER_MONTH, "s", "730 hours")


def read_workload(path: Path) -> Workload:
    """A workload file, TOML or (by its ending) JSON. Raises FileFormatError naming the key that is wrong."""
    return workload_of(read_document(path), path.name)


def scenario(name: str) -> Workload:
    """A shipped scenario. Raises InvalidParameter with the names there are."""
    return workload_of(scenario_document(name), f"{name}.toml")


def read_document(path: Path) -> dict[str, object]:
    """The tables of a workload file, unchecked. Raises FileFormatError when there are none to be read."""
    return parse_document(read_text(path, MAX_FILE_BYTES, "workload"), path.name)


def scenario_document(name: str) -> dict[str, object]:
    """The tables of a shipped scenario. Raises InvalidParameter with the names there are."""
    if name not in SCENARIOS:
        raise InvalidParameter(f"there is no scenario {name!r}; there are: {', '.join(SCENARIOS)}")
    text = resources.files("wayra.plan").joinpath(f"scenarios/{name}.toml").read_text("utf-8")
    return parse_document(text, f"{name}.toml")


def parse_document(text: str, where: str) -> dict[str, object]:
    """A workload's text as tables. Raises FileFormatError."""
    try:
        document = json.loads(text) if where.endswith(".json") else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{where} cannot be read: {error}") from None
    if not isinstance(document, dict):
        raise FileFormatError(f"{where} holds no table; expected the keys of a workload")
    return document


def workload_of(document: Mapping[str, object], where: str) -> Workload:
    """A workload from tables as a file has them. Raises FileFormatError."""
    top = _Table(document, where)
    top.only(
        "name", "traffic", "limits", "rules", "quality", "budget", "fine_tuning", "route", "have", "choice", "owning"
    )
    limits, rules, budget = top.table("limits"), top.table("rules"), top.table("budget")
    limits.only("latency_p95_s", "ttft_p95_s", "context")
    rules.only("privacy", "region", "open_weights")
    budget.only("usd_per_month", "upfront_usd")
    choice = top.table("choice")
    choice.only("models", "gpus")
    peak_factor = top.table("traffic").number("peak_factor")
    try:
        return Workload(
            name=top.text("name", "workload"),
            traffic=_traffic(top.table("traffic")),
            peak_factor=DEFAULT_PEAK_FACTOR if peak_factor is None else peak_factor,
            latency_p95_s=limits.number("latency_p95_s"),
            ttft_p95_s=limits.number("ttft_p95_s"),
            context_len=_context(limits),
            privacy=cast("Privacy", rules.text("privacy", "any")),
            region=rules.text("region", ""),
            open_weights=rules.flag("open_weights"),
            fine_tuning=_fine_tuning(top),
            quality=top.table("quality").numbers(),
            budget_usd_per_month=budget.number("usd_per_month"),
            budget_upfront_usd=budget.number("upfront_usd"),
            routes=_routes(top),
            have={name: top.table("have").whole(name) for name in top.table("have").cells},
            models=choice.texts("models"),
            gpus=choice.texts("gpus"),
            ownership=_ownership(top.table("owning")),
            is_peak_assumed=peak_factor is None,
        )
    except InvalidParameter as error:
        raise FileFormatError(f"{where}: {error}") from None


def traffic_of(
    input_tokens: float,
    output_tokens: float,
    cached_share: float,
    *,
    requests_per_s: float | None,
    requests_per_month: float | None,
    mtok_per_month: float | None,
) -> Traffic:
    """Traffic from whichever of the three rates is given. Raises InvalidParameter unless it is exactly one."""
    if sum(rate is not None for rate in (requests_per_s, requests_per_month, mtok_per_month)) != 1:
        raise InvalidParameter("give one of requests a second, requests a month or million tokens a month")
    plain = Traffic(input_tokens, output_tokens, 1.0, cached_share)
    if requests_per_month is not None:
        return replace(plain, requests_per_month=requests_per_month)
    input_tok, output_tok, _, _ = plain.quantities()
    low, high, _ = BOUNDS["traffic.requests_per_month"]
    if requests_per_s is not None:
        between("requests a second", requests_per_s, low / SECONDS_PER_MONTH, high / SECONDS_PER_MONTH)
        rate = given("mean_requests_per_s", requests_per_s, "1/s", STATED)
        origin = derived(
            "requests_per_month", "1/month", "mean_requests_per_s * seconds_per_month", rate, seconds_per_month()
        )
    else:
        assert mtok_per_month is not None
        each = (input_tokens + output_tokens) / 1e6
        between("million tokens a month", mtok_per_month, low * each, high * each)
        volume = given("mtok_per_month", mtok_per_month, "Mtok/month", STATED)
        formula = "mtok_per_month * 1e6 / (input_tok + output_tok)"
        origin = derived("requests_per_month", "1/month", formula, volume, input_tok, output_tok)
    return replace(plain, requests_per_month=origin.value, origin=origin)


def _traffic(table: "_Table") -> Traffic:
    table.only(
        "input_tokens", "output_tokens", "cached_share", "peak_factor",
        "requests_per_s", "requests_per_month", "mtok_per_month",
    )  # fmt: skip
    try:
        traffic = traffic_of(
            table.required("input_tokens"),
            table.required("output_tokens"),
            table.number("cached_share") or 0.0,
            requests_per_s=table.number("requests_per_s"),
            requests_per_month=table.number("requests_per_month"),
            mtok_per_month=table.number("mtok_per_month"),
        )
    except InvalidParameter as error:
        raise FileFormatError(f"{table.where}: {error}") from None
    return traffic if "cached_share" in table.cells else replace(traffic, assumed=("cached_share",))


def _context(limits: "_Table") -> int:
    if limits.number("context") is None:
        return 0
    found = limits.whole("context")
    check("limits.context", "context", found)
    return found


def _fine_tuning(top: "_Table") -> FineTuning | None:
    if "fine_tuning" not in top.cells:
        return None
    table = top.table("fine_tuning")
    numbers = ("runs_per_year", "epochs", "lora_rank", "mfu")
    table.only("examples", "tokens_per_example", "method", *numbers)
    stated = {key: value for key in numbers if (value := table.number(key)) is not None}
    if "lora_rank" in stated:
        stated["lora_rank"] = table.whole("lora_rank")
    method = table.text("method", "cheapest")
    if method not in METHODS:
        raise FileFormatError(f"{table.where}: the method is {method[:40]!r}; expected {', '.join(METHODS)}")
    examples, tokens = table.whole("examples"), table.whole("tokens_per_example")
    check("fine_tuning.examples", "examples", examples)
    check("fine_tuning.tokens_per_example", "tokens an example", tokens)
    for key, what in zip(numbers, ("training runs a year", "epochs", "LoRA rank", "share of the peak"), strict=True):
        if key in stated:
            check(f"fine_tuning.{key}", what, stated[key])
    found = FineTuning(examples, tokens, method=method, assumed=tuple(key for key in numbers if key not in stated))
    return replace(found, **stated)


def _routes(top: "_Table") -> tuple[Route, ...]:
    rows = top.cells.get("route", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise FileFormatError(f"{top.where}: routes must be written as [[route]]")
    routes: list[Route] = []
    for number, row in enumerate(rows, start=1):
        table = _Table(row, f"{top.where}, route {number}")
        table.only("name", "share", "quality")
        routes.append(Route(table.text("name", f"{number}"), table.required("share"), table.table("quality").numbers()))
    return tuple(routes)


def _ownership(table: "_Table") -> Ownership:
    known = (
        "years",
        "usd_per_kwh",
        "pue",
        "server_factor",
        "host_usd",
        "busy_power_share",
        "resale_share",
        "staff_usd_per_year",
    )
    table.only(*known)
    found = {key: value for key in known if (value := table.number(key)) is not None}
    return Ownership(**found, stated=tuple(found))


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the file with its place, for messages."""

    cells: Mapping[str, object]
    where: str

    def only(self, *known: str) -> None:
        for key in self.cells:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
                raise FileFormatError(f"{self.where} has an unknown key {key!r}{hint}")

    def table(self, key: str) -> "_Table":
        value = self.cells.get(key, {})
        if not isinstance(value, dict):
            raise FileFormatError(f"{self.where}: {key!r} is {value!r}; expected a table [{key}]")
        return _Table(cast("dict[str, object]", value), f"{self.where}, [{key}]")

    def number(self, key: str) -> float | None:
        value = self.cells.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FileFormatError(f"{self.where}: {key!r} is {value!r}; expected a number")
        # The bound comes first: JSON's whole numbers may be too long for a float.
        if not abs(value) <= MAX_NUMBER:
            raise FileFormatError(
                f"{self.where}: {key!r} is {str(value)[:20]}; expected a finite number, at most {MAX_NUMBER:g}"
            )
        return float(value)

    def required(self, key: str) -> float:
        value = self.number(key)
        if value is None:
            raise FileFormatError(f"{self.where} lacks {key!r}")
        return value

    def whole(self, key: str) -> int:
        value = self.required(key)
        if value != int(value):
            raise FileFormatError(f"{self.where}: {key!r} is {value:g}; expected a whole number")
        return int(value)

    def numbers(self) -> dict[str, float]:
        return {key: self.required(key) for key in self.cells}

    def text(self, key: str, default: str) -> str:
        value = self.cells.get(key, default)
        if not isinstance(value, str):
            raise FileFormatError(f"{self.where}: {key!r} is {value!r}; expected a text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.cells.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise FileFormatError(f"{self.where}: {key!r} is {value!r}; expected a list of names")
        return tuple(cast("list[str]", value))

    def flag(self, key: str) -> bool:
        value = self.cells.get(key, False)
        if not isinstance(value, bool):
            raise FileFormatError(f"{self.where}: {key!r} is {value!r}; expected true or false")
        return value
