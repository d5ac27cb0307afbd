"""What a comparison consists of, as data: cells, rows, and the speed of two models measured in turns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wayra.lab.compare.quality import Tested
from wayra.lab.runs import Run


@dataclass(frozen=True, slots=True)
class Price:
    """USD of a million prompt and output tokens, and who says so."""

    input_usd: float
    output_usd: float
    source: str = "stated"


@dataclass(frozen=True, slots=True)
class Machine:
    """What an hour of the machine that answers costs, and how that is known."""

    usd_per_h: float
    how: str


@dataclass(frozen=True, slots=True)
class Side:
    """One model of a comparison. runs: what was recorded of it. price, machine: how it is paid for; None: not known."""

    label: str
    target: str
    runs: tuple[Run, ...]
    price: Price | None = None
    machine: Machine | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """value None: not known. low, high: 95 % interval, or of a speed the slowest and the fastest round."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table, a cell for each model. higher_is_better: None where neither is.

    metric: the term that defines it. stage: of a speed, of what it was measured.
    """

    name: str
    unit: str
    cells: tuple[Cell, ...]
    higher_is_better: bool | None = None
    stage: str = ""
    metric: str = ""


@dataclass(frozen=True, slots=True)
class Race:
    """One speed of two models, measured in turns. ratio: second / first, with its 95 % interval (low, high).

    stage, metric: what was measured of what. rounds: turns of each. p_value: of Student's t on the rounds' logarithms.
    """

    name: str
    first: str
    second: str
    rounds: int
    ratio: float
    low: float
    high: float
    higher_is_better: bool
    p_value: float
    stage: str
    metric: str


@dataclass(frozen=True, slots=True)
class Raced(Race):
    """The same judged beside all other tests. adjusted_p: after Holm."""

    adjusted_p: float
    is_significant: bool


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model's figures come from. machine: the processor and cores that measured; asked: in words, of whom."""

    label: str
    target: str
    runs: tuple[str, ...]
    started_utc: str
    machine: str
    versions: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Comparison:
    """names: of the models, by label. tables: by title. scores: of each benchmark, with each model's own interval.

    definitions: of every figure, by its field's or its row's metric. titles: of the suites. raced: speeds tested;
    empty where models were not measured in turns. judge: who judged creative writing. verdict:
    sentences, only of what is significant or open.
    """

    names: Mapping[str, str]
    tables: Mapping[str, tuple[Row, ...]]
    scores: tuple[Row, ...]
    titles: Mapping[str, str]
    tested: tuple[Tested, ...]
    raced: tuple[Raced, ...]
    verdict: tuple[str, ...]
    notes: tuple[str, ...]
    origins: tuple[Origin, ...]
    judge: str | None = None
    definitions: Mapping[str, str] = field(default_factory=dict[str, str])
