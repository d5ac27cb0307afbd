"""Runs are data: run.json says what was measured on what, a kill loses nothing, figures come from what is there."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_openai import Script, fake_server

from wayra.cli.main import main
from wayra.lab.runs.content import file_hash

Call = Callable[..., tuple[int, str, str]]
HERE = ("--backend", "null", "--context", "1024")
SLOW = Script(events=((0.02, "4"), (0.02, "2")))
WAIT_S = 60.0


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WAYRA_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], runs: Path) -> Call:
    def run(*args: str) -> tuple[int, str, str]:
        code = main([*args])
        out, err = capfd.readouterr()
        return code, out, err

    return run


def headers(runs: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads((folder / "run.json").read_text()) for folder in sorted(runs.glob(f"*-{kind}-*"))]


def keys(folder: Path) -> list[str]:
    """Of what counts; warm-up is done again by whoever goes on."""
    records = [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]
    return [record["key"] for record in records if not record.get("is_warmup")]


def killed_when(runs: Path, is_time: Callable[[], bool], *args: str) -> None:
    """Runs wayra in a process of its own, and ends it in the middle without a word."""
    with subprocess.Popen([sys.executable, "-m", "wayra", *args], stdout=subprocess.DEVNULL) as process:
        try:
            deadline_s = time.monotonic() + WAIT_S
            while not is_time():
                assert process.poll() is None, "it ended before it was killed"
                assert time.monotonic() < deadline_s
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
    assert runs.is_dir()


def num_lines(runs: Path, kind: str) -> int:
    return sum(path.read_bytes().count(b"\n") for path in runs.glob(f"*-{kind}-*/requests.jsonl"))


def test_a_bench_records_its_machine_versions_hashes_seeds_and_definitions(
    call: Call, runs: Path, smollm2_path: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"prompt": "a", "max_tokens": 2}\n' * 2)
    code, _, err = call("bench", str(smollm2_path), *HERE, "--trace", str(trace), "--warmup", "0", "--seed", "5")
    assert code == 0, err
    (header,) = headers(runs, "bench")
    assert header["hashes"] == {"weights": file_hash(smollm2_path), "trace": file_hash(trace)}
    assert header["seeds"]["traffic"] == 5
    assert len(header["seeds"]["nonce"]) == 12
    assert {"python", "wayra", "numpy", "msgspec", "tokenizers", "minijinja"} <= set(header["versions"])
    assert {"processor", "cores", "memory_bytes", "system", "load_average"} <= set(header["machine"])
    assert {"ttft", "hashes"} <= set(header["definitions"])
    assert header["facts"]["loading"] == {
        "context": 1024, "threads": None, "backend": "null", "kv_dtype": None, "mmap": False,
    }  # fmt: skip
    assert header["facts"]["target"]["context_len"] == 1024


def test_an_eval_a_comparison_and_its_runs_record_the_same(call: Call, runs: Path, smollm2_path: Path) -> None:
    model = str(smollm2_path)
    given = ("--suite", "task:maths", "--limit", "1", "--max-tokens", "4", *HERE)
    code, _, err = call("compare", model, model, *given, "--rounds", "2", "--concurrency", "1", "--seed", "3")
    assert code == 0, err
    weights = file_hash(smollm2_path)
    (compared,) = headers(runs, "compare")
    questions = compared["hashes"].pop("task:maths items")
    assert compared["hashes"] == {"A weights": weights, "B weights": weights}
    assert compared["seeds"] == {"questions": 3, "traffic": 3}
    assert {"adjusted_p", "tpot", "score", "hashes"} <= set(compared["definitions"])
    for header in headers(runs, "eval"):
        assert header["hashes"] == {"weights": weights, "task:maths items": questions}
        assert header["seeds"] == {"questions": 3}
        assert {"score", "failed"} <= set(header["definitions"])
    assert {header["hashes"]["weights"] for header in headers(runs, "bench")} == {weights}
    for header in (compared, *headers(runs, "eval"), *headers(runs, "bench")):
        assert header["machine"]["cores"] >= 1
        assert header["versions"]["wayra"]


def test_a_run_of_inspect_records_the_same(
    call: Call, runs: Path, smollm2_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = str(Path(__file__).parents[2] / "support" / "fake_inspect")
    monkeypatch.syspath_prepend(fake)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [fake, os.environ.get("PYTHONPATH", "")])))
    code, _, err = call("eval", str(smollm2_path), "--via", "inspect", "--suite", "a_package/sums", *HERE)
    assert code == 0, err
    (header,) = headers(runs, "inspect")
    assert header["hashes"] == {"weights": file_hash(smollm2_path)}
    assert {"scores", "failed", "hashes"} <= set(header["definitions"])
    assert header["facts"]["loading"]["context"] == 1024
    assert header["machine"]["cores"] >= 1


def test_a_run_is_not_resumed_with_other_weights_or_loaded_otherwise(
    call: Call, runs: Path, smollm2_path: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model.gguf"
    shutil.copy(smollm2_path, model)
    given = (
        "--backend",
        "null",
        "--pp",
        "8",
        "--tg",
        "2",
        "--repeats",
        "2",
        "--limit-gb-s",
        "9",
        "--limit-int8-gops",
        "9",
    )
    assert call("bench", str(model), *given)[0] == 0
    (folder,) = runs.glob("*-bench-*")
    header = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**header, "status": "running"}))
    code, _, err = call("bench", "--resume", "latest", "--threads", "1")
    assert code == 2
    assert "--threads 1 is not how run" in err
    with model.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"x" * 100)
    code, _, err = call("bench", "--resume", "latest")
    assert code == 1
    assert "began with other content: weights was" in err
    shutil.copy(smollm2_path, model)
    # The backend it began with is taken from the run.
    code, _, err = call("bench", "--resume", "latest", "--limit-gb-s", "9", "--limit-int8-gops", "9")
    assert code == 0, err


def test_a_bench_killed_in_the_middle_asks_again_only_what_it_lost(call: Call, runs: Path) -> None:
    with fake_server(SLOW) as server:
        given = ("bench", server.url, "--concurrency", "2", "--requests", "40", "--warmup", "1")
        killed_when(runs, lambda: num_lines(runs, "bench") > 9, *given)
        (folder,) = runs.glob("*-bench-*")
        before = keys(folder)
        assert json.loads((folder / "run.json").read_text())["status"] == "running"
        code, out, err = call("runs", "ls", "--json")
        assert json.loads(out)[0]["status"] == "interrupted"
        code, out, err = call("bench", "--resume", "latest", "--json")
    assert code == 0, err
    found = {figure["name"]: figure["value"] for figure in json.loads(out)["figures"]}
    assert (found["requests"], found["failed"]) == (40, 0)
    after = keys(folder)
    assert after[: len(before)] == before
    assert len(after) == len(set(after)) == 40


def test_an_eval_killed_in_the_middle_asks_again_only_what_it_lost(call: Call, runs: Path) -> None:
    with fake_server(SLOW) as server:
        given = ("eval", server.url, "--suite", "task:maths,task:reasoning", "--concurrency", "2")
        killed_when(runs, lambda: num_lines(runs, "eval") > 9, *given)
        (folder,) = runs.glob("*-eval-*")
        before = keys(folder)
        num_asked = len(server.bodies)
        code, _, err = call("eval", "--resume", "latest", "--json")
        num_again = len(server.bodies) - num_asked
    assert code == 0, err
    after = keys(folder)
    assert after[: len(before)] == before
    assert len(after) == len(set(after)) == 80
    assert 80 - len(before) <= num_again <= 80 - len(before) + 2


def test_a_comparison_killed_in_the_middle_goes_on_with_its_runs(call: Call, runs: Path) -> None:
    with fake_server(SLOW) as one, fake_server(SLOW) as two:
        given = ("compare", one.url, two.url, "--suite", "task:maths", "--limit", "30", "--rounds", "2")
        killed_when(runs, lambda: num_lines(runs, "eval") > 5, *given, "--concurrency", "1")
        before = {folder.name: keys(folder) for folder in runs.glob("*-*")}
        code, out, err = call("compare", "--resume", "latest", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["tested"][0]["count"] == 30
    assert {one["rounds"] for one in found["raced"]} == {2}
    for name, known in before.items():
        after = keys(runs / name)
        assert after[: len(known)] == known
        assert len(after) == len(set(after))
    assert {header["status"] for kind in ("bench", "eval", "compare") for header in headers(runs, kind)} == {"done"}


def test_a_comparison_whose_models_an_older_version_described_is_shown_without_what_it_does_not_say(
    call: Call, runs: Path, smollm2_path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.gguf"
    copy.symlink_to(smollm2_path)
    given = ("compare", str(smollm2_path), str(copy), *HERE, "--suite", "task:maths", "--limit", "2")
    assert call(*given, "--max-tokens", "4", "--rounds", "1", "--concurrency", "1", "--json")[0] == 0

    def specification() -> dict[str, list[float | None]]:
        code, out, err = call("compare", "--resume", "latest", "--json")
        assert code == 0, err
        found = json.loads(out)
        told.extend(found["notes"])
        return {row["name"]: [cell["value"] for cell in row["cells"]] for row in found["tables"]["Specification"]}

    told: list[str] = []
    assert specification()["layers"] == [30, 30]
    for folder in runs.glob("*-bench-*"):
        header = json.loads((folder / "run.json").read_text())
        described = header["facts"]["architecture"]
        # What a later version derives, an older one did not keep; what it cannot do without is another matter.
        del described["mixing"]
        if header["config"]["target"] == str(copy):
            del described["hidden_size"]
        (folder / "run.json").write_text(json.dumps(header))
    assert specification()["layers"] == [30, None]
    assert any(note.startswith("B has no specification: run ") and "hidden_size" in note for note in told)


def test_figures_are_computed_from_the_records_each_time_and_the_index_from_the_folders(call: Call, runs: Path) -> None:
    with fake_server(Script()) as server:
        assert call("bench", server.url, "--requests", "4", "--warmup", "0")[0] == 0
    (folder,) = runs.glob("*-bench-*")
    listed = call("runs", "ls", "--json")[1]
    assert (runs / "index.sqlite").is_file()
    for spoil in (lambda path: path.unlink(), lambda path: path.write_bytes(b"no database")):
        spoil(runs / "index.sqlite")
        assert call("runs", "ls", "--json")[1] == listed
    assert call("runs", "ls", "--rebuild", "--json")[1] == listed

    lines = (folder / "requests.jsonl").read_text().splitlines(keepends=True)
    later = json.loads(lines[0])
    later["event_s"] = [at + 1.0 for at in later["event_s"]]
    (folder / "requests.jsonl").write_text("".join([*lines[1:], json.dumps(later) + "\n"]))
    code, out, err = call("runs", "show", "latest", "--json")
    assert code == 0, err
    found = {figure["name"]: figure["value"] for figure in json.loads(out)["figures"]}
    assert found["ttft_p99"] > 900
    (folder / "requests.jsonl").write_text("".join(lines[:2]))
    shown = {
        figure["name"]: figure["value"] for figure in json.loads(call("runs", "show", "latest", "--json")[1])["figures"]
    }
    assert shown["requests"] == 2
    assert json.loads(call("runs", "ls", "--json")[1])[0]["num_records"] == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("show", "nothing"), "there is no run 'nothing'"),
        (("show", ""), "there is no run ''"),
        (("show", "../runs"), "there is no run '../runs'"),
        (("show", "/etc"), "there is no run '/etc'"),
        (("show", "latest", "--html", "{eval}"), "pages are of bench and compare"),
        (("show", "latest", "--html", "/nowhere/a.html"), "cannot be written"),
        (("diff", "latest", "nothing"), "there is no run 'nothing'"),
        (("export", "latest", "-o", "/nowhere/a.json"), "cannot be written"),
        (("export", "latest", "--format", "xml"), "xml"),
        (("import", "/nowhere"), "cannot be read"),
        (("rm", "nothing"), "there is no run"),
    ],
)
def test_what_is_no_run_is_refused_in_a_sentence(
    call: Call, runs: Path, args: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    with fake_server(Script()) as server:
        kind = ("eval", server.url, "--suite", "task:maths", "--limit", "1")
        assert call(*(kind if "{eval}" in args else ("bench", server.url, "--requests", "2", "--warmup", "0")))[0] == 0
    code, _, err = call("runs", *(arg.replace("{eval}", str(tmp_path / "x.html")) for arg in args))
    assert code in (1, 2)
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "run.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "requests.jsonl").write_text('{"key": 1}\n'), "record 1 of the run is no request"),
        (lambda folder: (folder / "requests.jsonl").write_text("rubbish\n"), "line 1 is damaged"),
        (lambda folder: (folder / "requests.jsonl").unlink(), "cannot be read"),
    ],
    ids=["header", "record", "line", "gone"],
)
def test_a_damaged_run_is_named_and_the_others_are_listed(
    call: Call, runs: Path, spoil: Callable[[Path], object], said: str
) -> None:
    with fake_server(Script()) as server:
        for _ in range(2):
            assert call("bench", server.url, "--requests", "2", "--warmup", "0")[0] == 0
    folder, other = sorted(runs.glob("*-bench-*"))
    spoil(folder)
    for args in (("show", folder.name), ("diff", other.name, folder.name), ("export", folder.name)):
        code, _, err = call("runs", *args)
        assert (code, said in err, "Traceback" in err) == (1, True, False), err
    code, out, err = call("runs", "ls", "--json")
    assert code == 0, err
    assert {entry["id"]: entry["status"] for entry in json.loads(out)}[other.name] == "done"


def test_an_export_is_whole_or_not_there(call: Call, runs: Path, tmp_path: Path) -> None:
    with fake_server(Script()) as server:
        assert call("bench", server.url, "--requests", "2", "--warmup", "0")[0] == 0
    (folder,) = runs.glob("*-bench-*")
    target = tmp_path / "out"
    for form, begins in (
        ("json", '{"run":{"id":'),
        ("jsonl", '{"key":"concurrency 1/000000"'),
        ("csv", "group,name,value"),
    ):
        assert call("runs", "export", "latest", "--format", form, "-o", str(target))[0] == 0
        assert target.read_text().startswith(begins)
        assert ("from handing the request to the client" in target.read_text()) == (form != "jsonl")
    with (folder / "requests.jsonl").open("a") as file:
        file.write("rubbish\n")
    before = target.read_text()
    code, _, err = call("runs", "export", "latest", "--format", "jsonl", "-o", str(target))
    assert (code, "line 3 is damaged" in err) == (1, True)
    assert target.read_text() == before
    assert list(tmp_path.glob("out*")) == [target]
    assert call("runs", "export", "latest", "--format", "jsonl", "-o", os.devnull)[0] == 1
    assert Path(os.devnull).is_char_device()
