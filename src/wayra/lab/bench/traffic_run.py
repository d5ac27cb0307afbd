"""Runs the stages of a traffic bench: calibration, warm-up, measuring; goes on where an interrupted run stopped."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wayra.base.errors import RunError
from wayra.client.failures import RequestFailed
from wayra.lab.bench.knee import KNEE_GAIN, knee_of, output_rate_of
from wayra.lab.bench.settings import BenchSettings
from wayra.lab.latency.record import RequestRecord, line_of, record_from
from wayra.lab.runs import RunWriter
from wayra.lab.runs.jsonl import read_lines
from wayra.lab.runs.writer import RECORDS_NAME
from wayra.lab.targets import Ask, LocalTarget, OpenAITarget, Target
from wayra.lab.traffic import (
    BLOCK_LEN,
    Arrivals,
    PromptMaker,
    PromptShape,
    Stage,
    TraceLine,
    drive,
    parse_lengths,
    read_trace,
)

CALIBRATION_WORDS = (16, 144)

USELESS = ("connect", "tls", "auth", "refused", "protocol", "engine")
"""Failures of a first question that every other would meet too; those that a server has now and then are measured."""

OnProgress = Callable[[str, RequestRecord | None, int], None]
"""Told the stage, the record that ended (None when the stage begins) and how many the stage has."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One stage to come. number: seeds its prompts; stages with the same number send the same prompts."""

    name: str
    arrivals: Arrivals
    num_requests: int
    number: int


class TrafficBench:
    """One run of stages against one target."""

    def __init__(self, target: Target, settings: BenchSettings, run: RunWriter, on_progress: OnProgress) -> None:
        self._target = target
        self._settings = settings
        self._run = run
        self._on_progress = on_progress
        self._origin_s = time.perf_counter()
        self._trace: list[TraceLine] = [] if settings.trace is None else read_trace(Path(settings.trace))
        shape = PromptShape(
            parse_lengths(settings.prompt),
            parse_lengths(settings.answer),
            settings.shared_prefix_len,
            settings.num_groups,
        )
        id_range = None
        if target.can_take_ids and isinstance(target, LocalTarget):
            # The first ids are often control tokens.
            id_range = (min(1000, target.llm.tokenizer.vocab_size // 2), target.llm.tokenizer.vocab_size)
        self._maker = PromptMaker(shape, settings.seed, settings.nonce, id_range)

    async def run(self) -> None:
        """All stages. Raises RunError when the target cannot be used at all: nothing answers the first question."""
        await self._calibrate()
        if self._settings.sweep:
            await self._sweep()
            return
        for plan in self._plans():
            await self._stage(plan)

    def _plans(self) -> list[Plan]:
        chosen = self._settings
        count = chosen.num_requests
        if self._trace:
            times = [line.due_s for line in self._trace]
            known = tuple(at - (times[0] or 0.0) for at in times if at is not None)
            arrivals = Arrivals("trace", times_s=known) if known else Arrivals("closed", chosen.concurrency[0])
            return [Plan("trace", arrivals, len(self._trace), 0)]
        if chosen.rates:
            kind = "poisson" if chosen.is_poisson else "fixed"
            return [Plan(f"{kind} {r:g}/s", Arrivals(kind, rate=r), count, i) for i, r in enumerate(chosen.rates)]
        if chosen.measure_cache:
            closed = Arrivals("closed", chosen.concurrency[0])
            return [Plan("cold", closed, count, 0), Plan("cached", closed, count, 0)]
        return [_closed(n, max(count, n), i) for i, n in enumerate(chosen.concurrency)]

    async def _sweep(self) -> None:
        """Doubles the concurrency; the knee is the last level before a doubling that gains too little or only fails."""
        levels: list[tuple[int, float]] = []
        width = 1
        while width <= self._settings.max_concurrency:
            plan = _closed(width, max(self._settings.num_requests, 2 * width), len(levels))
            await self._stage(plan)
            levels.append((width, output_rate(self._run.path, plan.name)))
            if levels[0][1] <= 0:
                self._run.note("no request of the first level was answered, so the sweep ended there: it has no knee")
                return
            if (knee := knee_of(levels)) is not None:
                rule = f"a doubling gains less than {KNEE_GAIN:.0%} output rate"
                self._run.set_facts(knee_concurrency=knee, knee_rule=rule)
                return
            width *= 2
        self._run.note(f"the output rate still grew at {levels[-1][0]:,} requests at once; the knee lies beyond")

    async def _stage(self, plan: Plan) -> None:
        session = len(self._run.header.resumed_utc)

        def stage(indices: Sequence[int], is_warmup: bool) -> Stage:
            # Warm-up prompts are of stages nobody measures, so that no cache has seen a measured one.
            number = 1_000_000 + plan.number if is_warmup else plan.number
            arrivals = Arrivals("closed", max(1, min(len(indices), 4))) if is_warmup else plan.arrivals
            max_s = None if is_warmup else self._settings.max_s
            return Stage(
                name=plan.name,
                arrivals=arrivals,
                indices=indices,
                make=lambda index: self._ask(number, index),
                max_s=max_s,
                is_warmup=is_warmup,
                seed=self._settings.seed,
                session=session,
                origin_s=self._origin_s,
            )

        left = [i for i in range(plan.num_requests) if f"{plan.name}/{i:06d}" not in self._run.completed]
        if not left:
            return
        self._on_progress(plan.name, None, len(left))

        def keep(record: RequestRecord) -> None:
            self._run.append(line_of(record))
            if not record.is_warmup:
                self._on_progress(plan.name, record, len(left))

        if self._settings.warmup and plan.name != "cached":
            await drive(self._target, stage(range(self._settings.warmup), True), keep)
        await drive(self._target, stage(left, False), keep)

    def _ask(self, number: int, index: int) -> tuple[Ask, int | None]:
        ask, wanted = self._maker.make(number, index, ignore_eos=self._settings.ignore_eos)
        if not self._trace or number >= 1_000_000:
            return ask, wanted
        line = self._trace[index]
        prompt = ask.prompt
        if line.prompt is None and (length := line.wanted_prompt_tokens) is not None:
            wanted = length
            if line.hash_ids:
                prompt = self._maker.make_of_blocks(index, line.hash_ids, BLOCK_LEN, length)
            else:
                shape = PromptShape(parse_lengths(str(length)), self._maker.shape.answer)
                prompt = self._maker.with_shape(shape).make(number, index)[0].prompt
        made = line.ask(prompt, ask.max_tokens, ignore_eos=self._settings.ignore_eos)
        return made, None if line.prompt is not None else wanted

    async def _calibrate(self) -> None:
        """Two short questions tell how many tokens a word is, and whether the target answers at all."""
        self._run.set_facts(target=self._target.describe())
        counts: list[int | None] = []
        for salt, words in enumerate(CALIBRATION_WORDS):
            reply = await self._target.send(Ask(self._maker.words(words, salt), 1, ignore_eos=False))
            if reply.failure is not None and reply.failure.kind in USELESS:
                raise RunError(f"{self._target.name}: {reply.failure.message} ({reply.failure.kind})")
            if reply.failure is not None:
                failure = f"{reply.failure.message} ({reply.failure.kind})"
                self._run.note(f"a first question failed: {failure}; prompt lengths are in words")
                return
            counts.append(reply.prompt_tokens)
        few, many = counts
        if few is None or many is None:
            self._run.note("the server gives no usage: prompt lengths are in words, token rates are unknown")
            return
        if many <= few:
            self._run.note(
                f"the server counts {many:,} tokens in {CALIBRATION_WORDS[1]} words and {few:,} in "
                f"{CALIBRATION_WORDS[0]}: its counts are not of the prompts, whose lengths are in words here"
            )
            return
        self._maker.tokens_per_word = (many - few) / (CALIBRATION_WORDS[1] - CALIBRATION_WORDS[0])
        self._maker.overhead_tokens = few - CALIBRATION_WORDS[0] * self._maker.tokens_per_word
        self._run.set_facts(tokens_per_word=self._maker.tokens_per_word)


def _closed(width: int, count: int, number: int) -> Plan:
    return Plan(f"concurrency {width}", Arrivals("closed", width), count, number)


def output_rate(folder: Path, stage: str) -> float:
    """Output tokens per second of one stage, from what is on the disk."""
    records: list[RequestRecord] = []
    for number, line in enumerate(read_lines(folder / RECORDS_NAME), start=1):
        if line.get("stage") == stage and not line.get("is_warmup"):
            records.append(record_from({**line, "text": ""}, number))
    return output_rate_of(records)


async def resolve_model(target: OpenAITarget) -> str:
    """The first model a server lists. Raises RunError saying why there is none."""
    try:
        return await target.first_model()
    except RequestFailed as error:
        raise RunError(f"the server's list of models cannot be had: {error}; name the model with --model") from error
