"""Hardware in numbers: memory, bandwidth, peaks by type, links; dated rows with sources, and the machine at hand."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from importlib import resources
from types import MappingProxyType

from wayra.base.errors import InvalidParameter

STALE_DAYS = 730
HERE = "cpu"
"""The name of the machine at hand, which no table has."""
KINDS = ("gpu", "unified", "cpu")
TYPES = ("bf16", "fp8", "int8", "fp4")
PROBE_BYTES = 256 << 20
"""Well beyond what caches hold."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """One card, or one machine without cards.

    kind: "gpu", "unified" (memory shared with the processor) or "cpu". memory_bytes: what programs see.
    flops: dense peak by type, FLOP/s or OP/s; a type that is absent runs at bf16's. link_bytes_per_s: to a neighbour,
    one way; 0 where several cannot share a model. cores: of a CPU. measured: on this machine, not from a data sheet.
    """

    name: str
    title: str
    kind: str
    memory_bytes: float
    bytes_per_s: float
    flops: Mapping[str, float] = field(default_factory=dict[str, float])
    link_bytes_per_s: float = 0.0
    watts: float = 0.0
    source: str = ""
    as_of: str = ""
    cores: int = 0
    measured: bool = False

    def peak(self, maths: str) -> float:
        """FLOP/s in this type; bf16's where the units lack it: weights are then widened before the product."""
        return self.flops.get(maths) or self.flops["bf16"]

    def stale(self, today: date) -> str:
        """A warning when the row is old, else ""."""
        age_days = (today - date.fromisoformat(self.as_of)).days if self.as_of else 0
        if age_days <= STALE_DAYS:
            return ""
        return f"the row of {self.title} is from {self.as_of}, {age_days} days old: check it against {self.source}"


def hardware(name: str) -> Hardware:
    """A shipped description by name or alias. Raises InvalidParameter on an unknown name, with the nearest."""
    table, aliases = _shipped()
    key = name.strip().lower().replace(" ", "-")
    found = table.get(aliases.get(key, key))
    if found is None:
        near = difflib.get_close_matches(key[:80], [*table, *aliases], n=3, cutoff=0.4)
        told = f"nearest: {', '.join(near)}" if near else f"it knows {', '.join(table)}"
        raise InvalidParameter(f"the planner knows no hardware {name[:60]!r}; {told}")
    return found


def all_hardware() -> tuple[Hardware, ...]:
    return tuple(_shipped()[0].values())


@lru_cache(maxsize=1)
def _shipped() -> tuple[Mapping[str, Hardware], Mapping[str, str]]:
    document = tomllib.loads(resources.files("wayra.plan").joinpath("data/hardware.toml").read_text("utf-8"))
    table: dict[str, Hardware] = {}
    aliases: dict[str, str] = {}
    for row in document["hardware"]:
        made = Hardware(
            row["name"],
            row["title"],
            row["kind"],
            row["memory_gib"] * 2**30,
            row["gb_per_s"] * 1e9,
            MappingProxyType({kind: row[kind] * 1e12 for kind in TYPES if kind in row}),
            row.get("link_gb_per_s", 0.0) * 1e9,
            row.get("watts", 0.0),
            row["source"],
            row["as_of"],
            row.get("cores", 0),
        )
        table[made.name] = made
        aliases.update(dict.fromkeys(row.get("aliases", ()), made.name))
    return MappingProxyType(table), MappingProxyType(aliases)


def this_machine(memory_bytes: float, *, today: date) -> Hardware:
    """The machine at hand with so much memory to take; its speeds are measured with the engine's own instructions.

    Takes about a second. Raises BackendError where the engine's native code does not run, OutOfMemory.
    """
    from wayra.backends.native.isa import choose_threads
    from wayra.backends.native.peaks import measure_peaks

    cores = choose_threads(None)
    peaks = measure_peaks(PROBE_BYTES)
    return Hardware(
        HERE,
        f"this machine, {cores} cores",
        "cpu",
        memory_bytes,
        peaks.read_gb_s * 1e9,
        MappingProxyType({"bf16": max(peaks.bf16_gop_s, peaks.f32_gop_s) * 1e9, "int8": peaks.int8_gop_s * 1e9}),
        source="memory free now; speeds measured by reading memory and computing as the kernels do",
        as_of=today.isoformat(),
        cores=cores,
        measured=True,
    )
