"""Web pages: each one document with its style and script inside, which its policy names by digest.

Their sources are files of this room, put together once and only here: nothing is built, and what is served is what can
be read. They hold no secret, so the door lets everybody have them.
"""

import base64
import gzip
import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response


class Sources(NamedTuple):
    """The files of one page, below this room. Its scripts are one module scope in the end: a file may use what those
    before it declare."""

    page: str
    styles: Sequence[str]
    scripts: Sequence[str]


CHAT = Sources(
    page="page/page.html",
    styles=("page/base.css", "page/layout.css", "page/chat.css", "page/dialogs.css"),
    scripts=(
        "page/dom.js",
        "page/inline.js",
        "page/code.js",
        "page/markdown.js",
        "page/tree.js",
        "page/store.js",
        "page/transfer.js",
        "page/settings.js",
        "page/client.js",
        "page/message.js",
        "page/chat.js",
        "page/sidebar.js",
        "page/engine.js",
        "page/dialogs.js",
        "page/app.js",
    ),
)
_CODING = re.compile(r"\s*([\w*.-]+)\s*(?:;\s*q=([\d.]+)\s*)?")


class _Form(NamedTuple):
    """The document as it is sent: plain or compressed."""

    body: bytes
    headers: dict[str, str]


class PageRoute:
    """A page, put together and compressed once. facts: replace {{name}} in it; plain words of our own."""

    def __init__(self, sources: Sources = CHAT, facts: Mapping[str, str] = MappingProxyType({})) -> None:
        room = files("wayra.server")
        style, script = (
            "".join((room / name).read_text(encoding="utf-8") for name in names)
            for names in (sources.styles, sources.scripts)
        )
        page = (room / sources.page).read_text(encoding="utf-8")
        for name, value in facts.items():
            page = page.replace(f"{{{{{name}}}}}", value)
        body = page.replace("{{style}}", style).replace("{{script}}", script).encode()
        headers = {
            "content-security-policy": _policy(style, script),
            "referrer-policy": "no-referrer",
            "cache-control": "no-cache",
            "vary": "Accept-Encoding",
        }
        tag = hashlib.sha256(body + headers["content-security-policy"].encode()).hexdigest()[:32]
        self._plain = _Form(body, {**headers, "etag": f'"{tag}"'})
        compressed = gzip.compress(body, 9, mtime=0)
        self._compressed = _Form(compressed, {**headers, "etag": f'"{tag}-gzip"', "content-encoding": "gzip"})

    async def answer(self, request: Request) -> Response:
        """The document, compressed where the client takes that; 304 without a body where it has the same one."""
        form = self._compressed if _takes_gzip(request.headers.get("accept-encoding", "")) else self._plain
        if _knows(request.headers.get("if-none-match", ""), form.headers["etag"]):
            kept = {name: value for name, value in form.headers.items() if name != "content-encoding"}
            return Response(None, 304, kept)
        return Response(form.body, 200, form.headers, "text/html")


def _policy(style: str, script: str) -> str:
    """Nothing runs but this script, nothing is fetched but from this server, no text ever becomes markup."""
    return (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header allows it; the coding's own weight counts before that of `*`."""
    weights: dict[str, bool] = {}
    for part in accepted.lower().split(","):
        if found := _CODING.fullmatch(part):
            weights[found[1]] = bool((found[2] or "1").strip("0."))
    return weights.get("gzip", weights.get("*", False))


def _knows(sent: str, etag: str) -> bool:
    """Whether an If-None-Match header names the document. Proxies weaken tags; for this question that is the same."""
    tags = {part.strip().removeprefix("W/") for part in sent.split(",")}
    return etag in tags or "*" in tags
