"""What a key file may say, and what each key may use."""

import hashlib
from pathlib import Path

import pytest

from wayra.base.errors import InvalidParameter
from wayra.server.door import Keys
from wayra.server.errors import ApiError
from wayra.server.keys import ApiKey, KeyLimits, Quotas, api_key, keys_from_file

KEY, OTHER_KEY = "sk-test-0123456789", "sk-other-987654321"


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def limited(**limits: int) -> tuple[ApiKey, Clock, Quotas]:
    key, clock = api_key(KEY, KeyLimits(**limits)), Clock()
    return key, clock, Quotas([key], clock)


def test_a_file_holds_plain_keys_digests_comments_and_limits(tmp_path: Path) -> None:
    digest = hashlib.sha256(OTHER_KEY.encode()).hexdigest()
    path = tmp_path / "keys"
    path.write_text(f"# ours\n\n{KEY} requests=60 tokens=1000 concurrent=4 weight=7\n  sha256:{digest} concurrent=1\n")
    first, second = keys_from_file(path)
    assert first == api_key(KEY, KeyLimits(60, 1000, 4), weight=7)
    assert second == api_key(OTHER_KEY, KeyLimits(concurrent=1))
    assert Keys([first, second]).find(OTHER_KEY.encode()) == second
    assert Keys([first, second]).find(f"sha256:{digest}".encode()) is None


@pytest.mark.parametrize(
    "line",
    [
        f"{KEY} requests=0", f"{KEY} requests=-1", f"{KEY} requests=x", f"{KEY} requests", f"{KEY} speed=1",
        f"{KEY} requests=1 requests=2", f"{KEY} tokens=9999999999999", f"{KEY} tokens=\u0661", "sha256:12",
        f"{KEY} weight=0", f"{KEY} weight=1001", f"{KEY} weight=2 weight=2", f"{KEY} weight=1.5",
        f"{KEY} {OTHER_KEY}", "short", f"{OTHER_KEY}\n{OTHER_KEY}",
    ],
)  # fmt: skip
def test_a_wrong_line_is_named_and_its_key_is_not(tmp_path: Path, line: str) -> None:
    path = tmp_path / "file"
    path.write_text(f"# first\n{line}\n")
    with pytest.raises(InvalidParameter, match=r"line [23] of the key file") as caught:
        keys_from_file(path)
    assert KEY not in str(caught.value)
    assert OTHER_KEY not in str(caught.value)


def test_who_only_waited_for_a_model_held_a_place_and_has_used_nothing() -> None:
    key, _, quotas = limited(concurrent=2, requests_a_minute=2)
    quotas.admit(key.name, 1)
    quotas.admit(key.name, 1)
    with pytest.raises(ApiError, match="2 answers are under way"):
        quotas.admit(key.name, 1)
    quotas.take_back(key.name, 1)
    quotas.admit(key.name, 1)
    quotas.release(key.name, 1, 0)
    with pytest.raises(ApiError, match="2 requests a minute"):
        quotas.admit(key.name, 1)


def test_requests_beyond_the_rate_are_told_when_the_next_one_fits() -> None:
    key, clock, quotas = limited(requests_a_minute=2)
    quotas.admit(key.name, 1)
    quotas.admit(key.name, 1)
    with pytest.raises(ApiError) as caught:
        quotas.admit(key.name, 1)
    assert (caught.value.status, caught.value.headers) == (429, {"retry-after-ms": "30000", "retry-after": "30"})
    clock.now_s += 30
    quotas.admit(key.name, 1)


def test_a_key_in_debt_of_tokens_waits_until_it_is_paid() -> None:
    key, clock, quotas = limited(tokens_a_minute=60)
    quotas.admit(key.name, 1)
    quotas.release(key.name, 1, 90)
    clock.now_s += 30
    with pytest.raises(ApiError, match="60 tokens a minute") as caught:
        quotas.admit(key.name, 1)
    assert caught.value.headers["retry-after-ms"] == "1000"
    clock.now_s += 1
    quotas.admit(key.name, 1)


def test_counting_tokens_spends_requests_and_is_not_held_up_by_tokens_or_answers_under_way() -> None:
    key, clock, quotas = limited(requests_a_minute=2, tokens_a_minute=10, concurrent=1)
    quotas.admit(key.name, 1)
    quotas.release(key.name, 0, 1000)
    quotas.charge_request(key.name)
    with pytest.raises(ApiError, match="2 requests a minute") as refused:
        quotas.charge_request(key.name)
    assert (refused.value.status, refused.value.headers["retry-after-ms"]) == (429, "30000")
    clock.now_s += 30
    quotas.charge_request(key.name)
    quotas.release(key.name, 1, 0)
    clock.now_s += 6000
    quotas.admit(key.name, 1)


def test_answers_at_a_time_are_counted_and_given_back() -> None:
    key, _, quotas = limited(concurrent=2)
    quotas.admit(key.name, 2)
    with pytest.raises(ApiError) as busy:
        quotas.admit(key.name, 1)
    with pytest.raises(ApiError) as never:
        quotas.admit(key.name, 3)
    assert (busy.value.status, never.value.status) == (429, 400)
    quotas.release(key.name, 2, 0)
    quotas.admit(key.name, 2)


def test_a_key_without_limits_is_never_refused() -> None:
    _, _, quotas = limited(requests_a_minute=1)
    for _ in range(100):
        quotas.admit("another", 10)
        quotas.release("another", 10, 10**9)
