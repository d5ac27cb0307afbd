"""`wayra eval --via`: the same model asked by EleutherAI's harness or by Inspect, kept as a run like any other."""

import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from wayra.base.errors import DataError, InvalidParameter
from wayra.base.settings import Settings
from wayra.cli.generation import load_model, refuse_loading_options
from wayra.cli.keys import key_of
from wayra.cli.measuring import loading_of, weights_hash

if TYPE_CHECKING:
    from wayra.lab.runs import Run, RunStore, RunWriter
    from wayra.llm import LLM

LOADED_WITH = ("context", "threads", "backend", "kv_dtype")
NOT_TAKEN = ("judge", "samples", "temperature", "top_p", "max_tokens", "num_at_once", "method", "resume")


def run_via(settings: Settings, store: "RunStore", target: str, options: dict[str, Any]) -> "Run":
    """Ask through options["via"]; the finished run. Raises WayraError."""
    for name in NOT_TAKEN:
        if options[name] is not None:
            shown = {"num_at_once": "concurrency"}.get(name, name.replace("_", "-"))
            raise InvalidParameter(f"--{shown} is wayra's own way of asking; it does not go with --via")
    tasks = tuple(name.strip() for name in (options["suites"] or "").split(",") if name.strip())
    if options["via"] == "lm-eval":
        if options["arguments"]:
            raise InvalidParameter("options after -- are Inspect's; --via lm-eval takes none")
        return _lm_eval(settings, store, (target, tasks), options)
    return _inspect(settings, store, (target, tasks), options)


def model_of(settings: Settings, target: str, options: dict[str, Any], max_batch: int) -> "LLM":
    """A model here, or a server's. Raises WayraError."""
    from wayra.llm import LLM

    if is_url(target):
        refuse_loading_options("TARGET")
        key, stall_s = key_of(options, target), options["stall_s"]
        return LLM(options["served_model"], url=target, api_key=key, stall_s=stall_s, settings=settings)
    refuse_server_options(options)
    key_of(options, target)  # refuses a key for a model here
    return load_model(settings, {**options, "model": target}, {"max_batch": max_batch})


def refuse_server_options(options: dict[str, Any]) -> None:
    """Raises InvalidParameter when TARGET, a model here, was given what only a server has."""
    if options["served_model"] is not None:
        raise InvalidParameter("--model is for servers; TARGET is a model")


def is_url(target: str) -> bool:
    return target.startswith(("http://", "https://"))


def _lm_eval(
    settings: Settings, store: "RunStore", asked: tuple[str, tuple[str, ...]], options: dict[str, Any]
) -> "Run":
    from wayra.cli.eval_report import LiveEval
    from wayra.lab.harness.lm_eval_run import HarnessSettings, check_installed, run_harness
    from wayra.lab.harness.summary import DEFINITIONS
    from wayra.lab.runs import RunFacts

    check_installed()
    if len(options["data"]) > 1:
        raise InvalidParameter("--data is given twice; with --via lm-eval it is one folder of task files")
    target, tasks = asked
    chosen = HarnessSettings(
        target,
        tasks,
        include_path=options["data"][0] if options["data"] else None,
        limit=options["limit"],
        num_shots=options["num_shots"],
        uses_chat=bool(options["uses_chat"]),
        seed=options["seed"] or 0,
    )
    facts = RunFacts(
        f"{target}: {', '.join(tasks)} (lm-eval)",
        DEFINITIONS,
        {"harness": chosen.seed},
        packages=("lm-eval", "datasets"),
    )
    with store.create("lm_eval", _plain(chosen), facts) as run, model_of(settings, target, options, 16) as llm:
        run.set_facts(target={"model": llm.name, "source": llm.source, "url": llm.url})
        _keep_model(settings, target, options, run)
        with LiveEval(settings, not options["as_json"]) as progress:
            run_harness(llm, chosen, run, progress.counted)
        run.finish()
    return store.open(run.id)


def _inspect(
    settings: Settings, store: "RunStore", asked: tuple[str, tuple[str, ...]], options: dict[str, Any]
) -> "Run":
    from wayra.lab.harness.inspect_run import DEFINITIONS, InspectSettings, check, run_inspect
    from wayra.lab.runs import RunFacts

    for name in ("data", "num_shots", "uses_chat", "seed"):
        if options[name]:
            raise InvalidParameter("data, examples, template and seed are Inspect's tasks' own; see `inspect eval`")
    if options["stall_s"] is not None:
        raise InvalidParameter("how long to wait for a server is Inspect's own: -- --attempt-timeout S")
    target, tasks = asked
    chosen = InspectSettings(target, tasks, options["limit"], options["arguments"])
    check(chosen)
    name = f"{target}: {', '.join(tasks)} (inspect)"
    facts = RunFacts(name, DEFINITIONS, packages=("inspect-ai", "inspect-evals", "openai"))
    with store.create("inspect", _plain(chosen), facts) as run, _served(settings, target, options) as (url, model):
        run.set_facts(target={"model": model, "url": url})
        _keep_model(settings, target, options, run)
        run_inspect(chosen, url, model, key_of(options, url) or settings.api_key, run)
        run.finish()
    return store.open(run.id)


def _keep_model(settings: Settings, target: str, options: dict[str, Any], run: "RunWriter") -> None:
    """What a model here was loaded with and from; nothing of a server's."""
    if not is_url(target):
        run.set_facts(loading=loading_of(options))
        run.set_hashes({"weights": weights_hash(settings)(target)})


@contextlib.contextmanager
def _served(settings: Settings, target: str, options: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The API's address and the model's name there; a model here is served for the time of the block."""
    from wayra.client.api import api_url

    if is_url(target):
        with model_of(settings, target, options, 1) as llm:
            found = api_url(target), llm.name
        yield found
        return
    refuse_server_options(options)
    key_of(options, target)  # refuses a key for a model here
    command = [sys.executable, "-m", "wayra", "serve", f"--model={target}", "--port=0", "--quiet", "--json"]
    with subprocess.Popen([*command, *_loading(options)], stdout=subprocess.PIPE) as server:
        try:
            yield _address(server)
        finally:
            server.terminate()


def _loading(options: dict[str, Any]) -> list[str]:
    """The options that say how to load a model, as they were given."""
    given = [f"--{name.replace('_', '-')}={options[name]}" for name in LOADED_WITH if options[name] is not None]
    return [*given, "--mmap"] if options["mmap"] else given


def _address(server: "subprocess.Popen[bytes]") -> tuple[str, str]:
    """What the server says when it can be asked. Raises DataError when it ends instead."""
    import msgspec

    line = server.stdout.readline() if server.stdout is not None else b""
    try:
        found = msgspec.json.decode(line, type=dict[str, Any])
        return str(found["base_url"]), str(found["model"])
    except (msgspec.DecodeError, KeyError) as error:
        raise DataError("the model could not be served; what `wayra serve` said is above") from error


def _plain(chosen: object) -> dict[str, object]:
    return dataclasses.asdict(chosen)  # pyright: ignore[reportArgumentType]
