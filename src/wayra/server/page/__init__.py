"""The web page at `/`: one document with its style and script inside, which its policy names by digest."""

import base64
import hashlib
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response


class PageRoute:
    """The page, put together once."""

    def __init__(self) -> None:
        folder = files("wayra.server.page")
        style, script, page = (
            (folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js", "page.html")
        )
        self._body = page.replace("{{style}}", style).replace("{{script}}", script)
        self._headers = {
            "content-security-policy": (
                f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; connect-src 'self'; "
                "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            ),
            "referrer-policy": "no-referrer",
            "cache-control": "no-cache",
        }

    async def answer(self, request: Request) -> Response:
        """The document."""
        return Response(self._body, 200, self._headers, "text/html")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
