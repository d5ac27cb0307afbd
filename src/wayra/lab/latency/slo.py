"""Limits of service: what a request must keep to count as good."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wayra.base.errors import InvalidParameter


@dataclass(frozen=True, slots=True)
class Slo:
    """Limits in milliseconds; None is no limit."""

    name: str
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    e2e_ms: float | None = None


PRESETS: Mapping[str, Slo] = MappingProxyType(
    {
        "mlperf-8b": Slo("mlperf-8b", 2000, 100),
        "mlperf-8b-interactive": Slo("mlperf-8b-interactive", 500, 30),
        "mlperf-70b": Slo("mlperf-70b", 2000, 200),
        "mlperf-70b-interactive": Slo("mlperf-70b-interactive", 450, 40),
        "mlperf-405b": Slo("mlperf-405b", 6000, 175),
        "mlperf-405b-interactive": Slo("mlperf-405b-interactive", 4500, 80),
    }
)
"""MLPerf Inference's limits on the P99 of TTFT and TPOT for Llama models, server and interactive scenario."""

_PART = re.compile(r"^(ttft|tpot|e2e)[:=]([0-9.]+)(?:ms)?$")


def parse_slo(text: str) -> Slo:
    """A preset's name, or limits in ms like "ttft:500,tpot:50". Raises InvalidParameter."""
    if text in PRESETS:
        return PRESETS[text]
    limits: dict[str, float] = {}
    for part in text.split(","):
        found = _PART.match(part.strip())
        try:
            limit = float(found[2]) if found else math.nan
        except ValueError:
            limit = math.nan
        if found is None or not 0 < limit < math.inf:
            presets = ", ".join(PRESETS)
            raise InvalidParameter(f"SLO {text[:80]!r}: expected ttft:MS,tpot:MS,e2e:MS, or one of {presets}")
        limits[found[1] + "_ms"] = limit
    return Slo(text, **limits)
