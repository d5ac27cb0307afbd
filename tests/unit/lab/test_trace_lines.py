"""What a line of a trace asks for."""

from pathlib import Path

import pytest

from wayra.base.errors import InvalidParameter
from wayra.lab.targets.api import Ask
from wayra.lab.traffic.trace import TraceLine, read_trace


def test_a_line_asks_for_its_own_words_and_length_and_ends_as_the_run_says() -> None:
    line = TraceLine(prompt="mine", max_tokens=3)
    assert line.ask("made up", 9, ignore_eos=False) == Ask("mine", 3, False)
    assert TraceLine(prompt_tokens=5).ask("made up", 9) == Ask("made up", 9, True)


@pytest.mark.parametrize(
    "line", ['{"prompt": "a", "max_tokens": 0}', '{"prompt_tokens": 0}', '{"prompt": "a", "output_length": -1}']
)
def test_a_length_of_nothing_is_refused_and_not_replaced_by_the_default(tmp_path: Path, line: str) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InvalidParameter, match="line 1: a length is"):
        read_trace(path)
