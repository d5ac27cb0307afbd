"""wayra bench, in this process: against scripted servers in each kind of traffic, and a model that computes nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_openai import Script, fake_server

from wayra.cli.main import main

Call = Callable[..., tuple[int, str, str]]
SMALL = ("--requests", "4", "--warmup", "0")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("WAYRA_RUNS", str(tmp_path / "runs"))

    def run(*args: str) -> tuple[int, str, str]:
        code = main(["bench", *args])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def figures(out: str) -> dict[tuple[str, str], float | None]:
    return {(one["group"], one["name"]): one["value"] for one in json.loads(out)["figures"]}


@pytest.mark.parametrize(
    ("options", "stages"),
    [
        (("--concurrency", "1,2"), ["concurrency 1", "concurrency 2"]),
        (("--rate", "50"), ["fixed 50/s"]),
        (("--rate", "50,100", "--poisson"), ["poisson 50/s", "poisson 100/s"]),
        (("--cache",), ["cold", "cached"]),
        (
            ("--prompt-tokens", "lognormal(32,0.5)", "--output-tokens", "4..8", "--shared-prefix", "8"),
            ["concurrency 1"],
        ),
    ],
)
def test_every_kind_of_traffic_has_its_stages_and_all_requests(
    call: Call, options: tuple[str, ...], stages: list[str]
) -> None:
    with fake_server(Script()) as server:
        code, out, err = call(server.url, *SMALL, *options, "--slo", "mlperf-8b", "--json")
    assert code == 0, err
    found = figures(out)
    assert list(dict.fromkeys(stage for stage, _ in found)) == stages
    for stage in stages:
        assert (found[stage, "requests"], found[stage, "failed"], found[stage, "goodput"]) == (4, 0, 1.0)


def test_the_page_of_a_bench_shows_its_stages_and_fetches_nothing(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "bench.html"
    with fake_server(Script()) as server:
        code, _, err = call(server.url, *SMALL, "--concurrency", "1,2", "--html", str(path))
    assert code == 0, err
    text = path.read_text()
    assert text.count("<figure>") == 6  # the rate, TTFT, TPOT, gaps of tokens and of chunks, end to end
    assert "concurrency 2" in text
    assert "Time to first token, ms" in text
    assert "<script" not in text
    again = tmp_path / "again.html"
    assert main(["runs", "show", "latest", "--html", str(again)]) == 0
    assert again.read_text() == text


def test_a_sweep_that_meets_no_knee_says_so_and_names_none(call: Call) -> None:
    with fake_server(Script(events=((0.02, "a"), (0.02, "b")))) as server:
        code, out, err = call(server.url, *SMALL, "--sweep", "--max-concurrency", "2", "--json")
    assert code == 0, err
    assert any("the knee lies beyond" in note for note in json.loads(out)["notes"])
    assert ("", "knee") not in figures(out)


@pytest.mark.parametrize(
    ("script", "options", "kind"),
    [
        (Script(breaks="cut"), (), "cut"),
        (Script(breaks="rubbish"), (), "rubbish"),
        (Script(status=429), (), "rate_limited"),
        (Script(breaks="stall"), ("--stall", "0.05"), "stall"),
    ],
    ids=["cut", "rubbish", "429", "stall"],
)
def test_failures_are_recorded_by_kind_and_the_run_survives(
    call: Call, script: Script, options: tuple[str, ...], kind: str
) -> None:
    with fake_server(script) as server:
        code, out, err = call(server.url, *SMALL, *options, "--json")
    assert code == 0, err
    document = json.loads(out)
    found = figures(out)
    assert document["status"] == "done"
    assert found["concurrency 1", f"failed: {kind}"] == 4
    assert found["concurrency 1", "ttft_p50"] is None
    assert any(f"({kind})" in note for note in document["notes"])


def test_a_resumed_run_asks_the_same_endpoint_and_only_what_is_missing(call: Call, tmp_path: Path) -> None:
    with fake_server(Script()) as server:
        code, out, err = call(server.url, *SMALL, "--api", "chat", "--model", "fake", "--json")
        assert code == 0, err
        folder = Path(json.loads(out)["path"])
        header = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**header, "status": "running", "finished_utc": None}))
        lines = (folder / "requests.jsonl").read_text().splitlines(keepends=True)
        (folder / "requests.jsonl").write_text("".join(lines[:2]) + lines[2][:20])
        before = len(server.bodies)
        code, out, err = call("--resume", "latest", "--json")
        assert code == 0, err
        again = server.bodies[before:]
    # Two questions to learn how long a word is, and the two that are missing.
    assert len(again) == 4
    assert all("messages" in body and body["model"] == "fake" for body in again)
    assert figures(out)["concurrency 1", "requests"] == 4


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("http://127.0.0.1:9",), "is the server running?"),
        (("http://127.0.0.1:9", "--trace", "{trace}"), "line 2: has no prompt"),
        (("http://127.0.0.1:9", "--key-env", "WAYRA_NO_SUCH_KEY"), "holds no key"),
        (("smollm2", "--key-env", "HOME"), "are for servers"),
        (("http://127.0.0.1:9", "--stall", "0"), "silent server"),
        (("http://127.0.0.1:9", "--slo", "fast"), "fast"),
        (("http://127.0.0.1:9", "--prompt-tokens", "many"), "lognormal(MEDIAN,SIGMA)"),
        (("http://127.0.0.1:9", "--poisson"), "give --rate too"),
        (("http://127.0.0.1:9", "--max-concurrency", "8"), "give --sweep too"),
        (("http://127.0.0.1:9", "--prefix-groups", "2"), "give that too"),
        (("http://127.0.0.1:9", "--rate", "2", "--concurrency", "4"), "--concurrency is of closed loops"),
        (("http://127.0.0.1:9", "--trace", "{trace}", "--concurrency", "1,2"), "give one --concurrency"),
        (("http://127.0.0.1:9", "--pp", "64"), "--pp is of prefill and decode alone, a server of traffic"),
        (("smollm2", "--shared-prefix", "64", "--tg", "8"), "--tg is of prefill and decode alone, --shared-prefix"),
    ],
)
def test_what_cannot_be_measured_is_explained(call: Call, tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"prompt": "a"}\n{"prmpt": "b"}\n')
    code, _, err = call(*(arg.replace("{trace}", str(trace)) for arg in args))
    assert code in (1, 2)
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("smollm2",), "leave out TARGET"),
        (("--requests", "9"), "leave out --requests"),
        (("--seed", "9"), "leave out --seed"),
        (("--no-ignore-eos",), "leave out --no-ignore-eos"),
    ],
)
def test_a_resumed_bench_is_measured_as_it_began(call: Call, args: tuple[str, ...], said: str) -> None:
    code, _, err = call("--resume", "latest", *args)
    assert code == 2
    assert said in err


def test_a_wrong_key_ends_the_run_with_what_the_server_said(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYRA_TARGET_KEY", "wrong")
    with fake_server(Script(key="right")) as server:
        code, _, err = call(server.url, *SMALL)
    assert code == 1
    assert "HTTP 401: wrong key (auth)" in err


def test_prefill_and_decode_alone_have_their_rates(call: Call, smollm2_path: Path) -> None:
    code, out, err = call(
        str(smollm2_path), "--backend", "null", "--pp", "16,32", "--tg", "8", "--repeats", "2",
        "--limit-gb-s", "10", "--limit-int8-gops", "100", "--json",
    )  # fmt: skip
    assert code == 0, err
    found = figures(out)
    assert [stage for stage, name in found if name == "rate"] == ["pp16", "pp32", "tg8"]
    limit, share, rate = (found["tg8", name] for name in ("limit", "limit_share", "rate"))
    assert limit is not None
    assert rate is not None
    assert share == pytest.approx(rate / limit)
    # 10 GB/s over about 100 MB of weights.
    assert 80 < limit < 130


def test_a_replayed_trace_repeats_the_blocks_that_its_requests_share(call: Call, tmp_path: Path) -> None:
    trace = tmp_path / "mooncake.jsonl"
    blocks = {2: [1, 2], 3: [1, 3], 4: []}  # by the length of the answer, which tells the requests apart
    rows = [{"timestamp": 0, "input_length": 700, "output_length": n, "hash_ids": ids} for n, ids in blocks.items()]
    trace.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with fake_server(Script()) as server:
        code, _, err = call(server.url, "--trace", str(trace), "--warmup", "0", "--json")
        assert code == 0, err
        asked = {body["max_tokens"]: body["prompt"].split() for body in server.bodies}
    # The counts of this server are not of the prompts, so that a word is a token.
    assert [len(asked[n]) for n in blocks] == [700, 700, 700]
    assert asked[2][:512] == asked[3][:512]
    assert asked[2][512:] != asked[3][512:]
    assert asked[4][:512] != asked[2][:512]
