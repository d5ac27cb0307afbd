"""The load generator counts what arrived, when it arrived, wherever the stream was cut."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from measuring.chat_load import CHAT_WORDS, Answered, chat_text, percentile, run_load
from measuring.http_wire import Address


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


STREAM = b"".join(
    [
        event(choices=[{"delta": {"role": "assistant", "content": ""}}]),
        event(choices=[{"delta": {"content": "Hello"}}]),
        event(choices=[{"delta": {"content": " there"}}]),
        event(choices=[{"delta": {}, "finish_reason": "length"}]),
        event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 3}),
        b"data: [DONE]\n\n",
    ]
)


def load_of(stream: bytes, piece_len: int, users: int = 2, turns: int = 2) -> list[Answered]:
    """The answers of a server that sends `stream` in pieces."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for start in range(0, len(stream), piece_len):
            writer.write(stream[start : start + piece_len])
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()
        await writer.wait_closed()

    async def run() -> list[Answered]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return list((await run_load(Address("127.0.0.1", port), users, turns, 3, seed=0)).answers)

    return asyncio.run(run())


@pytest.mark.parametrize("piece_len", [1, 7, 64, 10_000])
def test_events_are_counted_however_the_stream_is_cut(piece_len: int) -> None:
    answers = load_of(STREAM, piece_len)
    assert len(answers) == 4
    for answer in answers:
        assert len(answer.arrivals) == 2
        assert (answer.prompt_tokens, answer.completion_tokens) == (7, 3)
        assert answer.sent <= answer.arrivals[0] <= answer.arrivals[1]


def test_an_answer_that_breaks_off_is_an_error_and_no_figure() -> None:
    with pytest.raises(RuntimeError, match="missing or not whole"):
        load_of(STREAM[: len(STREAM) // 2], 64, users=1, turns=1)


def test_ttft_and_gaps_are_differences_of_the_times_noted() -> None:
    answer = Answered(sent=1.0, arrivals=(1.5, 1.75, 2.75), prompt_tokens=1, completion_tokens=3)
    assert answer.ttft_s == 0.5
    assert answer.gaps_s == [0.25, 1.0]


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(v) for v in range(100, 0, -1)]
    assert percentile(values, 0.5) == 51
    assert percentile(values, 0.95) == 96
    assert percentile([3.0], 0.95) == 3


def test_prompts_differ_from_the_first_words_on_and_are_the_same_every_time() -> None:
    texts = {chat_text(user, turn, seed) for user in range(8) for turn in range(2) for seed in range(2)}
    assert len(texts) == 32
    assert chat_text(3, 1, 0) == chat_text(3, 1, 0)
    assert len(chat_text(0, 0, 0).split()) == CHAT_WORDS
