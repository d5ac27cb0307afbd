"""wayra compare, in this process: a model against itself, resumed and from its runs, a server, refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_openai import Script, fake_server

Call = Callable[..., tuple[int, str, str]]
FAST = ("--backend", "null", "--context", "1024", "--suite", "task:maths", "--rounds", "2", "--concurrency", "1",
        "--limit", "3", "--max-tokens", "8")  # fmt: skip


def test_a_model_against_itself_is_measured_once_and_shows_no_difference(
    call: Call, smollm2_path: Path, tmp_path: Path
) -> None:
    model, report = str(smollm2_path), tmp_path / "report.md"
    given = ("compare", model, model, *FAST, "--rent", "a=3.6")
    code, out, err = call(*given, "--markdown", str(report), "--json")
    assert code == 0, err
    found = json.loads(out)
    (tested,) = found["tested"]
    assert (tested["suite"], tested["count"], tested["difference"]) == ("task:maths", 3, 0.0)
    assert not tested["is_significant"]
    assert any("A: 3 answers reached the limit" in text for text in found["notes"])
    spec = {row["name"]: [cell["value"] for cell in row["cells"]] for row in found["tables"]["Specification"]}
    assert spec["layers"] == [30, 30]
    assert spec["parameters"] == [134_515_008, 134_515_008]
    cost = {row["metric"]: [cell["value"] for cell in row["cells"]] for row in found["tables"]["Cost"]}
    rates = {row["name"]: row["cells"][0]["value"] for row in found["tables"]["Speed"] if row["unit"] == "tok/s"}
    best_prefill = max(rates[f"prefill of {n} tokens"] for n in (128, 512))
    # 3.6 USD an hour is a millidollar a second.
    assert cost["machine_usd_per_h"] == [3.6, None]
    assert cost["input_usd_per_mtok"] == [pytest.approx(1000 / best_prefill), None]
    assert cost["output_usd_per_mtok"] == [pytest.approx(1000 / rates["1 at once: output"]), None]
    assert cost["blended_usd_per_mtok"] == [
        pytest.approx((3 * cost["input_usd_per_mtok"][0] + cost["output_usd_per_mtok"][0]) / 4), None,
    ]  # fmt: skip
    text = report.read_text()
    assert "No benchmark shows a significant difference" in text
    assert "| parameters |  | 134,515,008 | 134,515,008 |" in text

    before = sorted(path.name for path in (tmp_path / "runs").glob("*-*"))
    code, out, err = call("compare", "--resume", "latest")
    assert code == 0, err
    assert "not known" in out
    assert sorted(path.name for path in (tmp_path / "runs").glob("*-*")) == before

    evals = [name for name in before if "-eval-" in name]
    assert len(evals) == 2
    code, out, err = call("compare", "--runs", ",".join(evals), "--json")
    assert code == 0, err
    # Without the speeds there are fewer tests to correct for, and fewer items would settle the question.
    (alone,) = json.loads(out)["tested"]
    assert alone["settling_items"] < tested["settling_items"]
    assert {**alone, "settling_items": 0} == {**tested, "settling_items": 0}
    assert call("runs", "show", found["run"])[0] == 0


def test_a_server_is_compared_with_a_model_here_and_the_key_is_in_no_record(
    call: Call, smollm2_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-secret")
    with fake_server(Script(key="sk-secret")) as server:
        code, out, err = call(
            "compare", str(smollm2_path), server.url, *FAST[:-4], "--limit", "1", "--max-tokens", "4",
            "--model", "B=fake", "--key-env", "b=SOME_KEY", "--price", "B=2.5,10", "--json",
        )  # fmt: skip
    assert code == 0, err
    found = json.loads(out)
    assert found["names"]["B"] == "fake"
    assert found["tables"]["Cost"][3]["cells"][1]["value"] == 4.375
    assert found["tables"]["Specification"][0]["cells"][1]["value"] is None
    assert all("sk-secret" not in path.read_text() for path in (tmp_path / "runs").rglob("*.json*"))


def test_models_here_cost_what_the_settings_say_of_this_machine(
    call: Call, smollm2_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYRA_MACHINE_USD_PER_H", "0.4")
    with fake_server(Script()) as server:
        code, out, err = call("compare", str(smollm2_path), server.url, *FAST, "--model", "B=fake", "--json")
    assert code == 0, err
    found = json.loads(out)
    hour, prompts, outputs, blended = ([cell["value"] for cell in row["cells"]] for row in found["tables"]["Cost"])
    assert hour == [0.4, None]
    assert all(cells[0] > 0 and cells[1] is None for cells in (prompts, outputs, blended))
    assert any(note.startswith("A: the machine costs 0.4 USD an hour") for note in found["notes"])


def test_models_take_turns_and_the_rounds_are_paired(call: Call, smollm2_path: Path, tmp_path: Path) -> None:
    model = str(smollm2_path)
    code, out, err = call("compare", model, model, *FAST, "--concurrency", "1,2", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert {one["rounds"] for one in found["raced"]} == {2}
    assert [one["name"] for one in found["raced"]][-1] == "2 at once: first token, median"
    turns: list[tuple[str, str]] = []
    for folder in (tmp_path / "runs").glob("*-bench-*"):
        header = json.loads((folder / "run.json").read_text())
        if header["config"]["mode"] == "model":
            turns += [(when, header["id"]) for when in (header["started_utc"], *header["resumed_utc"])]
    order = [run for _, run in sorted(turns)]
    assert len(order) == 4
    # Every second round the other way round, so that a machine that slows down favours nobody.
    assert order == [order[0], order[1], order[1], order[0]]
    assert order[0] != order[1]


def test_each_server_gets_its_own_key_and_a_lone_default_goes_to_no_second_one(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYRA_TARGET_KEY", "of-somebody")
    monkeypatch.setenv("WAYRA_API_KEY", "of-somebody")
    monkeypatch.setenv("KEY_OF_A", "for-a")
    (tmp_path / "key").write_text("for-b\n")
    with fake_server(Script(key="for-a")) as one, fake_server(Script(key="for-b")) as two:
        given = ("compare", one.url, two.url, "--suite", "task:maths", "--limit", "1", "--rounds", "2")
        code, out, err = call(*given, "--key-env", "A=KEY_OF_A", "--key-file", f"B={tmp_path / 'key'}", "--json")
        assert code == 0, err
        assert json.loads(out)["tested"][0]["count"] == 1
        code, _, err = call(*given)
    assert code == 1
    assert "401" in err


def test_a_judge_is_asked_in_both_orders_and_named_in_the_report(
    call: Call, smollm2_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, page = str(smollm2_path), tmp_path / "report.html"
    monkeypatch.setenv("JUDGES_KEY", "sk-judge")
    with fake_server(Script(events=((0.0, "Verdict: A"),), key="sk-judge")) as server:
        code, out, err = call(
            "compare", model, model, "--backend", "null", "--context", "1024",
            "--suite", "task:writing", "--limit", "2", "--max-tokens", "8", "--rounds", "2", "--concurrency", "1",
            "--judge", server.url, "--key-env", "judge=JUDGES_KEY",
            "--html", str(page), "--json",
        )  # fmt: skip
        asked = [body["messages"][0]["content"] for body in server.bodies]
    assert code == 0, err
    found = json.loads(out)
    (tested,) = found["tested"]
    # A judge that always says A is undecided.
    assert (tested["metric"], tested["first_value"]) == ("score", 0.5)
    assert len(asked) == 8
    pairs = [
        tuple(question.split(f"</text_{name}>")[0].rpartition(f"<text_{name}>")[2] for name in "AB")
        for question in asked
    ]
    assert sorted(pairs) == sorted((second, first) for first, second in pairs)
    assert all(first != second for first, second in pairs)
    assert found["judge"] == server.url
    assert "judged by a language model" in page.read_text()


def test_data_reaches_the_suites(call: Call, smollm2_path: Path, tmp_path: Path) -> None:
    data = tmp_path / "own.jsonl"
    rows = [{"question": f"How much is {n} and 1?", "answer": f"It is one more.\n#### {n + 1}"} for n in range(3)]
    data.write_text("\n".join(json.dumps(row) for row in rows))
    model = str(smollm2_path)
    given = ("--backend", "null", "--context", "1024", "--suite", "gsm8k", "--max-tokens", "4", "--rounds", "2")
    code, out, err = call("compare", model, model, *given, "--data", str(data), "--json")
    assert code == 0, err
    assert json.loads(out)["tested"][0]["count"] == 3


def test_runs_that_asked_different_questions_are_not_compared_and_say_so(call: Call, smollm2_path: Path) -> None:
    ids: list[str] = []
    for suite in ("task:maths", "task:reasoning"):
        given = ("--suite", suite, "--limit", "1", "--max-tokens", "4", "--backend", "null", "--context", "1024")
        code, out, err = call("eval", str(smollm2_path), *given, "--json")
        assert code == 0, err
        ids.append(json.loads(out)["run"])
    code, out, err = call("compare", "--runs", ",".join(ids))
    assert code == 0, err
    assert "A and B are not compared in their answers" in out
    assert "nothing is said of which answers better" in out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("one",), "1 models are named"),
        (("a", "b", "--price", "C=1,2"), "the models are called A, B"),
        (("a", "b", "--price", "B=1"), "is one number"),
        (("a", "b", "--key-env", "C=HOME"), "the models are called A, B"),
        (("a", "b", "--judge", "c", "--suite", "task:maths"), "a judge is for creative writing alone"),
        (("a", "b", "--rounds", "0"), "rounds is 0"),
        (("a", "b", "--html", "/nowhere/at/all.html"), "cannot be written"),
        (("a", "b", "--data", "x"), "does not say of which suite"),
        (("http://127.0.0.1:9", "b", "--key-env", "A=WAYRA_NO_SUCH_KEY"), "holds no key"),
        (("a", "b", "--rent", "cheap"), "'cheap' is no number"),
        (("a", "b", "--rent", "C=1"), "the models are called A, B"),
        (("http://127.0.0.1:9", "http://127.0.0.1:8", "--rent", "1"), "is of models here, and there is none"),
        (("a", "b", "--own", "1200"), "expected a price in USD, watts"),
        (("a", "b", "--own", "A=1200,-5"), "power: -5"),
        (("a", "b", "--rent", "1", "--own", "A=1200,65"), "A is paid for in two ways"),
        (("a", "b", "--suite", "nothing"), "there is no suite"),
        (("--resume", "20260101"), "there is no run"),
        (("a", "--runs", "x"), "give no targets"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(call: Call, args: tuple[str, ...], said: str) -> None:
    code, _, err = call("compare", *args)
    assert code in (1, 2)
    assert said in err
    assert "Traceback" not in err
