"""A package index on this machine that serves one wheel, well or badly, and remembers what it was asked and sent."""

import hashlib
import json
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from tiny_wheels import PACKAGE

CHUNK_BYTES = 1 << 14


@dataclass
class Asked:
    """One request of the wheel. sent_bytes: of the body, as far as the other side took them."""

    range: str | None
    if_range: str | None
    authorization: str | None
    agent: str
    status: int = 0
    sent_bytes: int = 0


@dataclass
class Manner:
    """How the index behaves. It may be changed while it runs.

    stops_after: bytes of a body after which it closes the connection; stalls: it waits instead, for ever.
    only_once: stop or stall in the next answer alone. lies_bytes: added to every length it declares.
    """

    ranges: bool = True
    etag: str | None = '"first"'
    declares_hash: bool = True
    speaks_json: bool = False
    chunked: bool = False
    stops_after: int | None = None
    stalls: bool = False
    only_once: bool = True
    lies_bytes: int = 0
    fails_with: int | None = None
    password: str | None = None
    elsewhere: str | None = None


@dataclass
class WheelIndex:
    """Use as a context manager; `url` is what pip is given as its index. It answers as a proxy too.

    certificate: a file of a certificate and its key, to speak HTTPS with.
    """

    wheel: Path
    manner: Manner = field(default_factory=Manner)
    asked: list[Asked] = field(default_factory=list)
    pages: int = 0
    certificate: Path | None = None

    def __enter__(self) -> Self:
        self.over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def origin(self) -> str:
        scheme = "http" if self.certificate is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.origin}/simple"

    @property
    def environment(self) -> dict[str, str]:
        """What makes this pip's only index."""
        return {
            "PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": self.url, "PIP_RETRIES": "2", "PIP_DEFAULT_TIMEOUT": "2",
            "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": "", "no_proxy": "127.0.0.1",
        }  # fmt: skip

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)

    @property
    def sent_bytes(self) -> int:
        return sum(asked.sent_bytes for asked in self.asked)

    def page(self) -> tuple[str, bytes]:
        name = self.wheel.name
        sha256 = hashlib.sha256(self.wheel.read_bytes()).hexdigest() if self.manner.declares_hash else None
        if self.manner.speaks_json:
            file: dict[str, Any] = {"filename": name, "url": f"../../files/{name}", "hashes": {}}
            if sha256:
                file["hashes"] = {"sha256": sha256}
            page: dict[str, Any] = {"meta": {"api-version": "1.0"}, "name": PACKAGE, "files": [file]}
            return "application/vnd.pypi.simple.v1+json", json.dumps(page).encode()
        fragment = f"#sha256={sha256}" if sha256 else ""
        return "text/html", f'<!DOCTYPE html><a href="../../files/{name}{fragment}">{name}</a>'.encode()


def _handler_of(index: WheelIndex) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            return None

        def do_GET(self) -> None:
            self.close_connection = True
            path = urlsplit(self.path).path
            if index.manner.password is not None and self.headers.get("Authorization") != index.manner.password:
                self.answer(401, b"", {"WWW-Authenticate": "Basic"})
            elif path == f"/simple/{PACKAGE}/":
                index.pages += 1
                kind, page = index.page()
                self.answer(200, page, {"Content-Type": kind})
            elif path.startswith("/files/"):
                self.serve_wheel()
            else:
                self.answer(404, b"", {})

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def serve_wheel(self) -> None:
            manner, content, header = index.manner, index.wheel.read_bytes(), self.headers
            asked = Asked(
                header.get("Range"), header.get("If-Range"), header.get("Authorization"), header.get("User-Agent", "")
            )
            index.asked.append(asked)
            if manner.elsewhere is not None:
                asked.status = 302
                self.answer(302, b"", {"Location": manner.elsewhere})
                return
            if manner.fails_with is not None:
                asked.status, manner.fails_with = manner.fails_with, None
                self.answer(asked.status, b"", {"Retry-After": "0"})
                return
            start = int(asked.range.removeprefix("bytes=").removesuffix("-")) if asked.range else 0
            if not manner.ranges or (asked.if_range is not None and asked.if_range != manner.etag):
                start = 0
            if start >= len(content):
                asked.status = 416
                self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                return
            asked.status = 206 if start else 200
            self.start_body(asked.status, start, len(content))
            self.send_body(asked, content[start:])

        def start_body(self, status: int, start: int, size: int) -> None:
            declared = size + index.manner.lies_bytes
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{declared - 1}/{declared}")
            if index.manner.etag is not None:
                self.send_header("ETag", index.manner.etag)
            if index.manner.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", str(declared - start))
            self.end_headers()

        def send_body(self, asked: Asked, body: bytes) -> None:
            manner = index.manner
            limit, stalls = manner.stops_after, manner.stalls
            if manner.only_once:
                manner.stops_after = None
            body_part = body if limit is None else body[:limit]
            try:
                for begin in range(0, len(body_part), CHUNK_BYTES):
                    chunk = body_part[begin : begin + CHUNK_BYTES]
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk) if manner.chunked else chunk)
                    asked.sent_bytes += len(chunk)
                if limit is not None and stalls:
                    index.over.wait()
                elif limit is None and manner.chunked:
                    self.wfile.write(b"0\r\n\r\n")
            except OSError:
                return  # the other side is gone

    return Handler
