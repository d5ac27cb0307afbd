"""What every API calls: prompts become token ids, requests are admitted or refused, answers come back as a Generation.

Routes translate; this file decides. It lives in the event loop and leaves it only to render and tokenize.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from starlette.types import Scope

from wayra.base.errors import BackendError
from wayra.engine.grammar import CompiledGrammar
from wayra.engine.request import Output, Request, SamplingParams
from wayra.engine.validation import check_request
from wayra.llm.prompts import Conversation
from wayra.server.calls import Caller, ChatCall, CompletionCall, EmbeddingCall, ToolUse
from wayra.server.catalog import Catalog
from wayra.server.connection import connection_of
from wayra.server.door import caller_of, when_done
from wayra.server.embedding import Embeddings
from wayra.server.errors import ApiError
from wayra.server.generation import Generation, GenerationPlan, ParserMaker
from wayra.server.keys import Quotas
from wayra.server.metrics import RequestMetrics
from wayra.server.offer import Offer
from wayra.server.places import Places
from wayra.server.planner.apart import Apart
from wayra.server.planner.desk import PlannerDesk
from wayra.server.served_model import ServedModel
from wayra.server.settings import ServerSettings
from wayra.server.text_workers import TextWorkers, chars_of
from wayra.text.structure import GrammarSpec

T = TypeVar("T")

INLINE_CHARS = 2_000
"""Longer texts are tokenized outside the event loop, which would stand still meanwhile."""
LONG_CHARS = 200_000
"""Longer texts are tokenized one at a time: a million characters take a second and a hundred megabytes."""
MAX_COUNTED = 1 << 20
"""Characters of a text, and tokens, that are tokenized or told as text for their own sake, not to be computed."""
GRAMMAR_CHARS = 100_000
"""What compiling a grammar counts for beside texts: about as long, and unknown before."""
MAX_SCORES = 1 << 20
"""Log-probabilities of prompt tokens and their alternatives in one answer, a hundred bytes each."""
MAX_EMBEDDED_AT_ONCE = 16
"""Prompts of one call whose vectors are computed together."""


class Service:
    """catalog: what is served, the first offer is the default one. planner: makes plans for the page at /plan.

    is_draining: no request is accepted any more, those under way go on.
    """

    def __init__(self, catalog: Catalog, settings: ServerSettings, max_running: int) -> None:
        """max_running: requests that each engine computes side by side."""
        self.catalog = catalog
        self.offers = catalog.offers
        self.settings = settings
        self.is_draining = False
        self._by_name = {name: offer for offer in reversed(self.offers) for name in offer.facts.names}
        weights = {key.name: key.weight for key in settings.api_keys}
        self._places = {offer.name: Places(max_running, settings.max_waiting, weights) for offer in self.offers}
        self._quotas = Quotas(settings.api_keys)
        self._texts = TextWorkers(2)
        self._long_texts = TextWorkers(1)
        self.planner = PlannerDesk(Apart())

    def start(self) -> None:
        """Begin to compute, in the running event loop."""
        self.catalog.start()

    def close(self) -> None:
        """Stop computing and free the models."""
        self._texts.close()
        self._long_texts.close()
        self.planner.close()
        self.catalog.close()

    @property
    def is_ready(self) -> bool:
        """Whether a request would be accepted now, a full queue aside."""
        models = [offer.model for offer in self.catalog.loaded]
        return not self.is_draining and all(model is None or model.thread.failure is None for model in models)

    @property
    def swaps_models(self) -> bool:
        """Whether models are unloaded for others, or because nobody wants them."""
        return len(self.offers) > 1

    def offer(self, name: str) -> Offer:
        """What is served under a name. Raises ApiError 404."""
        found = self._by_name.get(name) if name else self.offers[0]
        if found is None:
            served = ", ".join(offer.name for offer in self.offers)
            raise ApiError(404, f"there is no model {name!r:.120} here; served: {served}", "model", "model_not_found")
        return found

    async def model(self, name: str, scope: Scope, keep_s: float | None = None) -> ServedModel:
        """The model of that name, loaded: it stays so to the end of the request.

        keep_s: how long it stays after that, where several models are served; None: until its memory is wanted.
        Raises ApiError 404, and as `Catalog.acquire`.
        """
        offer = self.offer(name)
        if self.is_draining:
            raise ApiError(503, "the server is shutting down; ask another one", code="draining")
        # Who waits holds a place of its key's, and a request, that answering then takes over.
        waits, key = not self.catalog.has(offer), caller_of(scope).share.name
        if waits:
            self._admit_to_quota(offer.metrics, key, 1)
        try:
            lease = await self.catalog.acquire(offer, connection_of(scope))
        finally:
            if waits:
                self._quotas.take_back(key, 1)
        when_done(scope, lease.release)
        if self.swaps_models:
            offer.keep_s = keep_s
        return lease.model

    def num_queued(self, offer: Offer) -> int:
        """Requests accepted that the engine does not know yet, and those that wait for their model."""
        known = offer.engine_metrics
        return max(0, self._places[offer.name].in_flight - known.running - known.waiting) + len(offer.waiters)

    async def chat(self, model: ServedModel, call: ChatCall, caller: Caller) -> Generation:
        """Begin to answer a conversation. Raises ApiError and WayraError, then nothing runs."""
        calling = None if call.tool_use is None else model.calling.plan(call.tool_use)
        grammar = call.grammar if calling is None or calling.grammar is None else calling.grammar
        schemas = () if calling is None else calling.schemas
        messages = model.calling.messages(call.messages, call.tool_use)
        num_chars = chars_of(messages)

        def prompts() -> list[tuple[int, ...]]:
            return [tuple(model.reader.chat_ids(messages, schemas or None, model.limits.max_context))]

        parser = None if calling is None else calling.parser
        wanted = _Wanted(call.params, call.n, 1, call.streams, grammar, parser)
        return await self._begin(model, lambda: self._run(prompts, caller, num_chars), wanted, caller)

    async def complete(self, model: ServedModel, call: CompletionCall, caller: Caller) -> Generation:
        """Begin to continue prompts. Raises as `chat`."""
        max_len = model.limits.max_context

        async def prompts() -> list[tuple[int, ...]]:
            num_chars = sum(map(len, call.prompts))
            if num_chars > INLINE_CHARS:
                return await self._run(
                    lambda: [model.reader.read(prompt, max_len) for prompt in call.prompts], caller, num_chars
                )
            return [model.reader.read(prompt, max_len) for prompt in call.prompts]

        wanted = _Wanted(call.params, call.n, len(call.prompts), call.streams, call.grammar)
        return await self._begin(model, prompts, wanted, caller)

    async def embed(self, model: ServedModel, call: EmbeddingCall, caller: Caller) -> Embeddings:
        """Begin to compute the vectors of prompts. The result must be collected. Raises as `chat`."""
        arrived = time.perf_counter()
        count = min(len(call.prompts), MAX_EMBEDDED_AT_ONCE, model.limits.max_running)
        max_len = None if call.truncates else model.limits.max_context
        requests: list[Request] = []
        self._admit(model, count, caller)

        def release() -> None:
            self._places[model.name].give_back(caller.share.name, count, time.perf_counter() - arrived)
            self._quotas.release(caller.share.name, count, sum(len(request.prompt_ids) for request in requests))

        try:
            found = await self._run(
                lambda: [model.reader.read(prompt, max_len) for prompt in call.prompts],
                caller,
                sum(map(len, call.prompts)),
            )
            if call.truncates:
                found = [ids[: model.limits.max_context] for ids in found]
            params = SamplingParams(max_tokens=0)
            requests += [
                Request(caller.engine_id(i), ids, params, caller.salt, None, call.pooling, caller.share)
                for i, ids in enumerate(found)
            ]
            for request in requests:
                check_request(request, model.limits, model.loaded.spec.vocab_size, model.eos_ids)
            return Embeddings(model.thread, requests, count, release)
        except BaseException:
            release()
            raise

    async def chat_ids(
        self, model: ServedModel, messages: Conversation, caller: Caller, tool_use: ToolUse | None = None
    ) -> tuple[int, ...]:
        """A conversation as the model sees it.

        Raises TemplateError, InvalidParameter, ApiError 400 for a long one, 429 for a request too many of its key.
        """
        self._charge(model, caller)
        calling = None if tool_use is None else model.calling.plan(tool_use)
        schemas = None if calling is None else calling.schemas or None
        shown = model.calling.messages(messages, tool_use)
        num_chars = chars_of(shown) + chars_of(schemas)
        _check_counted(num_chars, "characters", "messages")
        return await self._run(lambda: tuple(model.reader.chat_ids(shown, schemas)), caller, num_chars)

    async def text_ids(self, model: ServedModel, text: str, caller: Caller, add_bos: bool) -> list[int]:
        """Any text, an empty one too; control tokens in it recognised. add_bos: where the model wants one.

        Raises ApiError 400 for a long one, 429 for a request too many of its key.
        """
        self._charge(model, caller)
        _check_counted(len(text), "characters", "prompt")
        wished = None if add_bos else False
        return await self._run(
            lambda: model.tokenizer.encode(text, add_bos=wished, parse_special=True), caller, len(text)
        )

    async def token_strs(self, model: ServedModel, ids: Sequence[int], caller: Caller) -> list[str]:
        """The text of each token alone, control tokens' too."""
        decode = model.tokenizer.decode
        return await self._run(
            lambda: [decode([i], skip_special=False, is_continuation=True) for i in ids], caller, len(ids)
        )

    async def text_of(self, model: ServedModel, ids: Sequence[int], caller: Caller) -> str:
        """The text of tokens, control tokens' too.

        Raises ApiError 400 for too many, or one outside the vocabulary, 429 for a request too many of its key.
        """
        self._charge(model, caller)
        _check_counted(len(ids), "tokens", "tokens")
        vocab_size = model.loaded.spec.vocab_size
        if ids and max(ids) >= vocab_size:
            raise ApiError(400, f"tokens holds id {max(ids):,}, the vocabulary has 0 to {vocab_size - 1:,}", "tokens")
        return await self._run(lambda: model.tokenizer.decode(ids, skip_special=False), caller, len(ids))

    async def check_health(self) -> None:
        """Return after a step of every loaded engine. Raises BackendError saying which gave none in time, or failed."""
        for offer in self.catalog.loaded:
            if offer.model is None:
                continue  # unloaded while another one was looked at
            lease = self.catalog.pin(offer)
            try:
                await self._step(lease.model)
            finally:
                lease.release()

    async def _run(self, work: Callable[[], T], caller: Caller, num_chars: int) -> T:
        """In a thread for texts of such a length, when the caller's turn has come."""
        texts = self._long_texts if num_chars > LONG_CHARS else self._texts
        return await texts.run(work, caller.share, num_chars)

    async def _step(self, model: ServedModel) -> None:
        thread = model.thread
        step = thread.next_step()
        if not step.done() and not thread.is_busy:
            token_id = model.tokenizer.bos_id or 0
            request = Request(f"health-{time.monotonic_ns()}", (token_id,), SamplingParams(0.0, max_tokens=1))
            thread.submit(request, _Probe(step))
        try:
            async with asyncio.timeout(self.settings.health_s):
                await step
        except TimeoutError:
            raise BackendError(
                f"the engine of {model.name} completed no step within {self.settings.health_s:g} s"
            ) from None

    async def _begin(
        self,
        model: ServedModel,
        prompts: Callable[[], Awaitable[Sequence[tuple[int, ...]]]],
        wanted: "_Wanted",
        caller: Caller,
    ) -> Generation:
        arrived = time.perf_counter()
        count = wanted.n * wanted.num_prompts
        generation: Generation | None = None
        self._admit(model, count, caller)

        def release() -> None:
            self._places[model.name].give_back(caller.share.name, count, time.perf_counter() - arrived)
            self._quotas.release(caller.share.name, count, 0 if generation is None else generation.spent_tokens())

        try:
            grammar = await self._compiled(model, wanted.grammar, caller)
            requests = _requests(await prompts(), wanted, caller, grammar)
            _check_scores(requests)
            for request in requests[:: wanted.n]:
                check_request(request, model.limits, model.loaded.spec.vocab_size, model.eos_ids)
            plan = GenerationPlan(wanted.n, wanted.streams, arrived)
            generation = Generation(model.thread, model.metrics, plan, release)
        except BaseException:
            release()
            raise
        try:
            generation.begin(requests, model.tokenizer, wanted.parser)
        except BaseException:
            generation.cancel()
            raise
        return generation

    def _admit(self, model: ServedModel, count: int, caller: Caller) -> None:
        """Raises ApiError 503 when the engine is dead, 429 when queue or key has no room for `count`."""
        if model.thread.failure is not None:
            raise ApiError(503, "the engine has failed and the server is going down", code="engine_failed")
        try:
            self._places[model.name].check(caller.share.name, count)
        except ApiError as error:
            if error.status == 429:
                model.metrics.refused("queue")
            raise
        self._admit_to_quota(model.metrics, caller.share.name, count)
        self._places[model.name].take(caller.share.name, count)

    def _admit_to_quota(self, metrics: RequestMetrics, key: str, count: int) -> None:
        try:
            self._quotas.admit(key, count)
        except ApiError as error:
            if error.status == 429:
                metrics.refused("key")
            raise

    def _charge(self, model: ServedModel, caller: Caller) -> None:
        """A request whose tokens are only counted or told. Raises ApiError 429 when the key has sent too many."""
        try:
            self._quotas.charge_request(caller.share.name)
        except ApiError:
            model.metrics.refused("key")
            raise

    async def _compiled(self, model: ServedModel, spec: GrammarSpec | None, caller: Caller) -> CompiledGrammar | None:
        if spec is None:
            return None
        return await self._run(lambda: model.grammars.compile(spec), caller, GRAMMAR_CHARS)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is wanted of each prompt: n answers."""

    params: SamplingParams
    n: int
    num_prompts: int
    streams: bool
    grammar: GrammarSpec | None = None
    parser: ParserMaker | None = None


class _Probe:
    """The receiver of a health check's own request. step: ends by itself when all is well."""

    def __init__(self, step: "asyncio.Future[None]") -> None:
        self._step = step

    def take(self, output: Output) -> None:
        """Nobody else computes, so a failure here is the engine's."""
        if output.finish_reason == "error" and not self._step.done():
            self._step.set_exception(BackendError(f"a step of the engine failed: {output.error}"))

    def flush(self) -> None:
        """Nothing to write."""


def _requests(
    prompts: Sequence[tuple[int, ...]], wanted: _Wanted, caller: Caller, grammar: CompiledGrammar | None
) -> list[Request]:
    """One an answer, in the order of their indices."""
    requests: list[Request] = []
    for prompt in prompts:
        for branch in range(wanted.n):
            seed = wanted.params.seed
            # Answers of one prompt must differ; the first is that of n=1.
            params = wanted.params if seed is None or branch == 0 else replace(wanted.params, seed=_moved(seed, branch))
            constraint = None if grammar is None else grammar.constraint()
            name = caller.engine_id(len(requests))
            requests.append(Request(name, prompt, params, caller.salt, constraint, share=caller.share))
    return requests


def _check_scores(requests: Sequence[Request]) -> None:
    """Raises ApiError 400 for more scores of prompts than an answer should hold."""
    scores = sum(len(r.prompt_ids) * (1 + r.params.prompt_top_logprobs) for r in requests if r.params.prompt_logprobs)
    if scores > MAX_SCORES:
        raise ApiError(
            400,
            f"the prompts would give {scores:,} log-probabilities, limit is {MAX_SCORES:,}; "
            "send fewer prompts at a time, or ask for fewer alternatives",
            "logprobs",
        )


def _check_counted(count: int, what: str, param: str) -> None:
    """Raises ApiError 400 for more than is done for its own sake."""
    if count > MAX_COUNTED:
        raise ApiError(400, f"the request has {count:,} {what}, limit is {MAX_COUNTED:,}; send it in parts", param)


def _moved(seed: int, branch: int) -> int:
    return (seed + branch) % (1 << 63)
