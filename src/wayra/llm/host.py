"""Where the model of a facade is: in this process, or behind a server's API. The facade asks either in these words.

A host knows neither threads nor event loops of callers: it takes requests and hands chunks to whoever waits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from wayra.engine.request import Pooling, SamplingParams
from wayra.llm.prompts import Conversation, Prompt
from wayra.llm.runner import Event
from wayra.text.structure import GrammarSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

W = TypeVar("W", bound="Work")


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt, how to continue it, and what the answer must look like (None: anything)."""

    prompt: Prompt | Conversation
    params: SamplingParams
    structure: GrammarSpec | None = None


class Work(Protocol):
    """An Ask made ready by its host."""

    @property
    def id(self) -> str: ...


class Host(Protocol[W]):
    """name, source: of the model. load_s: what it took until it could be asked. can_chat: it takes conversations.

    context_len: tokens of prompt and answer together; None when a server does not tell.
    """

    name: str
    source: str
    load_s: float
    context_len: int | None
    can_chat: bool

    def prepare(self, asks: Sequence[Ask]) -> list[W]:
        """Ready to be submitted; may take long. Raises WayraError for what cannot be asked."""
        ...

    def submit(self, work: W, deliver: Callable[[Event], None], streaming: bool) -> None:
        """Begin. deliver: gets chunks, or one exception, on a thread of the host's; must be quick and thread-safe.

        streaming: False delivers the last chunk only, which carries the completion.
        """
        ...

    def cancel(self, request_id: str) -> None:
        """End a request; it still delivers a last chunk. Unknown and finished ids are ignored."""
        ...

    def prompt_ids(self, prompt: Prompt | Conversation) -> tuple[int, ...]:
        """A prompt as the model gets it."""
        ...

    def text_ids(self, text: str) -> list[int]:
        """A text to be scored."""
        ...

    def first_id(self) -> int | None:
        """The id with which every text begins, if the model wants one."""
        ...

    def embed(self, prompts: Sequence[Prompt], pooling: Pooling) -> "list[NDArray[np.float32]]":
        """A vector for each prompt, of any length."""
        ...

    def close(self) -> None:
        """Let go of everything; requests under way end with a BackendError. Safe to call twice."""
        ...
