"""What every API asks of the service, whatever it looks like on the wire."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wayra.engine.request import Pooling, SamplingParams, Share
from wayra.text.structure import GrammarSpec
from wayra.text.tools import Tool, ToolChoice

Prompt = str | Sequence[int]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. request_id: for logs and answers; a client may have chosen it, and others the same.

    share: of the API key, "" where there is none. nonce: tells this request from all others.
    """

    request_id: str
    share: Share = field(default_factory=Share)
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))

    def engine_id(self, index: int) -> str:
        """What the engine calls an answer of this request."""
        return f"{self.request_id}-{self.nonce}-{index}"

    @property
    def salt(self) -> str:
        """Requests of different keys share no cached prefixes."""
        return self.share.name


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The functions a chat may call. parallel: several in one answer."""

    tools: tuple[Tool, ...]
    choice: ToolChoice = field(default_factory=ToolChoice)
    parallel: bool = True


@dataclass(frozen=True, slots=True)
class ChatCall:
    """model: "" is the default one. n: answers wanted, each with a seed of its own. streams: pieces are wanted."""

    model: str
    messages: Sequence[Mapping[str, object]]
    params: SamplingParams
    n: int = 1
    streams: bool = False
    grammar: GrammarSpec | None = None
    tool_use: ToolUse | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    """truncates: what is too long for the context is cut at its end instead of refused."""

    model: str
    prompts: Sequence[Prompt]
    pooling: Pooling = "mean"
    truncates: bool = False


@dataclass(frozen=True, slots=True)
class CompletionCall:
    """As ChatCall; answer i of prompt p has index p * n + i."""

    model: str
    prompts: Sequence[Prompt]
    params: SamplingParams
    n: int = 1
    streams: bool = False
    grammar: GrammarSpec | None = None
