"""`wayra run --url` and `wayra chat --url`: the verbs people know, on a model that a server has."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from live_server import START, LiveServer, is_idle

from wayra.cli.main import main
from wayra.engine.request import SamplingParams
from wayra.llm import LLM

GREEDY = SamplingParams(temperature=0.0, max_tokens=6)


class Printed(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Printed]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    monkeypatch.setenv("WAYRA_CACHE", str(tmp_path))
    monkeypatch.delenv("WAYRA_API_KEY", raising=False)

    def do(*args: str, stdin: str = "") -> Printed:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = main(args)
        printed = capsys.readouterr()
        return Printed(code, printed.out, printed.err)

    return do


@pytest.fixture(scope="module")
def remote(server: LiveServer) -> Iterator[LLM]:
    with LLM(url=server.url) as llm:
        yield llm


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_run_prints_the_servers_answer(call: Call, server: LiveServer, remote: LLM) -> None:
    expected = remote.chat(user("Hello there"), GREEDY).text
    found = call("run", "--url", server.url, "--max-tokens", "6", "Hello", "there")
    assert (found.code, found.out) == (0, expected + "\n")
    raw = call("run", "--url", server.url, "--raw", "--max-tokens", "6", "Once")
    assert raw.out == remote.generate("Once", GREEDY)[0].text + "\n"


def test_run_as_json_and_stats_speak_of_the_server(call: Call, server: LiveServer, remote: LLM) -> None:
    found = call("run", "--url", server.url, "--max-tokens", "6", "--json", "--stats", "Hello")
    result = json.loads(found.out)
    assert (result["model"], result["memory"], result["usage"]["completion_tokens"]) == (remote.name, None, 6)
    assert f"server       {server.url}/v1, {remote.name}" in found.err
    assert "tokens/s" in found.err
    assert "memory " not in found.err


def test_a_chat_remembers_what_was_said(call: Call, server: LiveServer, remote: LLM) -> None:
    talk: list[Any] = []
    answers: list[str] = []
    for text in ("Hi, I am Ana.", "What is my name?"):
        talk += user(text)
        answers.append(remote.chat(talk, GREEDY).text)
        talk.append({"role": "assistant", "content": answers[-1]})
    found = call("chat", "--url", server.url, "--max-tokens", "6", "--json", stdin="Hi, I am Ana.\nWhat is my name?\n")
    assert [json.loads(line)["text"] for line in found.out.splitlines()] == answers


def test_a_chat_that_outgrows_the_servers_context_leaves_out_its_oldest_turns(call: Call, smollm2_path: Path) -> None:
    with LiveServer(str(smollm2_path), "--backend", "null", "--context", "128") as small:
        lines = "".join(f"message number {i} of a long conversation\n" for i in range(12))
        found = call("chat", "--url", small.url, "--max-tokens", "16", "--json", stdin=lines)
    assert found.code == 0
    assert len(found.out.splitlines()) == 12
    assert "outgrown the context of 128 tokens" in found.err


def test_ctrl_c_ends_the_answer_here_and_on_the_server(server: LiveServer) -> None:
    command = [sys.executable, "-c", START, "run", "--url", server.url, "--raw", "--max-tokens", "4000", "Once"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert server.settles(lambda: is_idle(server))


def test_the_key_comes_from_a_file_or_the_environment(
    call: Call, smollm2_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("# of this server\nsecret-key requests=100\n")
    with LiveServer(str(smollm2_path), "--backend", "null", "--context", "256", "--api-key-file", str(keys)) as guarded:
        ask = ("run", "--url", guarded.url, "--max-tokens", "6", "Hello")
        refused = call(*ask)
        assert refused.code == 1
        assert "refuses access" in refused.err
        assert call(*ask, "--api-key-file", str(keys)).code == 0
        monkeypatch.setenv("WAYRA_API_KEY", "secret-key")
        assert call(*ask).code == 0


@pytest.mark.parametrize(
    ("args", "said", "code"),
    [
        (["--url", "URL", "--threads", "2"], "--threads says how to load a model", 2),
        (["--url", "URL", "--backend", "null"], "--backend says how to load a model", 2),
        (["--url", "URL", "-m", "gpt-9"], "there is no model 'gpt-9'", 1),
        (["--url", "nonsense"], "no URL", 2),
        (["--url", "http://127.0.0.1:1"], "no server answers at http://127.0.0.1:1/v1", 1),
        (["--api-key-file", "x"], "name it with --url", 2),
        (["--url", "URL", "--api-key-file", "/nowhere/keys"], "cannot be read", 2),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    call: Call, server: LiveServer, args: list[str], said: str, code: int
) -> None:
    found = call("run", *[server.url if arg == "URL" else arg for arg in args], "Hello")
    assert said in found.err
    assert found.code == code
    assert "Traceback" not in found.err


def test_a_positional_name_is_one_of_the_servers(call: Call, server: LiveServer, remote: LLM) -> None:
    assert call("chat", remote.name, "--url", server.url, "--max-tokens", "6", stdin="Hi\n").code == 0
    found = call("chat", "smollm2-not-here", "--url", server.url, stdin="Hi\n")
    assert found.code == 1
    assert remote.name in found.err
