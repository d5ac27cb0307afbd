"""What an engine may use: validated when made, and resolved once against the model it will run."""

import logging
from dataclasses import dataclass

from wayra.backends.api import KV_BLOCK_LEN, Model
from wayra.base.errors import InvalidParameter

_log = logging.getLogger(__name__)

_MAX_CONTEXT = 1 << 27
_MAX_KV_BLOCKS = 1 << 26
_MAX_KV_MEMORY_BYTES = 1 << 46
_MAX_STEP_TOKENS = 1 << 20
_MAX_RUNNING = 1 << 16
MAX_DRAFT_TOKENS = 31
"""A draft reaches into one further KV block at most."""
SPECULATION = ("off", "lookup", "draft")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """None means: let `resolve` choose.

    max_context: tokens a sequence may have, prompt and answer together.
    kv_blocks: KV blocks (of KV_BLOCK_LEN tokens) to allocate; at least one full context.
    kv_memory_bytes: what the KV cache may take when kv_blocks is None (one full context is always made room for).
    prefix_cache: share the KV of equal prompt beginnings.
    step_tokens: tokens computed in one step, decode and prefill together. max_running: sequences advanced at a time.
    speculate: guess tokens and check several in one step, which changes when tokens come, never which. "off"; "lookup"
    copies what followed earlier occurrences of the last tokens; "draft" asks the drafter the engine is given.
    draft_tokens: how many to guess at most for one sequence in one step; fewer, or none, where more do not pay.
    """

    max_context: int | None = None
    kv_blocks: int | None = None
    kv_memory_bytes: int = 1 << 30
    prefix_cache: bool = True
    step_tokens: int | None = None
    max_running: int | None = None
    speculate: str = "off"
    draft_tokens: int = 15

    def __post_init__(self) -> None:
        _check("max_context", self.max_context, _MAX_CONTEXT)
        _check("kv_blocks", self.kv_blocks, _MAX_KV_BLOCKS)
        _check("kv_memory_bytes", self.kv_memory_bytes, _MAX_KV_MEMORY_BYTES)
        _check("step_tokens", self.step_tokens, _MAX_STEP_TOKENS)
        _check("max_running", self.max_running, _MAX_RUNNING)
        _check("draft_tokens", self.draft_tokens, MAX_DRAFT_TOKENS)
        if self.speculate not in SPECULATION:
            raise InvalidParameter(f"speculate is {self.speculate!r}, expected one of {', '.join(SPECULATION)}")


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings with nothing left to choose. max_rows: logit rows a step may hold. draft_tokens: 0 is never."""

    max_context: int
    kv_blocks: int
    prefix_cache: bool
    step_tokens: int
    max_running: int
    max_rows: int
    draft_tokens: int = 0


def blocks_for(num_tokens: int) -> int:
    """KV blocks that hold `num_tokens` tokens."""
    return -(-num_tokens // KV_BLOCK_LEN)


def resolve(settings: EngineSettings, model: Model) -> Limits:
    """Settle what was left open and log why. Raises InvalidParameter when the settings contradict the model."""
    options = model.options
    step_tokens = settings.step_tokens or options.max_step_tokens
    if step_tokens > options.max_step_tokens:
        raise InvalidParameter(
            f"step_tokens is {step_tokens:,}, the backend was loaded for {options.max_step_tokens:,}; "
            "lower it or load with a larger max_step_tokens"
        )
    # A sequence that decodes needs a token and a row in each step: with this many of them all advance in every step.
    most_running = min(options.max_step_seqs, step_tokens)
    max_running = settings.max_running or most_running
    if max_running > most_running:
        raise InvalidParameter(
            f"max_running is {max_running:,}, expected 1 to {most_running:,} "
            "(the backend's max_step_seqs and the step's tokens); lower it"
        )
    budget_blocks = settings.kv_blocks or max(1, settings.kv_memory_bytes // max(1, model.kv_bytes_per_block()))
    max_context = _resolve_context(settings, model.spec.context_len, budget_blocks)
    context_blocks = blocks_for(max_context)
    kv_blocks = settings.kv_blocks or max(context_blocks, min(budget_blocks, context_blocks * max_running))
    if kv_blocks < context_blocks:
        raise InvalidParameter(
            f"kv_blocks is {kv_blocks:,}, a context of {max_context:,} tokens takes {context_blocks:,}; "
            "raise it or lower max_context"
        )
    _log.info("context %d tokens, %d KV blocks, %d sequences at a time", max_context, kv_blocks, max_running)
    draft_tokens = 0 if settings.speculate == "off" else settings.draft_tokens
    return Limits(
        max_context, kv_blocks, settings.prefix_cache, step_tokens, max_running, options.max_step_seqs, draft_tokens
    )


def _resolve_context(settings: EngineSettings, trained_context: int, budget_blocks: int) -> int:
    if settings.max_context is not None:
        if settings.max_context > trained_context:
            raise InvalidParameter(
                f"max_context is {settings.max_context:,}, the model knows {trained_context:,} positions; lower it"
            )
        return settings.max_context
    max_context = min(trained_context, budget_blocks * KV_BLOCK_LEN)
    if max_context < trained_context:
        _log.info("context cut from %d to %d tokens to fit the KV memory", trained_context, max_context)
    return max_context


def _check(name: str, value: int | None, high: int) -> None:
    if value is None and name not in ("kv_memory_bytes", "draft_tokens"):
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
        raise InvalidParameter(f"{name} is {value!r}, expected an integer from 1 to {high:,}")
