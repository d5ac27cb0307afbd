"""Asks a model the questions of suites, records each answer as it comes, goes on where an interrupted run stopped."""

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import cast

import msgspec

from wayra.base.errors import (
    AccessDenied,
    BackendError,
    InvalidParameter,
    ModelNotFound,
    OutOfMemory,
    RunError,
    ServerError,
    ServerUnreachable,
    TemplateError,
    WayraError,
)
from wayra.lab.items import Item
from wayra.lab.runs import RunWriter
from wayra.lab.runs.jsonl import read_lines
from wayra.lab.runs.writer import RECORDS_NAME
from wayra.lab.scoring.execution import RunProgram, check_sandbox, executions, run_in_sandbox, task_executions
from wayra.lab.scoring.loglikelihood import Likelihood, Pair, encoder_of, likelihoods, pair_of
from wayra.lab.scoring.prompts import Message, Question, drawn, questions_of, with_letters
from wayra.lab.scoring.record import EvalRecord, key_of, line_of, record_from
from wayra.lab.scoring.settings import EvalSettings
from wayra.lab.suites import SuiteItems
from wayra.lab.suites.task_suites import task_of
from wayra.lab.tasks import Judge
from wayra.llm import LLM, SamplingParams

FATAL = (AccessDenied, BackendError, ModelNotFound, OutOfMemory, TemplateError)
"""What the next question would meet too; of a model here an InvalidParameter is as well. A server may refuse one
question and answer the next."""
SERVER_FAILURES = (InvalidParameter, ServerError, ServerUnreachable)
MAX_SERVER_FAILURES = 5
"""Answers in a row that a server may fail before the run stops."""
KEPT_DATA = ("num_letters", "instructions", "arguments", "style", "entry_point")

OnProgress = Callable[[str, EvalRecord | None, int], None]
"""Told the suite, the record that ended (None when the suite begins) and how many answers the suite has."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer to be got. key: of its record."""

    key: str
    question: Question
    how: str
    sample: int
    is_private: bool


class Evaluation:
    """One run of suites against one model."""

    def __init__(
        self,
        llm: LLM,
        settings: EvalSettings,
        run: RunWriter,
        on_progress: OnProgress,
        program: RunProgram | None = None,
        judge: Judge | None = None,
    ) -> None:
        """program: runs answers that are programs; None: the sandbox. judge: for answers that no program judges."""
        self._llm = llm
        self._settings = settings
        self._run = run
        self._on_progress = on_progress
        self._program = program or run_in_sandbox
        self._judge = judge
        self._is_sandboxed = program is None
        self._origin_s = time.perf_counter()
        self._answered = _answered(run)
        self._encode = encoder_of(llm)
        self._fatal = FATAL if llm.url is not None else (*FATAL, InvalidParameter)
        self._failures: list[WayraError] = []
        self._stop: WayraError | None = None
        self._cores = asyncio.Semaphore(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)

    async def run(self, suites: Sequence[SuiteItems]) -> None:
        """All questions that have no answer yet.

        Raises RunError when a resumed run had other questions; WayraError when going on makes no sense: a server that
        is gone or wants a key, a method this model cannot be asked by, a sandbox that cannot be made. Answers that were
        under way then are waited for and kept.
        """
        plans: list[tuple[SuiteItems, list[Asked]]] = []
        for found in suites:
            self._check_same(found)
            plans.append((found, [one for one in self._plan(found) if one.key not in self._answered]))
        # Before anything is asked, which may cost money.
        if any(waiting and self._runs_programs(found) for found, waiting in plans):
            check_sandbox()
        for found, waiting in plans:
            for problem in found.problems[:20]:
                self._run.note(f"{found.suite.name}: {problem}")
            if len(found.problems) > 20:
                self._run.note(f"{found.suite.name}: {len(found.problems) - 20:,} more rows were passed over")
            self._on_progress(found.suite.name, None, len(waiting))
            await self._answer_all(waiting)

    def _plan(self, found: SuiteItems) -> list[Asked]:
        chosen, suite = self._settings, found.suite
        uses_chat = suite.uses_chat if chosen.uses_chat is None else chosen.uses_chat
        is_spoken = suite.how != "choice" or chosen.method == "generate"
        if chosen.uses_chat is None and (suite.how == "choice" and is_spoken):
            uses_chat = True
        if uses_chat and not is_spoken and self._llm.url is not None:
            raise InvalidParameter(
                "log-likelihoods after a chat template need the model in this process; use --method generate, or "
                "--no-chat-template"
            )
        if uses_chat and not self._llm.can_chat:
            if chosen.uses_chat:
                raise TemplateError(f"{self._llm.name} has no chat template; use --no-chat-template")
            uses_chat = False
        items = drawn(found.items, chosen.limit, chosen.seed)
        how: str = suite.how
        if suite.how == "choice" and is_spoken:
            how = "letter"
            shots = tuple(with_letters(shot) for shot in found.shots or found.items)
            found = SuiteItems(suite, found.items, shots, found.problems, found.source, found.digest)
            items = [with_letters(item) for item in items]
        num_shots = chosen.num_shots
        if num_shots is None:
            num_shots = 0 if uses_chat else suite.num_shots
        questions = questions_of(found, items, num_shots, chosen.seed, uses_chat)
        samples = chosen.samples if is_spoken else 1
        return [
            Asked(key_of(suite.name, question.item.id, sample), question, how, sample, suite.is_private)
            for question in questions
            for sample in range(samples)
        ]

    def _runs_programs(self, found: SuiteItems) -> bool:
        if found.suite.how == "task":
            return task_of(found.suite.name).needs_sandbox
        return found.suite.how == "code" and self._is_sandboxed

    def _check_same(self, found: SuiteItems) -> None:
        before = self._run.header.hashes.get(f"{found.suite.name} items")
        if before is not None and before != found.digest:
            raise RunError(
                f"run {self._run.id} asked other questions of {found.suite.name} than {found.source} has now; "
                "begin a new run"
            )

    async def _answer_all(self, waiting: Sequence[Asked]) -> None:
        queue = iter(waiting)

        async def work() -> None:
            for asked in queue:
                if self._stop is not None:
                    return
                await self._answer(asked, len(waiting))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._settings.num_at_once, len(waiting))):
                    group.create_task(work())
        except* WayraError as errors:
            raise first_of(errors) from None
        if self._stop is not None:
            raise self._stop

    async def _answer(self, asked: Asked, total: int) -> None:
        record = self._new_record(asked)
        try:
            if asked.how == "choice":
                await self._choose(asked, record)
            else:
                await self._speak(asked, record)
        except WayraError as error:
            record.status, record.failure = "failed", str(error)
            self._count_failure(error)
        await _whole(self._keep(asked, record, total))

    async def _keep(self, asked: Asked, record: EvalRecord, total: int) -> None:
        """Run what the answer may ask to be run, then put it on the disk."""
        try:
            if record.status == "ok":
                await self._execute(asked, record)
                self._failures.clear()
        except WayraError as error:
            record.status, record.failure = "failed", str(error)
            self._count_failure(error)
        record.ended_s = time.perf_counter() - self._origin_s
        self._run.append(line_of(record))
        self._on_progress(record.suite, record, total)

    def _count_failure(self, error: WayraError) -> None:
        """Nothing more is asked when all other questions would meet the same, or a server only fails."""
        if isinstance(error, self._fatal):
            self._stop = self._stop or error
        elif isinstance(error, SERVER_FAILURES):
            self._failures.append(error)
            if len(self._failures) >= MAX_SERVER_FAILURES and self._stop is None:
                first = self._failures[0]
                self._stop = type(first)(f"{first}; {MAX_SERVER_FAILURES} answers in a row failed, the first so")

    def _new_record(self, asked: Asked) -> EvalRecord:
        item = asked.question.item
        return EvalRecord(
            key=asked.key,
            suite=item.suite,
            item=item.id,
            how=asked.how,
            sample=asked.sample,
            group=str(item.data.get("group") or ""),
            target=cast(str, item.target),
            data={name: item.data[name] for name in KEPT_DATA if name in item.data},
            started_s=time.perf_counter() - self._origin_s,
        )

    async def _choose(self, asked: Asked, record: EvalRecord) -> None:
        question = asked.question
        pairs = await asyncio.to_thread(self._pairs, asked, record)
        found: list[Likelihood] = await likelihoods(self._llm, pairs)
        record.loglikelihoods = [one.loglikelihood for one in found]
        record.is_greedy = [one.is_greedy for one in found]
        record.num_tokens = [len(pair.continuation) for pair in pairs]
        # Choices that stand in the context, or are letters, have no length of their own.
        if not {"contexts", "answers"} & question.item.data.keys():
            record.num_chars = [len(choice) for choice in question.item.choices]
        record.is_truncated = any(pair.is_truncated for pair in pairs)

    def _pairs(self, asked: Asked, record: EvalRecord) -> list[Pair]:
        question, item, room = asked.question, asked.question.item, self._llm.context_len
        contexts, continuations = _choices(item)
        texts: list[str] = []
        for context in dict.fromkeys(contexts):
            put = question if context is None else _with_prompt(question, context)
            if question.uses_chat:
                texts.append(self._llm.render(put.messages()))
            else:
                texts.append(put.text())
        # A template ends where the answer begins; plain text needs a space between.
        delimiter = "" if question.uses_chat else " "
        _keep_prompt(record, texts[0] if len(texts) == 1 else texts, asked)
        by_choice = texts * len(continuations) if len(texts) == 1 else texts
        return [
            pair_of(self._encode, text, f"{delimiter}{continuation}", room)
            for text, continuation in zip(by_choice, continuations, strict=True)
        ]

    async def _speak(self, asked: Asked, record: EvalRecord) -> None:
        item, prompt = asked.question.item, asked.question.prompt()
        _keep_prompt(record, prompt, asked)
        params = SamplingParams(
            temperature=self._settings.chosen_temperature,
            top_p=self._settings.top_p,
            max_tokens=self._settings.max_tokens or item.max_tokens,
            # Stops end a text that would go on with the next example; an answer in a conversation ends by itself.
            stop=() if asked.question.uses_chat else item.stop,
            seed=_seed(self._settings.seed, asked.key),
        )
        if asked.question.uses_chat:
            completion = await self._llm.achat(cast(Sequence[Message], prompt), params)
        else:
            (completion,) = await self._llm.agenerate([cast(str, prompt)], params)
        record.text, record.finish_reason = completion.text, completion.finish_reason
        record.prompt_tokens = completion.usage.prompt_tokens
        record.completion_tokens = completion.usage.completion_tokens

    async def _execute(self, asked: Asked, record: EvalRecord) -> None:
        item = asked.question.item
        if asked.how == "task":
            async with self._cores:
                record.executions = await asyncio.to_thread(
                    task_executions, record.suite, item, record.text, self._judge
                )
        if asked.how == "code":
            async with self._cores:
                prompt = asked.question.prompt()
                record.executions = await asyncio.to_thread(executions, record.text, prompt, item.data, self._program)


async def _whole(work: Coroutine[None, None, None]) -> None:
    """Do it to its end, even when the wait for it is cancelled: what was answered shall not be asked again."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _keep_prompt(record: EvalRecord, prompt: str | Sequence[object], asked: Asked) -> None:
    record.prompt_sha256 = hashlib.sha256(msgspec.json.encode(prompt)).hexdigest()
    if not asked.is_private:
        record.prompt = prompt if isinstance(prompt, str) else list(prompt)


def _choices(item: Item) -> tuple[list[str | None], list[str]]:
    """What each choice comes after (None: the item's own prompt) and what is scored."""
    contexts = item.data.get("contexts")
    if isinstance(contexts, list):
        texts = [str(context) for context in cast(list[object], contexts)]
        return list(texts), [str(item.data["continuation"])] * len(texts)
    return [None] * len(item.choices), list(item.choices)


def _with_prompt(question: Question, prompt: str) -> Question:
    return replace(question, item=replace(question.item, prompt=prompt, data={**question.item.data, "contexts": None}))


def _answered(run: RunWriter) -> frozenset[str]:
    """Keys of answers that are there; questions that failed are asked again."""
    found: dict[str, bool] = {}
    for number, line in enumerate(read_lines(run.path / RECORDS_NAME), start=1):
        record = record_from(line, number)
        found[record.key] = record.status == "ok"
    return frozenset(key for key, is_ok in found.items() if is_ok)


def _seed(seed: int, key: str) -> int:
    """Of one answer: its own, whatever else is asked."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:8], "big") >> 1


def first_of(error: BaseException) -> WayraError:
    """The first error of a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = cast(BaseException, error.exceptions[0])
    return cast(WayraError, error)
