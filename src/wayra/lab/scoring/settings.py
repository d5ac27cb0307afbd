"""What to ask and how: one frozen dataclass, kept in the run's config, so that a run can be repeated and resumed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from wayra.base.errors import InvalidParameter

Method = Literal["loglikelihood", "generate"]
SAMPLING_TEMPERATURE = 0.8


@dataclass(frozen=True, slots=True)
class EvalSettings:
    """suites: their names. data: a path by suite name, for those that shall not read their package or the hub.

    limit: so many questions of each suite, drawn by the seed; None asks all. num_shots, uses_chat: None takes what each
    suite is usually asked with. method: how multiple-choice questions are asked. samples: answers to each question that
    is answered in words. temperature: None is 0 for one sample and SAMPLING_TEMPERATURE for several.
    max_tokens: of an answer; None takes the suite's. num_at_once: questions under way.
    stall_s: without a byte of a server, until its answer is given up; None waits as long as LLM does.
    judge: the model, here or a server's, that judges what no program can; None leaves such answers unjudged.
    """

    target: str
    suites: tuple[str, ...]
    data: Mapping[str, str] = field(default_factory=dict[str, str])
    limit: int | None = None
    seed: int = 0
    num_shots: int | None = None
    uses_chat: bool | None = None
    method: Method = "loglikelihood"
    samples: int = 1
    temperature: float | None = None
    top_p: float = 1.0
    max_tokens: int | None = None
    num_at_once: int = 16
    judge: str | None = None
    stall_s: float | None = None

    def __post_init__(self) -> None:
        if not self.suites:
            raise InvalidParameter("no suite is named; `wayra eval --list` lists them")
        if len(set(self.suites)) != len(self.suites):
            raise InvalidParameter("a suite is named twice; name each once")
        stray = sorted(set(self.data) - set(self.suites))
        if stray:
            raise InvalidParameter(f"data is given for {stray[0]!r}, which is not among the suites")
        if self.method not in ("loglikelihood", "generate"):
            raise InvalidParameter(f"method is {self.method!r}, expected loglikelihood or generate")
        for name, low, high in (
            ("limit", 1, 10_000_000), ("num_shots", 0, 100), ("samples", 1, 1000), ("max_tokens", 1, 1 << 20),
            ("num_at_once", 1, 1024), ("seed", 0, 2**63 - 1),
        ):  # fmt: skip
            value: int | None = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InvalidParameter(f"{name} is {value}, expected {low:,} to {high:,}")
        if self.temperature is not None and not 0 <= self.temperature <= 100:
            raise InvalidParameter(f"temperature is {self.temperature}, expected 0 to 100")
        if not 0 < self.top_p <= 1:
            raise InvalidParameter(f"top_p is {self.top_p}, expected more than 0, at most 1")
        if self.stall_s is not None and not 0.01 <= self.stall_s <= 86_400:
            raise InvalidParameter(f"the time of a silent server is {self.stall_s} s, expected 0.01 to 86,400")
        if self.samples > 1 and self.temperature == 0:
            raise InvalidParameter(f"{self.samples} samples at temperature 0 are all the same; raise the temperature")

    @property
    def chosen_temperature(self) -> float:
        if self.temperature is not None:
            return self.temperature
        return 0.0 if self.samples == 1 else SAMPLING_TEMPERATURE
