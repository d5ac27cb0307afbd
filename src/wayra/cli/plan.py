"""`wayra plan`: which model, where, at what price, for a workload; and why not the others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from wayra.base.errors import InvalidParameter
from wayra.cli.output import emit, json_option, print_line, printable
from wayra.cli.plan_page import serve_page
from wayra.llm.memory import available_bytes
from wayra.plan.against_api import Comparison
from wayra.plan.constants import read_constants
from wayra.plan.evidence import Score, read_scores
from wayra.plan.hardware import Hardware, hardware, this_machine
from wayra.plan.market import Market, under_known_names
from wayra.plan.options import Option
from wayra.plan.planner import Plan, make_plan
from wayra.plan.prices.table import PriceTable, read_prices, shipped_prices, stated_rent
from wayra.plan.quantity import explain, number
from wayra.plan.roofline import Constants
from wayra.plan.view import as_document, as_row, numbers_of
from wayra.plan.workload import METHODS, PRIVACY, SCENARIOS, read_document, scenario_document, workload_of

SHOWN = 8
EPILOG = """\b
Examples:
  wayra plan --scenario startup-chatbot
  wayra plan work.toml --explain 1          every number of the best option, with its source
  wayra plan --input-tokens 800 --output-tokens 250 --requests-per-s 2 --latency-p95 10 --quality mmlu=80
  wayra plan work.toml --have rtx4090=2 --prices prices.toml --json
  wayra plan --web                          the same on a web page
"""


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag that sets one key of a workload's tables."""

    key: str
    table: str


FLAGS: Mapping[str, Flag] = {
    "input_tokens": Flag("input_tokens", "traffic"),
    "output_tokens": Flag("output_tokens", "traffic"),
    "cached_share": Flag("cached_share", "traffic"),
    "peak_factor": Flag("peak_factor", "traffic"),
    "requests_per_s": Flag("requests_per_s", "traffic"),
    "requests_per_month": Flag("requests_per_month", "traffic"),
    "mtok_per_month": Flag("mtok_per_month", "traffic"),
    "latency_p95": Flag("latency_p95_s", "limits"),
    "ttft_p95": Flag("ttft_p95_s", "limits"),
    "context": Flag("context", "limits"),
    "privacy": Flag("privacy", "rules"),
    "region": Flag("region", "rules"),
    "open_weights": Flag("open_weights", "rules"),
    "budget": Flag("usd_per_month", "budget"),
    "upfront": Flag("upfront_usd", "budget"),
    "train_examples": Flag("examples", "fine_tuning"),
    "train_tokens": Flag("tokens_per_example", "fine_tuning"),
    "train_method": Flag("method", "fine_tuning"),
}
RATES = ("requests_per_s", "requests_per_month", "mtok_per_month")


def workload_options(command: Any) -> Any:
    """The flags that describe a workload, for any verb that takes one."""
    for option in reversed(
        (
            click.option("--scenario", type=click.Choice(SCENARIOS), help="A shipped workload, as a start."),
            click.option("--input-tokens", type=float, metavar="N", help="Tokens of an average prompt."),
            click.option("--output-tokens", type=float, metavar="N", help="Tokens of an average answer."),
            click.option(
                "--cached-share", type=float, metavar="X", help="Share of the input found in a cache, 0 to 1."
            ),
            click.option("--requests-per-s", type=float, metavar="X", help="Mean requests a second."),
            click.option("--requests-per-month", type=float, metavar="N", help="Requests a month, instead."),
            click.option("--mtok-per-month", type=float, metavar="X", help="Million tokens a month, instead."),
            click.option("--peak-factor", type=float, metavar="X", help="Busiest minutes by the mean; 4 if not given."),
            click.option("--latency-p95", type=float, metavar="S", help="Seconds for a whole answer."),
            click.option("--ttft-p95", type=float, metavar="S", help="Seconds to its first token."),
            click.option("--context", type=float, metavar="N", help="Longest prompt with its answer, in tokens."),
            click.option("--privacy", type=click.Choice(PRIVACY), help="Who may see the requests."),
            click.option("--region", metavar="NAME", help="Where data must stay."),
            click.option("--open-weights", is_flag=True, default=None, help="Only models whose weights are open."),
            click.option("--quality", multiple=True, metavar="NAME=N", help="Floor on a benchmark: mmlu=80."),
            click.option("--budget", type=float, metavar="USD", help="USD a month."),
            click.option("--upfront", type=float, metavar="USD", help="USD for hardware, once."),
            click.option("--have", multiple=True, metavar="GPU=N", help="Cards that are already there."),
            click.option("--model", "models", multiple=True, metavar="NAME", help="Only these models."),
            click.option("--gpu", "gpus", multiple=True, metavar="NAME", help="Only these cards."),
            click.option("--prices", type=click.Path(path_type=Path), metavar="FILE", help="Prices of your own, TOML."),
            click.option(
                "--scores", type=click.Path(path_type=Path), metavar="FILE", help="Scores of your own runs, CSV."
            ),
            click.option("--train-examples", type=float, metavar="N", help="Fine-tune on so many examples."),
            click.option("--train-tokens", type=float, metavar="N", help="Tokens of an example to train on."),
            click.option(
                "--train-method", type=click.Choice(METHODS), help="How; the cheaper of LoRA and QLoRA if not said."
            ),
            click.option("--rent", multiple=True, metavar="GPU=USD", help="What an hour of a card costs you."),
            click.option(
                "--here", is_flag=True, help="Weigh this machine's CPU too, with the memory that is free now."
            ),
            click.option(
                "--constants", type=click.Path(path_type=Path), metavar="FILE", help="What `wayra calibrate` wrote."
            ),
        )
    ):
        command = option(command)
    return command


@click.command(epilog=EPILOG)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@workload_options
@click.option("--all", "show_all", is_flag=True, help="Every option and every rejected one.")
@click.option("--explain", "explained", type=int, metavar="N", help="Show how each number of option N came about.")
@click.option("--web", is_flag=True, help="Plan on a web page, which starts with this workload.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Of --web; a free one if not given."
)
@click.option("--no-open", is_flag=True, help="With --web: only print the address, open no browser.")
@json_option
def plan(file: Path | None, as_json: bool, show_all: bool, explained: int | None, **flags: Any) -> None:
    """Weigh models, cards, precisions and providers against a workload, and rank what meets it by cost.

    FILE is a workload (TOML or JSON: traffic, limits, rules, quality, budget, route, have, choice, owning); flags set
    or replace its keys. What falls out is listed with the constraint it fails; if nothing remains, with those that
    conflict.
    """
    if flags["web"]:
        if show_all or explained is not None:
            raise click.UsageError("--web shows every option and explains each number; leave out --all and --explain")
        serve_page(
            _start(file, flags), partial(market_on, flags, _here(flags)), flags["port"], flags["no_open"], as_json
        )
        return
    if flags["port"] or flags["no_open"]:
        raise click.UsageError("--port and --no-open belong to --web; pass that too")
    made = plan_from(file, flags)
    if explained is not None and not 1 <= explained <= len(made.options):
        raise InvalidParameter(f"there is no option {explained}; there are {len(made.options)}")
    if explained is not None:
        option = made.options[explained - 1]
        emit(as_row(option), as_json, lambda: _print_explanation(option))
        return
    emit(as_document(made), as_json, lambda: _print_plan(made, show_all))


def plan_from(file: Path | None, flags: Mapping[str, Any]) -> Plan:
    """The plan of a file, a scenario or flags alone. Raises WayraError for whatever is wrong in them."""
    document, where = _document(file, flags)
    if not document:
        raise click.UsageError("give a workload file, --scenario or at least --input-tokens and --output-tokens")
    market = market_on(flags, _here(flags), datetime.now(tz=UTC).date())
    return make_plan(workload_of(document, where), market)


def market_on(flags: Mapping[str, Any], here: Hardware | None, today: date) -> Market:
    """What flags say of prices, scores and speeds. here: the machine at hand. Raises as `plan_from`."""
    table = shipped_prices()
    if flags["prices"] is not None:
        own_prices = under_known_names(read_prices(flags["prices"]), f"price file {flags['prices'].name}")
        table = table.overridden_by(own_prices)
    rents = tuple(stated_rent(hardware(gpu).name, usd, today) for gpu, usd in _pairs("--rent", flags["rent"]))
    table = table.overridden_by(PriceTable(rents=rents))
    own = read_scores(flags["scores"]) if flags["scores"] is not None else ()
    return Market(table, today, own, _constants(flags["constants"]), here)


def _here(flags: Mapping[str, Any]) -> Hardware | None:
    if not flags["here"]:
        return None
    return this_machine(available_bytes() or 0, today=datetime.now(tz=UTC).date())


def _start(file: Path | None, flags: Mapping[str, Any]) -> dict[str, object] | None:
    """The workload the page begins with, checked; None where nothing is given."""
    document, where = _document(file, flags)
    if not document:
        return None
    workload_of(document, where)
    return document


def _constants(path: Path | None) -> dict[str, Constants]:
    """By the kind of hardware they are for."""
    if path is None:
        return {}
    found = read_constants(path)
    if not found.kind:
        raise InvalidParameter(f'{path.name} does not say for which hardware it is; add kind = "gpu" or "cpu" to it')
    return {found.kind: found}


def _document(file: Path | None, flags: Mapping[str, Any]) -> tuple[dict[str, object], str]:
    if file is not None and flags["scenario"]:
        raise click.UsageError("give a file or --scenario, not both")
    document: dict[str, Any] = {}
    where = "the flags"
    if file is not None:
        document, where = dict(read_document(file)), file.name
    elif flags["scenario"]:
        document, where = dict(scenario_document(flags["scenario"])), flags["scenario"]
    given = {name: flags[name] for name in FLAGS if flags[name] is not None}
    if len(rates := [f"--{name.replace('_', '-')}" for name in RATES if name in given]) > 1:
        raise click.UsageError(f"{' and '.join(rates)} say the same thing twice; give one of them")
    for name, value in given.items():
        table = _table(document, FLAGS[name].table)
        if name in RATES:
            for rate in RATES:
                table.pop(rate, None)
        table[FLAGS[name].key] = value
    for table_name, option in (("quality", "--quality"), ("have", "--have")):
        if flags[table_name]:
            _table(document, table_name).update(_pairs(option, flags[table_name]))
    for name in ("models", "gpus"):
        if flags[name]:
            _table(document, "choice")[name] = list(flags[name])
    return document, where


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    """The table to write to: a copy, so that what was read is left alone."""
    found = document.get(name, {})
    document[name] = dict(found) if isinstance(found, dict) else {}
    return document[name]


def _pairs(option: str, texts: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            if not (name and equals):
                raise ValueError
            yield name.strip(), float(value)
        except ValueError:
            raise click.UsageError(f"{option} {text!r} is no NAME=NUMBER") from None


def _print_plan(made: Plan, show_all: bool) -> None:
    work = made.workload
    print_line(
        printable(
            f"{work.name}: {number(work.traffic.mtok_per_month)} Mtok a month, "
            f"{number(work.peak_requests_per_s)} requests/s at the peak"
        )
    )
    print_line()
    kept = _print_options(made.options, show_all)
    if made.conflict is not None:
        print_line(printable(f"Nothing meets it: {made.conflict.explanation}"))
        print_line()
    if made.break_even is not None:
        _print_break_even(made.break_even, show_all)
    _print_rejected(made.rejected, show_all)
    for warning in dict.fromkeys([*made.warnings, *(text for option in kept for text in option.stale)]):
        print_line(printable(f"note: {warning}"))


def _print_break_even(compared: Comparison, with_curve: bool) -> None:
    print_line(printable(f"Break-even of {compared.machines.label}"))
    print_line(printable(f"  against {compared.api.label}: {compared.found.reason}"))
    if with_curve:
        print_line(f"  {'Mtok a month':>14} {'API, USD':>12} {'machines, USD':>14} {'machines':>9}")
        for point in compared.found.curve:
            print_line(
                f"  {number(point.mtok_per_month):>14} {point.api_usd_per_month:>12,.0f} "
                f"{point.own_usd_per_month:>14,.0f} {point.machines:>9}"
            )
    print_line()


def _print_options(options: Sequence[Option], show_all: bool) -> list[Option]:
    """Those printed in full: all, or the best of each kind and model; of the ones between, how many there are."""
    best = _best_of_each(options)
    last = max(sorted(best)[:SHOWN], default=0)
    kept: list[Option] = []
    between: list[tuple[int, Option]] = []
    for rank, option in enumerate(options if show_all else options[:last], start=1):
        if not option.known_to_meet and (rank == 1 or options[rank - 2].known_to_meet):
            _print_between(between)
            print_line(f"Not known to meet the limit on {' and '.join(option.unknowns)}; wayra bench URL can tell:")
            print_line()
        if show_all or rank in best:
            _print_between(between)
            _print_option(rank, option)
            kept.append(option)
        else:
            between.append((rank, option))
    if not show_all and last < len(options):
        print_line(f"{_span(last + 1, len(options))}: --all lists them")
        print_line()
    return kept


def _best_of_each(options: Sequence[Option]) -> frozenset[int]:
    """Ranks of the best option of each kind and model."""
    first: dict[tuple[str, str], int] = {}
    for rank, option in enumerate(options, start=1):
        first.setdefault((option.kind, option.model), rank)
    return frozenset(first.values())


def _print_between(between: list[tuple[int, Option]]) -> None:
    """One line for options that are like those printed before, so that no rank is missing; empties the list."""
    if not between:
        return
    (first, cheapest), (last, dearest) = between[0], between[-1]
    costs = [f"{option.usd_per_month.value:,.0f}" for option in (cheapest, dearest)]
    spread = costs[0] if costs[0] == costs[1] else " to ".join(costs)
    print_line(
        f"{_span(first, last):>3}  {spread} USD a month  models shown above: other hardware, formats or providers"
    )
    print_line()
    between.clear()


def _span(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first} to {last}"


def _print_option(place: int, option: Option) -> None:
    cost = f"{option.usd_per_month.value:,.0f} USD a month, {number(option.usd_per_mtok.value)} USD/Mtok"
    print_line(printable(f"{place:>3}  {cost}  {option.label}"))
    facts: list[str] = []
    if option.setup_usd is not None:
        facts.append(f"{option.setup_usd.value:,.0f} USD of hardware")
    if option.memory_gb is not None:
        facts.append(f"{option.memory_gb.value:.1f} GB a machine")
    if option.latency_s is not None and option.ttft_s is not None and option.tok_per_s is not None:
        facts.append(
            f"P95 {option.latency_s.value:.1f} s an answer, {option.ttft_s.value:.2f} s to the first token"
            f"{' (not validated)' if option.ttft_s.low is None else ''}, "
            f"{option.tok_per_s.value:.0f} tok/s a user"
        )
    if option.training is not None:
        facts.append(f"a training run {number(option.training.value)} {option.training.unit} ({option.training.note})")
    if facts:
        print_line(printable(f"       {'; '.join(facts)}"))
    if option.evidence:
        scores = ", ".join(f"{score.benchmark} {number(score.value)}" for score in option.evidence)
        sources = "; ".join(dict.fromkeys(_source(score) for score in option.evidence))
        print_line(printable(f"       quality: {scores} [{sources}]"))
    for risk in option.risks:
        print_line(printable(f"       risk: {risk}"))
    print_line()


def _source(score: Score) -> str:
    return f"{'own run: ' if score.measured_here else ''}{score.source}, {score.as_of}"


def _print_rejected(rejected: tuple[Option, ...], show_all: bool) -> None:
    groups: dict[tuple[str, str, tuple[str, ...]], list[Option]] = {}
    for option in rejected:
        failed = tuple(failure.constraint for failure in option.failures)
        groups.setdefault((option.kind, option.model, failed), []).append(option)
    kept = list(groups.values()) if not show_all else [[option] for option in rejected]
    if not kept:
        return
    print_line("Rejected:")
    for options in kept if show_all else kept[: 2 * SHOWN]:
        option = options[0]
        more = f" (and {len(options) - 1} like it)" if len(options) > 1 else ""
        print_line(printable(f"  {option.label}{more}, {option.usd_per_month.value:,.0f} USD a month"))
        for failure in option.failures:
            print_line(printable(f"      {failure.constraint}: {failure.reason}"))
    if not show_all and len(kept) > 2 * SHOWN:
        print_line(f"  {len(rejected)} in all; --all lists them")
    print_line()


def _print_explanation(option: Option) -> None:
    for part in (option, *option.parts):
        if part is not option:
            print_line()
        print_line(printable(part.label))
        for name, quantity in numbers_of(part).items():
            print_line()
            print_line(f"{name}:")
            for line in explain(quantity):
                print_line(printable(f"  {line}"))
