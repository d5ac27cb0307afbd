"""Load: which questions are asked and when, from seeds; closed loops, rates, Poisson arrivals and replayed traces."""

from wayra.lab.traffic.arrivals import Arrivals, due_times
from wayra.lab.traffic.drive import drive
from wayra.lab.traffic.lengths import Lengths, parse_lengths
from wayra.lab.traffic.prompts import PromptMaker, PromptShape
from wayra.lab.traffic.stage import Stage
from wayra.lab.traffic.trace import BLOCK_LEN, TraceLine, read_trace

__all__ = [
    "BLOCK_LEN", "Arrivals", "Lengths", "PromptMaker", "PromptShape", "Stage", "TraceLine", "drive", "due_times",
    "parse_lengths", "read_trace",
]  # fmt: skip
