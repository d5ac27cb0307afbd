"""Replay of recorded traffic: a JSONL file with a line a request."""

from pathlib import Path

import msgspec

from wayra.base.errors import InvalidParameter
from wayra.lab.targets.api import Ask

MAX_LINES = 10_000_000
BLOCK_LEN = 512
"""Tokens that one of hash_ids stands for, in Mooncake's traces."""


class TraceLine(msgspec.Struct, frozen=True):
    """prompt: the text, or prompt_tokens/input_length: how long a made-up one is to be. at_s/timestamp: seconds
    (timestamp: milliseconds, as Mooncake's traces have it) from the beginning; None sends in a closed loop. hash_ids:
    of a made-up prompt, a number for each block of BLOCK_LEN tokens: blocks of the same number are alike."""

    prompt: str | None = None
    prompt_tokens: int | None = None
    input_length: int | None = None
    max_tokens: int | None = None
    output_length: int | None = None
    at_s: float | None = None
    timestamp: float | None = None
    hash_ids: tuple[int, ...] = ()

    @property
    def due_s(self) -> float | None:
        return self.at_s if self.at_s is not None else None if self.timestamp is None else self.timestamp / 1000

    @property
    def wanted_prompt_tokens(self) -> int | None:
        return self.prompt_tokens if self.prompt_tokens is not None else self.input_length

    @property
    def wanted_answer_tokens(self) -> int | None:
        return self.max_tokens if self.max_tokens is not None else self.output_length

    def ask(self, text: str | tuple[int, ...], default_max_tokens: int, *, ignore_eos: bool = True) -> Ask:
        asked = self.prompt if self.prompt is not None else text
        return Ask(asked, self.wanted_answer_tokens or default_max_tokens, ignore_eos)


def read_trace(path: Path) -> list[TraceLine]:
    """Raises InvalidParameter naming the line that is none, or times that go back or are on some lines only."""
    decoder = msgspec.json.Decoder(TraceLine)
    lines: list[TraceLine] = []
    try:
        with path.open("rb") as file:
            for number, content in enumerate(file, start=1):
                if not content.strip():
                    continue
                try:
                    line = decoder.decode(content)
                except (msgspec.DecodeError, RecursionError) as error:
                    raise InvalidParameter(f"{path}, line {number}: {error}; mend or delete it") from error
                _check(line, lines[-1] if lines else None, f"{path}, line {number}")
                lines.append(line)
                if len(lines) > MAX_LINES:
                    raise InvalidParameter(f"{path} has more than {MAX_LINES:,} requests; split it")
    except OSError as error:
        raise InvalidParameter(f"{path} cannot be read: {error.strerror}; give a JSONL file") from error
    if not lines:
        raise InvalidParameter(f"{path} has no request; expected a JSON object a line")
    return lines


def _check(line: TraceLine, previous: TraceLine | None, where: str) -> None:
    if line.prompt is None and line.wanted_prompt_tokens is None:
        raise InvalidParameter(f"{where}: has no prompt; expected prompt, prompt_tokens or input_length")
    for count in (line.wanted_prompt_tokens, line.wanted_answer_tokens):
        if count is not None and not 1 <= count <= 1 << 20:
            raise InvalidParameter(f"{where}: a length is {count}, expected 1 to {1 << 20:,} tokens")
    if previous is None:
        return
    if (line.due_s is None) != (previous.due_s is None):
        raise InvalidParameter(f"{where}: some lines have a time and some have none; give all or none")
    if line.due_s is not None and previous.due_s is not None and line.due_s < previous.due_s:
        raise InvalidParameter(f"{where}: its time is before that of the line above; sort the file by time")
