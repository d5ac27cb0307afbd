"""What is known of a run before its first request: run.json, which is read with every field checked."""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec

from wayra import __version__
from wayra.base.errors import RunError
from wayra.llm.memory import available_bytes

FORMAT = 1
MAX_HEADER_BYTES = 16 * 1024**2
RUN_ID = re.compile(r"^[0-9]{8}T[0-9]{6}-[a-z0-9_]+-[0-9a-f]{6}$")
RECORDED_PACKAGES = ("wayra", "numpy", "msgspec", "tokenizers", "minijinja")

Status = Literal["running", "done", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the maker of a run knows of it.

    name: for people, e.g. the target. definitions: what each reported number means. seeds: by what they seed.
    hashes: of models, data sets and prompts, "sha256:..." by what they are of. packages: whose versions matter besides
    those of every run, by their names at the package index.
    """

    name: str = ""
    definitions: Mapping[str, str] = field(default_factory=dict[str, str])
    seeds: Mapping[str, int | str] = field(default_factory=dict[str, int | str])
    hashes: Mapping[str, str] = field(default_factory=dict[str, str])
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunHeader:
    """The content of run.json. Times are UTC, ISO 8601."""

    id: str
    kind: str
    name: str
    config: dict[str, object]
    definitions: dict[str, str]
    seeds: dict[str, int | str]
    hashes: dict[str, str]
    machine: dict[str, object]
    versions: dict[str, str]
    started_utc: str
    status: Status = "running"
    finished_utc: str | None = None
    resumed_utc: tuple[str, ...] = ()
    error: str | None = None
    notes: tuple[str, ...] = ()
    facts: dict[str, object] = field(default_factory=dict[str, object])
    format: int = FORMAT


def read_header(path: Path) -> RunHeader:
    """run.json of one run. Raises RunError saying what is wrong with it."""
    try:
        if path.stat().st_size > MAX_HEADER_BYTES:
            raise RunError(f"{path} has more than {MAX_HEADER_BYTES:,} bytes; it is no run of wayra's")
        header = msgspec.json.decode(path.read_bytes(), type=RunHeader)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}; delete its folder or restore it") from error
    if header.format != FORMAT:
        raise RunError(f"{path} has format {header.format}, this wayra reads {FORMAT}; update wayra")
    return header


def write_header(path: Path, header: RunHeader) -> None:
    """Replace run.json as a whole. Raises RunError when the disk refuses."""
    partial = path.with_suffix(".partial")
    try:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(header), indent=2) + b"\n")
        os.replace(partial, path)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}; free some space or set WAYRA_RUNS") from error


def new_id(kind: str) -> str:
    """The time it began, its kind and six random digits: sorted by name is sorted by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{kind}-{os.urandom(3).hex()}"


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def describe_machine() -> dict[str, object]:
    """The machine a figure belongs to: processor, cores this process may use, memory, system, load when it began."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None,
        "available_bytes": available_bytes(),
        "system": platform.platform(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def describe_versions(packages: Sequence[str] = ()) -> dict[str, str]:
    """Python and the packages a result could depend on; `packages` are further ones. One not installed has none."""
    found = {"python": platform.python_version(), "wayra": __version__}
    for package in (*RECORDED_PACKAGES, *packages):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
