"""The log's lines: which are written, and how."""

import io
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from wayra.server.journal import LEVELS, Journal, Level


def visit(status: int, **facts: object) -> Any:
    return SimpleNamespace(
        request_id="req-1", method="POST", path="/v1/x", began=time.perf_counter(), status=status, error=None,
        facts=facts,
    )  # fmt: skip


def lines(journal: Journal, stream: io.StringIO) -> list[str]:
    journal.close()
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(("level", "events"), [("info", 4), ("warning", 3), ("error", 2)])
def test_what_is_less_than_the_level_is_left_out(level: Level, events: int) -> None:
    stream = io.StringIO()
    journal = Journal(level, stream=stream)
    journal.visited(visit(200))
    journal.visited(visit(503))
    journal.say("odd", "warning")
    journal.say("bad", "error")
    written = [json.loads(line) for line in lines(journal, stream)]
    assert len(written) == events
    assert all(LEVELS.index(line["level"]) >= LEVELS.index(level) for line in written)


def test_a_line_of_json_has_what_is_known_of_the_request() -> None:
    stream = io.StringIO()
    journal = Journal(stream=stream)
    journal.visited(visit(200, key="ab12", prompt_tokens=7, finish=["stop"]))
    (line,) = map(json.loads, lines(journal, stream))
    assert line.pop("time").endswith("Z")
    assert line.pop("seconds") >= 0
    assert line == {
        "level": "info", "event": "request", "id": "req-1", "method": "POST", "path": "/v1/x", "status": 200,
        "key": "ab12", "prompt_tokens": 7, "finish": ["stop"],
    }  # fmt: skip


def test_a_line_of_text_is_one_line_whatever_is_in_it() -> None:
    stream = io.StringIO()
    journal = Journal(form="text", stream=stream)
    journal.say("request", path="/a b\nlevel=error", status=200, none=None, quote='"', key="ab-1", finish=["stop", "x"])
    (line,) = lines(journal, stream)
    assert line.partition(" ")[2] == (
        'info    request path="/a b\\nlevel=error" status=200 none=null quote="\\"" key=ab-1 '
        'finish="[\\"stop\\", \\"x\\"]"'
    )
