"""The answers to one call while they come: outputs of the engine in, pieces of text out, for one consumer.

Lives in the event loop. Knows neither HTTP nor the shape of any API.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wayra.engine.request import FinishReason, Output, Request, TokenLogprob
from wayra.llm.assemble import Assembler
from wayra.llm.results import Completion
from wayra.server.engine_thread import EngineThread
from wayra.server.errors import ApiError
from wayra.server.metrics import RequestMetrics
from wayra.text.tokenizer import Tokenizer
from wayra.text.tools import ToolCallParser, ToolEvent

_GRAMMAR_ERROR = "the grammar "
"""How `engine.grammar` begins what it says of an answer it cannot constrain any further."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one step gave one answer. completion: on its last piece only.

    text: empty where tool calls are parsed. events: what their parser said, text included. token_ids: what was
    generated, which may be no text yet.
    """

    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    events: tuple[ToolEvent, ...] = ()
    token_ids: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    completion: Completion | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Tokens of all answers; each prompt counts once."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """n: answers a prompt. streams: pieces before the last are wanted. arrived: of the request, by perf_counter."""

    n: int
    streams: bool
    arrived: float


@dataclass(frozen=True, slots=True)
class ParserMaker:
    """How the tool calls of an answer are found. visible_ids: control tokens the parser must see."""

    make: Callable[[], ToolCallParser]
    visible_ids: frozenset[int]


class Answer:
    """One of the answers of a Generation; the engine's Receiver. parser: finds tool calls in it.

    events: all that the parser said so far.
    """

    def __init__(
        self,
        generation: "Generation",
        index: int,
        request: Request,
        assembler: Assembler,
        parser: ToolCallParser | None = None,
    ) -> None:
        self.request = request
        self.completion: Completion | None = None
        self.events: list[ToolEvent] = []
        self._generation = generation
        self._index = index
        self._assembler = assembler
        self._parser = parser

    @property
    def parses_calls(self) -> bool:
        """Whether its text is in `events`, its calls apart."""
        return self._parser is not None

    def take(self, output: Output) -> None:
        """Raises what makes the whole call fail, after the call was told."""
        if output.admitted_s is not None:
            self._generation.admitted(output.admitted_s)
        if output.error is not None and self.request.constraint is not None and output.error.startswith(_GRAMMAR_ERROR):
            # Its own grammar proved too complex while it was followed, which is the request's fault.
            self._generation.fail(ApiError(400, output.error, "response_format"))
            return
        try:
            chunk = self._assembler.push(output)
        except Exception as error:
            self._generation.fail(error)
            return
        text = chunk.text
        events: tuple[ToolEvent, ...] = ()
        if self._parser is not None:
            found = self._parser.push(text)
            if chunk.finish_reason is not None:
                found += self._parser.finish()
            text, events = "", tuple(found)
            self.events += events
        piece = Piece(self._index, text, chunk.logprobs, events, chunk.token_ids, chunk.finish_reason, chunk.completion)
        self.completion = chunk.completion
        # A stop string was found in the text, of which the engine knows nothing.
        self._generation.took(self, piece, len(chunk.token_ids), stop_engine=output.finish_reason is None)

    def flush(self) -> None:
        self._generation.flush()


class Generation:
    """What a call gives. Consume it once: by `collect`, or by `listen` and `finished`.

    ttft_s, queue_s: from the arrival to the first token, and until the first answer ceased to wait for the engine.
    plan: how it is to run. on_end: told once, when nothing of it runs any more.
    """

    def __init__(
        self, thread: EngineThread, metrics: RequestMetrics, plan: GenerationPlan, on_end: Callable[[], None]
    ) -> None:
        self.created = int(time.time())
        self.error: Exception | None = None
        self.answers: list[Answer] = []
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ttft_s: float | None = None
        self.queue_s: float | None = None
        self._thread = thread
        self._streams = plan.streams
        self._n = plan.n
        self._metrics = metrics
        self._arrived = plan.arrived
        self._last_tokens = plan.arrived
        self._on_end = on_end
        self.generated_tokens = 0
        self._pieces: list[Piece] = []
        self._consumer: Callable[[Sequence[Piece]], None] | None = None
        self._num_open = 0

    def begin(self, requests: Sequence[Request], tokenizer: Tokenizer, new_parser: ParserMaker | None = None) -> None:
        """Submit the requests; once. Raises BackendError when the engine is dead."""
        visible = new_parser.visible_ids if new_parser is not None else frozenset[int]()
        for index, request in enumerate(requests):
            assembler = Assembler(tokenizer, request, visible=visible)
            parser = new_parser.make() if new_parser is not None else None
            answer = Answer(self, index, request, assembler, parser)
            self.answers.append(answer)
            self._num_open += 1
            self._thread.submit(request, answer)

    def listen(self, consumer: Callable[[Sequence[Piece]], None]) -> None:
        """Hand pieces to the consumer as they come, at most one call a step; those that came before at once."""
        self._consumer = consumer
        self.flush()

    async def collect(self) -> Sequence[Completion]:
        """All answers, in order. Raises what made the call fail. Cancelling the task cancels the call."""
        try:
            await self.finished
        finally:
            self.cancel()
        if self.error is not None:
            raise self.error
        return [answer.completion for answer in self.answers if answer.completion is not None]

    def totals(self) -> Totals:
        """Of the answers that have ended."""
        completions = [a.completion for a in self.answers if a.completion is not None]
        first = self.answers[:: self._n]
        return Totals(
            prompt_tokens=sum(len(a.request.prompt_ids) for a in first),
            cached_tokens=sum(a.completion.usage.cached_tokens for a in first if a.completion is not None),
            completion_tokens=sum(c.usage.completion_tokens for c in completions),
        )

    def spent_tokens(self) -> int:
        """Of prompts and answers so far, those of answers that were given up too."""
        return sum(len(a.request.prompt_ids) for a in self.answers[:: self._n]) + self.generated_tokens

    def cancel(self) -> None:
        """Stop computing what has not ended. Safe at any time, and twice."""
        if not self.finished.done():
            self._end("abort")

    def fail(self, error: Exception) -> None:
        """End with an error for the consumer."""
        if not self.finished.done():
            self.error = error
            self._end("error")

    def endings(self) -> list[str]:
        """Why each answer ended, "abort" or "error" for those that were given up; of the engine's words for it."""
        given_up = "error" if self.error is not None else "abort"
        return [given_up if a.completion is None else a.completion.finish_reason for a in self.answers]

    # For its answers.

    def admitted(self, at_s: float) -> None:
        """An answer ceased to wait, so by perf_counter; the first one counts."""
        if self.queue_s is None:
            self.queue_s = max(0.0, at_s - self._arrived)
            self._metrics.admitted(self.queue_s)

    def took(self, answer: Answer, piece: Piece, num_tokens: int, stop_engine: bool) -> None:
        """A piece of an answer came."""
        if self.finished.done():
            return
        if num_tokens:
            self._note_tokens(num_tokens)
        if self._streams or piece.finish_reason is not None:
            self._pieces.append(piece)
        if piece.finish_reason is not None and answer.completion is not None:
            if stop_engine:
                self._thread.cancel(answer.request.id)
            self._metrics.answered(answer.completion, time.perf_counter() - self._arrived)
            self._num_open -= 1
            if self._num_open == 0:
                self._note_whole()
                self.flush()
                self._finish()

    def flush(self) -> None:
        """Hand what has come to the consumer."""
        if self._pieces and self._consumer is not None:
            pieces, self._pieces = self._pieces, []
            self._consumer(pieces)

    def _note_tokens(self, num_tokens: int) -> None:
        self.generated_tokens += num_tokens
        now = time.perf_counter()
        if self.ttft_s is None:
            self.ttft_s = now - self._arrived
            self._metrics.first_token(self.ttft_s)
        elif len(self.answers) == 1:
            self._metrics.next_token((now - self._last_tokens) / num_tokens)
        self._last_tokens = now

    def _note_whole(self) -> None:
        if self.ttft_s is not None and self.queue_s is not None:
            total_s = time.perf_counter() - self._arrived
            lens = [a.completion.usage.completion_tokens for a in self.answers if a.completion is not None]
            self._metrics.whole(max(0.0, self.ttft_s - self.queue_s), total_s - self.ttft_s, max(lens))

    def _end(self, reason: str) -> None:
        for answer in self.answers:
            if answer.completion is None:
                self._thread.cancel(answer.request.id)
                self._metrics.ended(reason)
        self._finish()

    def _finish(self) -> None:
        self.finished.set_result(None)
        self._on_end()
