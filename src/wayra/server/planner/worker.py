"""What runs in the planner's own process: a question a line in, an answer a line out, until nobody can ask any more."""

import os
import signal
import sys
from typing import IO

import msgspec
from msgspec import Raw, Struct

from wayra.server.errors import ApiError
from wayra.server.planner.planning import Planning, Question

NICENESS = 19
"""The most there is. At 10 a plan beside an answer took 1.4 s less, and the answer lost two fifths of its speed."""


class Answer(Struct, tag="answer"):
    """answer: JSON of what was asked for."""

    answer: Raw


class Refusal(Struct, tag="refusal"):
    """An ApiError."""

    status: int
    message: str
    param: str | None = None


Reply = Answer | Refusal


def main() -> None:
    """Answer until the input ends, which it does with the process that asks."""
    # Ctrl-C goes to all processes of a terminal; the server ends this one when it has finished itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    answer_all(Planning(), sys.stdin.buffer, sys.stdout.buffer)


def answer_all(planning: Planning, questions: IO[bytes], answers: IO[bytes]) -> None:
    """One line each. Whatever goes wrong with a question is its answer."""
    decoder = msgspec.json.Decoder(Question)
    for line in questions:
        reply = _reply(planning, decoder, line)
        answers.write(msgspec.json.encode(reply) + b"\n")
        answers.flush()


def _reply(planning: Planning, decoder: msgspec.json.Decoder[Question], line: bytes) -> Reply:
    try:
        return Answer(Raw(msgspec.json.encode(planning.answer(decoder.decode(line)))))
    except ApiError as error:
        return Refusal(error.status, error.message, error.param)
    except Exception as error:
        # The log of the server is where its operator looks.
        sys.stderr.write(f"the planner failed: {error!r}\n")
        return Refusal(500, "the planner failed; the log of the server says why")
