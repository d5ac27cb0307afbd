"""Who may come in: keys, hosts, web pages, and where the server agrees to listen."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_server import START, LiveServer

from wayra.base.errors import InvalidParameter
from wayra.server.keys import api_key, keys_from_file
from wayra.server.settings import ServerSettings

KEY, OTHER_KEY = "sk-test-0123456789", "sk-other-987654321"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def guarded(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    keys = tmp_path_factory.mktemp("keys") / "keys.txt"
    keys.write_text(f"# ours\n{KEY}\n\n{OTHER_KEY}\n")
    args = ["--backend", "null", "--host", "0.0.0.0", "--api-key-file", str(keys), "--cors-origin", "https://app.test"]
    with LiveServer(str(smollm2_path), *args) as live:
        yield live


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer {OTHER_KEY}"},
        {"X_Api_Key": KEY},
        {"X_Api_Key": KEY, "Authorization": f"Bearer {KEY}"},
    ],
)
def test_either_header_opens_the_door(guarded: LiveServer, headers: dict[str, str]) -> None:
    assert guarded.post(CHAT, HELLO, **headers).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
        {"X_Api_Key": ""},
        {"X_Api_Key": KEY[:-1]},
        {"X_Api_Key": KEY, "Authorization": "Bearer wrong-wrong"},
    ],
)
def test_anything_else_does_not(guarded: LiveServer, headers: dict[str, str]) -> None:
    answer = guarded.post(CHAT, HELLO, **headers)
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/v1/models", "/nonesuch", "//", "/.", "//health", "/health/", "/%68ealth", "/health/../metrics"],
)
def test_every_other_path_needs_a_key_too(guarded: LiveServer, path: str) -> None:
    assert guarded.get(path).status == 401


def test_health_and_readiness_are_open(guarded: LiveServer) -> None:
    assert guarded.get("/health").status == 200
    assert guarded.get("/ready?x=1").status == 200


def test_the_page_is_open_because_it_asks_for_the_key_itself(guarded: LiveServer) -> None:
    for path in ("/", "/?from=elsewhere"):
        answer = guarded.get(path)
        assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert KEY.encode() not in answer.body
    assert guarded.post("/", HELLO).status == 405


def test_keys_are_not_in_the_log(guarded: LiveServer) -> None:
    guarded.post(CHAT, HELLO, X_Api_Key=KEY)
    guarded.post(CHAT, HELLO, X_Api_Key="wrong-key-123")
    assert guarded.settles(lambda: '"status": 401' in guarded.log())
    assert KEY not in guarded.log()
    assert "wrong-key-123" not in guarded.log()


def test_keys_do_not_share_cached_prefixes(guarded: LiveServer) -> None:
    prompt = {"prompt": list(range(100, 300)), "max_tokens": 1}

    def cached(key: str) -> int:
        usage = guarded.post("/v1/completions", prompt, X_Api_Key=key).json["usage"]
        return int(usage["prompt_tokens_details"]["cached_tokens"])

    assert [cached(KEY), cached(OTHER_KEY)] == [0, 0]
    assert cached(KEY) >= 160


def test_a_page_of_an_allowed_origin_may_read_and_no_other(guarded: LiveServer) -> None:
    key = {"X-Api-Key": KEY}
    allowed = guarded.ask("POST", CHAT, HELLO, {**key, "Origin": "https://app.test"})
    assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (200, "https://app.test")
    assert allowed.headers["vary"] == "Origin"
    for origin in ("https://evil.test", "http://app.test", "null", "https://app.test.evil.test"):
        refused = guarded.ask("POST", CHAT, HELLO, {**key, "Origin": origin})
        assert refused.status == 403
        assert "access-control-allow-origin" not in refused.headers
    preflight = guarded.ask("OPTIONS", CHAT, None, {"Origin": "https://app.test"})
    assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (204, "https://app.test")
    assert guarded.ask("OPTIONS", CHAT, None, {"Origin": "https://evil.test"}).status == 403


def test_an_allowed_page_may_send_the_headers_of_its_client_and_read_those_that_clients_need(
    guarded: LiveServer,
) -> None:
    def allowed(*asked: str) -> str:
        headers = {"Origin": "https://app.test", "Access-Control-Request-Method": "POST"}
        answer = guarded.ask("OPTIONS", CHAT, None, {**headers, "Access-Control-Request-Headers": ", ".join(asked)})
        assert answer.status == 204
        return answer.headers["access-control-allow-headers"]

    sent = ("authorization", "content-type", "x-stainless-os", "x-stainless-retry-count", "anthropic-version")
    assert allowed(*sent) == ", ".join(sent)
    for odd in ("x\tset-cookie:a=b", "a b", "x" * 65, ", ".join(["x"] * 65), "*"):
        assert allowed(odd).startswith("authorization, content-type")
    read = guarded.ask("GET", "/v1/models", None, {"X-Api-Key": KEY, "Origin": "https://app.test"})
    readable = read.headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "retry-after-ms"} <= set(readable)
    assert "access-control-expose-headers" not in guarded.get("/v1/models", X_Api_Key=KEY).headers


def test_without_a_key_only_this_machines_names_are_answered(server: LiveServer) -> None:
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:8000", "localhost."):
        assert server.ask("GET", "/ready", None, {"Host": host}).status == 200, host
    for host in ("evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "192.168.1.2", ""):
        assert server.ask("GET", "/ready", None, {"Host": host}).status == 421, host


def test_the_servers_own_pages_may_call_it_and_others_not(server: LiveServer) -> None:
    own = f"http://localhost:{server.port}"
    host = {"Host": f"localhost:{server.port}"}
    assert server.ask("POST", CHAT, HELLO, {**host, "Origin": own}).status == 200
    answer = server.ask("POST", CHAT, HELLO, {**host, "Origin": "http://evil.test"})
    assert answer.status == 403
    assert server.ask("OPTIONS", CHAT, None, host).status == 405


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.com", ""])
def test_listening_to_other_machines_without_a_key_is_refused(host: str) -> None:
    with pytest.raises(InvalidParameter, match="API key"):
        ServerSettings(host=host)
    ServerSettings(host=host, api_keys=(api_key(KEY),))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_listening_to_this_machine_needs_none(host: str) -> None:
    assert ServerSettings(host=host).is_loopback


def test_bad_settings_are_refused_without_naming_the_key() -> None:
    for keys in (("short",), ("with space in it",), ("x" * 2000,)):
        with pytest.raises(InvalidParameter) as caught:
            ServerSettings(api_keys=tuple(api_key(key) for key in keys))
        assert keys[0] not in str(caught.value)
    for origin in ("*", "app.test", "https://app.test/path"):
        with pytest.raises(InvalidParameter, match="origin"):
            ServerSettings(cors_origins=(origin,))


def test_key_files_that_hold_none_are_refused(tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text("# nothing\n\n")
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (empty, binary, tmp_path / "nonesuch", tmp_path):
        with pytest.raises(InvalidParameter, match="key file"):
            keys_from_file(path)


def run_serve(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", START, "serve", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_command_refuses_what_cannot_be_in_a_sentence(server: LiveServer, tmp_path: Path) -> None:
    taken = run_serve("--port", str(server.port))
    assert taken.returncode == 2
    assert f"cannot listen on 127.0.0.1:{server.port}" in taken.stderr
    public = run_serve("--host", "0.0.0.0")
    assert public.returncode == 2
    assert "API key" in public.stderr
    missing = run_serve(str(tmp_path / "nonesuch.gguf"), "--port", "0")
    assert missing.returncode == 1
    nowhere = run_serve("--host", "no.such.host.invalid", "--api-key", KEY)
    assert nowhere.returncode == 2
    for done in (taken, public, missing, nowhere):
        assert done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr


def test_the_log_is_one_json_object_a_line(server: LiveServer) -> None:
    server.get("/nonesuch")
    assert server.settles(lambda: "/nonesuch" in server.log())
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert all({"time", "event"} <= set(line) for line in lines)


def test_the_address_can_be_read_as_json(smollm2_path: Path) -> None:
    with LiveServer(str(smollm2_path), "--backend", "null", "--json") as live:
        name = str(smollm2_path)
        found = json.loads(live.greeting)
        assert found == {"url": live.url, "base_url": f"{live.url}/v1", "model": name, "models": [name]}


def test_a_hung_engine_is_unhealthy_and_does_not_keep_the_server_from_ending(smollm2_path: Path) -> None:
    prelude = """
from wayra.backends import null
from wayra.server import engine_thread, settings
import time
null.NullModel.step = lambda self, batch: time.sleep(1000)
engine_thread.CLOSE_S = 0.5
whole_init = settings.ServerSettings.__init__
settings.ServerSettings.__init__ = lambda self, **kw: whole_init(self, **{**kw, "health_s": 0.5})
"""
    with LiveServer(str(smollm2_path), "--backend", "null", "--drain-timeout", "0", prelude=prelude) as live:
        answer = live.get("/health")
        assert answer.status == 503
        assert "completed no step within 0.5 s" in answer.error["message"]
        assert live.stop() == 0
