"""What a line of a trace asks for."""

from wayra.lab.targets.api import Ask
from wayra.lab.traffic.trace import TraceLine


def test_a_line_asks_for_its_own_words_and_length_and_ends_as_the_run_says() -> None:
    line = TraceLine(prompt="mine", max_tokens=3)
    assert line.ask("made up", 9, ignore_eos=False) == Ask("mine", 3, False)
    assert TraceLine(prompt_tokens=5).ask("made up", 9) == Ask("made up", 9, True)
