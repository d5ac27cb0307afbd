"""Measures each model of a comparison: a run for each step, as `bench` and `eval` make them, reused later."""

import asyncio
import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wayra.base.errors import RunError
from wayra.lab.bench.model_run import run_model
from wayra.lab.bench.settings import BenchSettings
from wayra.lab.bench.traffic_run import TrafficBench, resolve_model
from wayra.lab.compare.settings import CompareSettings, is_url
from wayra.lab.latency import DEFINITIONS
from wayra.lab.runs import Run, RunFacts, RunStore, RunWriter
from wayra.lab.runs.jsonl import read_lines
from wayra.lab.runs.writer import RECORDS_NAME
from wayra.lab.scoring.evaluate import Evaluation
from wayra.lab.scoring.facts import facts_of, sources_of
from wayra.lab.scoring.settings import EvalSettings
from wayra.lab.suites import SuiteItems
from wayra.lab.targets import LocalTarget, OpenAITarget, OpenAITargetSettings
from wayra.llm import LLM
from wayra.plan.models import from_spec

AT_ONCE = 16

OpenModel = Callable[[str, str, bool], LLM]
"""Label, target, whether only its speed is measured (nothing cached, nothing guessed) -> the model."""
Told = Callable[[str, str, int, int], None]
"""Label, what is being done, how much of it is done, of how much."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What measuring needs from outside. key: sent to servers, never recorded."""

    store: RunStore
    open_model: OpenModel
    told: Told
    key: str | None = None


def measure(chosen: CompareSettings, suites: Sequence[SuiteItems], run: RunWriter, tools: Tools) -> None:
    """Every step that has no finished run yet; `run` notes the run of each. Raises WayraError."""
    known = children(run)
    for label, target in chosen.labelled():
        steps = ("load", "quality") if is_url(target) else ("speed", "load", "quality")
        for step in steps:
            if step == "quality" and not suites:
                continue
            child = known.get((label, step))
            if child is not None and tools.store.open(child).status == "done":
                continue
            _Step(chosen, tools, label, target, step).take(run, child, suites)


def children(run: RunWriter | Run) -> dict[tuple[str, str], str]:
    """The run of each model's label and step, as far as they began."""
    found: dict[tuple[str, str], str] = {}
    for record in read_lines(run.path / RECORDS_NAME):
        label, step, child = record.get("label"), record.get("step"), record.get("run")
        if not (isinstance(label, str) and isinstance(step, str) and isinstance(child, str)):
            raise RunError(f"run {run.id} has a record that names no run; it is no comparison")
        found[label, step] = child
    return found


@dataclass(frozen=True, slots=True)
class _Step:
    """One run of one model."""

    chosen: CompareSettings
    tools: Tools
    label: str
    target: str
    step: str

    def take(self, parent: RunWriter, child: str | None, suites: Sequence[SuiteItems]) -> None:
        self.tools.told(self.label, f"loading for {self.step}", 0, 0)
        with self._opened(child, suites) as run:
            if child is None:
                key = f"{self.label}/{self.step}"
                parent.append({"key": key, "label": self.label, "step": self.step, "run": run.id})
            if self.step == "quality":
                self._ask(run, suites)
            else:
                asyncio.run(self._time(run))
            run.finish()

    def _opened(self, child: str | None, suites: Sequence[SuiteItems]) -> RunWriter:
        if child is not None:
            return self.tools.store.resume(child)
        if self.step == "quality":
            settings = self._eval()
            return self.tools.store.create("eval", dataclasses.asdict(settings), facts_of(settings, suites))
        settings = self._bench()
        facts = RunFacts(name=self.target, definitions=DEFINITIONS, seeds={"traffic": settings.seed})
        return self.tools.store.create("bench", dataclasses.asdict(settings), facts)

    def _eval(self) -> EvalSettings:
        chosen = self.chosen
        return EvalSettings(
            self.target,
            chosen.suites,
            limit=chosen.limit,
            seed=chosen.seed,
            max_tokens=chosen.max_tokens,
            # All are asked in the one way that all of them can be asked.
            method="generate" if chosen.has_server else "loglikelihood",
            num_at_once=AT_ONCE,
        )

    def _bench(self) -> BenchSettings:
        chosen = self.chosen
        if self.step == "speed":
            return BenchSettings(self.target, "model", chosen.pp, chosen.tg, chosen.repeats, seed=chosen.seed)
        return BenchSettings(
            self.target,
            concurrency=chosen.concurrency,
            num_requests=chosen.num_requests,
            prompt="128",
            answer="32",
            seed=chosen.seed,
            nonce=os.urandom(6).hex(),
        )

    def _ask(self, run: RunWriter, suites: Sequence[SuiteItems]) -> None:
        done = 0

        def told(suite: str, record: object | None, total: int) -> None:
            nonlocal done
            done = 0 if record is None else done + 1
            self.tools.told(self.label, suite, done, total)

        with self.tools.open_model(self.label, self.target, False) as llm:
            run.set_facts(target={"model": llm.name, "source": llm.source, "url": llm.url}, suites=sources_of(suites))
            asyncio.run(Evaluation(llm, self._eval(), run, told).run(suites))

    async def _time(self, run: RunWriter) -> None:
        done = 0

        def told(stage: str, record: object | None, total: int) -> None:
            nonlocal done
            done = 0 if record is None else done + 1
            self.tools.told(self.label, stage, done, total)

        settings = self._bench()
        if is_url(self.target):
            target = await self._server()
            try:
                await TrafficBench(target, settings, run, told).run()
            finally:
                await target.aclose()
            return
        local = LocalTarget(await asyncio.to_thread(self.tools.open_model, self.label, self.target, True))
        try:
            shape = from_spec(local.llm.spec, source="the model's file")
            run.set_facts(architecture=dataclasses.asdict(shape))
            if self.step == "speed":
                await run_model(local, settings, run, told)
            else:
                await TrafficBench(local, settings, run, told).run()
        finally:
            await local.aclose()

    async def _server(self) -> OpenAITarget:
        name = self.chosen.served_models.get(self.label, "")
        how = OpenAITargetSettings(model=name, key=self.tools.key)
        if not name:
            asked = OpenAITarget(self.target, how)
            try:
                how = dataclasses.replace(how, model=await resolve_model(asked))
            finally:
                await asked.aclose()
        return OpenAITarget(self.target, how)
