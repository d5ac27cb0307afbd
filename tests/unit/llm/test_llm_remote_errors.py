"""What a server says is wrong becomes the facade's error of that kind, in the server's words."""

import json

import pytest

from wayra.base.errors import (
    AccessDenied,
    ContextOverflow,
    InvalidParameter,
    ModelNotFound,
    ServerError,
    ServerUnreachable,
)
from wayra.client.failures import Failure
from wayra.engine.request import SamplingParams
from wayra.llm.remote.errors import Refusal, as_wayra_error
from wayra.llm.remote.reading import AnswerReader


def refusal(status: int, message: str, code: str | None = None, path: str = "/v1/completions") -> Exception:
    content = json.dumps({"error": {"message": message, "code": code}}).encode()
    return Refusal(status, content, path, "http://x/v1").as_error()


@pytest.mark.parametrize(
    ("status", "message", "code", "kind"),
    [
        (400, "top_k is -7", None, InvalidParameter),
        (422, "field required", None, InvalidParameter),
        (413, "too large", None, InvalidParameter),
        (400, "prompt has 9,000 tokens", "context_length_exceeded", ContextOverflow),
        (401, "no key", "invalid_api_key", AccessDenied),
        (403, "not yours", None, AccessDenied),
        (404, "there is no model 'x' here", "model_not_found", ModelNotFound),
        (404, "The model `x` does not exist.", None, ModelNotFound),
        (404, "Not Found", None, ServerError),
        (405, "Method Not Allowed", None, ServerError),
        (429, "queue full", "queue_full", ServerError),
        (500, "our fault", None, ServerError),
        (503, "draining", None, ServerError),
    ],
)
def test_a_status_becomes_its_error(status: int, message: str, code: str | None, kind: type[Exception]) -> None:
    error = refusal(status, message, code)
    assert type(error) is kind
    assert message in str(error)


def test_a_path_about_models_that_is_not_there_is_no_missing_model() -> None:
    error = refusal(404, "there is nothing at /v1/models", path="/v1/models")
    assert type(error) is ServerError
    assert "does not offer /v1/models" in str(error)


def test_a_body_that_is_no_json_is_shown_as_it_begins() -> None:
    error = Refusal(502, b"<html>Bad Gateway</html>", "/v1/completions", "http://x/v1").as_error()
    assert str(error) == "the server at http://x/v1 failed with status 502: <html>Bad Gateway</html>"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("connect", ServerUnreachable),
        ("cut", ServerUnreachable),
        ("stall", ServerUnreachable),
        ("tls", ServerUnreachable),
        ("protocol", ServerError),
        ("rubbish", ServerError),
        ("too_large", ServerError),
    ],
)
def test_a_failure_below_http_says_whether_anybody_is_there(kind: str, expected: type[Exception]) -> None:
    error = as_wayra_error(Failure(kind, "something happened"), "http://x/v1")  # type: ignore[arg-type]
    assert type(error) is expected
    assert "http://x/v1" in str(error)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (b"{ no json", "not what the API says"),
        (b'{"error": {"message": "out of memory"}}', "out of memory"),
        (b'{"choices": [{"text": "a", "logprobs": {"tokens": ["a"], "token_logprobs": [-1.0]}}]}', "telling its id"),
        (b'{"choices": [{"text": "a", "logprobs": {"tokens": ["token_id:1"], "token_logprobs": []}}]}', "log-prob"),
    ],
)
def test_an_event_that_is_not_the_apis_ends_the_answer(event: bytes, said: str) -> None:
    with pytest.raises(ServerError, match=said):
        AnswerReader(SamplingParams(logprobs=0)).take(event)


def test_an_answer_that_breaks_off_is_none() -> None:
    reader = AnswerReader(SamplingParams())
    chunk = reader.take(b'{"choices": [{"text": "half"}]}')
    assert chunk is not None
    assert chunk.text == "half"
    with pytest.raises(ServerError, match="without saying why"):
        reader.finish()
    assert reader.take(b"[DONE]") is None
    completion = reader.finish().completion
    assert completion is not None
    assert (completion.text, completion.finish_reason) == ("half", "stop")


def test_reasons_of_other_servers_are_an_end() -> None:
    reader = AnswerReader(SamplingParams())
    reader.take(b'{"choices": [{"delta": {"content": "x"}, "finish_reason": "content_filter"}]}')
    assert reader.finish().finish_reason == "stop"
