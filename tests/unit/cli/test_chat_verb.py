"""`wayra chat` through a pipe, on the backend of predictable tokens and the real tokenizer."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from wayra.base.settings import Settings
from wayra.cli.main import main
from wayra.engine.request import SamplingParams
from wayra.llm import LLM

PARAMS = SamplingParams(temperature=0.0, max_tokens=6)


class Printed(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def answers(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Talk = Callable[..., Printed]


@pytest.fixture
def talk(
    tmp_path_factory: pytest.TempPathFactory,
    smollm2_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Talk:
    """talk("Hi", "/quit", options=["--json"]) pipes lines into a chat."""
    monkeypatch.setenv("WAYRA_CACHE", str(tmp_path_factory.getbasetemp() / "cli-cache"))

    def do(*lines: str, options: list[str] | None = None) -> Printed:
        content = "".join(line + "\n" for line in lines).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        command = ["chat", str(smollm2_path), "--backend", "null", "--max-tokens", "6", *(options or [])]
        code = main(command)
        printed = capsys.readouterr()
        return Printed(code, printed.out, printed.err)

    return do


@pytest.fixture
def llm(smollm2_path: Path, tmp_path: Path) -> Iterator[LLM]:
    with LLM(smollm2_path, settings=Settings(cache_dir=tmp_path), backend="null") as llm:
        yield llm


def answers_of(llm: LLM, *questions: str, system: str | None = None) -> list[str]:
    messages = [{"role": "system", "content": system}] if system else []
    found: list[str] = []
    for question in questions:
        messages.append({"role": "user", "content": question})
        found.append(llm.chat(messages, PARAMS).text)
        messages.append({"role": "assistant", "content": found[-1]})
    return found


def test_each_line_is_answered_in_the_light_of_those_before(talk: Talk, llm: LLM) -> None:
    first, second = answers_of(llm, "Hi, I am Ana.", "What is my name?")
    printed = talk("Hi, I am Ana.", "", "What is my name?")
    assert (printed.code, printed.out) == (0, f"{first}\n{second}\n")


def test_json_gives_one_object_an_answer_and_the_prefix_cache_serves_the_second(talk: Talk, llm: LLM) -> None:
    printed = talk("Hi, I am Ana.", "What is my name?", options=["--json"])
    assert [a["text"] for a in printed.answers] == answers_of(llm, "Hi, I am Ana.", "What is my name?")
    assert [a["usage"]["cached_tokens"] for a in printed.answers] == [0, 32]
    assert printed.err == ""


def test_a_message_may_have_several_lines(talk: Talk, llm: LLM) -> None:
    assert talk("one\\", "two").out == answers_of(llm, "one\ntwo")[0] + "\n"
    assert talk('"""', "one", "", "two", '"""').out == answers_of(llm, "one\n\ntwo")[0] + "\n"


def test_reset_and_system_change_what_is_sent(talk: Talk, llm: LLM) -> None:
    printed = talk("Hi", "/reset", "/system Be brief.", "Hi", options=["--json"])
    assert [a["text"] for a in printed.answers] == [
        *answers_of(llm, "Hi"),
        *answers_of(llm, "Hi", system="Be brief."),
    ]
    assert "starts afresh" in printed.err
    assert "Be brief." in printed.err


def test_a_saved_chat_goes_on_where_it_ended(talk: Talk, llm: LLM, tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    talk("Hi, I am Ana.", f"/save {path}")
    expected = answers_of(llm, "Hi, I am Ana.", "Who am I?")[1]
    assert talk("Who am I?", options=["--load", str(path)]).out == expected + "\n"
    assert talk(f"/load {path}", "Who am I?").out == expected + "\n"


def test_help_lists_the_commands_and_quit_leaves(talk: Talk) -> None:
    printed = talk("/help", "/quit", "never answered")
    assert (printed.code, printed.out) == (0, "")
    assert [line.split()[0] for line in printed.err.splitlines()[:6]] == [
        "/reset",
        "/system",
        "/save",
        "/load",
        "/stats",
        "/quit",
    ]


def test_stats_are_those_of_the_last_answer(talk: Talk) -> None:
    printed = talk("/stats", "Hi", "/stats")
    assert printed.err.startswith("[no answer yet]\n")
    assert "answer       6 tokens" in printed.err


def test_a_message_may_begin_with_a_slash(talk: Talk, llm: LLM) -> None:
    assert talk("//etc is what?").out == answers_of(llm, "/etc is what?")[0] + "\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/nonsense", "there is no command '/nonsense'"),
        ("/save", "/save needs a file"),
        ("/load /nowhere.json", "/nowhere.json cannot be read"),
        ("word " * 9000, "the context has 8,192"),
    ],
)
def test_through_a_pipe_the_first_error_ends_the_chat_in_one_sentence(talk: Talk, line: str, said: str) -> None:
    printed = talk(line, "Hi")
    assert (printed.code, printed.out) == (1, "")
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1


def test_a_long_chat_says_which_turns_are_no_longer_sent(talk: Talk) -> None:
    questions = [f"question {n} " + "and so on " * 20 for n in range(8)]
    printed = talk(*questions, options=["--context", "400", "--json"])
    assert printed.code == 0
    assert len(printed.answers) == 8
    assert "outgrown the context of 400 tokens" in printed.err
    assert max(a["usage"]["prompt_tokens"] for a in printed.answers) <= 400


def test_input_that_is_not_text_is_named_by_its_line(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, smollm2_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n")))
    assert main(["chat", str(smollm2_path), "--backend", "null"]) == 1
    assert "line 1 of standard input is not UTF-8 text" in capsys.readouterr().err
