"""`wayra compare`: two or more models head to head, measured or from recorded runs."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wayra.base.errors import InvalidParameter, WayraError
from wayra.base.settings import Settings
from wayra.cli.generation import MODEL_OPTIONS, load_model, with_options
from wayra.cli.output import emit, json_option, note, print_line

if TYPE_CHECKING:
    from wayra.lab.compare.report import Side
    from wayra.lab.compare.settings import CompareSettings
    from wayra.lab.runs import Run, RunStore
    from wayra.lab.suites import SuiteItems
    from wayra.llm import LLM

DEFAULT_SUITES = "tasks"
EPILOG = """\b
Examples:
  wayra compare smollm2 ./smollm2-Q8_0.gguf
  wayra compare smollm2 http://127.0.0.1:8000 --suite tasks,gsm8k --limit 50 --markdown report.md
  wayra compare smollm2 https://api.example.com --price B=2.5,10 --rent A=0.4
  wayra compare --resume latest
  wayra compare --runs RUN,RUN
"""


@click.command(epilog=EPILOG)
@click.argument("targets", nargs=-1)
@click.option(
    "-s",
    "--suite",
    "suites",
    metavar="NAME,...",
    default=DEFAULT_SUITES,
    show_default=True,
    help="What to ask all of them; `wayra eval --list` lists the suites.",
)
@click.option("--limit", type=int, metavar="N", help="Questions of each suite, drawn by the seed (12).")
@click.option("--max-tokens", type=int, metavar="N", help="Longest answer (384).")
@click.option("--seed", type=int, metavar="N", help="Of drawing, prompts and sampling (0).")
@click.option("--model", "served_models", multiple=True, metavar="B=NAME", help="A server's model; default: its first.")
@click.option("--key", envvar="WAYRA_TARGET_KEY", metavar="KEY", help="Sent to servers as a bearer token; unrecorded.")
@click.option("--price", "prices", multiple=True, metavar="B=IN,OUT", help="USD of a million prompt and output tokens.")
@click.option("--rent", "rents", multiple=True, metavar="A=USD", help="USD an hour of the machine that answers.")
@click.option("--resume", metavar="RUN", help="Go on with an interrupted comparison, or show a finished one.")
@click.option("--runs", metavar="RUN,...", help="Compare recorded runs of bench and eval, by their targets.")
@click.option(
    "--markdown", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Also write a report."
)
@with_options(MODEL_OPTIONS[1:])
@json_option
@click.pass_obj
def compare(settings: Settings, targets: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Compare TARGETS (models here, quantisations of one, URLs), called A, B, ...: size, speed, memory, cost, answers.

    The defaults (12 questions of each of ten tasks, answers of 384 tokens) are bounded for a small model on two cores:
    more questions settle more, and models that think need longer answers. The verdict says only what is significant
    after correction for all tests.
    """
    from wayra.cli.compare_report import as_document, markdown, print_comparison
    from wayra.lab.compare.report import compared
    from wayra.lab.runs import RunStore

    store = RunStore(settings)
    if options["runs"] is not None:
        if targets or options["resume"]:
            raise click.UsageError("--runs compares what is recorded; give no targets and no --resume with it")
        run_id, sides = None, _recorded(store, options)
    else:
        run_id, sides = _measured(settings, store, targets, {**options, "as_json": as_json})
    found = compared(sides)
    if options["markdown"] is not None:
        _write(options["markdown"], markdown(found))
    emit(as_document(found, run_id), as_json, lambda: print_comparison(settings, found, run_id))


def _measured(
    settings: Settings, store: "RunStore", targets: tuple[str, ...], options: dict[str, Any]
) -> "tuple[str, list[Side]]":
    from wayra.lab.compare.measure import Tools, measure
    from wayra.lab.compare.recorded import sides_of
    from wayra.lab.compare.settings import is_url
    from wayra.lab.runs import RunFacts
    from wayra.llm import LLM

    chosen, suites = _chosen(settings, store, targets, options)

    def open_model(label: str, target: str, is_timed: bool) -> "LLM":
        if is_url(target):
            return LLM(chosen.served_models.get(label), url=target, api_key=options["key"], settings=settings)
        if is_timed:
            return load_model(settings, {**options, "model": target}, {"prefix_cache": False, "speculate": "off"})
        return load_model(settings, {**options, "model": target}, {"max_batch": 16})

    def told(label: str, what: str, done: int, total: int) -> None:
        if not options["as_json"] and (done in (0, total)):
            note(f"{label}: {what}" + (f", {done} of {total}" if done else ""))

    if options["resume"] is not None:
        found = _found(store, options["resume"])
        if found.status == "done":
            return found.id, sides_of(store, found)
        writer = store.resume(found.id)
    else:
        writer = store.create("compare", dataclasses.asdict(chosen), RunFacts(name=" / ".join(chosen.targets)))
    with writer as run:
        try:
            measure(chosen, suites, run, Tools(store, open_model, told, options["key"]))
        except WayraError as error:
            raise type(error)(f"{error} (go on with `wayra compare --resume {run.id}`)") from error
        except KeyboardInterrupt:
            print_line(f"interrupted; go on with `wayra compare --resume {run.id}`")
            raise
        run.finish()
    return run.id, sides_of(store, store.open(run.id))


def _found(store: "RunStore", run_id: str) -> "Run":
    """The runs a comparison makes are later than its own, so the latest is looked for among comparisons."""
    own = [one for one in store.ids() if "-compare-" in one]
    return store.open(own[-1] if run_id == "latest" and own else run_id)


def _chosen(
    settings: Settings, store: "RunStore", targets: tuple[str, ...], options: dict[str, Any]
) -> "tuple[CompareSettings, list[SuiteItems]]":
    from wayra.lab.compare.recorded import settings_of
    from wayra.lab.compare.settings import CompareSettings
    from wayra.lab.suites import find_suite, load_suite
    from wayra.lab.suites.task_suites import expanded

    if options["resume"] is not None:
        if targets:
            raise click.UsageError("a resumed comparison has its targets; name none")
        chosen = settings_of(_found(store, options["resume"]))
    else:
        names = [name.strip() for name in options["suites"].split(",") if name.strip()]
        given = {name: options[name] for name in ("limit", "seed", "max_tokens") if options[name] is not None}
        chosen = CompareSettings(
            targets,
            _askable(expanded(names), is_default=options["suites"] == DEFAULT_SUITES),
            served_models=dict(_labelled("--model", options["served_models"])),
            prices={label: _price(text) for label, text in _labelled("--price", options["prices"])},
            rents={label: _number("--rent", text) for label, text in _labelled("--rent", options["rents"])},
            **given,
        )
    return chosen, [load_suite(find_suite(name), settings, None, seed=chosen.seed) for name in chosen.suites]


def _askable(suites: tuple[str, ...], *, is_default: bool) -> tuple[str, ...]:
    """Of suites nobody named, those that need a sandbox are left out where none can be made."""
    from wayra.lab.scoring.execution import check_sandbox
    from wayra.lab.suites.task_suites import task_of

    if not is_default:
        return suites
    try:
        check_sandbox()
    except WayraError as error:
        kept = tuple(name for name in suites if not task_of(name).needs_sandbox)
        note(f"{len(suites) - len(kept)} tasks that run programs are left out: {error}")
        return kept
    return suites


def _recorded(store: "RunStore", options: dict[str, Any]) -> "list[Side]":
    """The runs of each target are one model; runs of one target alone are a model each."""
    from wayra.lab.compare.report import Side
    from wayra.lab.compare.settings import LABELS

    runs = [store.open(name.strip()) for name in options["runs"].split(",") if name.strip()]
    for run in runs:
        if run.kind not in ("eval", "bench"):
            raise InvalidParameter(f"run {run.id} is a {run.kind}; --runs takes runs of eval and bench")
    groups: dict[str, list[Any]] = {}
    for run in runs:
        groups.setdefault(str(run.config.get("target")), []).append(run)
    sides = list(groups.items()) if len(groups) > 1 else [(str(run.config.get("target")), [run]) for run in runs]
    if len(sides) > len(LABELS):
        raise InvalidParameter(f"the runs are of {len(sides)} models, limit is {len(LABELS)}")
    prices = {label: _price(text) for label, text in _labelled("--price", options["prices"])}
    rents = {label: _number("--rent", text) for label, text in _labelled("--rent", options["rents"])}
    return [
        Side(label, target, tuple(found), prices.get(label), rents.get(label))
        for label, (target, found) in zip(LABELS, sides, strict=False)
    ]


def _labelled(option: str, texts: tuple[str, ...]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for text in texts:
        label, is_given, value = text.partition("=")
        if not (is_given and label and value):
            raise click.UsageError(f"{option} {text[:80]!r} does not say of which model; write it like A=...")
        found.append((label.upper(), value))
    return found


def _price(text: str) -> tuple[float, float]:
    prompt, has_two, output = text.partition(",")
    if not has_two:
        raise click.UsageError(f"--price {text[:80]!r} is one number; give the price of prompts and of outputs: 2.5,10")
    return _number("--price", prompt), _number("--price", output)


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise click.UsageError(f"{option}: {text[:80]!r} is no number") from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise WayraError(f"{path} cannot be written: {error.strerror}") from error
