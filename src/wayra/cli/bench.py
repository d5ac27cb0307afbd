"""`wayra bench`: measure the speed of a model here or of a server, and keep the run."""

import asyncio
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wayra.base.errors import InvalidParameter
from wayra.base.settings import Settings
from wayra.cli.generation import MODEL_OPTIONS, with_options
from wayra.cli.keys import KEY_OPTIONS, key_of
from wayra.cli.measuring import loaded_as_before, loading_of, refuse_beside_resume, weights_hash
from wayra.cli.output import emit, json_option, note
from wayra.cli.pages import check_writable, html_option, write_run_page

if TYPE_CHECKING:
    from wayra.lab.bench.settings import BenchSettings
    from wayra.lab.runs import RunStore, RunWriter
    from wayra.lab.targets import OpenAITarget, Target
    from wayra.llm.options import OptionFields

EPILOG = """\b
Examples:
  wayra bench smollm2                                    prefill and decode, pp512 and tg128
  wayra bench smollm2 --concurrency 1,4,16               latency under load, in this process
  wayra bench http://127.0.0.1:8000 --rate 2 --poisson --slo mlperf-8b-interactive
  wayra bench http://127.0.0.1:8000 --sweep              to the knee
  wayra bench --resume latest
"""


def numbers(kind: type) -> Any:
    """A callback for an option that takes a list like 1,2,4."""

    def convert(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[Any, ...] | None:
        try:
            return None if value is None else tuple(kind(part) for part in value.split(","))
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is no list of numbers like 1,2,4") from error

    return convert


TRAFFIC_OPTIONS = (
    click.option("--concurrency", callback=numbers(int), metavar="N,...", help="Closed loops of so many users."),
    click.option("--rate", callback=numbers(float), metavar="R,...", help="Open loops of so many requests a second."),
    click.option("--poisson", "is_poisson", is_flag=True, help="At random times instead of even ones."),
    click.option("--sweep", is_flag=True, help="Double the concurrency up to the knee."),
    click.option("--max-concurrency", type=int, metavar="N", help="Where a sweep ends at the latest (64)."),
    click.option("--trace", type=click.Path(dir_okay=False), help="Replay a JSONL file."),
    click.option("--cache", "measure_cache", is_flag=True, help="Send each prompt twice: cold, then cached."),
    click.option("--requests", "num_requests", type=int, metavar="N", help="Of each stage (32)."),
    click.option("--duration", "max_s", type=float, metavar="S", help="At most, of each stage; then cancel."),
    click.option("--warmup", type=int, metavar="N", help="Requests before each stage, not measured (2)."),
    click.option("--prompt-tokens", "prompt", metavar="DIST", help="N, LOW..HIGH, normal(M,D), lognormal(M,S) (256)."),
    click.option("--output-tokens", "answer", metavar="DIST", help="The same for answers (64)."),
    click.option(
        "--shared-prefix", "shared_prefix_len", type=int, metavar="N", help="Tokens prompts begin alike with."
    ),
    click.option("--prefix-groups", "num_groups", type=int, metavar="N", help="Different such beginnings (1)."),
    click.option("--slo", metavar="LIMITS", help='"ttft:500,tpot:50" in ms, or a preset such as mlperf-8b.'),
)
SERVER_OPTIONS = (
    click.option("--model", "served_model", metavar="NAME", help="Of the server; default: the first it lists."),
    click.option("--api", type=click.Choice(["completions", "chat"]),
                 help="Which endpoint of a server to ask.  [default: completions]"),
    click.option("--stall", "stall_s", type=float, metavar="S",
                 help="A request whose server sends nothing for so long has failed (120)."),
    *KEY_OPTIONS,
    click.option("--no-ignore-eos", is_flag=True, help="Let answers end; do not send ignore_eos."),
    click.option("--running-usage", is_flag=True, help="Ask for usage in each chunk (vLLM), so that ITL is known."),
    click.option("--token-ids", is_flag=True, help="Ask for the ids of each chunk (wayra, vLLM), for the same."),
    click.option("--input-price", type=float, metavar="P", help="Of a million prompt tokens."),
    click.option("--output-price", type=float, metavar="P", help="Of a million output tokens."),
)  # fmt: skip
TRAFFIC_FLAGS = {
    "concurrency": "--concurrency", "rate": "--rate", "sweep": "--sweep", "trace": "--trace",
    "measure_cache": "--cache", "num_requests": "--requests", "max_s": "--duration", "warmup": "--warmup",
    "prompt": "--prompt-tokens", "answer": "--output-tokens", "shared_prefix_len": "--shared-prefix", "slo": "--slo",
    "input_price": "--input-price", "output_price": "--output-price",
}  # fmt: skip
"""What makes a bench of a model here one of traffic."""
ALONE_FLAGS = {"pp": "--pp", "tg": "--tg", "repeats": "--repeats", "limit_gb_s": "--limit-gb-s",
               "limit_int8_gops": "--limit-int8-gops"}  # fmt: skip
NEEDS = (
    ("is_poisson", "rate", "--poisson is how --rate sends; give --rate too"),
    ("max_concurrency", "sweep", "--max-concurrency is where a sweep ends; give --sweep too"),
    ("num_groups", "shared_prefix_len", "--prefix-groups are of --shared-prefix; give that too"),
)
"""An option, what it needs, and what to say where that is missing."""
MODEL_BENCH_OPTIONS = (
    click.option("--pp", callback=numbers(int), metavar="N,...", help="Prompt lengths to prefill (512)."),
    click.option("--tg", callback=numbers(int), metavar="N,...", help="Tokens to decode (128)."),
    click.option("--repeats", type=int, metavar="N", help="Of each (5)."),
    click.option("--limit-gb-s", type=float, metavar="X", help="Memory bandwidth; default: measured."),
    click.option("--limit-int8-gops", type=float, metavar="X", help="Peak of int8 operations; default: measured."),
)


@click.command(epilog=EPILOG)
@click.argument("target", required=False)
@with_options(TRAFFIC_OPTIONS)
@with_options(SERVER_OPTIONS)
@with_options(MODEL_BENCH_OPTIONS)
@with_options(MODEL_OPTIONS[1:])
@click.option("--seed", type=int, help="Of lengths, times and prompts (0).")
@click.option("--nonce", metavar="TEXT", help="Repeat the prompts of the run that had it; default: new ones.")
@click.option("--resume", metavar="RUN", help="Go on with an interrupted run.")
@click.option("--definitions", is_flag=True, help="Print what each number means.")
@html_option
@json_option
@click.pass_obj
def bench(settings: Settings, target: str | None, as_json: bool, **options: Any) -> None:
    """Measure TARGET: a model here, or the URL of an OpenAI-compatible server.

    A model without traffic options: prefill and decode alone, with the share of this machine's limit. With them, or a
    URL: latency and rates under load. Prompts are new to every cache. Every request is recorded; see `wayra runs`.
    """
    from wayra.cli.bench_report import print_definitions, report
    from wayra.lab.latency import DEFINITIONS
    from wayra.lab.runs import RunStore, summarise

    if options["definitions"] and target is None:
        emit(dict(DEFINITIONS), as_json, lambda: print_definitions(DEFINITIONS))
        return
    check_writable(options["html"])
    store = RunStore(settings)
    chosen = _chosen(target, options, store)
    if options["resume"] is not None:
        options = loaded_as_before(store.open(options["resume"]), options)
    run = _open(store, chosen, options["resume"])
    with run:
        try:
            _measure(settings, chosen, options, (run, not as_json))
        except KeyboardInterrupt:
            note(f"interrupted; go on with `wayra bench --resume {run.id}`")
            raise
        run.finish()
    stored = store.open(run.id)
    summary = summarise(stored)
    if options["html"] is not None:
        write_run_page(options["html"], stored, summary)
    report(settings, stored, summary, as_json=as_json, definitions=options["definitions"])


def _chosen(target: str | None, options: dict[str, Any], store: "RunStore") -> "BenchSettings":
    import msgspec

    from wayra.lab.bench.settings import BenchSettings
    from wayra.lab.traffic import read_trace

    if options["resume"] is not None:
        refuse_beside_resume(("html", "definitions", "key_env", "key_file", "limit_gb_s", "limit_int8_gops"))
        config = store.open(options["resume"]).config
        try:
            return msgspec.convert(config, BenchSettings)
        except msgspec.ValidationError as error:
            raise InvalidParameter(f"run {options['resume']} is no bench: {error}") from error
    if target is None:
        raise click.UsageError("name a TARGET: a model, or the URL of a server", click.get_current_context())
    _check_together(options)
    names = {field.name for field in dataclasses.fields(BenchSettings)}
    given = {name: value for name, value in options.items() if name in names and value is not None}
    if options["rate"] is not None:
        given["rates"] = options["rate"]
    is_url = target.startswith(("http://", "https://"))
    asks = next((flag for name, flag in TRAFFIC_FLAGS.items() if options[name]), None)
    given["mode"] = "traffic" if is_url or asks is not None else "model"
    alone = next((flag for name, flag in ALONE_FLAGS.items() if options[name]), None)
    if given["mode"] == "traffic" and alone is not None:
        raise click.UsageError(f"{alone} is of prefill and decode alone, {asks or 'a server'} of traffic; give one")
    given["nonce"] = options["nonce"] or os.urandom(6).hex()
    given["ignore_eos"] = not options["no_ignore_eos"]
    if "trace" in given:
        # Absolute, so that the run can be resumed from elsewhere.
        given["trace"] = str(Path(given["trace"]).expanduser().absolute())
    chosen = BenchSettings(target=target, **given)
    if chosen.trace is not None:
        read_trace(Path(chosen.trace))  # a file with a wrong line makes no run
    return chosen


def _check_together(options: dict[str, Any]) -> None:
    """Raises UsageError for an option that would be passed over in silence."""
    for name, needed, said in NEEDS:
        if options[name] and not options[needed]:
            raise click.UsageError(said)
    stages = options["concurrency"] or ()
    if stages and (options["rate"] or options["sweep"]):
        raise click.UsageError("--concurrency is of closed loops; --rate is of open ones, and --sweep finds its own")
    if len(stages) > 1 and (options["trace"] or options["measure_cache"]):
        raise click.UsageError("--trace and --cache are one stage; give one --concurrency")


def _open(store: "RunStore", chosen: "BenchSettings", resume: str | None) -> "RunWriter":
    from wayra.lab.latency import DEFINITIONS
    from wayra.lab.runs import RunFacts

    if resume is not None:
        return store.resume(resume)
    facts = RunFacts(name=chosen.target, definitions=DEFINITIONS, seeds={"traffic": chosen.seed, "nonce": chosen.nonce})
    return store.create("bench", dataclasses.asdict(chosen), facts)


def _measure(
    settings: Settings, chosen: "BenchSettings", options: dict[str, Any], shown: "tuple[RunWriter, bool]"
) -> None:
    from wayra.cli.bench_report import LiveProgress
    from wayra.lab.bench.model_run import run_model
    from wayra.lab.bench.traffic_run import TrafficBench
    from wayra.lab.runs.content import file_hash
    from wayra.lab.targets import LocalTarget

    run, is_shown = shown
    if chosen.trace is not None:
        run.set_hashes({"trace": file_hash(Path(chosen.trace))})
    target = _target(settings, chosen, options)
    if isinstance(target, LocalTarget):
        run.set_facts(loading=loading_of(options))
        run.set_hashes({"weights": weights_hash(settings)(chosen.target)})
    weights_bytes = target.llm.memory().weights_bytes if isinstance(target, LocalTarget) else 0

    async def measure() -> None:
        try:
            if chosen.mode == "model" and isinstance(target, LocalTarget):
                await run_model(target, chosen, run, progress.told)
            else:
                await TrafficBench(target, chosen, run, progress.told).run()
        finally:
            await target.aclose()

    with LiveProgress(settings, is_shown) as progress:
        asyncio.run(measure())
    if chosen.mode == "model":
        _find_limits(settings, chosen, options, (run, weights_bytes))


def _target(settings: Settings, chosen: "BenchSettings", options: dict[str, Any]) -> "Target":
    from wayra.cli.generation import load_model, refuse_loading_options
    from wayra.client import HttpLimits
    from wayra.lab.targets import LocalTarget, OpenAITarget, OpenAITargetSettings

    key = key_of(options, chosen.target)
    if not chosen.target.startswith(("http://", "https://")):
        fixed: OptionFields = {"prefix_cache": chosen.mode == "traffic", "speculate": "off"}
        return LocalTarget(load_model(settings, {**options, "model": chosen.target}, fixed))
    refuse_loading_options("TARGET")
    how = OpenAITargetSettings(
        model=chosen.served_model,
        key=key,
        api=chosen.api,
        can_ignore_eos=chosen.ignore_eos,
        wants_running_usage=chosen.running_usage,
        extra={"return_token_ids": True} if chosen.token_ids else {},
        limits=HttpLimits(stall_s=chosen.stall_s),
    )
    if not how.model:
        how = dataclasses.replace(how, model=asyncio.run(_first_model(OpenAITarget(chosen.target, how))))
    return OpenAITarget(chosen.target, how)


async def _first_model(target: "OpenAITarget") -> str:
    from wayra.lab.bench.traffic_run import resolve_model

    try:
        return await resolve_model(target)
    finally:
        await target.aclose()


def _find_limits(
    settings: Settings, chosen: "BenchSettings", options: dict[str, Any], measured: "tuple[RunWriter, int]"
) -> None:
    from wayra.backends.native.peaks import measure_peaks
    from wayra.lab.bench.roofline import limit_rates
    from wayra.lab.limits import MachineLimits

    run, weights_bytes = measured
    given, int8 = options["limit_gb_s"], options["limit_int8_gops"]
    limits = MachineLimits(given, int8, "given")
    if given is None or int8 is None:
        peaks = measure_peaks(weights_bytes, options.get("threads") or settings.threads, settings.isa)
        how = "measured" if given is None and int8 is None else "given and measured"
        limits = MachineLimits(given or peaks.read_gb_s, int8 or peaks.int8_gop_s, how)
    sizes = {f"pp{n}": n for n in chosen.pp} | {f"tg{n}": n for n in chosen.tg}
    rates = limit_rates(chosen.target, settings, sizes, limits)
    run.set_facts(limits=dataclasses.asdict(limits), limit_rates=rates)
