"""wayra bench, eval and compare of servers that are dead, silent, broken or strict: recorded and explained."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fake_openai import Script, fake_server

from wayra.cli.main import main

Call = Callable[..., tuple[int, str, str]]
ANSWER = Script(events=((0.0, "The answer is "), (0.0, "7")))
BREAKS = {
    "stall": "sent nothing for 0.5 s",
    "cut": "closed",
    "rubbish": "this is no JSON",
    "not_http": "HTTP",
    "bad_chunk": "chunk",
    "error_event": "out of memory",
}
KINDS = {"stall": "stall", "cut": "cut", "rubbish": "rubbish", "not_http": "protocol", "bad_chunk": "protocol",
         "error_event": "server"}  # fmt: skip
DEAD = "http://127.0.0.1:9"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("WAYRA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("WAYRA_API_KEY", "WAYRA_TARGET_KEY"):
        monkeypatch.delenv(name, raising=False)

    def run(*args: str) -> tuple[int, str, str]:
        code = main([*args])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


def patience(breaks: str) -> tuple[str, str]:
    """Only a server that will stop talking is not waited for: a busy machine is no silent server."""
    return ("--stall", "0.5" if breaks == "stall" else "20")


def bench(url: str, breaks: str = "") -> tuple[str, ...]:
    given = ("--requests", "4", "--warmup", "0", "--concurrency", "2")
    return ("bench", url, *given, *patience(breaks), "--model", "fake")


def asked(url: str, breaks: str = "") -> tuple[str, ...]:
    return ("eval", url, "--suite", "task:maths", "--limit", "8", "--concurrency", "1", *patience(breaks))


def compared(model: Path, url: str, breaks: str = "") -> tuple[str, ...]:
    given = ("--backend", "null", "--context", "1024", "--suite", "task:maths", "--rounds", "1", "--concurrency", "1")
    answers = ("--limit", "2", "--max-tokens", "8")
    return ("compare", str(model), url, *given, *answers, *patience(breaks), "--model", "B=fake")


@pytest.mark.parametrize("breaks", [name for name in BREAKS if name != "not_http"])
def test_a_bench_counts_a_servers_failures_by_kind_in_its_own_words(call: Call, breaks: str) -> None:
    # The two first questions are no measured ones.
    with fake_server(replace(ANSWER, breaks=breaks, spared=2)) as server:
        code, out, err = call(*bench(server.url, breaks), "--json")
        assert code == 0, err
        figures = {one["name"]: one for one in json.loads(out)["figures"]}
        failed = figures[f"failed: {KINDS[breaks]}"]
        assert (figures["requests"]["value"], figures["failed"]["value"], failed["value"]) == (0, 4, 4)
        assert BREAKS[breaks] in failed["why"]
        code, out, err = call("runs", "show", "latest")
    assert code == 0, err
    assert BREAKS[breaks] in out


@pytest.mark.parametrize("breaks", list(BREAKS))
def test_an_eval_of_a_server_that_always_fails_ends_with_its_first_words_and_the_run_goes_on(
    call: Call, breaks: str
) -> None:
    with fake_server(replace(ANSWER, breaks=breaks)) as server:
        code, _, err = call(*asked(server.url, breaks))
        assert code == 1
        assert BREAKS[breaks] in err
        assert "5 answers in a row failed" in err
        assert "go on with `wayra eval --resume" in err
        assert len(server.bodies) == 5
        server.script = ANSWER
        code, out, err = call("eval", "--resume", "latest", "--json")
        assert code == 0, err
        assert len(server.bodies) == 13
    figures = {one["name"]: one["value"] for one in json.loads(out)["figures"]}
    assert figures["items"] == 8


@pytest.mark.parametrize("breaks", list(BREAKS))
def test_a_comparison_asks_a_server_before_it_measures_anything(call: Call, smollm2_path: Path, breaks: str) -> None:
    with fake_server(replace(ANSWER, breaks=breaks)) as server:
        code, _, err = call(*compared(smollm2_path, server.url, breaks))
        assert code == 1
        assert "B does not answer" in err
        assert BREAKS[breaks] in err
        assert "go on with `wayra compare --resume" in err
        assert len(server.bodies) == 1


def test_a_comparison_goes_on_where_a_server_broke_it_off(call: Call, smollm2_path: Path) -> None:
    # The greeting, two questions of calibration and a warm-up go well, then nothing does.
    with fake_server(replace(ANSWER, breaks="cut", spared=5)) as server:
        code, _, err = call(*compared(smollm2_path, server.url))
        assert code == 1
        assert "B answered none of" in err
        server.script = ANSWER
        code, out, err = call("compare", "--resume", "latest", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["names"]["B"] == "fake"
    assert found["tested"][0]["count"] == 2


def test_a_comparison_says_what_failed_now_and_then_and_gives_no_speed_for_it(call: Call, smollm2_path: Path) -> None:
    with fake_server(replace(ANSWER, breaks="cut", every=3, spared=3)) as server:
        code, out, err = call(*compared(smollm2_path, server.url), "--json")
    assert code == 0, err
    notes = json.loads(out)["notes"]
    words = "the server closed the connection in the middle of its answer"
    assert any("timed requests failed (the first: " + words in note for note in notes)
    assert any("left out. The first: " in note and words in note for note in notes)


def test_nobody_there_a_wrong_key_and_a_list_that_is_none_are_told_at_once(call: Call, smollm2_path: Path) -> None:
    for args in (bench(DEAD), asked(DEAD), compared(smollm2_path, DEAD)):
        code, _, err = call(*args)
        assert code == 1
        assert "127.0.0.1:9" in err
        assert "Connect call failed" in err
    with fake_server(replace(ANSWER, key="right")) as server:
        for args in (bench(server.url), asked(server.url), compared(smollm2_path, server.url)):
            code, _, err = call(*args)
            assert code == 1
            assert "wrong key" in err
        assert len(server.bodies) == 1 + 1 + 1
    with fake_server(replace(ANSWER, models=(200, "<html>"))) as server:
        for args in (bench(server.url)[:-2], asked(server.url), compared(smollm2_path, server.url)[:-2]):
            code, _, err = call(*args)
            assert code == 1
            assert "/models" in err
            assert "what the API says" in err


def test_a_suite_without_questions_here_is_left_out_and_the_others_are_asked(call: Call, smollm2_path: Path) -> None:
    with fake_server(ANSWER) as server:
        given = ("--limit", "2", "--json")
        code, out, err = call("eval", server.url, "--suite", "task:maths,arc_easy", *given)
        assert code == 1
        assert "1 of the suites could not be asked" in err
        assert "arc_easy needs the hub, and HF_HUB_OFFLINE forbids it: download allenai/ai2_arc elsewhere" in err
        found = json.loads(out)
        assert {one["group"] for one in found["figures"]} >= {"task:maths"}
        assert "arc_easy" in found["facts"]["left_out"]
        code, out, err = call("eval", server.url, "--suite", "arc_easy", *given)
        assert (code, out) == (1, "")
        assert "give its files with --data" in err
        code, out, err = call(*compared(smollm2_path, server.url), "--suite", "task:maths,arc_easy", "--json")
    assert code == 0, err
    assert any("arc_easy needs the hub" in note for note in json.loads(out)["notes"])


def test_a_malformed_line_is_named_by_its_number(call: Call, tmp_path: Path) -> None:
    data = tmp_path / "own.jsonl"
    row = json.dumps({"question": "What is 3 + 4?", "answer": "Easy.\n#### 7"})
    data.write_text(f'{row}\n{{"question": "no\n{row.replace("3", "2")}\n{{"question": 5}}\n{row.replace("4", "1")}\n')
    with fake_server(ANSWER) as server:
        code, out, err = call("eval", server.url, "--suite", "gsm8k", "--data", str(data))
    assert code == 0, err
    assert "own.jsonl, line 2: is no JSON" in out
    assert "own.jsonl, line 4" in out
    data.write_text("{\n" * 3 + row)
    code, _, err = call("eval", DEAD, "--suite", "gsm8k", "--data", str(data))
    assert code == 1
    assert "3 of 4 rows" in err
    assert "own.jsonl, line 1" in err
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"prompt": "a", "max_tokens": 2}\n{"prompt": 7}\n')
    code, _, err = call("bench", DEAD, "--trace", str(trace))
    assert code == 2
    assert "line 2" in err
