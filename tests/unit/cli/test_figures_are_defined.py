"""No number without its meaning: every figure that --json prints, walked leaf by leaf, and what people read."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from fake_openai import Script, fake_server

from wayra.client.failures import FailureKind
from wayra.lab.latency.definitions import FAILURES
from wayra.lab.latency.record import RequestRecord, line_of
from wayra.lab.runs import RunStore

Call = Callable[..., tuple[int, str, str]]
LEAST_CHARS = 12
TESTS = ("tested", "raced")


def numbers(found: object, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each number of a JSON value."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield from numbers(value, (*above, key))
    elif isinstance(found, list):
        for value in found:
            yield from numbers(value, above)
    elif isinstance(found, int | float) and not isinstance(found, bool):
        yield above


def undefined_in_run(document: Mapping[str, Any]) -> list[str]:
    """Names of figures, and paths of facts, that the document does not define."""
    known = document["definitions"]
    names = {figure["name"] for figure in document["figures"]}
    facts = {
        path for path in numbers(document["facts"]) if not any(len(known.get(key, "")) > LEAST_CHARS for key in path)
    }
    return [name for name in names if len(known.get(name, "")) < LEAST_CHARS] + [".".join(path) for path in facts]


def undefined_in_comparison(document: Mapping[str, Any]) -> list[str]:
    known = document["definitions"]
    rows = [*(row for table in document["tables"].values() for row in table), *document["scores"]]
    names = {row["metric"] for row in rows}
    for part in TESTS:
        names |= {path[-1] for path in numbers(document[part]) if path[-1] not in ("low", "high")}
        names |= {one["metric"] for one in document[part]}
    return [name for name in names if len(known.get(name, "")) < LEAST_CHARS] + (["spread"] * ("spread" not in known))


@pytest.mark.parametrize(
    "options",
    [
        ("--concurrency", "1,2", "--slo", "ttft:500,e2e:9000", "--input-price", "1", "--output-price", "2"),
        ("--rate", "50", "--poisson", "--token-ids"),
        ("--sweep", "--max-concurrency", "2"),
        ("--cache",),
    ],
)
def test_every_figure_of_a_bench_of_a_server_is_defined(call: Call, options: tuple[str, ...]) -> None:
    with fake_server(Script()) as server:
        code, out, err = call("bench", server.url, "--requests", "4", "--warmup", "0", *options, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert len(document["figures"]) > 15
    assert undefined_in_run(document) == []
    assert undefined_in_run({**document, "definitions": {}}) != []


def test_failures_have_a_definition_by_kind(call: Call) -> None:
    assert set(FAILURES) == set(get_args(FailureKind))
    with fake_server(Script(breaks="cut")) as server:
        code, out, _ = call("bench", server.url, "--requests", "2", "--warmup", "0", "--json")
    assert code == 0
    document = json.loads(out)
    assert "failed: cut" in document["definitions"]
    assert undefined_in_run(document) == []


def test_every_figure_of_a_bench_of_a_model_here_is_defined(call: Call, smollm2_path: Path) -> None:
    given = ("--backend", "null", "--pp", "16", "--tg", "4", "--repeats", "2", "--limit-gb-s", "10")
    code, out, err = call("bench", str(smollm2_path), *given, "--limit-int8-gops", "100", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert {figure["name"] for figure in document["figures"]} == {"rate", "deviation", "limit", "limit_share"}
    assert undefined_in_run(document) == []


def test_a_knee_is_defined_beside_its_number(call: Call, tmp_path: Path) -> None:
    with RunStore(tmp_path / "runs").create("bench", {"mode": "traffic", "sweep": True}) as run:
        for stage, times in (("concurrency 1", (1.0,)), ("concurrency 2", (1.0, 1.0)), ("concurrency 4", (2.0,) * 4)):
            for number, took_s in enumerate(times):
                record = RequestRecord(
                    key=f"{stage}/{number:06d}", stage=stage, status="ok", sent_s=0.0, ended_s=took_s,
                    event_s=[took_s], event_tokens=[1], prompt_tokens=1, completion_tokens=1,
                )  # fmt: skip
                run.append(line_of(record))
        run.finish()
    code, out, err = call("runs", "show", "latest", "--json")
    assert code == 0, err
    document = json.loads(out)
    # 1, 2 and 2 tokens a second: computed from the records, whatever was found while they came.
    assert document["figures"][-1]["name"] == "knee"
    assert document["figures"][-1]["value"] == 2
    assert undefined_in_run(document) == []


def test_every_figure_of_an_eval_is_defined(call: Call, smollm2_path: Path) -> None:
    given = ("--backend", "null", "--context", "1024", "--limit", "3", "--max-tokens", "8", "--json")
    code, out, err = call("eval", str(smollm2_path), "--suite", "instructions,task:writing,task:maths", *given)
    assert code == 0, err
    assert undefined_in_run(json.loads(out)) == []


def test_a_comparison_defines_every_figure_in_each_of_its_forms(call: Call, smollm2_path: Path, tmp_path: Path) -> None:
    model, page, report = str(smollm2_path), tmp_path / "report.html", tmp_path / "report.md"
    given = ("--backend", "null", "--context", "1024", "--suite", "task:maths,instructions", "--rounds", "2")
    small = ("--concurrency", "1,2", "--limit", "2", "--max-tokens", "8", "--own", "1000,65")
    code, out, err = call("compare", model, model, *given, *small, "--html", str(page), "--json")
    assert code == 0, err
    document = json.loads(out)
    assert undefined_in_comparison(document) == []
    assert undefined_in_comparison({**document, "definitions": {}}) != []

    code, told, err = call("compare", "--resume", "latest", "--markdown", str(report))
    assert code == 0, err
    assert call("runs", "show", document["run"]) == (0, told, "")
    for text in (told, report.read_text(), re.sub("<[^>]*>", " ", page.read_text())):
        end = text.rpartition("What the figures mean")[2]
        for name in (
            "TTFT",
            "TPOT",
            "output tokens, USD",
            "p after Holm",
            "items that would settle it",
            "prefill, decode",
        ):
            assert name in end
        assert "from handing the request to the client" in end

    code, out, err = call("runs", "show", document["run"], "--json")
    assert code == 0, err
    shown = json.loads(out)
    assert {figure["name"] for figure in shown["figures"]} == {
        "difference_score", "difference_prompt_strict", "adjusted_p", "ratio",
    }  # fmt: skip
    assert undefined_in_run(shown) == []
