"""An option of a plan with all its numbers, and which constraints it fails; nothing is dropped without a reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from wayra.plan.evidence import Score
from wayra.plan.quantity import Quantity, derived
from wayra.plan.workload import Workload

Kind = Literal["api", "rented", "owned", "have", "hybrid"]
Constraint = Literal[
    "quality", "context", "privacy", "region", "open weights", "fine-tuning", "memory", "hardware",
    "latency", "time to first token", "monthly budget", "budget for hardware",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failure:
    """A constraint an option does not meet, and how."""

    constraint: Constraint
    reason: str


@dataclass(frozen=True, slots=True)
class Place:
    """What of an option must be known to set it up. hardware_kind: "gpu", "unified" or "cpu".

    gpus, machines: cards (1 for a CPU) of each machine, and their number. batch: sequences a machine should take at
    once. context: tokens of the longest request. kv_bytes: of that batch. cores: of a CPU, 0 where unknown.
    requests_per_s: what one machine carries in the busiest minutes; mean_requests_per_s: of the whole workload.
    """

    model: str
    format: str
    hardware: str
    hardware_kind: str
    gpus: int
    machines: int
    cores: int
    batch: int
    context: int
    weights_bytes: float
    kv_bytes: float
    runtime_bytes: float
    requests_per_s: float
    mean_requests_per_s: float


@dataclass(frozen=True, slots=True)
class Option:
    """A way to serve the workload. Numbers that are unknown are None and `risks` says so.

    label: "Llama 3.1 8B, bf16, 1 x l40s, rented at runpod". unknowns: constraints that cannot be checked from here.
    usd_per_month: running costs with depreciation; setup_usd: once, for hardware. training: a fine-tuning run, USD on
    rented cards, in hours on one's own. capacity_mtok: what one machine makes in a month at the workload's mix and
    peaks. parts: the options of a hybrid. stale: what is old about the prices used. place: on hardware, where it fits.
    weight_bits: of a weight as stored; 16 where only the provider knows.
    """

    kind: Kind
    label: str
    model: str
    usd_per_month: Quantity
    usd_per_mtok: Quantity
    setup_usd: Quantity | None = None
    memory_gb: Quantity | None = None
    machines: Quantity | None = None
    latency_s: Quantity | None = None
    ttft_s: Quantity | None = None
    tok_per_s: Quantity | None = None
    capacity_mtok: Quantity | None = None
    training: Quantity | None = None
    evidence: tuple[Score, ...] = ()
    risks: tuple[str, ...] = ()
    unknowns: tuple[Constraint, ...] = ()
    failures: tuple[Failure, ...] = ()
    parts: tuple["Option", ...] = ()
    stale: tuple[str, ...] = ()
    place: Place | None = None
    weight_bits: float = 16.0

    @property
    def feasible(self) -> bool:
        """Nothing is known that it fails."""
        return not self.failures

    @property
    def known_to_meet(self) -> bool:
        """Feasible, and no limit is left that could not be checked."""
        return self.feasible and not self.unknowns

    def rank(self) -> tuple[bool, float, float, float, float, str]:
        """What is known to meet every limit goes first; then by cost, to the cent; then by quality.

        Of equals in all of these, the one with more bits a weight, the shorter answer, the name.
        """
        scored = sum(score.value for score in self.evidence)
        latency = self.latency_s.value if self.latency_s is not None else 0.0
        cents = round(self.usd_per_month.value, 2)
        return bool(self.unknowns), cents, -scored, -self.weight_bits, latency, self.label


def once(failures: Sequence[Failure]) -> tuple[Failure, ...]:
    """One failure a constraint: the first found is the plainest."""
    return tuple({failure.constraint: failure for failure in reversed(failures)}.values())[::-1]


def per_mtok(monthly: Quantity, workload: Workload) -> Quantity:
    """What a million tokens, input and output, come to."""
    volume, formula = workload.traffic.volume(), "usd_per_month / mtok_per_month"
    return derived("usd_per_mtok", "USD/Mtok", formula, monthly.named("usd_per_month"), volume)
