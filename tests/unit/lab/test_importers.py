"""Result files as guidellm and `vllm bench serve` write them become runs with our figures."""

import json
from pathlib import Path

import pytest

from wayra.base.errors import RunError
from wayra.lab.importers import import_file
from wayra.lab.runs import RunStore, Summary, summarise

VLLM = {
    "date": "20261101-101500", "endpoint_type": "openai", "backend": "openai", "label": None, "model_id": "m",
    "tokenizer_id": "m", "num_prompts": 3, "request_rate": 2.0, "burstiness": 1.0, "max_concurrency": 2,
    "duration": 2.0, "completed": 2, "failed": 1, "total_input_tokens": 30, "total_output_tokens": 7,
    "request_throughput": 1.0, "request_goodput": None, "output_throughput": 3.5, "total_token_throughput": 18.5,
    "input_lens": [10, 20, 5], "output_lens": [4, 3, 0], "ttfts": [0.2, 0.4, 0.0],
    "itls": [[0.1, 0.1, 0.1], [0.25, 0.25], []], "latencies": [0.5, 0.9, 0.0],
    "start_times": [100.0, 100.5, 101.0], "queue_times": [0.0, 0.05, 0.0], "generated_texts": ["abcd", "efg", ""],
    "errors": ["", "", "Traceback ... ClientConnectorError"], "max_output_tokens_per_s": 5.0,
    "max_concurrent_requests": 2, "rtfx": 0.0, "mean_ttft_ms": 300.0, "median_ttft_ms": 300.0,
}  # fmt: skip


def timings(start: float, first: float | None, last: float | None, end: float) -> dict:
    return {
        "targeted_start": start - 0.01, "queued": start - 0.02, "dequeued": start - 0.015,
        "scheduled_at": start - 0.012, "resolve_start": start - 0.001, "request_start": start,
        "first_request_iteration": first,
        "first_token_iteration": first, "first_output_token_iteration": first, "last_token_iteration": last,
        "last_request_iteration": last, "request_iterations": 5, "token_iterations": 4, "request_end": end,
        "resolve_end": end + 0.001, "finalized": end + 0.01,
    }  # fmt: skip


def guidellm_request(status: str, when: dict, tokens: int | None, error: str | None = None) -> dict:
    usage = {
        "text_tokens": tokens,
        "text_words": 3,
        "text_characters": 12,
        "total_tokens": tokens,
        "image_tokens": None,
    }
    return {
        "type_": "generative_request_stats", "request_id": "r", "response_id": "x", "request_args": "{}",
        "output": "four words of text", "reasoning_output": None, "tool_calls": None,
        "info": {
            "request_id": "r", "status": status, "scheduler_node_id": 0, "scheduler_process_id": 0,
            "scheduler_start_time": 1000.0, "timings": when, "error": error, "traceback": None,
            "started_at": 1000.0, "completed_at": 1001.0,
        },
        "input_metrics": {**usage, "text_tokens": 16, "total_tokens": 16}, "output_metrics": usage,
        "request_latency": 1.0, "time_to_first_token_ms": 200.0,
    }  # fmt: skip


def guidellm() -> dict:
    requests = {
        "successful": [
            guidellm_request("completed", timings(1000.0, 1000.2, 1000.8, 1000.9), 4),
            guidellm_request("completed", timings(1000.5, 1000.9, 1001.2, 1001.5), None),
        ],
        "incomplete": [guidellm_request("cancelled", timings(1001.0, None, None, 1001.5), None)],
        "errored": [guidellm_request("errored", timings(1001.0, None, None, 1001.1), None, "connection refused")],
        "total": None,
    }
    config = {"strategy": {"type_": "constant", "rate": 2.0}}
    benchmark = {"type_": "generative_benchmark", "config": config, "requests": requests}
    return {"type_": "generative_benchmarks_report", "metadata": {"version": 2}, "args": {}, "benchmarks": [benchmark]}


RESULTS = Path(__file__).parent / "results"
"""Of `vllm bench serve` 0.33 and guidellm 0.8.1 against this server, texts and what no importer reads cut off."""


def imported_summary(tmp_path: Path, path: Path) -> Summary:
    return summarise(import_file(RunStore(tmp_path / "runs"), path))


def test_a_file_of_vllm_bench_has_the_figures_it_says_itself(tmp_path: Path) -> None:
    path = RESULTS / "vllm_bench_serve.json"
    found, theirs = imported_summary(tmp_path, path), json.loads(path.read_text())
    values = {figure.name: figure.value for figure in found.figures}
    assert {figure.group for figure in found.figures} == {"concurrency 3"}
    for quantile in ("p50", "p95", "p99"):
        # vLLM calls the gap between chunks ITL.
        for ours, name in (("ttft", "ttft"), ("tpot", "tpot"), ("icl", "itl"), ("e2e", "e2el")):
            assert values[f"{ours}_{quantile}"] == pytest.approx(theirs[f"{quantile}_{name}_ms"]), (ours, quantile)
    assert (values["requests"], values["failed"]) == (theirs["completed"], theirs["failed"])
    # Its duration is that of the whole program's loop.
    for ours, name in (
        ("span", "duration"),
        ("request_rate", "request_throughput"),
        ("output_rate", "output_throughput"),
    ):
        assert values[ours] == pytest.approx(theirs[name], rel=2e-3)
    # All were due at once and waited for one another: no load generator was late.
    assert "queue_p50" not in values


def test_a_report_of_guidellm_has_the_figures_it_says_itself(tmp_path: Path) -> None:
    path = RESULTS / "guidellm.json"
    found, theirs = imported_summary(tmp_path, path), json.loads(path.read_text())["benchmarks"]
    for stage, benchmark in zip(("concurrent 1", "concurrent 2"), theirs, strict=True):
        values = {figure.name: figure.value for figure in found.figures if figure.group == stage}
        metrics = benchmark["metrics"]
        told = {name: metrics[name]["successful"] for name in metrics if name != "request_totals"}
        assert (values["requests"], values["failed"]) == (metrics["request_totals"]["successful"], 0)
        if values["requests"] % 2:
            # Of an even number it takes one of the middle two, not their mean. TPOT without the first token is its ITL.
            assert values["ttft_p50"] == pytest.approx(told["time_to_first_token_ms"]["percentiles"]["p50"])
            assert values["tpot_p50"] == pytest.approx(told["inter_token_latency_ms"]["percentiles"]["p50"])
        latencies = told["time_to_first_token_ms"]["percentiles"]
        assert values["ttft_p95"] <= latencies["p95"]
        assert values["e2e_p50"] <= 1000 * told["request_latency"]["percentiles"]["p99"]
        for ours, name in (
            ("request_rate", "requests_per_second"),
            ("output_rate", "output_tokens_per_second"),
            ("concurrency", "request_concurrency"),
        ):
            assert values[ours] == pytest.approx(told[name]["mean"], rel=1e-3)
        assert values["input_rate"] == pytest.approx(
            told["prompt_token_count"]["mean"] * told["requests_per_second"]["mean"], rel=1e-3
        )
        assert "queue_p50" not in values
        why = {figure.name: figure.why for figure in found.figures if figure.group == stage}
        assert why["icl_p50"] == "the tool that measured kept the first and the last token's time only"


def imported(tmp_path: Path, content: object) -> dict[str, float | None]:
    path = tmp_path / "result.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    run = import_file(RunStore(tmp_path / "runs"), path)
    return {figure.name: figure.value for figure in summarise(run).figures}


def test_vllm_results_give_its_own_numbers_by_our_definitions(tmp_path: Path) -> None:
    found = imported(tmp_path, VLLM)
    assert (found["requests"], found["failed"]) == (2, 1)
    assert found["ttft_p50"] == pytest.approx(300)
    assert found["tpot_p50"] == pytest.approx((100 + 250) / 2)
    assert found["e2e_p99"] == pytest.approx(896, abs=1)
    assert found["queue_p99"] == pytest.approx(49, abs=1)
    assert found["output_rate"] == pytest.approx(7 / 1.4)


def test_vllm_results_without_start_times_have_rates_of_the_tools_own_span(tmp_path: Path) -> None:
    older = {name: value for name, value in VLLM.items() if name not in ("start_times", "latencies", "queue_times")}
    found = imported(tmp_path, older)
    assert found["span"] == pytest.approx(2.0)
    assert found["output_rate"] == pytest.approx(3.5)
    assert found["e2e_p50"] == pytest.approx(700)


def test_guidellm_reports_give_its_times_and_count_the_cancelled_apart(tmp_path: Path) -> None:
    found = imported(tmp_path, guidellm())
    assert (found["requests"], found["cancelled"], found["failed"]) == (2, 1, 1)
    assert found["ttft_p50"] == pytest.approx(300)
    # (0.8 - 0.2) / 3 and (1.2 - 0.9) / 3: the second has no usage, so each of its four events counts as a token.
    assert found["tpot_p50"] == pytest.approx((200 + 100) / 2)
    assert found["icl_p50"] is None
    assert found["queue_p50"] == pytest.approx(10, abs=0.01)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "expected a JSON object"),
        ({"hello": 1}, "has neither"),
        ({name: value for name, value in VLLM.items() if name != "itls"}, "--save-detailed"),
        ({**VLLM, "ttfts": [0.1]}, "different lengths"),
        ({"benchmarks": [{"request_totals": 3}]}, "no report of guidellm 0.4 or later"),
        ({"benchmarks": [{"requests": {"successful": []}}]}, "has no request with times"),
    ],
)
def test_what_no_tool_wrote_is_refused_by_what_it_lacks(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(RunError, match=said):
        imported(tmp_path, content)
