"""The language model that judges what no program can: one here, or a server's."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wayra.base.settings import Settings

if TYPE_CHECKING:
    from wayra.lab.tasks import Judge

JUDGE_TOKENS = 1024


@contextlib.contextmanager
def open_judge(
    settings: Settings,
    target: str | None,
    model: str | None = None,
    key: str | None = None,
    stall_s: float | None = None,
) -> "Iterator[Judge | None]":
    """A model that answers one question at a time; None when there is no target. key, stall_s: for its server.

    Raises WayraError.
    """
    from wayra.llm import LLM, SamplingParams

    if target is None:
        yield None
        return
    params = SamplingParams(temperature=0.0, max_tokens=JUDGE_TOKENS)
    if target.startswith(("http://", "https://")):
        opened = LLM(model, url=target, api_key=key, stall_s=stall_s, settings=settings)
    else:
        opened = LLM(target, settings=settings)
    with opened as llm:
        yield lambda question: llm.chat([{"role": "user", "content": question}], params).text
