"""The server over TLS: the clients people use, and what it grants those who mean no good, as without it."""

import json
import signal
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from certificates import Certificates
from live_server import START, LiveServer, hang_up, is_idle, read_to_end
from openai import OpenAI

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, "temperature": 0}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secure(smollm2_path: Path, made: Certificates) -> Iterator[LiveServer]:
    args = ["--tls-cert", str(made.cert), "--tls-key", str(made.key), "--context", "4096", "--max-connections", "40"]
    args += ["--header-timeout", "0.5", "--stall-timeout", "1"]
    with LiveServer(str(smollm2_path), "--backend", "null", *args, tls=made.client()) as live:
        yield live


def test_the_openai_client_that_trusts_the_ca_streams(secure: LiveServer, made: Certificates) -> None:
    with (
        httpx.Client(verify=made.client()) as http,
        OpenAI(api_key="none", base_url=f"{secure.url}/v1", http_client=http) as client,
    ):
        stream = client.chat.completions.create(
            model="", messages=[{"role": "user", "content": "Hi"}], max_tokens=8, stream=True
        )
        reasons = [chunk.choices[0].finish_reason for chunk in stream if chunk.choices]
    assert reasons[-1] in ("stop", "length")
    assert len(reasons) > 2


def test_a_page_of_its_own_origin_is_let_in_over_https_only(secure: LiveServer) -> None:
    own, other = f"https://127.0.0.1:{secure.port}", f"http://127.0.0.1:{secure.port}"
    assert secure.get("/ready", Origin=own).status == 200
    assert secure.get("/ready", Origin=other).status == 403


def test_a_client_that_does_not_know_the_ca_is_not_talked_into_it(secure: LiveServer) -> None:
    with secure.connect_bare() as sock, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(sock, server_hostname=secure.host)
    assert secure.get("/ready").status == 200


def test_old_versions_of_tls_are_refused(secure: LiveServer) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with secure.connect_bare() as sock, pytest.raises(ssl.SSLError, match=r"(?i)protocol"):
        context.wrap_socket(sock)
    assert secure.get("/ready").status == 200


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x00" * 4096, b"\x16\x03\x01\xff\xff"]
)
def test_a_client_without_tls_is_closed_and_the_log_has_no_traceback(secure: LiveServer, sent: bytes) -> None:
    with secure.connect_bare() as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        assert b"HTTP" not in read_to_end(sock)
    assert secure.get("/ready").status == 200
    assert "Traceback" not in secure.log()
    assert "Task exception" not in secure.log()


def test_clients_in_the_middle_of_a_handshake_have_a_deadline_and_are_counted(secure: LiveServer) -> None:
    socks = [secure.connect_bare() for _ in range(60)]
    for sock in socks:
        sock.settimeout(60)
    assert sum(read_to_end(sock) == b"" for sock in socks) == 60
    for sock in socks:
        sock.close()
    assert secure.post(CHAT, HELLO).status == 200


def test_slow_headers_meet_their_deadline(secure: LiveServer) -> None:
    with secure.connect() as sock:
        sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: loc")
        assert read_to_end(sock).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("leave", [hang_up, socket.socket.close], ids=["reset", "close"])
def test_a_client_that_leaves_frees_its_blocks(secure: LiveServer, leave: object) -> None:
    sock = secure.begin_chat(max_tokens=4000)
    assert secure.metric("vllm:num_requests_running") == 1
    assert callable(leave)
    leave(sock)
    assert secure.settles(lambda: is_idle(secure))


def test_a_client_that_takes_nothing_of_its_answer_is_given_up(secure: LiveServer, made: Certificates) -> None:
    bare = socket.socket()
    bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    bare.connect((secure.host, secure.port))
    aborted = secure.metric("vllm:request_success_total")
    with made.client().wrap_socket(bare, server_hostname=secure.host) as sock:
        body = json.dumps(
            {**HELLO, "max_tokens": 4000, "ignore_eos": True, "stream": True, "logprobs": True, "top_logprobs": 20}
        ).encode()
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        sock.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        assert secure.settles(lambda: secure.metric("vllm:request_success_total") == aborted + 1, 60)
        assert secure.settles(lambda: is_idle(secure), 60)
        assert b"[DONE]" not in read_to_end(sock)


def test_a_renewed_certificate_is_used_without_a_restart(smollm2_path: Path, tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    args = ["--tls-cert", str(made.cert), "--tls-key", str(made.key), "--drain-timeout", "3600"]
    with LiveServer(str(smollm2_path), "--backend", "null", *args, tls=made.client()) as live:

        def seen() -> str:
            return ssl.get_server_certificate((live.host, live.port), ca_certs=str(made.ca))

        first = seen()
        assert first.split() == made.cert.read_text().split()
        kept = live.connect()
        made.renew()
        assert live.settles(lambda: seen() != first)
        assert seen().split() == made.cert.read_text().split()
        assert "certificate_changed" in live.log()
        # A client that keeps its connection and reads nothing cannot keep the server from ending.
        live.process.send_signal(signal.SIGTERM)
        assert live.process.wait(60) == 0
        kept.close()


def test_only_clients_with_a_certificate_are_let_in_where_one_is_asked_for(
    smollm2_path: Path, tmp_path: Path, made: Certificates
) -> None:
    args = ["--tls-cert", str(made.cert), "--tls-key", str(made.key), "--tls-client-ca", str(made.ca)]
    friend, stranger = made.issue("friend"), Certificates(tmp_path).issue("stranger")
    with LiveServer(str(smollm2_path), "--backend", "null", *args, tls=made.client(friend)) as live:
        assert live.post(CHAT, HELLO).status == 200
        for context in (made.client(), made.client(stranger)):
            live.tls = context
            with pytest.raises((ssl.SSLError, ConnectionError)):
                live.get("/ready")
        live.tls = made.client(friend)
        assert live.get("/ready").status == 200
        assert "Traceback" not in live.log()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--tls-cert", "nonesuch.pem"], "the certificate nonesuch.pem cannot be read: No such file"),
        (["--tls-key", "key.pem"], "--tls-key and --tls-client-ca belong to --tls-cert"),
    ],
)
def test_the_command_refuses_before_it_loads_a_model(args: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START, "serve", "/nonesuch.gguf", "--port", "0", *args],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
