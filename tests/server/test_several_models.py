"""`wayra serve --model a --model b`: several models within a memory budget, swapped while requests come."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from live_server import Answer, LiveServer, together
from prometheus_client.parser import text_string_to_metric_families

from wayra.cli.main import main

TWO_OF_THREE = ("--backend", "null", "--context", "256", "--max-batch", "4", "--memory-budget", "0.2")
QUICK_RETRY = "from wayra.server import catalog; catalog.RETRY_LOAD_S = 0.2"


@pytest.fixture(scope="module")
def paths(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three names of the same model, so that all three give the same answers."""
    folder = tmp_path_factory.mktemp("models")
    for name in "abc":
        (folder / f"{name}.gguf").symlink_to(smollm2_path)
    return [str(folder / f"{name}.gguf") for name in "abc"]


def served(paths: Sequence[str]) -> list[str]:
    return [word for path in paths for word in ("--model", path)]


@pytest.fixture(scope="module")
def swapping(paths: list[str]) -> Iterator[LiveServer]:
    """Room for two of three."""
    with LiveServer(*served(paths), *TWO_OF_THREE) as live:
        yield live


def complete(server: LiveServer, model: str, prompt: Sequence[int] = (5, 6), tokens: int = 8) -> Answer:
    body = {"model": model, "prompt": list(prompt), "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    return server.post("/v1/completions", body)


def running(server: LiveServer) -> list[str]:
    return [model["name"] for model in server.get("/api/ps").json["models"]]


def test_all_are_listed_and_those_that_fit_are_loaded(swapping: LiveServer, paths: list[str]) -> None:
    assert swapping.greeting.startswith(f"{paths[0]}, {paths[1]}, {paths[2]} are served at")
    names = [card["id"] for card in swapping.get("/v1/models").json["data"]]
    assert [name for name in names if name.endswith(".gguf")] == paths
    assert {card["max_model_len"] for card in swapping.get("/v1/models").json["data"]} == {256}
    assert {model["name"] for model in swapping.get("/api/tags").json["models"]} == set(names)
    assert running(swapping) == paths[:2]
    assert swapping.post("/api/show", {"model": paths[2]}).json["details"]["family"] == "llama"
    assert running(swapping) == paths[:2]
    assert swapping.get("/health").status == 200
    missing = complete(swapping, "nobody")
    assert missing.status == 404
    assert all(path in missing.error["message"] for path in paths)


def test_without_a_name_the_first_model_answers(swapping: LiveServer, paths: list[str]) -> None:
    body = {"prompt": [5, 6], "max_tokens": 2}
    assert swapping.post("/v1/completions", body).json["model"] == paths[0]


def test_a_model_that_is_not_loaded_is_loaded_and_the_least_recently_used_one_makes_room(
    swapping: LiveServer, paths: list[str]
) -> None:
    for index in (0, 1, 2):
        assert complete(swapping, paths[index]).json["model"] == paths[index]
    assert running(swapping) == paths[1:]
    events = [json.loads(line) for line in swapping.log().splitlines() if line.startswith("{")]
    assert [e["model"] for e in events if e["event"] == "model_unloaded"][-1] == paths[0]


def test_no_request_is_lost_when_three_models_share_the_room_of_two(swapping: LiveServer, paths: list[str]) -> None:
    prompts = [(7 + i % 5, 9) for i in range(36)]
    expected = {prompt: complete(swapping, paths[0], prompt, 24).json["choices"][0]["text"] for prompt in prompts}
    loads = swapping.metric("wayra:model_loads_total")
    most_loaded, is_over = [0], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.02):
            most_loaded[0] = max(most_loaded[0], int(swapping.metric("wayra:model_loaded")))

    watcher = threading.Thread(target=watch)
    watcher.start()
    calls: list[Callable[[], Answer]] = [
        lambda i=i, prompt=prompt: complete(swapping, paths[i % 3], prompt, 24) for i, prompt in enumerate(prompts)
    ]
    answers = together(calls)
    is_over.set()
    watcher.join()
    assert [answer.status for answer in answers] == [200] * 36
    assert [answer.json["choices"][0]["text"] for answer in answers] == [expected[prompt] for prompt in prompts]
    assert [answer.json["model"] for answer in answers] == [paths[i % 3] for i in range(36)]
    assert swapping.metric("wayra:model_loads_total") > loads
    assert most_loaded[0] <= 2
    assert swapping.metric("vllm:num_requests_running") == 0


def test_streams_are_finished_before_their_model_goes(swapping: LiveServer, paths: list[str]) -> None:
    body = {"model": paths[0], "prompt": [3], "max_tokens": 200, "stream": True, "ignore_eos": True}
    answers = together(
        [
            lambda: swapping.post("/v1/completions", body),
            lambda: complete(swapping, paths[1]),
            lambda: complete(swapping, paths[2]),
            lambda: complete(swapping, paths[1]),
        ]
    )
    assert [answer.status for answer in answers] == [200] * 4
    assert answers[0].events[-1]["choices"][0]["finish_reason"] == "length"


def test_each_metric_stands_once_with_the_samples_of_all_models(swapping: LiveServer, paths: list[str]) -> None:
    text = swapping.get("/metrics").body.decode()
    names = [line for line in text.splitlines() if line.startswith("# TYPE ")]
    assert len(names) == len(set(names))
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {s.labels["model_name"] for s in families["wayra:model_loaded"].samples} == set(paths)
    assert {s.labels["model_name"] for s in families["vllm:generation_tokens"].samples} == set(paths)
    by_model = {s.labels["model_name"]: s.value for s in families["vllm:generation_tokens"].samples}
    assert all(by_model[path] > 0 for path in paths)


def test_keep_alive_says_how_long_a_model_stays(swapping: LiveServer, paths: list[str]) -> None:
    ask = {"model": paths[0], "prompt": "Hi", "raw": True, "stream": False, "options": {"num_predict": 4}}
    assert swapping.post("/api/generate", ask).json["done"]
    assert paths[0] in running(swapping)
    assert swapping.post("/api/generate", {**ask, "keep_alive": 0}).json["done"]
    assert swapping.settles(lambda: paths[0] not in running(swapping))
    assert swapping.post("/api/generate", {**ask, "keep_alive": "300ms"}).json["done"]
    assert swapping.settles(lambda: paths[0] not in running(swapping))
    loaded = swapping.post("/api/generate", {"model": paths[0], "keep_alive": "-1m", "stream": False}).json
    assert (loaded["done_reason"], paths[0] in running(swapping)) == ("load", True)
    gone = swapping.post("/api/chat", {"model": paths[0], "messages": [], "keep_alive": 0, "stream": False}).json
    assert (gone["done_reason"], gone["message"]["content"]) == ("unload", "")
    assert swapping.settles(lambda: paths[0] not in running(swapping))
    wrong = swapping.post("/api/generate", {**ask, "keep_alive": "soon"})
    assert wrong.status == 400
    assert "keep_alive" in wrong.json["error"]


def test_a_model_that_cannot_be_loaded_fails_alone(smollm2_path: Path, paths: list[str], tmp_path: Path) -> None:
    torn = tmp_path / "torn.gguf"
    shutil.copyfile(smollm2_path, torn)
    with LiveServer(*served([*paths[:2], str(torn)]), *TWO_OF_THREE, prelude=QUICK_RETRY) as live:
        whole = torn.stat().st_size
        os.truncate(torn, 1000)
        failed = complete(live, str(torn))
        assert failed.status == 500
        assert failed.error["code"] == "model_load_failed"
        assert "torn.gguf" in failed.error["message"]
        assert complete(live, paths[0]).status == 200
        assert live.get("/health").status == 200
        assert live.metric("wayra:model_load_failures_total") == 1
        shutil.copyfile(smollm2_path, torn)
        assert torn.stat().st_size == whole
        assert live.settles(lambda: complete(live, str(torn)).status == 200)
        assert live.stop() == 0


def test_a_signal_ends_a_server_that_is_just_loading(paths: list[str]) -> None:
    prelude = """
import time
from wayra.server import load
whole = load.load
def slow(name, *rest):
    if name.endswith("c.gguf"):
        time.sleep(1)
    return whole(name, *rest)
load.load = slow
"""
    with LiveServer(*served(paths), *TWO_OF_THREE, prelude=prelude) as live:
        answers: list[Answer] = []
        asking = threading.Thread(target=lambda: answers.append(complete(live, paths[2])))
        asking.start()
        assert live.settles(lambda: "model_unloaded" in live.log())
        assert complete(live, paths[1]).status == 200
        assert live.stop() == 0
        asking.join(60)
    assert [answer.status for answer in answers] == [200]


def test_who_waits_for_a_model_counts_against_the_limits_of_the_key(paths: list[str], tmp_path: Path) -> None:
    gate, keys = tmp_path / "go", tmp_path / "keys"
    keys.write_text("sk-one-at-a-time concurrent=1\nsk-without-limits\n")
    prelude = f"""
import time
from pathlib import Path
from wayra.server import load
whole = load.load
def slow(name, *rest):
    while name.endswith("c.gguf") and not Path({str(gate)!r}).exists():
        time.sleep(0.01)
    return whole(name, *rest)
load.load = slow
"""
    body = {"model": paths[2], "prompt": [5, 6], "max_tokens": 2}
    with LiveServer(*served(paths), *TWO_OF_THREE, "--api-key-file", str(keys), prelude=prelude) as live:

        def ask(key: str) -> Answer:
            return live.post("/v1/completions", body, X_Api_Key=key)

        answers: list[Answer] = []
        asking = threading.Thread(target=lambda: answers.append(ask("sk-one-at-a-time")))
        asking.start()
        assert live.settles(lambda: "model_unloaded" in live.log())
        refused = ask("sk-one-at-a-time")
        assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
        other = live.post("/v1/completions", {**body, "model": paths[1]}, X_Api_Key="sk-without-limits")
        assert other.status == 200
        gate.touch()
        asking.join(60)
        assert [answer.status for answer in answers] == [200]
        assert ask("sk-one-at-a-time").status == 200


def test_a_model_is_loaded_too_where_nobody_may_wait_for_one_that_is(paths: list[str]) -> None:
    with LiveServer(
        *served(paths[:2]), *TWO_OF_THREE[:-1], "0.1", "--max-waiting", "0", "--load-timeout", "60"
    ) as live:
        assert running(live) == paths[:1]
        answers = together([lambda i=i: complete(live, paths[i % 2]) for i in range(4)])
        assert [answer.status for answer in answers] == [200] * 4


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--memory-budget", "0.05"], "does not fit into the memory budget alone"),
        (["--model", "A"], "is named twice"),
        (["--draft-model", "A"], "guesses for one model"),
        (["--model", "/nowhere/x.gguf"], "/nowhere/x.gguf"),
    ],
)
def test_what_cannot_be_served_is_refused_at_the_start(
    paths: list[str], more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [paths[0] if word == "A" else word for word in more]
    args = ["serve", "--port", "0", *served(paths[:2]), "--backend", "null", "--context", "256", *given]
    assert main(args) != 0
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.slow
def test_memory_of_an_unloaded_model_goes_back_to_the_system(smollm2_path: Path, tmp_path: Path) -> None:
    """Ten swaps of a model of 98 MB leave no more behind than one does."""
    paths = [str(tmp_path / f"{name}.gguf") for name in "ab"]
    for path in paths:
        Path(path).symlink_to(smollm2_path)

    def rss_mb(live: LiveServer) -> float:
        status = Path(f"/proc/{live.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024

    args = ("--context", "512", "--max-batch", "2", "--memory-budget", "0.25")
    with LiveServer(*served(paths), *args) as live:
        loaded: list[float] = []
        for swap in range(12):
            assert complete(live, paths[swap % 2]).status == 200
            assert running(live) == [paths[swap % 2]]
            loaded.append(rss_mb(live))
        gone = {"model": paths[1], "keep_alive": 0, "stream": False}
        assert live.post("/api/generate", gone).json["done_reason"] == "unload"
        assert live.settles(lambda: live.log().count("model_unloaded") == 12)
        assert running(live) == []
        empty = rss_mb(live)
    print(f"RSS in MB, one model loaded: {[round(mb) for mb in loaded]}, none: {empty:.0f}")
    assert max(loaded[2:]) - min(loaded[2:]) < 40
    assert empty < min(loaded) - 60
