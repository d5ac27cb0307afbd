"""Bounds of a workload's numbers by their keys: one table for what reads files and for the form that tells them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from wayra.base.errors import InvalidParameter


class Bounds(NamedTuple):
    """Both ends belong to it. is_whole: fractions are refused."""

    low: float
    high: float
    is_whole: bool = False


BOUNDS: Mapping[str, Bounds] = MappingProxyType(
    {
        "traffic.input_tokens": Bounds(0, 1e8),
        "traffic.output_tokens": Bounds(0, 1e8),
        "traffic.requests_per_month": Bounds(1e-6, 1e13),
        "traffic.peak_factor": Bounds(1, 1e4),
        "traffic.cached_share": Bounds(0, 1),
        "limits.latency_p95_s": Bounds(1e-3, 86_400),
        "limits.ttft_p95_s": Bounds(1e-3, 86_400),
        "limits.context": Bounds(1, 1 << 30, is_whole=True),
        "quality": Bounds(0, 100),
        "budget.usd_per_month": Bounds(0, 1e12),
        "budget.upfront_usd": Bounds(0, 1e12),
        "fine_tuning.examples": Bounds(1, 1e12, is_whole=True),
        "fine_tuning.tokens_per_example": Bounds(1, 1e8, is_whole=True),
        "fine_tuning.runs_per_year": Bounds(0, 1e5),
        "fine_tuning.epochs": Bounds(1e-3, 1e4),
        "fine_tuning.lora_rank": Bounds(1, 65_536, is_whole=True),
        "fine_tuning.mfu": Bounds(1e-4, 1),
        "route.share": Bounds(1e-6, 1),
        "have": Bounds(1, 1e6, is_whole=True),
        "owning.years": Bounds(1 / 12, 30),
        "owning.usd_per_kwh": Bounds(0, 10),
        "owning.pue": Bounds(1, 10),
        "owning.server_factor": Bounds(1, 10),
        "owning.host_usd": Bounds(0, 1e7),
        "owning.busy_power_share": Bounds(0, 1),
        "owning.resale_share": Bounds(0, 1),
        "owning.staff_usd_per_year": Bounds(0, 1e9),
    }
)


def check(key: str, what: str, value: float) -> None:
    """Raises InvalidParameter, which calls the number `what`, when it is outside the bounds of its key."""
    low, high, _ = BOUNDS[key]
    between(what, value, low, high)


def between(what: str, value: float, low: float, high: float) -> None:
    """Raises InvalidParameter outside the bounds."""
    if not low <= value <= high:
        raise InvalidParameter(f"{what}: {value:,g}; expected {low:,g} to {high:,g}")
