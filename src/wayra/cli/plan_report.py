"""How a plan is printed for people: the options, what they cost and why, break-even, and what was rejected."""

from collections.abc import Sequence

from wayra.cli.output import print_line, printable
from wayra.plan.against_api import Comparison
from wayra.plan.evidence import Score
from wayra.plan.options import Option
from wayra.plan.planner import Plan
from wayra.plan.quantity import explain, number
from wayra.plan.view import numbers_of

SHOWN = 8
API_PRICES = {
    "input_usd_per_mtok": "of the prompt",
    "cached_usd_per_mtok": "of the prompt in the provider's cache",
    "output_usd_per_mtok": "of the answer",
}


def print_plan(made: Plan, show_all: bool) -> None:
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
                f"  {number(point.mtok_per_month):>14} {_usd(point.api_usd_per_month):>12} "
                f"{_usd(point.own_usd_per_month):>14} {point.machines:>9}"
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
    costs = [_usd(option.usd_per_month.value) for option in (cheapest, dearest)]
    spread = costs[0] if costs[0] == costs[1] else " to ".join(costs)
    print_line(
        f"{_span(first, last):>3}  {spread} USD a month  models shown above: other hardware, formats or providers"
    )
    print_line()
    between.clear()


def _span(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first} to {last}"


def _print_option(place: int, option: Option) -> None:
    cost = f"{_usd(option.usd_per_month.value)} USD a month, {number(option.usd_per_mtok.value)} USD/Mtok"
    print_line(printable(f"{place:>3}  {cost}  {option.label}"))
    for part in option.parts:
        print_line(printable(f"       {part.label}: {_usd(part.usd_per_month.value)} USD a month"))
        _print_facts(part, "         ")
    if not option.parts:
        _print_facts(option, "       ")
    for risk in option.risks:
        print_line(printable(f"       risk: {risk}"))
    print_line()


def _print_facts(option: Option, indent: str) -> None:
    """Hardware, speed, prices and quality of what runs in one place."""
    for line in (_facts(option), _prices(option), _quality(option)):
        if line:
            print_line(printable(indent + line))


def _facts(option: Option) -> str:
    facts: list[str] = []
    if option.setup_usd is not None:
        facts.append(f"{option.setup_usd.value:,.0f} USD of hardware")
    if option.memory_gb is not None:
        facts.append(f"{option.memory_gb.value:.1f} GB a machine")
    if option.latency_s is not None and option.ttft_s is not None and option.tok_per_s is not None:
        facts.append(
            f"P95 {option.latency_s.value:.1f} s an answer, {option.ttft_s.value:.2f} s to the first token"
            f"{' (not validated)' if option.ttft_s.low is None else ''}"
        )
        if option.tok_per_s.value > 0:
            facts.append(f"{option.tok_per_s.value:.0f} tok/s a user")
    if option.training is not None:
        facts.append(f"a training run {number(option.training.value)} {option.training.unit} ({option.training.note})")
    return "; ".join(facts)


def _prices(option: Option) -> str:
    """What an API asks for, with the list and its date."""
    asked = {item.name: item for item in option.usd_per_month.inputs if item.name in API_PRICES}
    if option.kind != "api" or not asked:
        return ""
    uncached = asked["cached_usd_per_mtok"].value == asked["input_usd_per_mtok"].value
    shown = [name for name in API_PRICES if not (uncached and name == "cached_usd_per_mtok")]
    told = ", ".join(f"{number(asked[name].value)} {API_PRICES[name]}" for name in shown)
    return f"USD/Mtok: {told} [{asked['input_usd_per_mtok'].source}]"


def _quality(option: Option) -> str:
    if not option.evidence:
        return ""
    scores = ", ".join(f"{score.benchmark} {number(score.value)}" for score in option.evidence)
    sources = "; ".join(dict.fromkeys(_source(score) for score in option.evidence))
    return f"quality: {scores} [{sources}]"


def _usd(value: float) -> str:
    """Whole dollars from a hundred on, cents below, and what is less than a cent as it is."""
    if value == 0 or value >= 99.995:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 0.01 else number(value)


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
        print_line(printable(f"  {option.label}{more}, {_usd(option.usd_per_month.value)} USD a month"))
        for failure in option.failures:
            print_line(printable(f"      {failure.constraint}: {failure.reason}"))
    if not show_all and len(kept) > 2 * SHOWN:
        print_line(f"  {len(rejected)} in all; --all lists them")
    print_line()


def print_explanation(option: Option) -> None:
    for part in (option, *option.parts):
        if part is not option:
            print_line()
        print_line(printable(part.label))
        for name, quantity in numbers_of(part).items():
            print_line()
            print_line(f"{name}:")
            for line in explain(quantity):
                print_line(printable(f"  {line}"))
