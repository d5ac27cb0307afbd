"""Hardware in numbers: memory, bandwidth, peaks by type, links; dated rows with sources, and the machine at hand."""

import difflib
import os
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from importlib import resources
from types import MappingProxyType

import numpy as np

from wayra.base.errors import InvalidParameter

STALE_DAYS = 730
KINDS = ("gpu", "unified", "cpu")
TYPES = ("bf16", "fp8", "int8", "fp4")
_COPY_BYTES = 256 << 20
_SQUARE = 1024
_REPEATS = 5
INT8_FACTOR = 4
"""Products of 8-bit numbers a vector instruction does in the place of one of 32 bits."""


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
        near = difflib.get_close_matches(key, [*table, *aliases], n=3, cutoff=0.4) or list(table)[:4]
        raise InvalidParameter(f"the planner knows no hardware {name[:60]!r}; nearest: {', '.join(near)}")
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
    """The machine at hand with so much memory to take; a copy and a product through numpy are timed (a second)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    bytes_per_s, flops = _copy_bytes_per_s(), _product_flops()
    return Hardware(
        "cpu",
        f"this machine, {cores} cores",
        "cpu",
        memory_bytes,
        bytes_per_s,
        MappingProxyType({"bf16": flops, "int8": INT8_FACTOR * flops}),
        source="memory free now; speeds measured through numpy",
        as_of=today.isoformat(),
        cores=cores,
        measured=True,
    )


def _copy_bytes_per_s() -> float:
    """Best of several copies; each reads and writes."""
    source = np.ones(_COPY_BYTES // 8)
    target = np.empty_like(source)
    return 2 * _COPY_BYTES / _best_s(lambda: np.copyto(target, source))


def _product_flops() -> float:
    square = np.ones((_SQUARE, _SQUARE), np.float32)
    out = np.empty_like(square)
    return 2 * _SQUARE**3 / _best_s(lambda: np.matmul(square, square, out=out))


def _best_s(work: Callable[[], object]) -> float:
    times: list[float] = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)
