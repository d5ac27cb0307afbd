"""`wayra compare`: two or more models head to head, measured or from recorded runs."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wayra.base.errors import InvalidParameter, WayraError
from wayra.base.settings import Settings
from wayra.cli.bench import numbers
from wayra.cli.eval import data_by_suite, load_suites
from wayra.cli.generation import MODEL_OPTIONS, load_model, with_options
from wayra.cli.judging import open_judge
from wayra.cli.keys import LABELLED_KEY_OPTIONS, keys_by_label
from wayra.cli.measuring import loaded_as_before, loading_of, refuse_beside_resume, weights_hash
from wayra.cli.output import emit, json_option, note, print_line
from wayra.cli.pages import check_writable, html_option, write_page

if TYPE_CHECKING:
    import contextlib

    from wayra.lab.compare.measure import Tools
    from wayra.lab.compare.settings import CompareSettings
    from wayra.lab.compare.tables import Side
    from wayra.lab.runs import Run, RunStore
    from wayra.lab.suites import SuiteItems
    from wayra.lab.tasks import Judge
    from wayra.llm import LLM

DEFAULT_SUITES = "tasks"
PLAIN_FIELDS = ("limit", "seed", "max_tokens", "rounds", "concurrency", "judge", "judge_model", "stall_s")
EPILOG = """\b
Examples:
  wayra compare smollm2 ./smollm2-Q8_0.gguf --html report.html
  wayra compare smollm2 http://127.0.0.1:8000 --suite tasks,gsm8k --limit 50 --markdown report.md
  wayra compare smollm2 https://api.openai.com --model B=gpt-4o --key-env B=OPENAI_API_KEY --rent A=0.4
  wayra compare smollm2 ./smollm2-Q8_0.gguf --judge http://127.0.0.1:8000
  wayra compare --resume latest
  wayra compare --runs RUN,RUN
"""


WHAT_OPTIONS = (
    click.option("-s", "--suite", "suites", metavar="NAME,...", default=DEFAULT_SUITES, show_default=True,
                 help="What to ask all of them; `wayra eval --list` lists the suites."),
    click.option("--data", multiple=True, metavar="[SUITE=]PATH",
                 help="A file or folder to read a suite from: JSONL, JSON, CSV, Parquet."),
    click.option("--limit", type=int, metavar="N", help="Questions of each suite, drawn by the seed (12)."),
    click.option("--max-tokens", type=int, metavar="N", help="Longest answer (384)."),
    click.option("--seed", type=int, metavar="N", help="Of drawing, prompts and sampling (0)."),
    click.option("--rounds", type=int, metavar="N", help="Turns of each model at its speed (5)."),
    click.option("--concurrency", callback=numbers(int), metavar="N,...", help="Batch sizes of the speed (1,4,8)."),
    click.option("--judge", metavar="TARGET", help="Model or URL that judges creative writing; default: nobody."),
    click.option("--judge-model", metavar="NAME", help="That server's name for it; default: its first."),
)  # fmt: skip
SERVER_OPTIONS = (
    click.option("--model", "served_models", multiple=True, metavar="B=NAME",
                 help="A server's model; default: its first."),
    click.option("--stall", "stall_s", type=float, metavar="S",
                 help="An answer whose server sends nothing for so long has failed (120 while timed, else 600)."),
    *LABELLED_KEY_OPTIONS,
    click.option("--price", "prices", multiple=True, metavar="B=IN,OUT",
                 help="USD of a million prompt and output tokens; default: the price list's, of a provider it knows."),
    click.option("--rent", "rents", multiple=True, metavar="[A=]USD",
                 help="USD an hour of the machine that answers; without a letter of this one, for all models here."),
    click.option("--own", "owned", multiple=True, metavar="[A=]USD,W[,YEARS]",
                 help="A machine bought instead: its price, its watts, the years it is used (3)."),
)  # fmt: skip
REPORT_OPTIONS = (
    click.option("--resume", metavar="RUN", help="Go on with an interrupted comparison, or show a finished one."),
    click.option("--runs", metavar="RUN,...", help="Compare recorded runs of bench and eval, by their targets."),
    html_option,
    click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                 help="Also write a report."),
)  # fmt: skip


@click.command(epilog=EPILOG)
@click.argument("targets", nargs=-1)
@with_options(WHAT_OPTIONS)
@with_options(SERVER_OPTIONS)
@with_options(REPORT_OPTIONS)
@with_options(MODEL_OPTIONS[1:])
@json_option
@click.pass_obj
def compare(settings: Settings, targets: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Compare TARGETS (models here, quantisations of one, URLs), called A, B, ...: size, speed, memory, cost, answers.

    The defaults (12 questions of each of ten tasks, answers of 384 tokens) are bounded for a small model on two cores:
    more questions settle more, and models that think need longer answers. Speed is measured in turns: A, B, A, B. The
    verdict says only what is significant after correction for all tests.
    """
    from wayra.cli.compare_report import as_document, markdown, print_comparison
    from wayra.lab.compare.page import page
    from wayra.lab.compare.recorded import comparison_of
    from wayra.lab.compare.report import compared
    from wayra.lab.runs import RunStore

    for path in (options["html"], options["markdown"]):
        check_writable(path)
    store = RunStore(settings)
    if options["runs"] is not None:
        if targets or options["resume"]:
            raise click.UsageError("--runs compares what is recorded; give no targets and no --resume with it")
        run_id, found = None, compared(_recorded(settings, store, options))
    else:
        run_id = _measured(settings, store, targets, {**options, "as_json": as_json})
        found = comparison_of(store, store.open(run_id))
    if options["markdown"] is not None:
        write_page(options["markdown"], markdown(found))
    if options["html"] is not None:
        write_page(options["html"], page(found, run_id))
    emit(as_document(found, run_id), as_json, lambda: print_comparison(settings, found, run_id))


def _measured(settings: Settings, store: "RunStore", targets: tuple[str, ...], options: dict[str, Any]) -> str:
    """The comparison's run, when everything is measured."""
    from wayra.lab.compare.measure import facts_of, measure
    from wayra.lab.scoring.facts import question_hashes

    if options["resume"] is not None:
        refuse_beside_resume(("html", "markdown"))
        found = _found(store, options["resume"])
        if found.status == "done" and found.kind == "compare":
            return found.id
    chosen, suites, left_out = _chosen(settings, store, targets, options)
    if options["resume"] is not None:
        options = loaded_as_before(_found(store, options["resume"]), options)
    tools = _tools(settings, store, chosen, options)
    if options["resume"] is not None:
        writer = store.resume(_found(store, options["resume"]).id)
    else:
        writer = store.create("compare", dataclasses.asdict(chosen), facts_of(chosen, suites))
    with writer as run:
        run.set_facts(loading=loading_of(options))
        for reason in left_out.values():
            run.note(f"left out: {reason}")
        try:
            run.set_hashes(question_hashes(suites))
            measure(chosen, suites, run, tools)
        except WayraError as error:
            raise type(error)(f"{error} (go on with `wayra compare --resume {run.id}`)") from error
        except KeyboardInterrupt:
            print_line(f"interrupted; go on with `wayra compare --resume {run.id}`")
            raise
        run.finish()
    return run.id


def _tools(settings: Settings, store: "RunStore", chosen: "CompareSettings", options: dict[str, Any]) -> "Tools":
    from wayra.lab.compare.measure import Tools
    from wayra.lab.compare.settings import JUDGE, is_url
    from wayra.llm import LLM

    servers = [label for label, target in chosen.labelled() if is_url(target)]
    keys = keys_by_label(chosen.key_env, chosen.key_files, servers)
    # A key that the environment has for some server is not told to all of these.
    keyless = dataclasses.replace(settings, api_key=None)

    def open_model(label: str, target: str, is_timed: bool) -> "LLM":
        if is_url(target):
            name, key = chosen.served_models.get(label), keys.get(label)
            return LLM(name, url=target, api_key=key, stall_s=chosen.stall_s, settings=keyless)
        if is_timed:
            return load_model(settings, {**options, "model": target}, {"prefix_cache": False, "speculate": "off"})
        return load_model(settings, {**options, "model": target}, {"max_batch": 16})

    def told(label: str, what: str, done: int, total: int) -> None:
        if not options["as_json"] and (done in (0, total)):
            note(f"{label}: {what}" + (f", {done} of {total}" if done else ""))

    def judge() -> "contextlib.AbstractContextManager[Judge | None]":
        return open_judge(keyless, chosen.judge, chosen.judge_model, keys.get(JUDGE), chosen.stall_s)

    return Tools(store, open_model, judge, told, keys, weights_hash(settings))


def _found(store: "RunStore", run_id: str) -> "Run":
    """The runs a comparison makes are later than its own, so the latest is looked for among comparisons."""
    own = [one for one in store.ids() if "-compare-" in one]
    return store.open(own[-1] if run_id == "latest" and own else run_id)


def _chosen(
    settings: Settings, store: "RunStore", targets: tuple[str, ...], options: dict[str, Any]
) -> "tuple[CompareSettings, list[SuiteItems], dict[str, str]]":
    from wayra.lab.compare.recorded import settings_of
    from wayra.lab.compare.settings import CompareSettings
    from wayra.lab.suites.task_suites import expanded

    if options["resume"] is not None:
        chosen = settings_of(_found(store, options["resume"]))
    else:
        names = [name.strip() for name in options["suites"].split(",") if name.strip()]
        suites = _askable(expanded(names), is_default=options["suites"] == DEFAULT_SUITES)
        given = {name: options[name] for name in PLAIN_FIELDS if options[name] is not None}
        chosen = CompareSettings(
            targets,
            suites,
            data=data_by_suite(options["data"], suites),
            served_models=dict(_labelled("--model", options["served_models"])),
            prices={label: _price(text) for label, text in _labelled("--price", options["prices"])},
            **_machines(settings, targets, options),
            key_env=dict(_labelled("--key-env", options["key_env"])),
            key_files={
                label: str(Path(path).expanduser().absolute())
                for label, path in _labelled("--key-file", options["key_file"])
            },
            **given,
        )
    found, left_out = load_suites(settings, chosen.suites, chosen.data, chosen.seed)
    for reason in left_out.values():
        note(f"left out: {reason}")
    return chosen, found, left_out


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


def _recorded(settings: Settings, store: "RunStore", options: dict[str, Any]) -> "list[Side]":
    """The runs of each target are one model; runs of one target alone are a model each."""
    from wayra.lab.compare.settings import LABELS, CompareSettings
    from wayra.lab.compare.tables import Price, Side

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
    targets = tuple(target for target, _ in sides)
    prices = {label: _price(text) for label, text in _labelled("--price", options["prices"])}
    # Somebody else's machine may have measured them: what this one costs says nothing of it.
    paid = _machines(dataclasses.replace(settings, machine_usd_per_h=None), targets, options)
    machines = CompareSettings(targets, (), prices=prices, **paid).machines() if len(sides) > 1 else {}
    return [
        Side(label, target, tuple(found), Price(*prices[label]) if label in prices else None, machines.get(label))
        for label, (target, found) in zip(LABELS, sides, strict=False)
    ]


def _machines(settings: Settings, targets: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    """The fields `rents` and `owned` of CompareSettings. Models here that nobody named a machine of have this one."""
    from wayra.lab.compare.cost import DEFAULT_YEARS
    from wayra.lab.compare.settings import LABELS, is_url

    here = [label for label, target in zip(LABELS, targets, strict=False) if not is_url(target)]

    def spread(option: str, texts: tuple[str, ...]) -> dict[str, str]:
        found: dict[str, str] = {}
        for text in texts:
            if "=" not in text and not here:
                raise click.UsageError(
                    f"{option} {text[:80]!r} is of models here, and there is none; write it like B=..."
                )
            found |= dict(_labelled(option, (text,))) if "=" in text else dict.fromkeys(here, text)
        return found

    rents = {label: _number("--rent", text) for label, text in spread("--rent", options["rents"]).items()}
    owned = {label: _bought(text, DEFAULT_YEARS) for label, text in spread("--own", options["owned"]).items()}
    if settings.machine_usd_per_h is not None:
        priced = {label for label, _ in _labelled("--price", options["prices"])}
        unpaid = [label for label in here if label not in {*rents, *owned, *priced}]
        rents |= dict.fromkeys(unpaid, settings.machine_usd_per_h)
    return {"rents": rents, "owned": owned}


def _bought(text: str, default_years: float) -> tuple[float, float, float]:
    parts = [_number("--own", part) for part in text.split(",")]
    if not 2 <= len(parts) <= 3:
        raise click.UsageError(f"--own {text[:80]!r}: expected a price in USD, watts and perhaps years, like 1200,65,3")
    return (parts[0], parts[1], parts[2] if len(parts) > 2 else default_years)


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
