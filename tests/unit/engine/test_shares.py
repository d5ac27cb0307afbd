"""Several shares in one engine: who begins when."""

import time

import pytest

from wayra.backends.null import NullModel, null_spec
from wayra.base.errors import InvalidParameter
from wayra.engine.engine import Engine
from wayra.engine.request import Request, SamplingParams, Share
from wayra.engine.settings import EngineSettings

ANSWER = SamplingParams(temperature=0.0, max_tokens=8)


def make_engine(**settings: int) -> Engine:
    return Engine(NullModel(null_spec(500, 256)), EngineSettings(**settings))  # type: ignore[arg-type]


def endings(engine: Engine) -> list[str]:
    """Names of requests, in the order they end."""
    ended: list[str] = []
    for _ in range(20_000):
        if not engine.has_work():
            return ended
        ended += [output.request_id for output in engine.step() if output.finish_reason is not None]
        engine.check_integrity()
    raise AssertionError("the engine does not come to an end")


def add(engine: Engine, share: Share, count: int, params: SamplingParams = ANSWER) -> None:
    for number in range(count):
        engine.add(Request(f"{share.name}{number}", (1, 2, number % 500), params, share=share))


def test_hundreds_of_requests_of_one_share_delay_another_by_what_runs_and_one_more() -> None:
    engine = make_engine(max_running=2)
    add(engine, Share("heavy"), 300)
    for _ in range(10):
        engine.step()
    add(engine, Share("light"), 1)
    assert "light0" in endings(engine)[:5]


def test_shares_are_served_by_weight() -> None:
    engine = make_engine(max_running=1)
    add(engine, Share("a"), 100)
    add(engine, Share("b", weight=4), 100)
    first = endings(engine)[:100]
    assert 79 <= sum(name[0] == "b" for name in first) <= 81


def test_tokens_asked_for_and_never_computed_are_not_counted() -> None:
    engine = make_engine(max_running=1, max_context=256)
    add(engine, Share("a"), 100, SamplingParams(temperature=0.0, max_tokens=250, stop_token_ids=tuple(range(500))))
    add(engine, Share("b"), 100, SamplingParams(temperature=0.0, max_tokens=1))
    first = endings(engine)[:100]
    assert 49 <= sum(name[0] == "a" for name in first) <= 51


def test_a_large_request_that_does_not_fit_yet_is_not_starved_by_small_ones() -> None:
    engine = make_engine(max_context=256, kv_blocks=8)
    add(engine, Share("small"), 150, SamplingParams(temperature=0.0, max_tokens=40))
    add(engine, Share("large"), 1, SamplingParams(temperature=0.0, max_tokens=250))
    assert endings(engine).index("large0") < 60


@pytest.mark.parametrize("weight", [0, -1, 1001, 1.5, True])
def test_weights_out_of_range_are_refused(weight: int) -> None:
    with pytest.raises(InvalidParameter, match="weight is"):
        Share("a", weight)


def test_the_first_output_says_when_a_request_ceased_to_wait() -> None:
    engine = make_engine(max_running=1)
    add(engine, Share("a"), 2)
    engine.add(Request("left", (1,), ANSWER))
    engine.cancel("left")
    admitted: dict[str, list[float | None]] = {}
    began = time.perf_counter()
    while engine.has_work():
        for output in engine.step():
            admitted.setdefault(output.request_id, []).append(output.admitted_s)
    (first, *later), (second, *_) = admitted["a0"], admitted["a1"]
    assert first is not None
    assert second is not None
    assert began < first < second < time.perf_counter()
    assert set(later) == {None}
    assert admitted["left"] == [None]
