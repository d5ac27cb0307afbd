"""schemathesis over the server's own OpenAPI document: nothing a client can send is a 5xx, and the engine lives on.

Runs with -m api_fuzz and needs wayra[api-fuzz]; --fuzz-cases says how many requests each operation gets in each mode.
The null backend answers with predictable tokens, so that all the time goes into requests.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from live_server import LiveServer, is_idle
from schemathesis.checks import CHECKS

from wayra.server.openapi import document

pytestmark = [pytest.mark.api_fuzz, pytest.mark.filterwarnings("default")]

SCHEMA = schemathesis.openapi.from_dict(document(False))
OPERATIONS = {operation.label: operation for operation in (found.ok() for found in SCHEMA.get_all_operations())}
WITH_BODY = sorted(label for label in OPERATIONS if label.startswith("POST "))
CONFORMS = [
    CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    )
]
REFUSES = [*CONFORMS, CHECKS.get_one("negative_data_rejection")]
ANSWER_S = 60
MOST_DRAWS = 20
PLANNED: dict[str, Any] = {
    "workload": {
        "traffic": {"input_tokens": 800, "output_tokens": 200, "requests_per_month": 100_000},
        "choice": {"models": ["llama-3.1-8b"], "gpus": ["l40s"]},
    },
    "option": "o0",
}
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


class Fuzzed:
    """A live server and a session with it. statuses: how often each was answered."""

    def __init__(self, live: LiveServer) -> None:
        self.live = live
        self.session = requests.Session()
        self.statuses: dict[int, int] = {}

    def send(self, case: schemathesis.Case, checks: list[Any]) -> int:
        """The status of the answer, which is checked."""
        answer = case.call(base_url=self.live.url, session=self.session, timeout=ANSWER_S)
        self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
        # A body too large is refused for that, whatever it holds; the check of negative data does not know the status.
        case.validate_response(answer, checks=CONFORMS if answer.status_code == 413 else checks)
        return answer.status_code


@pytest.fixture(scope="module")
def live(smollm2_path: Path) -> Iterator[LiveServer]:
    args = ["--backend", "null", "--context", "128", "--max-batch", "4", "--max-waiting", "4"]
    with LiveServer(str(smollm2_path), *args) as found:
        yield found


@pytest.fixture
def fuzzed(live: LiveServer, record_property: Any) -> Iterator[Fuzzed]:
    """Whatever was sent, the engine steps, holds nothing, and nothing was logged as a failure of ours."""
    found, failed_before = Fuzzed(live), failures(live)
    yield found
    found.session.close()
    record_property("statuses", json.dumps(found.statuses, sort_keys=True))
    print("statuses:", dict(sorted(found.statuses.items())))
    assert live.get("/health").status == 200
    assert live.settles(lambda: is_idle(live))
    assert failures(live)[len(failed_before) :] == []


def failures(live: LiveServer) -> list[str]:
    """Lines of the log about what is our fault."""
    return [line for line in live.log().splitlines() if '"status": 5' in line or "traceback" in line]


def fuzz(test: Any) -> Any:
    """As the profile of this run, with every case generated, none replayed."""
    return settings(database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink])(test)


@pytest.mark.parametrize("label", sorted(OPERATIONS))
def test_what_the_document_allows_is_answered_or_refused_with_a_reason(fuzzed: Fuzzed, label: str) -> None:
    @fuzz
    @given(case=OPERATIONS[label].as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE))
    def send(case: schemathesis.Case) -> None:
        if fuzzed.send(case, CONFORMS) != 200 and isinstance(case.body, dict):
            # A second try without what no schema can tell, to come deeper.
            case.body = fitted(label, case.body)
            fuzzed.send(case, CONFORMS)

    # A few cases may all ask for what the only model refuses: more are drawn then, until one is answered.
    for _ in range(MOST_DRAWS):
        send()
        if 200 in fuzzed.statuses or label == "GET /v1/models/{name}":
            return
    raise AssertionError(f"{label}: none of {sum(fuzzed.statuses.values())} requests was answered: {fuzzed.statuses}")


@pytest.mark.parametrize("label", WITH_BODY)
def test_what_the_document_forbids_is_refused(fuzzed: Fuzzed, label: str) -> None:
    @fuzz
    @given(case=OPERATIONS[label].as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE))
    def send(case: schemathesis.Case) -> None:
        fuzzed.send(case, REFUSES)

    send()
    assert max(fuzzed.statuses) < 500
    assert min(fuzzed.statuses) >= 400


@pytest.mark.parametrize("label", WITH_BODY)
def test_any_bytes_are_answered_or_refused(fuzzed: Fuzzed, label: str) -> None:
    url = fuzzed.live.url + label.removeprefix("POST ")
    kinds = st.sampled_from(["application/json", "application/json; charset=x", "text/plain", "multipart/form-data"])

    @fuzz
    @given(body=st.binary(max_size=300) | ANY_JSON.map(lambda value: json.dumps(value).encode()), kind=kinds)
    def send(body: bytes, kind: str) -> None:
        answer = fuzzed.session.post(url, data=body, headers={"Content-Type": kind}, timeout=ANSWER_S)
        fuzzed.statuses[answer.status_code] = fuzzed.statuses.get(answer.status_code, 0) + 1
        assert answer.status_code < 500, answer.text
        assert answer.json()

    send()


SCHEMA_OF_COVERAGE = SCHEMA.clone()
SCHEMA_OF_COVERAGE.config.phases.update(phases=["coverage"])


@SCHEMA_OF_COVERAGE.parametrize()
def test_every_bound_and_missing_field_and_method(case: schemathesis.Case, fuzzed: Fuzzed) -> None:
    fuzzed.send(case, [*REFUSES, CHECKS.get_one("unsupported_method")])


def fitted(label: str, body: dict[str, Any]) -> dict[str, Any]:
    """The same as the only model would take it, as far as a few rules go."""
    fit = without_floats({name: value for name, value in body.items() if name not in ("model", "name")})
    if fit.get("top_logprobs") is not None:
        fit["logprobs"] = True
    for message in fit.get("messages") or []:
        message["content"] = "Hello"
        message.pop("tool_calls", None)
    if isinstance(fit.get("input"), list):
        fit["input"] = [{"role": "user", "content": "Hello"}] if label == "POST /v1/responses" else ["Hello"]
    if isinstance(fit.get("prompt"), list):
        fit["prompt"] = ["Hello"]
    for name in ("tools", "tool_choice"):
        fit.pop(name, None)
    # The tables of a workload are read by the planner, which the document says nothing of.
    fit.update({name: value for name, value in PLANNED.items() if name in fit})
    return fit


def without_floats(value: Any) -> Any:
    """1.0 is an integer to a schema, and to no decoder here."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [without_floats(part) for part in value]
    if isinstance(value, dict):
        return {name: without_floats(part) for name, part in value.items()}
    return value
