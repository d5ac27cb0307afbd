"""What the engine has done and holds, as a frozen snapshot for dashboards and tests."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """running, waiting, paused: requests now; paused ones are running but wait for KV blocks.

    kv_blocks, kv_blocks_used, kv_blocks_cached: in all; held by running requests; free but still shareable.
    prompt_tokens, cached_prompt_tokens, generated_tokens: since the engine was made; cached ones were not computed.
    requests, failed_requests, cancelled_requests, steps: likewise.
    drafted_tokens, accepted_tokens: guessed by speculation and computed; those of them that became output.
    stored_prompt_tokens: prompt tokens read from disk, part of the cached ones where those of answers are counted.
    stored_bytes_read, stored_bytes_written: what that read, and what was written for later.
    """

    running: int
    waiting: int
    paused: int
    kv_blocks: int
    kv_blocks_used: int
    kv_blocks_cached: int
    requests: int
    failed_requests: int
    cancelled_requests: int
    prompt_tokens: int
    cached_prompt_tokens: int
    generated_tokens: int
    steps: int
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    stored_prompt_tokens: int = 0
    stored_bytes_read: int = 0
    stored_bytes_written: int = 0

    @property
    def kv_usage(self) -> float:
        """Share of the KV blocks that running requests hold, 0 to 1."""
        return self.kv_blocks_used / self.kv_blocks if self.kv_blocks else 0.0

    @property
    def prefix_hit_rate(self) -> float:
        """Share of the prompt tokens served from the prefix cache, 0 to 1."""
        return self.cached_prompt_tokens / self.prompt_tokens if self.prompt_tokens else 0.0

    @property
    def acceptance_rate(self) -> float:
        """Share of the drafted tokens that became output, 0 to 1."""
        return self.accepted_tokens / self.drafted_tokens if self.drafted_tokens else 0.0


@dataclass(slots=True)
class Counters:
    """The running totals behind EngineMetrics."""

    requests: int = 0
    failed_requests: int = 0
    cancelled_requests: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    generated_tokens: int = 0
    steps: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
