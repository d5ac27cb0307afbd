"""The step loop: plan, build, run, commit. Token ids in, token ids out; one caller, no threads, no text."""

import math
import secrets
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wayra.backends.api import KV_BLOCK_LEN, Model, StepResult
from wayra.base.errors import BackendError, InvalidParameter, WayraError
from wayra.engine.batch import BatchBuilder
from wayra.engine.kv_cache import KvCache
from wayra.engine.metrics import Counters, EngineMetrics
from wayra.engine.request import FinishReason, Output, Request, TokenLogprob
from wayra.engine.sampling import all_allowed, step_mask
from wayra.engine.scheduler import Chunk, Scheduler
from wayra.engine.sequence import Sequence
from wayra.engine.settings import EngineSettings, Limits, resolve
from wayra.engine.speculate.make import check_drafter, make_speculator
from wayra.engine.validation import check_request

if TYPE_CHECKING:
    from wayra.engine.speculate.drafter import Drafter
    from wayra.engine.speculate.speculator import Speculator
    from wayra.engine.stored_prefixes import StoredPrefixes


@dataclass(slots=True)
class NewTokens:
    """What one step gave one sequence."""

    num_drafted: int = 0
    num_accepted: int = 0
    token_ids: list[int] = field(default_factory=list[int])
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    embedding: NDArray[np.float32] | None = None

    def add(self, token_id: int, is_accepted: bool, logprobs: tuple[TokenLogprob, ...]) -> None:
        self.token_ids.append(token_id)
        self.logprobs += logprobs
        self.num_accepted += is_accepted


class Engine:
    """Continuous batching over one loaded model. Not thread-safe: one caller adds, steps and cancels.

    eos_ids: end a sequence and are never part of its output.
    drafter: guesses tokens when settings.speculate is "draft"; the caller's to close.
    stored: where KV blocks outlive the engine; `close` waits for it.
    Effects: allocates the model's KV cache; the model stays the caller's to close.
    Raises: InvalidParameter when the settings contradict the model, OutOfMemory.
    """

    def __init__(
        self,
        model: Model,
        settings: EngineSettings,
        eos_ids: frozenset[int] = frozenset(),
        drafter: "Drafter | None" = None,
        stored: "StoredPrefixes | None" = None,
    ) -> None:
        self._model = model
        self._vocab_size = model.spec.vocab_size
        self._eos_ids = frozenset(i for i in eos_ids if 0 <= i < self._vocab_size)
        self._limits = resolve(settings, model)
        model.allocate_kv(self._limits.kv_blocks)
        self._stored = stored
        self._kv = KvCache(self._limits, stored)
        self._scheduler = Scheduler(self._limits, self._kv)
        self._builder = BatchBuilder(self._kv.tables, self._vocab_size)
        check_drafter(settings, drafter)
        self._speculator: Speculator | None = None
        self._guesses_later = settings.speculate != "off"
        guide = drafter if settings.speculate == "draft" else None
        self._new_speculator = partial(make_speculator, model, self._limits, self._kv, guide)
        self._all_allowed = all_allowed(self._vocab_size)
        self._live: dict[str, Sequence] = {}
        # Collected here, not in a local, so that Ctrl-C inside a step loses no output.
        self._outputs: list[Output] = []
        self._counters = Counters()

    def add(self, request: Request) -> None:
        """Queue a request. Raises ContextOverflow or InvalidParameter at once, and then nothing has changed."""
        check_request(request, self._limits, self._vocab_size, self._eos_ids)
        if request.id in self._live or any(request.id == output.request_id for output in self._outputs):
            raise InvalidParameter(f"request id {request.id!r} is in use; give each request its own")
        seed = secrets.randbits(64) if request.params.seed is None else int(request.params.seed) % (1 << 64)
        seq = Sequence(request, seed, self._limits, self._eos_ids)
        self._live[request.id] = seq
        self._scheduler.add(seq)
        self._counters.requests += 1
        self._counters.prompt_tokens += seq.prompt_len

    def cancel(self, request_id: str) -> None:
        """End a request and free its blocks now; the next step reports it. Unknown and finished ids are ignored."""
        if (seq := self._live.get(request_id)) is not None:
            self._counters.cancelled_requests += 1
            self._finish(seq, "cancelled")

    def has_work(self) -> bool:
        """Whether `step` has something to compute or to report."""
        return bool(self._live or self._outputs)

    def step(self) -> list[Output]:
        """Run one step; report new tokens and endings. A request that fails ends with "error", the others go on."""
        if self._live:
            if self._guesses_later and self._counters.generated_tokens:
                self._guesses_later = False
                self._speculator = self._new_speculator()
            plan = self._with_masks(self._scheduler.plan())
            pooled = [chunk for chunk in plan if chunk.seq.pool is not None]
            plan = [chunk for chunk in plan if chunk.seq.pool is None] if pooled else plan
            if self._speculator is not None:
                plan = self._speculator.draft(plan, self._scheduler.running)
            # Apart, because rows that are pooled may be many, and those that are sampled may not.
            for chunks, result in [*self._run(plan), *self._run(pooled)]:
                row = 0
                for chunk in chunks:
                    self._commit(chunk, result, row)
                    row += chunk.num_rows
            if self._speculator is not None:
                self._speculator.end_step()
        outputs, self._outputs = self._outputs, []
        return outputs

    def _with_masks(self, plan: list[Chunk]) -> list[Chunk]:
        """Set the masks of the sequences about to sample; without those whose constraint is at fault."""
        masked = [chunk for chunk in plan if chunk.samples and chunk.seq.needs_mask]
        failed: set[str] = set()
        for chunk in masked:
            try:
                chunk.seq.mask = step_mask(chunk.seq, self._all_allowed)
            except Exception as cause:
                self._fail(chunk.seq, cause)
                failed.add(chunk.seq.id)
        return [chunk for chunk in plan if chunk.seq.id not in failed] if failed else plan

    def _run(self, plan: list[Chunk]) -> list[tuple[list[Chunk], StepResult]]:
        """Run the plan in one backend step, or chunk by chunk when that fails, to find out whose fault it is."""
        if not plan:
            return []
        self._counters.steps += 1
        try:
            result = self._model.step(self._builder.build(plan))
            _check_result(result, sum(chunk.num_rows for chunk in plan))
            return [(plan, result)]
        except Exception as cause:
            if len(plan) == 1 and not plan[0].drafted:
                self._fail(plan[0].seq, cause)
                return []
        # Repeating is harmless: nothing was committed, and a KV slot is written with the same value again.
        # Without drafts, because nobody may fail for a token that was only guessed.
        return [done for chunk in plan for done in self._run([chunk.with_drafted(())])]

    def _commit(self, chunk: Chunk, result: StepResult, row: int) -> None:
        """Take over what the step gave one sequence; its rows start at `row`."""
        seq = chunk.seq
        first_row = row + chunk.num_rows - 1 - len(chunk.drafted)
        # Before anything is published: what produced this must not reach other requests.
        if chunk.samples and seq.pool is None and (cause := self._nonsense(result, first_row)) is not None:
            self._fail(seq, cause)
            return
        seq.num_computed += chunk.num_tokens - len(chunk.drafted)
        if seq.prompt_logprobs is not None and result.target_logprobs is not None:
            num_scored = min(chunk.num_tokens, seq.prompt_len - 1 - chunk.start)
            seq.prompt_logprobs += result.target_logprobs[row : row + max(0, num_scored)].tolist()
            if seq.prompt_top is not None:
                seq.prompt_top += _alternatives(result, row, num_scored, seq.params.prompt_top_logprobs)
        if seq.pool is not None:
            self._pool(chunk, result, row)
        elif chunk.samples:
            self._take_run(chunk, result, first_row)
        else:
            self._kv.publish(seq)

    def _pool(self, chunk: Chunk, result: StepResult, row: int) -> None:
        """Take the vectors of a chunk; with the prompt's last token the request is done."""
        seq, pool = chunk.seq, chunk.seq.pool
        if pool is not None and chunk.num_rows and result.hidden is not None:
            pool.add(result.hidden[row : row + chunk.num_rows])
        self._kv.publish(seq)
        if pool is None or not chunk.samples:
            return
        embedding = pool.result()
        if np.isfinite(embedding).all():
            self._finish(seq, "stop", NewTokens(embedding=embedding))
        else:
            self._fail(seq, BackendError("the model gave a vector that is not finite; its weights may be damaged"))

    def _take_run(self, chunk: Chunk, result: StepResult, first_row: int) -> None:
        """Take the sampled token and, as long as it is the one that was drafted, what the row after it sampled."""
        seq, drafted = chunk.seq, chunk.drafted
        new = NewTokens(num_drafted=len(drafted))
        num_matches, cause, reason = 0, None, None
        for row in range(first_row, first_row + len(drafted) + 1):
            if row > first_row:
                if (cause := self._nonsense(result, row)) is not None:
                    break
                seq.num_computed += 1
            token_id = int(result.token_ids[row])
            is_match = num_matches < len(drafted) and token_id == drafted[num_matches]
            num_matches += is_match
            try:
                is_kept, reason = self._take_token(seq, token_id)
            except Exception as error:
                cause = error
                break
            if is_kept:
                new.add(token_id, is_match, _logprobs(seq, result, row))
            if reason is not None or not is_match:
                break
        self._counters.drafted_tokens += len(drafted)
        self._counters.accepted_tokens += new.num_accepted
        self._kv.publish(seq)
        if self._speculator is not None:
            self._speculator.learn(chunk, num_matches)
        if cause is not None:
            if new.token_ids:
                self._report(seq, new)
            self._fail(seq, cause)
        elif reason is not None:
            self._finish(seq, reason, new)
        else:
            self._report(seq, new)

    def _take_token(self, seq: Sequence, token_id: int) -> tuple[bool, FinishReason | None]:
        """Append a sampled token if it is part of the answer; how the answer ends with it, None when it goes on.

        Raises whatever the sequence's constraint raises.
        """
        if seq.params.max_tokens == 0:
            return False, "length"
        if token_id in seq.stop_ids:
            return False, "stop"
        seq.mask = None
        is_complete = seq.constraint is not None and seq.constraint.accept(token_id)
        seq.append(token_id)
        self._counters.generated_tokens += 1
        if is_complete:
            return True, "stop"
        return True, "length" if len(seq.token_ids) >= seq.max_len else None

    def _nonsense(self, result: StepResult, row: int) -> BackendError | None:
        token_id, logprob = int(result.token_ids[row]), float(result.logprobs[row])
        if 0 <= token_id < self._vocab_size and not math.isnan(logprob):
            return None
        return BackendError(
            f"the model gave token {token_id} with log-probability {logprob}; its weights may be damaged, "
            "compare their hash with the publisher's (`wayra verify`)"
        )

    def _fail(self, seq: Sequence, cause: Exception) -> None:
        self._counters.failed_requests += 1
        text = str(cause) if isinstance(cause, WayraError) else f"{type(cause).__name__}: {cause}"
        self._finish(seq, "error", error=text)

    def _finish(
        self, seq: Sequence, reason: FinishReason, new: NewTokens | None = None, error: str | None = None
    ) -> None:
        """Free what a sequence holds and report its end."""
        del self._live[seq.id]
        self._scheduler.remove(seq)
        if self._speculator is not None:
            self._speculator.forget(seq)
        self._report(seq, new or NewTokens(), reason, error)

    def _report(
        self, seq: Sequence, new: NewTokens, reason: FinishReason | None = None, error: str | None = None
    ) -> None:
        prompt_logprobs: tuple[float, ...] | None = None
        prompt_top: tuple[tuple[tuple[int, float], ...], ...] | None = None
        cached_tokens = 0
        admitted_s: float | None = None
        if not seq.has_answered:
            seq.has_answered = True
            cached_tokens = seq.cached_tokens
            admitted_s = seq.admitted_s
            self._counters.cached_prompt_tokens += cached_tokens
            if seq.prompt_logprobs is not None and len(seq.prompt_logprobs) == seq.prompt_len - 1:
                prompt_logprobs = tuple(seq.prompt_logprobs)
                prompt_top = None if seq.prompt_top is None else tuple(seq.prompt_top)
        output = Output(
            seq.id, tuple(new.token_ids), tuple(new.logprobs), prompt_logprobs, cached_tokens, reason, error,
            prompt_top, new.num_drafted, new.num_accepted, new.embedding, admitted_s,
        )  # fmt: skip
        self._outputs.append(output)

    @property
    def limits(self) -> Limits:
        """The settings as resolved."""
        return self._limits

    def metrics(self) -> EngineMetrics:
        """What is going on and what has been done so far."""
        counters = self._counters
        return EngineMetrics(
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.waiting),
            paused=self._scheduler.num_paused,
            kv_blocks=self._limits.kv_blocks,
            kv_blocks_used=self._limits.kv_blocks - self._kv.free_blocks(),
            kv_blocks_cached=self._kv.cached_blocks(),
            requests=counters.requests,
            failed_requests=counters.failed_requests,
            cancelled_requests=counters.cancelled_requests,
            prompt_tokens=counters.prompt_tokens,
            cached_prompt_tokens=counters.cached_prompt_tokens,
            generated_tokens=counters.generated_tokens,
            steps=counters.steps,
            drafted_tokens=counters.drafted_tokens,
            accepted_tokens=counters.accepted_tokens,
            stored_prompt_tokens=0 if self._stored is None else self._stored.loaded_blocks * KV_BLOCK_LEN,
            stored_bytes_read=0 if self._stored is None else self._stored.read_bytes,
            stored_bytes_written=0 if self._stored is None else self._stored.written_bytes,
        )

    def close(self) -> None:
        """Finish what is being written to disk, waiting a little. The engine is not to be used after."""
        if self._stored is not None:
            self._stored.close()

    def check_integrity(self) -> None:
        """Raises IntegrityError unless every block is accounted for. For tests and idle moments, between steps."""
        self._scheduler.check(list(self._live.values()))
        self._kv.check(self._scheduler.running, self._scheduler.waiting)


def _alternatives(result: StepResult, row: int, num_rows: int, num: int) -> list[tuple[tuple[int, float], ...]]:
    """The `num` likeliest tokens of each of some rows, most likely first."""
    rows = slice(row, row + max(0, num_rows))
    ids, logprobs = result.top_ids[rows, :num].tolist(), result.top_logprobs[rows, :num].tolist()
    return [tuple(zip(*pair, strict=True)) for pair in zip(ids, logprobs, strict=True)]


def _check_result(result: StepResult, num_rows: int) -> None:
    if len(result.token_ids) not in (0, num_rows) or len(result.logprobs) != len(result.token_ids):
        raise BackendError(f"the backend answered {len(result.token_ids)} rows, expected {num_rows}")


def _logprobs(seq: Sequence, result: StepResult, row: int) -> tuple[TokenLogprob, ...]:
    if seq.params.logprobs is None:
        return ()
    num = seq.params.logprobs
    top = zip(result.top_ids[row, :num].tolist(), result.top_logprobs[row, :num].tolist(), strict=True)
    return (TokenLogprob(int(result.token_ids[row]), float(result.logprobs[row]), tuple(top)),)
