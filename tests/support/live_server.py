"""A real `wayra serve` in a process of its own, and the few requests tests send it without a client library."""

import http.client
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

START = "from wayra.cli.entry import main; import sys; sys.exit(main())"
WAIT_S = 120


class LiveServer:
    """prelude: Python that runs in the server's process before it starts, to break what the test is about.

    headers: sent with every request of `ask` that does not say otherwise. tls: how to connect to an encrypted one.
    """

    def __init__(
        self,
        *args: str,
        prelude: str = "",
        headers: dict[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.headers = headers or {}
        self.tls = tls
        self.log_file = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by __exit__)
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{prelude}\n{START}", "serve", "--port", "0", *args],
            stdout=subprocess.PIPE,
            stderr=self.log_file,
            text=True,
            # Prompts computed by earlier runs of the tests must not shorten those of this one.
            env={**os.environ, "PYTHONUNBUFFERED": "1", "WAYRA_PREFIX_DISK_MB": "0"},
        )
        assert self.process.stdout is not None
        self.greeting = self.process.stdout.readline()
        scheme = "http" if tls is None else "https"
        found = re.search(rf"{scheme}://([\d.]+):(\d+)", self.greeting)
        assert found, f"the server did not start: {self.greeting!r} {self.log()!r}"
        self.host, self.port = found[1], int(found[2])
        self.url = f"{scheme}://{self.host}:{self.port}"

    def log(self) -> str:
        """The whole lines so far: of one that is being written a part may be seen."""
        # The server writes where this file's position is: reading must not move it.
        handle = self.log_file.fileno()
        written = os.pread(handle, os.fstat(handle).st_size, 0)
        return written[: written.rfind(b"\n") + 1].decode()

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """The exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        code = self.process.wait(WAIT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.stop()
        self.log_file.close()

    def ask(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> "Answer":
        """One request on a connection of its own. bytes are sent as they are, anything else as JSON."""
        if self.tls is None:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=WAIT_S)
        else:
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=WAIT_S, context=self.tls)
        try:
            sent = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            kind = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, sent, {**kind, **self.headers, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def post(self, path: str, body: object, **headers: str) -> "Answer":
        return self.ask("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})

    def get(self, path: str, **headers: str) -> "Answer":
        return self.ask("GET", path, None, {name.replace("_", "-"): value for name, value in headers.items()})

    def connect(self) -> socket.socket:
        """A socket of which nothing is read or written by itself, but the handshake where there is one."""
        sock = self.connect_bare()
        return sock if self.tls is None else self.tls.wrap_socket(sock, server_hostname=self.host)

    def connect_bare(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=WAIT_S)

    def begin_chat(self, **fields: Any) -> socket.socket:
        """A streamed chat of which the first text has come; the chunk with the role, and an empty text, is not it."""
        body = json.dumps(
            {"messages": [{"role": "user", "content": "Hi"}], "stream": True, "ignore_eos": True, **fields}
        ).encode()
        sock = self.connect()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
        sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        seen = b""
        while not re.search(rb'"content":"[^"]', seen):
            part = sock.recv(65536)
            assert part, f"the stream ended: {seen!r}"
            seen += part
        return sock

    def metric(self, name: str) -> float:
        """The sum over all labels of a metric."""
        lines = self.get("/metrics").body.decode().splitlines()
        values = [float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{re.escape(name)}[{{ ]", line)]
        assert values, f"there is no metric {name}"
        return sum(values)

    def settles(self, holds: Callable[[], bool], limit_s: float = 20) -> bool:
        """Whether something becomes true within a while."""
        deadline = time.monotonic() + limit_s
        while not holds():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


class Answer:
    """A whole response."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """The error, whose shape is checked."""
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        assert error["message"]
        return error

    @property
    def events(self) -> list[Any]:
        """The data of a stream of events, the last of which must be [DONE]."""
        parts = self.body.decode().split("\n\n")
        assert parts[-1] == "", parts[-1]
        assert parts[-2] == "data: [DONE]", parts[-2]
        return [json.loads(part.removeprefix("data: ")) for part in parts[:-2]]


def is_idle(server: LiveServer) -> bool:
    return server.metric("vllm:num_requests_running") == 0 == server.metric("vllm:kv_cache_usage_perc")


def hang_up(sock: socket.socket) -> None:
    """Without a goodbye."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of calls made at the same time."""
    results: list[Any] = [None] * len(calls)

    def run(index: int) -> None:
        results[index] = calls[index]()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    return results


def read_to_end(sock: socket.socket) -> bytes:
    """Everything until the other side closes; what came before a reset counts."""
    parts: list[bytes] = []
    try:
        while part := sock.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)
