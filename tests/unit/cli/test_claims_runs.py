"""wayra claims --measure RUN, in this process: recorded runs of the lab settle claims, traceably, or not at all."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from wayra.cli.main import main
from wayra.lab.latency.record import RequestRecord, line_of
from wayra.lab.runs import RunFacts, RunStore

Call = Callable[..., tuple[int, str, str]]
HEAD = "id,subject,metric,claimed,unit,check,derivation,measure\n"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    monkeypatch.setenv("WAYRA_RUNS", str(tmp_path / "runs"))
    return RunStore(tmp_path / "runs")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Claims as rows of a CSV, then flags."""

    def run(rows: str, *args: str) -> tuple[int, str, str]:
        (tmp_path / "mine.csv").write_text(HEAD + rows, "utf-8")
        code = main(["claims", str(tmp_path / "mine.csv"), *args])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def bench(store: RunStore, each_s: Sequence[float], **config: str) -> str:
    """A recorded bench of one stage, "concurrency 1": answers of 11 tokens, each of so many seconds a token."""
    settings = {"target": "tiny", "mode": "traffic", **config}
    with store.create("bench", settings, RunFacts(name="tiny")) as run:
        for number, each in enumerate(each_s):
            arrivals = [10.0 * number + each * (i + 1) for i in range(11)]
            record = RequestRecord(
                key=f"concurrency 1/{number:06d}", stage="concurrency 1", status="ok", sent_s=10.0 * number,
                ended_s=arrivals[-1], event_s=arrivals, event_tokens=[1] * 11, prompt_tokens=20, completion_tokens=11,
            )  # fmt: skip
            run.append(line_of(record))
        run.finish()
    return run.id


def row(claimed: str, unit: str, measure: str) -> str:
    return f"M1,tiny here,speed,{claimed},{unit},measurement,,{measure}\n"


def test_a_run_settles_a_claim_and_is_named_with_model_machine_and_day(call: Call, store: RunStore) -> None:
    run_id = bench(store, [0.0099, 0.01, 0.0101] * 10)
    code, out, err = call(row("100", "tok/s", "bench tiny decode_rate"), "--measure", run_id)
    assert (code, err) == (0, "")
    header = store.open(run_id).header
    origin = f"run {run_id} (bench of tiny on {header.machine['processor']}, {header.machine['cores']} cores, "
    assert f"{origin}{header.started_utc[:10]}): decode_rate of concurrency 1, " in out
    assert "30 observations" in out
    assert "verdict  holds: " in out


def test_a_claim_is_off_by_the_distance_to_the_nearer_end_of_the_interval(call: Call, store: RunStore) -> None:
    bench(store, [0.0099, 0.01, 0.0101] * 10)
    _, out, _ = call(row("50", "tok/s", "bench tiny decode_rate concurrency 1"), "--measure", "latest", "--json")
    (found,) = json.loads(out)
    assert 99 <= found["derived_low"] <= 100 <= found["derived_high"] <= 101.1
    assert found["verdict"] == "off"
    assert found["reason"].startswith(f"too low by a factor of {found['derived_low'] / 50:.2f}"[:-1])
    assert found["measure"] == "bench tiny decode_rate concurrency 1"


def test_an_interval_too_wide_settles_nothing_it_holds(call: Call, store: RunStore) -> None:
    bench(store, [0.002, 0.01, 0.05])
    code, out, _ = call(row("100", "tok/s", "bench tiny decode_rate"), "--measure", "latest")
    assert code == 0
    assert "verdict  not measured: the run's 95 % interval, 20 to 500, holds the claim and too much else" in out


def test_milliseconds_settle_a_claim_in_seconds(call: Call, store: RunStore) -> None:
    bench(store, [0.1] * 30)
    # The first token and ten more, a tenth of a second each.
    _, out, _ = call(row("1.1", "s", "bench tiny e2e_p50"), "--measure", "latest", "--json")
    (found,) = json.loads(out)
    assert found["derived_low"] == pytest.approx(1.1)
    assert found["verdict"] == "holds"


def test_a_run_of_another_model_or_host_settles_nothing(call: Call, store: RunStore) -> None:
    run_id = bench(store, [0.01] * 3, target="http://127.0.0.1:8000", served_model="tiny")
    for measure in ("bench other decode_rate", "bench tiny@api.example.com decode_rate", "eval tiny score"):
        code, out, err = call(row("1", "tok/s", measure), "--measure", "latest")
        assert (code, out) == (2, "")
        assert f"run {run_id} (bench of http://127.0.0.1:8000, tiny at 127.0.0.1, " in err
        assert f"settles none of these claims: they ask for {measure}" in err
    code, _, _ = call(row("100", "tok/s", "bench tiny@127.0.0.1 decode_rate"), "--measure", "latest")
    assert code == 0


def test_claims_without_a_measure_say_how_to_name_one(call: Call, store: RunStore) -> None:
    bench(store, [0.01] * 3)
    code, _, err = call(row("1", "tok/s", ""), "--measure", "latest")
    assert code == 2
    assert 'none says what measures it; a column measure does, like "bench smollm2 rate tg128"' in err


@pytest.mark.parametrize(
    ("measure", "unit", "problem"),
    [
        ("bench tiny beauty", "tok/s", "has no figure 'beauty'; it has requests, failed, "),
        ("bench tiny decode_rate c9", "tok/s", "has no group 'c9'; it has concurrency 1"),
        ("bench tiny decode_rate", "GB", "measured in 'tok/s', the claim is in 'GB'"),
    ],
)
def test_what_a_run_lacks_is_told_and_fails(call: Call, store: RunStore, measure: str, unit: str, problem: str) -> None:
    bench(store, [0.01] * 3)
    code, out, err = call(row("1", unit, measure), "--measure", "latest")
    assert code == 2
    assert problem in out
    assert err.startswith("wayra: error: 1 of 1 claims could not be judged: M1 (run ")


def test_of_several_runs_one_that_has_the_figure_is_enough(call: Call, store: RunStore) -> None:
    first = bench(store, [0.01] * 3)
    bench(store, [])
    code, out, _ = call(row("100", "tok/s", "bench tiny decode_rate"), "--measure", first, "--measure", "latest")
    assert code == 0
    assert f"run {first} " in out


def test_a_claim_to_be_measured_names_the_command_of_its_run(call: Call) -> None:
    for measure, command in (
        ("bench tiny rate tg128", "wayra bench tiny"),
        ("bench tiny@api.example.com e2e_p95", "wayra bench https://api.example.com --model tiny"),
        ("eval tiny score task:sql", "wayra eval tiny --suite task:sql"),
    ):
        code, out, _ = call(row("1", "x", measure))
        assert code == 0
        assert f"      measure  {command}\n" in out


def test_a_broken_derivation_is_told_and_fails_after_all_claims_were_judged(call: Call) -> None:
    rows = 'G,x,y,2,x,arithmetic,"1 + 1",\nB,x,y,2,x,arithmetic,"weights_gb(",\nN,x,y,2,x,arithmetic,,\n'
    code, out, err = call(rows)
    assert code == 2
    assert "verdict  holds: the same" in out
    assert "problem  'weights_gb(' is no derivation" in out
    assert "verdict  cannot be known: the file gives no derivation" in out
    assert err == "wayra: error: 1 of 3 claims could not be judged: B ('weights_gb(' is no derivation)\n"
    code, _, err = call(rows, "--id", "G")
    assert (code, err) == (0, "")


def test_a_measure_that_is_none_is_refused_by_its_line(call: Call) -> None:
    code, out, err = call(row("1", "x", "bench tiny"))
    assert (code, out) == (1, "")
    assert "mine.csv, line 2 has the measure 'bench tiny'; expected a kind of run (bench, eval), a model, " in err


@pytest.mark.parametrize("value", ["NaN", "1e999", "1" + "0" * 400, "true"])
def test_results_of_ones_own_must_be_numbers(call: Call, tmp_path: Path, value: str) -> None:
    results = tmp_path / "own.json"
    results.write_text(f'[{{"claim": "M1", "value": {value}, "unit": "x", "run": "r"}}]', "utf-8")
    code, _, err = call(row("1", "x", ""), "--measure", str(results))
    assert code == 1
    assert "own.json, result 1 has the value " in err
    results.write_text('[{"claim": "M1", "value": 1, "unit": "x", "run": "r"}]', "utf-8")
    code, out, _ = call(row("1", "x", ""), "--measure", str(results))
    assert code == 0
    assert "derived  1 x = run r, as own.json, result 1 states it" in out
