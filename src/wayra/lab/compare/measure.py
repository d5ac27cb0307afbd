"""Measures each model of a comparison: a run for each step, as `bench` and `eval` make them, reused later.

Speed is measured in turns, a model at a time and each loaded anew: what the machine does meanwhile meets all alike, and
two models need not fit beside each other.
"""

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from wayra.base.errors import RunError
from wayra.client import HttpLimits
from wayra.lab.bench.model_run import run_model
from wayra.lab.bench.settings import BenchSettings
from wayra.lab.bench.traffic_run import TrafficBench, resolve_model
from wayra.lab.compare.definitions import TERMS
from wayra.lab.compare.prices import price_or_reason
from wayra.lab.compare.settings import CompareSettings, is_url
from wayra.lab.latency import DEFINITIONS
from wayra.lab.latency.record import RequestRecord
from wayra.lab.runs import Run, RunFacts, RunStore, RunWriter
from wayra.lab.runs.jsonl import read_lines
from wayra.lab.runs.writer import RECORDS_NAME
from wayra.lab.scoring.evaluate import Evaluation
from wayra.lab.scoring.facts import facts_of as facts_of_eval
from wayra.lab.scoring.facts import packages_of, question_hashes, sources_of
from wayra.lab.scoring.settings import EvalSettings
from wayra.lab.suites import SuiteItems
from wayra.lab.targets import Ask, LocalTarget, OpenAITarget, OpenAITargetSettings
from wayra.lab.tasks import Judge
from wayra.llm import LLM
from wayra.plan.models import from_spec

AT_ONCE = 16
STALL_S = 120.0
"""Without a byte of a server that is timed, until a request is given up; as in a bench."""
TURNS = "turns"
"""The fact of a run that says how many requests of a stage are one round's, and how many rounds it has."""
PRICES = "prices"
"""The fact of a comparison that says what the price list asked when it was measured, by label."""

T = TypeVar("T")

OpenModel = Callable[[str, str, bool], LLM]
"""Label, target, whether only its speed is measured (nothing cached, nothing guessed) -> the model."""
Told = Callable[[str, str, int, int], None]
"""Label, what is being done, how much of it is done, of how much."""
OpenJudge = Callable[[], contextlib.AbstractContextManager[Judge | None]]


@dataclass(frozen=True, slots=True)
class Tools:
    """What measuring needs from outside. keys: by label, sent to that server alone, never recorded.

    hash_of: of a model here, by its target.
    """

    store: RunStore
    open_model: OpenModel
    open_judge: OpenJudge
    told: Told
    keys: Mapping[str, str]
    hash_of: Callable[[str], str]


def measure(chosen: CompareSettings, suites: Sequence[SuiteItems], run: RunWriter, tools: Tools) -> None:
    """Every step that has no finished run yet; `run` notes the run of each. Raises WayraError."""
    sides = [_Side(chosen, tools, run, label, target) for label, target in chosen.labelled()]
    # Before anything is measured, which takes minutes.
    for side in sides:
        if is_url(side.target) and side.has_work(bool(suites)):
            asyncio.run(side.greet())
    for number in range(1, chosen.rounds + 1):
        for side in in_turn(sides, number):
            side.race(number)
    if suites:
        with tools.open_judge() as judge:
            for side in sides:
                side.ask(suites, judge)


def facts_of(chosen: CompareSettings, suites: Sequence[SuiteItems]) -> RunFacts:
    """What a comparison's run says of itself before anything is measured; hashes of weights follow with the turns."""
    return RunFacts(
        name=" / ".join(chosen.targets),
        definitions=TERMS,
        seeds={"questions": chosen.seed, "traffic": chosen.seed},
        hashes=question_hashes(suites),
        packages=(*packages_of(suites), "genai-prices"),
    )


def in_turn(sides: Sequence[T], number: int) -> Sequence[T]:
    """The order of round `number`, from 1: every second one the other way round, so that a machine that slows down
    steadily does not make whoever comes last look slower in each round."""
    return sides if number % 2 else sides[::-1]


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
class _Side:
    """One model and its runs."""

    chosen: CompareSettings
    tools: Tools
    parent: RunWriter
    label: str
    target: str

    def has_work(self, has_suites: bool) -> bool:
        """Whether anything of it is still to be measured."""
        child = self._child("quality")
        is_asked = not has_suites or (child is not None and child.status == "done")
        return not is_asked or any(self._rounds_done(step) < self.chosen.rounds for step in self._timed_steps())

    async def greet(self) -> None:
        """Ask the server one question. Raises RunError with what it says when it does not answer."""
        target = await self._open_target()
        try:
            reply = await target.send(Ask("Hello", 1, ignore_eos=False))
        finally:
            await target.aclose()
        # An answer without a token is one too.
        if reply.failure is not None and reply.failure.kind != "empty":
            raise RunError(f"{self.label} does not answer: {reply.failure.message} ({reply.failure.kind})")

    def race(self, number: int) -> None:
        """Its turn of round `number`, unless it had it."""
        steps = [step for step in self._timed_steps() if self._rounds_done(step) < number]
        if steps:
            asyncio.run(self._turn(steps, number))

    def ask(self, suites: Sequence[SuiteItems], judge: Judge | None) -> None:
        child = self._child("quality")
        if child is not None and child.status == "done":
            return
        settings = self._eval()
        done = 0

        def told(suite: str, record: object | None, total: int) -> None:
            nonlocal done
            done = 0 if record is None else done + 1
            self.tools.told(self.label, suite, done, total)

        self.tools.told(self.label, "loading", 0, 0)
        with (
            self.tools.open_model(self.label, self.target, False) as llm,
            self._opened("quality", "eval", dataclasses.asdict(settings), facts_of_eval(settings, suites)) as run,
        ):
            facts = {"model": llm.name, "source": llm.source, "url": llm.url}
            run.set_facts(target=facts, suites=sources_of(suites))
            self._keep_hash(run)
            asyncio.run(Evaluation(llm, settings, run, told, judge=judge).run(suites))
            run.finish()

    async def _turn(self, steps: Sequence[str], number: int) -> None:
        self.tools.told(self.label, f"round {number} of {self.chosen.rounds}", 0, 0)
        target = await self._open_target()
        try:
            for step in steps:
                bench = self._bench(step)
                seeds: dict[str, int | str] = {"traffic": bench.seed, "nonce": bench.nonce}
                facts = RunFacts(name=self.target, definitions=DEFINITIONS, seeds=seeds)
                with self._opened(step, "bench", dataclasses.asdict(bench), facts) as run:
                    self._keep_hash(run)
                    await self._time(target, run, number)
                    if number == self.chosen.rounds:
                        run.finish()
        finally:
            await target.aclose()
        if isinstance(target, OpenAITarget):
            self._look_up_price(target.settings.model)

    def _keep_hash(self, run: RunWriter) -> None:
        """In its own run and the comparison's: all rounds and questions must have met the same weights."""
        if is_url(self.target):
            return
        found = self.tools.hash_of(self.target)
        self.parent.set_hashes({f"{self.label} weights": found})
        run.set_hashes({"weights": found})

    def _look_up_price(self, model: str) -> None:
        """Kept beside the measurements: the list of another day says something else."""
        known = self.parent.header.facts.get(PRICES)
        prices = dict(known) if isinstance(known, Mapping) else {}
        if self.label in self.chosen.prices or self.label in prices:
            return
        price, reason = price_or_reason(self.target, model, datetime.now(UTC).date())
        if reason:
            self.parent.note(f"{self.label}: {reason}")
        if price is not None:
            self.parent.set_facts(**{PRICES: {**prices, self.label: dataclasses.asdict(price)}})

    async def _time(self, target: LocalTarget | OpenAITarget, run: RunWriter, number: int) -> None:
        """A run that has the requests of earlier rounds goes on to this round's."""
        whole = msgspec.convert(run.header.config, BenchSettings)
        if isinstance(target, LocalTarget):
            shape = from_spec(target.llm.spec, source="the model's file")
            run.set_facts(architecture=dataclasses.asdict(shape))
        if whole.mode == "model" and isinstance(target, LocalTarget):
            per_turn = whole.repeats // self.chosen.rounds
            await run_model(target, dataclasses.replace(whole, repeats=per_turn * number), run, _silent)
        else:
            per_turn = whole.num_requests // self.chosen.rounds
            until_now = dataclasses.replace(whole, num_requests=per_turn * number)
            failures: list[str] = []
            answered = 0

            def told(_stage: str, record: RequestRecord | None, _total: int) -> None:
                nonlocal answered
                if record is not None and record.failure is not None:
                    failures.append(f"{record.failure.message} ({record.failure.kind})")
                answered += record is not None and record.status == "ok"

            await TrafficBench(target, until_now, run, told).run()
            if failures and not answered:
                raise RunError(f"{self.label} answered none of {len(failures)} requests, the first: {failures[0]}")
        run.set_facts(**{TURNS: {"requests": per_turn, "rounds": number}})

    def _opened(self, step: str, kind: str, config: dict[str, object], facts: RunFacts) -> RunWriter:
        child = self._child(step)
        if child is not None:
            return self.tools.store.resume(child.id)
        run = self.tools.store.create(kind, config, facts)
        self.parent.append({"key": f"{self.label}/{step}", "label": self.label, "step": step, "run": run.id})
        return run

    def _child(self, step: str) -> Run | None:
        found = children(self.parent).get((self.label, step))
        return None if found is None else self.tools.store.open(found)

    def _timed_steps(self) -> tuple[str, ...]:
        return ("load",) if is_url(self.target) else ("speed", "load")

    def _rounds_done(self, step: str) -> int:
        child = self._child(step)
        turns = None if child is None else child.header.facts.get(TURNS)
        done = turns.get("rounds") if isinstance(turns, Mapping) else None
        return done if isinstance(done, int) else 0

    def _eval(self) -> EvalSettings:
        chosen = self.chosen
        return EvalSettings(
            self.target,
            chosen.suites,
            data=chosen.data,
            limit=chosen.limit,
            seed=chosen.seed,
            max_tokens=chosen.max_tokens,
            # All are asked in the one way that all of them can be asked.
            method="generate" if chosen.has_server else "loglikelihood",
            num_at_once=AT_ONCE,
            judge=chosen.judge,
            stall_s=chosen.stall_s,
        )

    def _bench(self, step: str) -> BenchSettings:
        """Of all rounds together."""
        chosen = self.chosen
        if step == "speed":
            repeats = chosen.repeats * chosen.rounds
            return BenchSettings(self.target, "model", chosen.pp, chosen.tg, repeats, seed=chosen.seed)
        return BenchSettings(
            self.target,
            concurrency=chosen.concurrency,
            num_requests=max(chosen.num_requests, *chosen.concurrency) * chosen.rounds,
            prompt="128",
            answer="32",
            seed=chosen.seed,
            stall_s=STALL_S if chosen.stall_s is None else chosen.stall_s,
            nonce=os.urandom(6).hex(),
        )

    async def _open_target(self) -> LocalTarget | OpenAITarget:
        if not is_url(self.target):
            return LocalTarget(await asyncio.to_thread(self.tools.open_model, self.label, self.target, True))
        name = self.chosen.served_models.get(self.label, "")
        limits = HttpLimits(stall_s=STALL_S if self.chosen.stall_s is None else self.chosen.stall_s)
        how = OpenAITargetSettings(model=name, key=self.tools.keys.get(self.label), limits=limits)
        if not name:
            asked = OpenAITarget(self.target, how)
            try:
                how = dataclasses.replace(how, model=await resolve_model(asked))
            finally:
                await asked.aclose()
        return OpenAITarget(self.target, how)


def _silent(_stage: str, _record: object | None, _total: int) -> None:
    """A turn is over before its progress could be read."""
