"""`wayra plan`: which model, where, at what price, for a workload; and why not the others."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from wayra.base.errors import FileFormatError, InvalidParameter
from wayra.cli.counts import TokenNumber
from wayra.cli.output import emit, json_option
from wayra.cli.plan_page import serve_page
from wayra.cli.plan_report import print_explanation, print_plan
from wayra.plan.constants import read_constants
from wayra.plan.evidence import read_scores
from wayra.plan.hardware import Hardware, hardware, this_machine
from wayra.plan.market import Market, under_known_names
from wayra.plan.planner import Plan, make_plan
from wayra.plan.prices.table import PriceTable, read_prices, shipped_prices, stated_rent
from wayra.plan.roofline import Constants
from wayra.plan.view import as_document, as_row
from wayra.plan.workload import METHODS, PRIVACY, SCENARIOS, read_document, scenario_document, workload_of

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
    "train_epochs": Flag("epochs", "fine_tuning"),
}
RATES = ("requests_per_s", "requests_per_month", "mtok_per_month")


def workload_options(command: Any) -> Any:
    """The flags that describe a workload, for any verb that takes one."""
    for option in reversed(
        (
            click.option("--scenario", type=click.Choice(SCENARIOS), help="A shipped workload, as a start."),
            click.option("--input-tokens", type=TokenNumber(), metavar="N", help="Tokens of an average prompt."),
            click.option("--output-tokens", type=TokenNumber(), metavar="N", help="Tokens of an average answer."),
            click.option(
                "--cached-share", type=float, metavar="X", help="Share of the input found in a cache, 0 to 1."
            ),
            click.option("--requests-per-s", type=float, metavar="X", help="Mean requests a second."),
            click.option("--requests-per-month", type=float, metavar="N", help="Requests a month, instead."),
            click.option("--mtok-per-month", type=float, metavar="X", help="Million tokens a month, instead."),
            click.option("--peak-factor", type=float, metavar="X", help="Busiest minutes by the mean; 4 if not given."),
            click.option("--latency-p95", type=float, metavar="S", help="Seconds for a whole answer."),
            click.option("--ttft-p95", type=float, metavar="S", help="Seconds to its first token."),
            click.option(
                "--context", type=TokenNumber(), metavar="N", help="Longest prompt with its answer: 16384, 16k."
            ),
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
            click.option("--train-tokens", type=TokenNumber(), metavar="N", help="Tokens of an example to train on."),
            click.option(
                "--train-method", type=click.Choice(METHODS), help="How; the cheaper of LoRA and QLoRA if not said."
            ),
            click.option("--train-epochs", type=float, metavar="X", help="Passes over the examples; 1 if not given."),
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
        emit(as_row(option), as_json, lambda: print_explanation(option))
        return
    emit(as_document(made), as_json, lambda: print_plan(made, show_all))


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
    # It loads the engine, which no other plan needs.
    from wayra.llm.memory import available_bytes

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
        if not document:
            raise FileFormatError(f"{where} is empty; expected a workload, at least its table [traffic]")
    elif flags["scenario"]:
        document, where = dict(scenario_document(flags["scenario"])), flags["scenario"]
    given = {name: flags[name] for name in FLAGS if flags[name] is not None}
    if len(rates := [_flag(name) for name in RATES if name in given]) > 1:
        raise click.UsageError(f"{' and '.join(rates)} say the same thing twice; give one of them")
    if not document and (given or any(flags[name] for name in ("quality", "have", "models", "gpus"))):
        _check_complete(given)
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


def _check_complete(given: Mapping[str, object]) -> None:
    """Raises UsageError naming the flags that a workload made of flags alone lacks."""
    missing = [name for name in ("input_tokens", "output_tokens") if name not in given]
    if missing:
        raise click.UsageError(f"a workload needs {' and '.join(map(_flag, missing))} too, or a file or --scenario")
    if not any(name in given for name in RATES):
        raise click.UsageError(f"a workload needs one of {', '.join(map(_flag, RATES))}")
    training = ("train_examples", "train_tokens")
    if any(name.startswith("train_") for name in given) and (missing := [n for n in training if n not in given]):
        raise click.UsageError(f"fine-tuning needs {' and '.join(map(_flag, missing))} too")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


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
