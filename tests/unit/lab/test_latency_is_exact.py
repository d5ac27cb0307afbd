"""What the load generator measures of a scripted answer is what was scripted, to the resolution of a record."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from stepped_server import DONE, Packet, Received, SteppedClock, event, framed, last, stepped_server, token
from transports import both_transports

from wayra.lab.latency import RequestRecord, stage_figures, times_of
from wayra.lab.targets import Ask, OpenAITarget, OpenAITargetSettings
from wayra.lab.traffic import Arrivals, Stage, drive

pytestmark = both_transports

BEGIN_S = 100.0
RESOLUTION_S = 1.01e-7
"""A record keeps 0.1 microseconds."""

MEASURED: tuple[Packet, ...] = (
    (0.010, event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})),
    (0.050, event(token("one ", total=1))),
    (0.080, event(token("two three ", total=3))),
    (0.120, event(token("four", total=4))),
    (0.125, b"".join(map(event, last(4)))),
)


Recorded = Callable[..., list[RequestRecord]]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch, transport: str) -> Recorded:
    """Tells the records of so many requests, one after the other."""
    return partial(_recorded, monkeypatch, transport)


def _recorded(
    monkeypatch: pytest.MonkeyPatch, transport: Any, packets: Sequence[Packet], *, count: int = 1, closes: bool = False
) -> list[RequestRecord]:
    clock, received, found = SteppedClock(BEGIN_S), Received(monkeypatch), []

    async def main() -> None:
        async with stepped_server(packets, clock, received, closes=closes) as url:
            target = OpenAITarget(url, OpenAITargetSettings("fake", transport=transport), clock=clock)
            stage = Stage("s", Arrivals("closed"), range(count), lambda _: (Ask("hello", 8), None), origin_s=BEGIN_S)
            try:
                await drive(target, stage, found.append)
            finally:
                await target.aclose()

    asyncio.run(main())
    return found


def exactly(*values_s: float) -> object:
    return pytest.approx(list(values_s), abs=RESOLUTION_S)


@pytest.mark.parametrize("is_chunked", [True, False], ids=["chunked", "until close"])
def test_every_time_of_an_answer_is_the_scripted_one(recorded: Recorded, is_chunked: bool) -> None:
    packets = framed(MEASURED, is_chunked=is_chunked)
    (record,) = recorded(packets, closes=not is_chunked)
    assert (record.status, record.text, record.sent_s) == ("ok", "one two three four", 0.0)
    assert [record.head_s, *record.event_s, record.ended_s] == exactly(0.010, 0.050, 0.080, 0.120, 0.125)
    assert (record.event_tokens, record.event_chars) == ([1, 2, 1], [4, 10, 4])
    times = times_of(record)
    assert times is not None
    assert [times.ttft_s, times.e2e_s, times.tpot_s] == exactly(0.050, 0.120, 0.070 / 3)
    assert list(times.icl_s) == exactly(0.030, 0.040)
    assert times.itl_s is not None
    # Two tokens came in 30 ms, one in 40.
    assert list(times.itl_s) == exactly(0.015, 0.015, 0.040)


def test_the_figures_of_a_stage_are_those_of_its_script(recorded: Recorded) -> None:
    records = recorded(framed(MEASURED), count=5)
    figures = {figure.name: figure.value for figure in stage_figures(records, "s")}
    assert figures["requests"] == 5
    expected_ms = {"ttft_p50": 50.0, "ttft_p99": 50.0, "e2e_p95": 120.0, "tpot_p50": 70 / 3, "itl_p50": 15.0,
                   "itl_p99": 40.0, "icl_p50": 35.0}  # fmt: skip
    assert {name: figures[name] for name in expected_ms} == pytest.approx(expected_ms, abs=2e3 * RESOLUTION_S)
    # A request is sent when the one before it has ended: five times 125 ms.
    assert figures["span"] == pytest.approx(0.625, abs=RESOLUTION_S)
    assert figures["output_rate"] == pytest.approx(20 / 0.625, rel=1e-6)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("size", [1, 3, 64])
def test_an_event_has_come_when_its_last_byte_has(recorded: Recorded, line_end: str, size: int) -> None:
    """However the stream is cut: each piece comes 10 ms after the one before it."""
    first, ping, second = event(token("äb"), line_end), f": ping{2 * line_end}".encode(), event(token("c"), line_end)
    stream = first + ping + second + b"".join(event(one, line_end) for one in last(2))
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    (record,) = recorded(framed([(0.010 * (n + 1), piece) for n, piece in enumerate(pieces)]))
    # A CR may be half of a CRLF, so that what it ends is known with the byte after it.
    more = 1 if line_end == "\r" else 0
    ends = [len(first) + more, len(first + ping + second) + more]
    assert (record.status, record.text) == ("ok", "äbc")
    assert record.event_s == exactly(*(0.010 * (1 + (end - 1) // size) for end in ends))


def test_events_of_one_packet_have_one_time_and_no_gap(recorded: Recorded) -> None:
    packets = [(0.020, event(token("a", total=1)) + event(token("b", total=2))), (0.030, b"".join(map(event, last(2))))]
    (record,) = recorded(framed(packets))
    assert record.event_s == exactly(0.020, 0.020)
    times = times_of(record)
    assert times is not None
    assert [times.ttft_s, times.tpot_s, *times.icl_s] == exactly(0.020, 0.0, 0.0)


def test_empty_first_chunks_are_no_first_token(recorded: Recorded) -> None:
    packets = [
        (0.010, event({"choices": [{"delta": {"role": "assistant"}}]})),
        (0.020, event({"choices": [{"delta": {"content": ""}}]})),
        (0.030, event({"choices": []})),
        (0.040, event({"choices": [{"text": None}]})),
        (0.090, event(token("", content="first"))),
        (0.091, b"".join(map(event, last(1)))),
    ]
    (record,) = recorded(framed(packets))
    times = times_of(record)
    assert times is not None
    assert (record.text, times.tpot_s) == ("first", None)
    assert [times.ttft_s, times.e2e_s] == exactly(0.090, 0.090)


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        (event({"error": {"message": "out of memory"}}), "server"),
        (event("{ no JSON"), "rubbish"),
        (event([1, 2]), "rubbish"),
    ],
    ids=["error event", "no JSON", "other JSON"],
)
def test_an_answer_that_breaks_in_the_middle_failed_at_that_moment(
    recorded: Recorded, broken: bytes, kind: str
) -> None:
    """What came before is kept with its time, what comes after it does not heal it."""
    packets = [
        (0.050, event(token("good "))),
        (0.060, broken),
        (0.070, event(token("more"))),
        (0.080, b"".join(map(event, last(2)))),
    ]
    (record,) = recorded(framed(packets))
    assert record.failure is not None
    assert (record.status, record.failure.kind, record.text) == ("failed", kind, "good ")
    assert [*record.event_s, record.ended_s] == exactly(0.050, 0.060)
    assert times_of(record) is None


def test_a_stream_cut_in_the_middle_of_an_event_is_cut(recorded: Recorded) -> None:
    packets = framed([(0.050, event(token("good"))), (0.060, event(token("half"))[:-9]), (0.1, b"")], is_chunked=False)
    (record,) = recorded(packets[:2], closes=True)
    assert record.failure is not None
    assert (record.status, record.failure.kind, record.event_s) == ("failed", "cut", exactly(0.050))


def test_an_answer_without_done_ends_with_its_finish_reason(recorded: Recorded) -> None:
    ending = b"".join(event(one) for one in last(1) if one != DONE)
    (record,) = recorded(framed([(0.050, event(token("a"))), (0.060, ending)]))
    assert (record.status, record.finish_reason) == ("ok", "stop")
    assert [*record.event_s, record.ended_s] == exactly(0.050, 0.060)
