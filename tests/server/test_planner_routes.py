"""The planner behind its page: what it answers, what it refuses, how many it takes on, and wayra plan --web."""

import json
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from live_server import START, LiveServer

pytest.importorskip("genai_prices")

WORK: dict[str, Any] = {
    "traffic": {"input_tokens": 800, "output_tokens": 200, "requests_per_month": 100_000},
    "choice": {"models": ["llama-3.1-8b", "gpt-4o"], "gpus": ["l40s"]},
}
KEY = "sk-planner-0123456789"


def weigh(server: LiveServer, **changes: Any) -> Any:
    return server.post("/plan/weigh", {"workload": {**WORK, **changes}})


def explain(server: LiveServer, option: str, **fields: Any) -> Any:
    return server.post("/plan/explain", {"workload": WORK, "option": option, **fields})


def names_in(tree: Any) -> Iterator[str]:
    yield tree["name"]
    for item in tree["inputs"]:
        yield from names_in(item)


def test_the_page_is_one_document_with_its_own_policy(server: LiveServer) -> None:
    answer = server.get("/plan")
    text = answer.body.decode()
    assert answer.headers["content-type"].startswith("text/html")
    assert "'unsafe" not in answer.headers["content-security-policy"]
    assert re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"'](?!data:)", text) == []
    assert "{{" not in text
    assert 'data-chat="yes"' in text
    assert 'href="/plan"' in server.get("/").body.decode()


def test_a_plan_is_ranked_values(server: LiveServer) -> None:
    made = weigh(server).json
    costs = [row["numbers"]["usd_per_month"][0] for row in made["options"]]
    assert len(costs) > 3
    assert costs == sorted(costs)
    api = next(row for row in made["options"] if row["model"] == "gpt-4o")
    # 100,000 * (800 * 2.50 + 200 * 10.00) / 1e6
    assert api["numbers"]["usd_per_month"] == [400.0, "400", "USD/month"]
    assert made["numbers"]["mtok_per_month"]["value"] == 100


def test_what_is_rejected_says_why(server: LiveServer) -> None:
    made = weigh(server, quality={"mmlu": 80}).json
    small = next(row for row in made["rejected"] if row["model"] == "llama-3.1-8b")
    assert small["failures"] == [
        {"constraint": "quality", "reason": "mmlu 69.4 is below 80 (Llama 3.1 model card (5-shot), 2024-07-23)"}
    ]


def test_a_conflict_is_named(server: LiveServer) -> None:
    made = weigh(server, limits={"latency_p95_s": 0.01}, rules={"privacy": "no-third-party"}).json
    assert made["options"] == []
    assert made["conflict"]["constraints"] == ["latency", "privacy"]


def test_every_number_of_an_option_comes_with_formula_inputs_and_sources(server: LiveServer) -> None:
    rented = next(row for row in weigh(server).json["options"] if row["kind"] == "rented")
    found = explain(server, rented["id"]).json
    assert set(found["numbers"]) == set(rented["numbers"])
    for name, (value, *_) in rented["numbers"].items():
        assert found["numbers"][name]["value"] == value
    cost = found["numbers"]["usd_per_month"]
    assert cost["formula"] == "rent_usd_per_h * gpus * hours_per_month"
    assert "runpod" in cost["inputs"][0]["source"]
    assert "weights_read" in set(names_in(found["numbers"]["latency_p95_s"]))

    def check(tree: Any) -> None:
        assert tree["formula"] or tree["source"] or tree["note"], tree
        for item in tree["inputs"]:
            check(item)

    for tree in found["numbers"].values():
        check(tree)


def test_the_memorys_parts_add_up(server: LiveServer) -> None:
    rented = next(row for row in weigh(server).json["options"] if row["kind"] == "rented")
    memory = explain(server, rented["id"]).json["memory"]
    assert list(memory["parts"]) == ["weights", "kv", "activations", "runtime"]
    parts = sum(part["value"] for part in memory["parts"].values())
    assert parts == pytest.approx(rented["numbers"]["memory_gb"][0] * 1e9)
    assert parts <= memory["usable"]["value"] < memory["device"]["value"]


def test_the_paces_hold_the_option_and_a_point_explains_itself(server: LiveServer) -> None:
    rented = next(row for row in weigh(server).json["options"] if row["kind"] == "rented")
    paces = explain(server, rented["id"]).json["paces"]
    at_peak = next(point for point in paces["points"] if point["batch"] == paces["carried"])
    assert at_peak["latency_s"] == rented["numbers"]["latency_p95_s"][0]
    for point in paces["points"]:
        found = explain(server, rented["id"], batch=point["batch"]).json["numbers"]
        assert found["latency_p95_s"]["value"] == point["latency_s"]
        assert found["requests_per_s"]["value"] == point["requests_per_s"]
        # Times to first token were compared with measured ones up to 64 requests at once, those of tokens always.
        for name in ("latency_s", "ttft_s", "tpot_s"):
            within = point["within"][name]
            assert (within is None) == (name == "ttft_s" and point["batch"] > 64)
            assert within is None or within[0] < point[name] < within[1]
        assert ("not validated" in found["ttft_p95_s"]["note"]) == (point["batch"] > 64)
    assert explain(server, rented["id"], batch=60_000).error["param"] == "batch"


def test_an_api_is_compared_with_machines_and_shows_them(server: LiveServer) -> None:
    api = next(row for row in weigh(server).json["options"] if row["model"] == "gpt-4o")
    found = explain(server, api["id"]).json
    even = found["break_even"]
    assert even["api"] == api["label"]
    assert even["numbers"]["volume"]["value"] == pytest.approx(
        even["numbers"]["machine"]["value"] / even["numbers"]["api"]["value"]
    )
    assert found["beside"]["label"] == even["machines"]
    assert found["memory"] is None


def test_machines_without_an_api_to_compare_with_have_a_curve_all_the_same(server: LiveServer) -> None:
    work = {**WORK, "rules": {"privacy": "no-third-party"}}
    even = server.post("/plan/explain", {"workload": work, "option": "o0"}).json["break_even"]
    assert even["api"] is None
    assert set(even["numbers"]) == {"capacity", "machine"}


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        ({}, "the workload, [traffic] lacks 'input_tokens'"),
        ({"trafic": {}}, "the workload has an unknown key 'trafic'; did you mean 'traffic'?"),
        ({**WORK, "choice": {"gpus": ["l4os"]}}, "nearest: l40s"),
        ({**WORK, "choice": {"models": ["llama-8b"]}}, "nearest: "),
        ({**WORK, "quality": {"mmlu": -1}}, "the floor of mmlu: -1; expected 0 to 100"),
        ({**WORK, "quality": {"mlu": 50}}, "nearest: mmlu"),
        ({**WORK, "traffic": {**WORK["traffic"], "requests_per_month": 0}}, "requests a month: 0; expected"),
        ({**WORK, "traffic": {**WORK["traffic"], "input_tokens": 1e300}}, "'input_tokens' is 1e+300"),
        (
            {**WORK, "traffic": {**WORK["traffic"], "input_tokens": "many"}},
            "'input_tokens' is 'many'; expected a number",
        ),
        ({**WORK, "have": {"l40s": 0}}, "cards l40s that are there: 0; expected 1 to"),
        ({**WORK, "name": 7}, "'name' is 7; expected a text"),
    ],
)
def test_a_wrong_workload_is_refused_in_a_sentence(server: LiveServer, workload: Any, said: str) -> None:
    answer = server.post("/plan/weigh", {"workload": workload})
    assert answer.status == 400
    assert said in answer.error["message"]


def test_whatever_is_sent_is_no_failure_of_ours(server: LiveServer) -> None:
    deep: Any = []
    for _ in range(400):
        deep = [deep]
    long = "x" * 50_000
    bodies: list[Any] = [
        b"", b"[", b"null", b"[" * 60_000, {"workload": []}, {"workload": {"traffic": deep}}, {"workload": {long: 1}},
        {"workload": {**WORK, "have": {long: 1}}}, {"workload": {**WORK, "choice": {"models": [long]}}},
        {"workload": {**WORK, "quality": {long: 1}}}, {"workload": {**WORK, "name": long}, "extra": 1},
        {"workload": {**WORK, "route": [{"share": 1e-6}] * 2000}},
        {"workload": {**WORK, "route": [{"share": 0.01}] * 100}},
    ]  # fmt: skip
    for body in bodies:
        answer = server.post("/plan/weigh", body)
        assert answer.status == 400, body if len(str(body)) < 200 else str(body)[:200]
        assert 0 < len(answer.error["message"]) < 1000
    assert server.post("/plan/weigh", {"workload": {"name": "x" * 100_000}}).status == 413
    assert server.ask("POST", "/plan/weigh", b"{}", {"Content-Type": "text/plain"}).status == 415
    assert explain(server, "o99999").status == 404
    assert explain(server, "x1").status == 404
    assert explain(server, "o\u0661").status == 404


def test_pages_of_other_origins_may_not_ask(server: LiveServer) -> None:
    answer = server.ask("POST", "/plan/weigh", {"workload": WORK}, {"Origin": "https://evil.test"})
    assert answer.status == 403
    assert server.get("/plan/facts", Host="evil.test").status == 421


def test_few_wait_and_the_rest_are_told_to_come_again(server: LiveServer) -> None:
    def ask(number: int) -> Any:
        traffic = {"input_tokens": 800 + number, "output_tokens": 200, "requests_per_month": 100_000}
        return server.post("/plan/weigh", {"workload": {"traffic": traffic}})

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(24)))
    assert {answer.status for answer in answers} <= {200, 429}
    refused = [answer for answer in answers if answer.status == 429]
    assert refused
    assert all(answer.headers["retry-after-ms"] == "500" for answer in refused)
    assert weigh(server).status == 200


def test_the_planner_needs_the_key_and_its_page_does_not(smollm2_path: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text(f"{KEY}\n")
    with LiveServer(str(smollm2_path), "--backend", "null", "--context", "512", "--api-key-file", str(keys)) as live:
        assert live.get("/plan").status == 200
        assert live.get("/plan/facts").status == 401
        assert weigh(live).status == 401
        assert live.get("/plan/facts", Authorization=f"Bearer {KEY}").status == 200


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """wayra plan --web on a workload with a rent of one's own; its address."""
    work = tmp_path_factory.mktemp("plan") / "work.toml"
    work.write_text(
        'name = "Mine"\n[traffic]\ninput_tokens = 10\noutput_tokens = 20\nrequests_per_s = 1\n'
        '[choice]\nmodels = ["llama-3.2-1b"]\ngpus = ["l40s"]\n'
    )
    process = subprocess.Popen(
        [sys.executable, "-c", START, "plan", str(work), "--web", "--rent", "l40s=0.1", "--peak-factor", "2", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    guard = threading.Timer(60, process.kill)
    guard.start()
    line = process.stdout.readline()
    guard.cancel()
    yield json.loads(line)["url"]
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")


def test_alone_it_starts_with_the_given_workload_and_prices(alone: str) -> None:
    with urllib.request.urlopen(f"{alone}/facts") as answer:
        facts = json.load(answer)
    assert facts["start"]["name"] == "Mine"
    assert facts["start"]["traffic"]["peak_factor"] == 2
    body = json.dumps({"workload": facts["start"]}).encode()
    asked = urllib.request.Request(f"{alone}/weigh", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked) as answer:
        made = json.load(answer)
    assert made["options"][0]["numbers"]["usd_per_month"][0] == pytest.approx(0.1 * 730)


def test_alone_it_has_no_chat_and_its_root_leads_to_the_page(alone: str) -> None:
    with urllib.request.urlopen(alone.removesuffix("/plan")) as answer:
        assert answer.url == alone
        assert b'data-chat="no"' in answer.read()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--web", "--explain", "1"), "--web shows every option"),
        (("--scenario", "startup-chatbot", "--port", "8000"), "belong to --web"),
        (("--web", "--prices", "nonesuch.toml"), "nonesuch.toml"),
        (
            ("--web", "--input-tokens", "-1", "--output-tokens", "1", "--requests-per-s", "1"),
            "input tokens a request: -1",
        ),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_served(args: tuple[str, ...], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START, "plan", *args], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
