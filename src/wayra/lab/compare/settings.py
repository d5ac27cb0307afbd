"""What to compare and how: one frozen dataclass, kept in the run's config, so that a comparison can be resumed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wayra.base.errors import InvalidParameter
from wayra.lab.compare.cost import owned, rented
from wayra.lab.compare.tables import Machine

LABELS = "ABCDEFGH"
JUDGE = "JUDGE"
"""What the judge is called beside the models' labels."""


@dataclass(frozen=True, slots=True)
class CompareSettings:
    """targets: models here or URLs, called A, B, ... in order. suites: what all are asked; limit: questions of each.
    max_tokens: of an answer; a bound that small models, which seldom end, run into.

    data: a path by suite, for those that shall not read their package or the hub. judge: the model, here or a server's,
    that judges creative writing; judge_model: that server's name for it.

    rounds: of measuring speed; in each, every model has its turn. Of one turn: pp, tg, repeats: lengths to prefill and
    decode, and how often, of models here; concurrency, num_requests: closed loops, and requests of each.
    served_models: a server's name for its model, by label. prices: USD of a million prompt and of a million output
    tokens, by label. rents: USD an hour of the machine, by label. owned: of a machine that was bought the price in USD,
    the watts and the years of use, by label. key_env, key_files: the environment variable or the
    file, by label or JUDGE, that holds a server's key: where it is, never what it is. stall_s: without a byte of a
    server, until its answer is given up; None takes what bench and eval take.
    """

    targets: tuple[str, ...]
    suites: tuple[str, ...]
    limit: int = 12
    seed: int = 0
    max_tokens: int = 384
    data: Mapping[str, str] = field(default_factory=dict[str, str])
    judge: str | None = None
    judge_model: str | None = None
    rounds: int = 5
    pp: tuple[int, ...] = (128, 512)
    tg: tuple[int, ...] = (64,)
    repeats: int = 2
    concurrency: tuple[int, ...] = (1, 4, 8)
    num_requests: int = 8
    served_models: Mapping[str, str] = field(default_factory=dict[str, str])
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    rents: Mapping[str, float] = field(default_factory=dict[str, float])
    owned: Mapping[str, tuple[float, float, float]] = field(default_factory=dict[str, tuple[float, float, float]])
    key_env: Mapping[str, str] = field(default_factory=dict[str, str])
    key_files: Mapping[str, str] = field(default_factory=dict[str, str])
    stall_s: float | None = None

    def __post_init__(self) -> None:
        if not 2 <= len(self.targets) <= len(LABELS):
            raise InvalidParameter(f"{len(self.targets)} models are named, expected 2 to {len(LABELS)}")
        labels = LABELS[: len(self.targets)]
        named: tuple[tuple[str, Mapping[str, object]], ...] = (
            ("model", self.served_models), ("price", self.prices), ("rent", self.rents),
            ("machine", self.owned),
            ("key", {name: 0 for name in (*self.key_env, *self.key_files) if name != JUDGE}),
        )  # fmt: skip
        for what, given in named:
            stray = [name for name in given if name not in labels]
            if stray:
                raise InvalidParameter(f"a {what} is given for {stray[0]!r}; the models are called {', '.join(labels)}")
        stray = sorted(set(self.data) - set(self.suites))
        if stray:
            raise InvalidParameter(f"data is given for {stray[0]!r}, which is not among the suites")
        if self.judge is not None and "task:writing" not in self.suites:
            raise InvalidParameter("a judge is for creative writing alone; add task:writing to the suites")
        if self.stall_s is not None and not 0.01 <= self.stall_s <= 86_400:
            raise InvalidParameter(f"the time of a silent server is {self.stall_s} s, expected 0.01 to 86,400")
        if not 1 <= self.rounds <= 1000:
            raise InvalidParameter(f"rounds is {self.rounds}, expected 1 to 1,000")
        if not self.concurrency or len(set(self.concurrency)) != len(self.concurrency):
            raise InvalidParameter("a concurrency is given twice or none is; write them like 1,4,8")
        numbers = [*(price for pair in self.prices.values() for price in pair), *self.rents.values()]
        if any(not 0 <= number <= 1e9 for number in numbers):
            raise InvalidParameter("a price or rent is outside 0 to 1,000,000,000 USD")
        self.machines()

    def labelled(self) -> tuple[tuple[str, str], ...]:
        """Label and target of each model."""
        return tuple(zip(LABELS, self.targets, strict=False))

    def machines(self) -> dict[str, Machine]:
        """What an hour of each model's machine costs, by label, where that was said.

        Raises InvalidParameter for a model that is paid for in two ways and a machine outside the planner's bounds.
        """
        ways = (*self.prices, *self.rents, *self.owned)
        twice = next((label for label in ways if ways.count(label) > 1), None)
        if twice is not None:
            raise InvalidParameter(f"{twice} is paid for in two ways; give a price, a rent or a machine bought")
        found = {label: rented(usd) for label, usd in self.rents.items()}
        return found | {label: owned(*bought) for label, bought in self.owned.items()}

    @property
    def has_server(self) -> bool:
        return any(is_url(target) for target in self.targets)


def is_url(target: str) -> bool:
    return target.startswith(("http://", "https://"))
