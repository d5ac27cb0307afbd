"""What to compare and how: one frozen dataclass, kept in the run's config, so that a comparison can be resumed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wayra.base.errors import InvalidParameter

LABELS = "ABCDEFGH"


@dataclass(frozen=True, slots=True)
class CompareSettings:
    """targets: models here or URLs, called A, B, ... in order. suites: what all are asked; limit: questions of each.
    max_tokens: of an answer; a bound that small models, which seldom end, run into.

    pp, tg, repeats: lengths to prefill and decode, and how often, of models here. concurrency, num_requests: closed
    loops, and requests of each. served_models: a server's name for its model, by label. prices: USD of a million prompt
    and of a million output tokens, by label. rents: USD an hour of the machine, by label.
    """

    targets: tuple[str, ...]
    suites: tuple[str, ...]
    limit: int = 12
    seed: int = 0
    max_tokens: int = 384
    pp: tuple[int, ...] = (128, 512)
    tg: tuple[int, ...] = (64,)
    repeats: int = 5
    concurrency: tuple[int, ...] = (1, 4, 8)
    num_requests: int = 16
    served_models: Mapping[str, str] = field(default_factory=dict[str, str])
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    rents: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        if not 2 <= len(self.targets) <= len(LABELS):
            raise InvalidParameter(f"{len(self.targets)} models are named, expected 2 to {len(LABELS)}")
        labels = LABELS[: len(self.targets)]
        for what, given in (("model", self.served_models), ("price", self.prices), ("rent", self.rents)):
            stray = [name for name in given if name not in labels]
            if stray:
                raise InvalidParameter(f"a {what} is given for {stray[0]!r}; the models are called {', '.join(labels)}")
        numbers = [*(price for pair in self.prices.values() for price in pair), *self.rents.values()]
        if any(not 0 <= number <= 1e9 for number in numbers):
            raise InvalidParameter("a price or rent is outside 0 to 1,000,000,000 USD")

    def labelled(self) -> tuple[tuple[str, str], ...]:
        """Label and target of each model."""
        return tuple(zip(LABELS, self.targets, strict=False))

    @property
    def has_server(self) -> bool:
        return any(is_url(target) for target in self.targets)


def is_url(target: str) -> bool:
    return target.startswith(("http://", "https://"))
