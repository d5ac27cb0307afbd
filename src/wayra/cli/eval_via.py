"""`wayra eval --via`: the same model asked by EleutherAI's harness or by Inspect, kept as a run like any other."""

import contextlib
import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from wayra.base.errors import DataError, InvalidParameter, ServerUnreachable, WayraError
from wayra.base.settings import Settings
from wayra.cli.generation import load_model
from wayra.cli.keys import key_of

if TYPE_CHECKING:
    from wayra.lab.runs import Run, RunStore
    from wayra.llm import LLM

START_WITHIN_S = 300.0
NOT_TAKEN = ("judge", "samples", "temperature", "top_p", "max_tokens", "num_at_once", "method", "resume")


def run_via(settings: Settings, store: "RunStore", target: str, options: dict[str, Any]) -> "Run":
    """Ask through options["via"]; the finished run. Raises WayraError."""
    for name in NOT_TAKEN:
        if options[name] is not None:
            shown = {"num_at_once": "concurrency"}.get(name, name.replace("_", "-"))
            raise InvalidParameter(f"--{shown} is wayra's own way of asking; it does not go with --via")
    tasks = tuple(name.strip() for name in (options["suites"] or "").split(",") if name.strip())
    if options["via"] == "lm-eval":
        return _lm_eval(settings, store, (target, tasks), options)
    return _inspect(settings, store, (target, tasks), options)


def model_of(settings: Settings, target: str, options: dict[str, Any], max_batch: int) -> "LLM":
    """A model here, or a server's. Raises WayraError."""
    from wayra.llm import LLM

    if is_url(target):
        return LLM(options["served_model"], url=target, api_key=key_of(options, target), settings=settings)
    if options["served_model"] is not None:
        raise InvalidParameter("--model is for servers; TARGET is a model")
    key_of(options, target)  # refuses a key for a model here
    return load_model(settings, {**options, "model": target}, {"max_batch": max_batch})


def is_url(target: str) -> bool:
    return target.startswith(("http://", "https://"))


def _lm_eval(
    settings: Settings, store: "RunStore", asked: tuple[str, tuple[str, ...]], options: dict[str, Any]
) -> "Run":
    from wayra.cli.eval_report import LiveEval
    from wayra.lab.harness.lm_eval_run import HarnessSettings, check_installed, run_harness
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
    facts = RunFacts(name=f"{target}: {', '.join(tasks)} (lm-eval)", seeds={"harness": chosen.seed})
    with model_of(settings, target, options, 16) as llm, store.create("lm_eval", _plain(chosen), facts) as run:
        run.set_facts(target={"model": llm.name, "source": llm.source, "url": llm.url})
        with LiveEval(settings, not options["as_json"]) as progress:
            run_harness(llm, chosen, run, progress.counted)
        run.finish()
    return store.open(run.id)


def _inspect(
    settings: Settings, store: "RunStore", asked: tuple[str, tuple[str, ...]], options: dict[str, Any]
) -> "Run":
    from wayra.lab.harness.inspect_run import InspectSettings, check_installed, run_inspect
    from wayra.lab.runs import RunFacts

    check_installed()
    for name in ("data", "num_shots", "uses_chat", "seed"):
        if options[name]:
            raise InvalidParameter("data, examples, template and seed are Inspect's tasks' own; see `inspect eval`")
    target, tasks = asked
    chosen = InspectSettings(target, tasks, options["limit"])
    facts = RunFacts(name=f"{target}: {', '.join(tasks)} (inspect)")
    with _served(settings, target, options) as (url, model), store.create("inspect", _plain(chosen), facts) as run:
        run.set_facts(target={"model": model, "url": url})
        run_inspect(chosen, url, model, key_of(options, url) or settings.api_key, run)
        run.finish()
    return store.open(run.id)


@contextlib.contextmanager
def _served(settings: Settings, target: str, options: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The API's address and the model's name there; a model here is served for the time of the block."""
    from wayra.client.api import api_url
    from wayra.llm import LLM

    def connected(url: str) -> tuple[str, str]:
        with LLM(options["served_model"], url=url, api_key=key_of(options, url), settings=settings) as llm:
            return api_url(url), llm.name

    if is_url(target):
        yield connected(target)
        return
    url = f"http://127.0.0.1:{_free_port()}"
    command = [sys.executable, "-m", "wayra", "serve", target, "--port", url.rpartition(":")[2], "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            yield _once_up(server, lambda: connected(url))
        finally:
            server.terminate()


def _once_up(server: "subprocess.Popen[bytes]", connected: Callable[[], tuple[str, str]]) -> tuple[str, str]:
    deadline_s = time.monotonic() + START_WITHIN_S
    while True:
        try:
            return connected()
        except ServerUnreachable as error:
            if server.poll() is not None:
                raise DataError("the model could not be served; what `wayra serve` said is above") from error
            if time.monotonic() > deadline_s:
                raise WayraError(f"`wayra serve` did not answer within {START_WITHIN_S:g} s") from error
            time.sleep(0.2)


def _free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _plain(chosen: object) -> dict[str, object]:
    return dataclasses.asdict(chosen)  # pyright: ignore[reportArgumentType]
