"""One stage of load: what is asked and when, and how an answer becomes a line of the run."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from wayra.lab.latency.record import RequestRecord
from wayra.lab.targets.api import Ask, Reply
from wayra.lab.traffic.arrivals import Arrivals

OnRecord = Callable[[RequestRecord], None]

BATCH = 8
"""Requests made, and answers read, in a row: one at a time, between two sleeps, finds the processor's caches taken
and costs several times as much. More would keep an answer's bytes waiting in the socket for too long."""
BATCH_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Stage:
    """name: of the stage; keys are "name/number". indices: the requests to send. max_s: then the rest is cancelled."""

    name: str
    arrivals: Arrivals
    indices: Sequence[int]
    make: Callable[[int], tuple[Ask, int | None]]
    max_s: float | None = None
    is_warmup: bool = False
    seed: int = 0
    session: int = 0
    origin_s: float = field(default_factory=time.perf_counter)


def record_of(
    reply: Reply, stage: Stage, place: tuple[int, float | None], asked: tuple[Ask, int | None]
) -> RequestRecord:
    """The reply as a line of the run, its times counted from the session's origin, to 0.1 microseconds."""
    index, due_s = place
    ask, wanted = asked

    def since(at_s: float) -> float:
        return round(at_s - stage.origin_s, 7)

    return RequestRecord(
        key=f"{stage.name}/{'w' if stage.is_warmup else ''}{index:06d}",
        stage=stage.name,
        status=reply.status,
        sent_s=since(reply.sent_s),
        ended_s=since(reply.ended_s),
        session=stage.session,
        is_warmup=stage.is_warmup,
        due_s=None if due_s is None else since(due_s),
        head_s=None if reply.head_s is None else since(reply.head_s),
        event_s=[round(at - stage.origin_s, 7) for at in reply.event_s],
        event_chars=reply.event_chars,
        event_tokens=reply.event_tokens,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        cached_tokens=reply.cached_tokens,
        wanted_prompt_tokens=wanted,
        wanted_completion_tokens=ask.max_tokens,
        finish_reason=reply.finish_reason,
        text=reply.text,
        failure=reply.failure,
    )
