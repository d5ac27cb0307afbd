"""What the client measures against scripted answers on a real socket, and what it calls each way of failing."""

import asyncio
import itertools
import math
from typing import Any

import pytest
from fake_openai import FakeServer, Script, fake_server
from transports import both_transports

from wayra.client import HttpLimits
from wayra.lab.latency import RequestRecord, parse_slo, stage_figures, times_of
from wayra.lab.targets import Ask, OpenAITarget, OpenAITargetSettings
from wayra.lab.traffic import Arrivals, Stage, drive
from wayra.lab.traffic.stage import OnRecord

QUICK = HttpLimits(connect_s=5, stall_s=0.3, total_s=5)


Ways = Any
"""Of sending: "asyncio", or "auto" for the native loop."""


def ask(server: FakeServer, transport: Ways, count: int = 1, **settings) -> list[RequestRecord]:
    """One after the other; times are of the clock itself."""
    how = OpenAITargetSettings("fake", transport=transport, **{"limits": QUICK, **settings})
    found: list[RequestRecord] = []
    stage = Stage("s", Arrivals("closed"), range(count), lambda _: (Ask("hello", 8), None), origin_s=0.0)
    asyncio.run(drive_and_close(OpenAITarget(server.url, how), stage, found.append))
    return found


async def drive_and_close(target: OpenAITarget, stage: Stage, on_record: OnRecord) -> None:
    try:
        await drive(target, stage, on_record)
    finally:
        await target.aclose()


def record_all(
    server: FakeServer, transport: Ways, count: int, arrivals: Arrivals, max_s: float | None = None
) -> list[RequestRecord]:
    target = OpenAITarget(server.url, OpenAITargetSettings("fake", limits=QUICK, transport=transport))
    found: list[RequestRecord] = []
    stage = Stage("s", arrivals, range(count), lambda index: (Ask(f"hello {index}", 8), None), max_s=max_s)
    asyncio.run(drive_and_close(target, stage, found.append))
    return found


def record(sent: float, events: list[float], tokens: list[int | None], total: int | None, **more) -> RequestRecord:
    return RequestRecord(
        key="k", stage="s", status="ok", sent_s=sent, ended_s=events[-1] + 0.5, event_s=events, event_tokens=tokens,
        event_chars=[1] * len(events), completion_tokens=total, prompt_tokens=4, **more,
    )  # fmt: skip


def test_ttft_tpot_and_token_gaps_are_the_arithmetic_of_the_timestamps() -> None:
    times = times_of(record(10.0, [10.5, 10.7, 11.3], [2, 1, 3], 6))
    assert times is not None
    assert times.ttft_s == pytest.approx(0.5)
    assert times.e2e_s == pytest.approx(1.3)
    assert times.tpot_s == pytest.approx(0.8 / 5)
    assert list(times.icl_s) == pytest.approx([0.2, 0.6])
    assert times.itl_s is not None
    assert list(times.itl_s) == pytest.approx([0.2, 0.2, 0.2, 0.2])


def test_without_token_counts_there_is_no_token_gap_unless_each_event_is_a_token() -> None:
    unknown = times_of(record(0, [1, 2, 3], [None, None, None], 7))
    single = times_of(record(0, [1, 2, 4], [None, None, None], 3))
    assert unknown is not None
    assert unknown.itl_s is None
    assert single is not None
    assert single.itl_s is not None
    assert list(single.itl_s) == [1, 2]


def test_figures_count_failures_apart_and_judge_goodput_over_all_requests() -> None:
    good = [record(i, [i + 0.1, i + 0.2], [1, 1], 2) for i in range(3)]
    slow = record(3, [4.0, 4.1], [1, 1], 2)
    failed = RequestRecord(key="f", stage="s", status="failed", sent_s=4, ended_s=5)
    gone = RequestRecord(key="c", stage="s", status="cancelled", sent_s=4, ended_s=5)
    figures = {f.name: f for f in stage_figures([*good, slow, failed, gone], "s", slo=parse_slo("ttft:500,tpot:200"))}
    assert (figures["requests"].value, figures["failed"].value, figures["cancelled"].value) == (4, 1, 1)
    assert figures["goodput"].value == pytest.approx(3 / 5)
    assert figures["slo_met"].value == 0
    assert figures["ttft_p50"].value == pytest.approx(100)
    assert figures["span"].value == pytest.approx(5)
    assert figures["output_rate"].value == pytest.approx(8 / 5)
    assert figures["goodput_rate"].value == pytest.approx(3 / 5)


@both_transports
def test_scripted_delays_are_measured_as_the_server_made_them(transport: Ways) -> None:
    script = Script(events=((0.05, "one "), (0.03, "two three "), (0.03, "four")), tokens=(1, 2, 1), role_first=True)
    with fake_server(script) as server:
        (reply,) = ask(server, transport)
    written, received = server.sent[0], server.received_s[0]
    assert reply.status == "ok"
    assert reply.text == "one two three four"
    assert (reply.prompt_tokens, reply.completion_tokens) == (7, 4)
    # The same clock on both sides: an event is seen after it was written, never before, and in its order.
    assert len(reply.event_s) == 3
    for seen, wrote in zip(reply.event_s, written, strict=True):
        assert seen >= wrote
    assert reply.event_s[0] - reply.sent_s >= 0.05
    assert reply.event_s[2] - reply.event_s[0] >= 0.05
    assert reply.sent_s <= received


@pytest.mark.parametrize(
    "script",
    [
        Script(glue=True),
        Script(split=1),
        Script(split=7, role_first=True),
        Script(chunked=False),
        Script(keep_alive=False),
        Script(running_usage=True),
        Script(breaks="no_done"),
    ],
    ids=["one packet", "a byte a packet", "seven bytes a packet", "until close", "no keep-alive", "usage", "no DONE"],
)
@both_transports
def test_an_answer_is_the_same_however_it_is_cut_and_framed(transport: Ways, script: Script) -> None:
    with fake_server(script) as server:
        replies = ask(server, transport, 3)
    assert [(r.status, r.text, r.completion_tokens, r.finish_reason) for r in replies] == [
        ("ok", "ab", 2, "length")
    ] * 3
    expected = [1, 1] if script.running_usage else [None, None]
    assert replies[0].event_tokens == expected
    assert server.connections == (1 if script.keep_alive and script.chunked else 3)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (Script(breaks="cut"), "cut"),
        (Script(breaks="cut", chunked=False), "cut"),
        (Script(breaks="cut", break_at=0), "cut"),
        (Script(breaks="stall"), "stall"),
        (Script(breaks="rubbish"), "rubbish"),
        (Script(breaks="error_event"), "server"),
        (Script(breaks="not_http"), "protocol"),
        (Script(breaks="bad_chunk"), "protocol"),
        (Script(status=500), "server"),
        (Script(status=429), "rate_limited"),
        (Script(status=404), "refused"),
        (Script(key="right"), "auth"),
        (Script(events=()), "empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.breaks} {value.status}",
)
@both_transports
def test_each_way_of_failing_has_its_name(transport: Ways, script: Script, kind: str) -> None:
    with fake_server(script) as server:
        (reply,) = ask(server, transport, key="wrong" if script.key else None)
    assert reply.status == "failed"
    assert reply.failure is not None
    assert reply.failure.kind == kind, reply.failure


@both_transports
def test_a_dead_address_fails_as_connect_and_a_right_key_is_sent(transport: Ways) -> None:
    with fake_server(Script(key="right")) as server:
        (reply,) = ask(server, transport, key="right")
        assert reply.status == "ok"
    (reply,) = ask(server, transport)
    assert reply.failure is not None
    assert reply.failure.kind == "connect"


@both_transports
def test_a_closed_loop_keeps_its_width_and_records_every_request(transport: Ways) -> None:
    with fake_server(Script(events=((0.02, "a"), (0.0, "b")))) as server:
        found = record_all(server, transport, 12, Arrivals("closed", concurrency=4))
    assert sorted(r.key for r in found) == [f"s/{i:06d}" for i in range(12)]
    assert server.connections == 4
    edges = sorted([(r.sent_s, 1) for r in found] + [(r.ended_s, -1) for r in found])
    under_way, most = 0, 0
    for _, change in edges:
        under_way += change
        most = max(most, under_way)
    assert most == 4


@both_transports
def test_an_open_loop_sends_at_its_times_without_waiting_for_answers(transport: Ways) -> None:
    with fake_server(Script(events=((0.2, "a"), (0.0, "b")))) as server:
        found = record_all(server, transport, 10, Arrivals("fixed", rate=100.0))
    due = sorted(r.due_s for r in found if r.due_s is not None)
    assert [b - a for a, b in itertools.pairwise(due)] == pytest.approx([0.01] * 9, abs=1e-6)
    assert all(r.due_s is not None and r.sent_s >= r.due_s for r in found)
    # All were sent before the first answer came: nothing waited.
    assert max(r.sent_s for r in found) < min(r.ended_s for r in found)


@both_transports
def test_what_is_under_way_when_the_time_is_over_is_cancelled_and_recorded_so(transport: Ways) -> None:
    with fake_server(Script(events=((0.0, "a"), (0.25, "b")), breaks=None)) as server:
        found = record_all(server, transport, 50, Arrivals("closed", concurrency=2), max_s=0.1)
    assert [r.status for r in found] == ["cancelled", "cancelled"]
    assert all(math.isfinite(r.ended_s) for r in found)


@both_transports
def test_a_run_survives_a_server_that_fails_every_request(transport: Ways) -> None:
    with fake_server(Script(breaks="cut")) as server:
        found = record_all(server, transport, 20, Arrivals("poisson", rate=500.0))
    assert len(found) == 20
    assert {r.failure.kind for r in found if r.failure is not None} == {"cut"}


@both_transports
def test_an_error_while_recording_ends_the_stage(transport: Ways) -> None:
    def refuse(_record: RequestRecord) -> None:
        raise OSError("disk full")

    with fake_server(Script()) as server:
        for arrivals in (Arrivals("closed", concurrency=2), Arrivals("fixed", rate=200)):
            stage = Stage("s", arrivals, range(5), lambda _index: (Ask("x", 2), None))
            target = OpenAITarget(server.url, OpenAITargetSettings("fake", transport=transport))
            with pytest.raises(OSError, match="disk full"):
                asyncio.run(drive_and_close(target, stage, refuse))
