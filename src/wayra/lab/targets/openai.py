"""Any server with an OpenAI-compatible API, asked for a stream of completions or chat completions."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from wayra.base.errors import InvalidParameter
from wayra.client import HttpClient, HttpLimits, RequestFailed, Response
from wayra.client.api import ModelCards, api_url, error_message
from wayra.client.failures import failure_of_status
from wayra.client.http import Clock
from wayra.lab.targets.api import Ask, Exchanges, Reply, Unread, started
from wayra.lab.targets.native_exchanges import NativeExchanges, find_server, native_clock
from wayra.lab.targets.streamed_answer import StreamedAnswer


@dataclass(frozen=True, slots=True)
class OpenAITargetSettings:
    """How to ask. key: kept out of every record. api: "completions" or "chat".

    extra: fields to add to each request's body. can_ignore_eos: the server knows `ignore_eos` (vLLM, SGLang, wayra; not
    OpenAI). wants_running_usage: ask for usage in each chunk (vLLM), so that the tokens of a chunk are known.
    transport: "auto" leaves the stages of a bench to the native loop (wayra.lab.load) where it can take them.
    """

    model: str
    key: str | None = field(default=None, repr=False)
    api: str = "completions"
    extra: Mapping[str, object] = field(default_factory=dict[str, object])
    can_ignore_eos: bool = True
    wants_running_usage: bool = False
    can_take_ids: bool = False
    verify_tls: bool = True
    limits: HttpLimits = field(default_factory=HttpLimits)
    transport: Literal["auto", "asyncio"] = "auto"

    def __post_init__(self) -> None:
        if self.api not in ("completions", "chat"):
            raise InvalidParameter(f"api is {self.api!r}, expected completions or chat")
        if self.key is not None and not (self.key.isascii() and self.key.isprintable() and self.key):
            raise InvalidParameter("the key has characters that cannot be in a header; check how it was given")


class OpenAITarget:
    """url: up to and with the version, e.g. http://127.0.0.1:8000/v1; without a path /v1 is added."""

    def __init__(self, url: str, settings: OpenAITargetSettings, *, clock: Clock = time.perf_counter) -> None:
        """clock: of all times in replies. Raises InvalidParameter when the URL is none."""
        self.url = api_url(url)
        self.settings = settings
        self.name = f"{settings.model} at {self.url}"
        self.can_take_ids = settings.can_take_ids and settings.api == "completions"
        self._client = HttpClient(self.url, settings.limits, verify_tls=settings.verify_tls, clock=clock)
        self._clock = clock
        self._headers = {"Content-Type": "application/json", "Accept": "text/event-stream", "User-Agent": "wayra-bench"}
        if settings.key is not None:
            self._headers["Authorization"] = f"Bearer {settings.key}"
        self._native_clock = None if settings.transport == "asyncio" or self._client.is_tls else native_clock(clock)
        self._path = "/completions" if settings.api == "completions" else "/chat/completions"

    async def send(self, ask: Ask) -> Reply:
        return (await started(self, self.prepare(ask))).read()

    def prepare(self, ask: Ask) -> bytes:
        return self._client.request("POST", self._path, self._headers, msgspec.json.encode(self._body(ask)))

    def start(self, question: bytes, on_end: Callable[[Unread], None]) -> Callable[[], None]:
        answer = StreamedAnswer(self._clock())

        def over(outcome: Response | RequestFailed, at_s: float) -> None:
            if isinstance(outcome, RequestFailed):
                answer.end_failed(outcome, at_s)
            else:
                answer.end(outcome, at_s)
            on_end(answer)

        def cancel() -> None:
            exchange.cancel()
            answer.end_cancelled(self._clock())
            on_end(answer)

        exchange = self._client.start(question, answer, over)
        return cancel

    async def exchanges(self, width: int) -> Exchanges | None:
        if self._native_clock is None:
            return None
        server = await find_server(self._client.host, self._client.port)
        return NativeExchanges(server, self.settings.limits, width, self._native_clock)

    def _body(self, ask: Ask) -> dict[str, object]:
        body: dict[str, object] = {
            "model": self.settings.model,
            "max_tokens": ask.max_tokens,
            "temperature": ask.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.settings.wants_running_usage:
            body["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
        if self.settings.api == "chat":
            body["messages"] = [{"role": "user", "content": ask.prompt}]
        else:
            body["prompt"] = ask.prompt
        if ask.ignore_eos and self.settings.can_ignore_eos:
            body["ignore_eos"] = True
        if ask.seed is not None:
            body["seed"] = ask.seed
        return {**body, **self.settings.extra}

    async def first_model(self) -> str:
        """The first name /models lists. Raises RequestFailed."""
        content = bytearray()
        headers = {name: value for name, value in self._headers.items() if name != "Content-Type"}
        response = await self._client.send("GET", "/models", headers, b"", lambda _at, piece: content.extend(piece))
        if response.status != 200:
            raise failure_of_status(response.status, error_message(bytes(content)))
        try:
            found = msgspec.json.decode(bytes(content), type=ModelCards)
        except (msgspec.DecodeError, RecursionError) as error:
            raise RequestFailed("rubbish", f"/models is not what the API says: {error}") from error
        if not found.data:
            raise RequestFailed("rubbish", "/models lists no model; name one")
        return found.data[0].id

    def describe(self) -> dict[str, object]:
        transport = "asyncio" if self._native_clock is None else "native"
        known = {"url": self.url, "model": self.settings.model, "api": self.settings.api, "transport": transport}
        return {"kind": "openai", **known}

    async def aclose(self) -> None:
        await self._client.aclose()
