"""The only place that reads environment variables, or sets one. Values are resolved once, by `from_environment`."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wayra.base.errors import InvalidParameter

MAX_THREADS = 256
MAX_USD_PER_H = 1e6


@dataclass(frozen=True, slots=True)
class Settings:
    """Where wayra keeps things and what it may do.

    cache_dir: models fetched by wayra, packed weights, indexes.
    hub_offline: never touch the network for the hub (HF_HUB_OFFLINE).
    isa: force one instruction set of the native backend ("avx512_bf16", "avx512", "avx2", "portable"); None: the best.
    threads: force the number of compute threads; None asks affinity and cgroup.
    no_color: plain terminal output (NO_COLOR).
    debug: show tracebacks (WAYRA_DEBUG, or --debug).
    prefix_disk_bytes: the most that KV blocks of past prompts may take on disk (WAYRA_PREFIX_DISK_MB), 0 is none; None:
    4 GiB, or a twentieth of the free disk if that is less.
    api_key: what is sent to a server that is asked by its address (WAYRA_API_KEY).
    machine_usd_per_h: what an hour of this machine costs (WAYRA_MACHINE_USD_PER_H); None: not known.
    has_otel_endpoint: whether traces are to be sent somewhere (OTEL_EXPORTER_OTLP_ENDPOINT, or that of traces alone).
    has_display: whether a browser's window can be shown (DISPLAY or WAYLAND_DISPLAY; always on Windows and macOS).
    runs_dir: where measurements are recorded (WAYRA_RUNS); None: the folder "runs" of the cache.
    """

    cache_dir: Path
    hub_offline: bool = False
    isa: str | None = None
    threads: int | None = None
    no_color: bool = False
    debug: bool = False
    runs_dir: Path | None = None
    prefix_disk_bytes: int | None = None
    api_key: str | None = field(default=None, repr=False)
    machine_usd_per_h: float | None = None
    has_otel_endpoint: bool = False
    has_display: bool = False


def from_environment(environ: Mapping[str, str] | None = None) -> Settings:
    """Resolve settings from the environment.

    Reads WAYRA_CACHE, WAYRA_RUNS, WAYRA_PREFIX_DISK_MB, XDG_CACHE_HOME, HF_HUB_OFFLINE, WAYRA_ISA, WAYRA_THREADS,
    WAYRA_DEBUG, WAYRA_API_KEY, WAYRA_MACHINE_USD_PER_H, NO_COLOR, DISPLAY, WAYLAND_DISPLAY,
    OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT. Raises InvalidParameter where a number is none.
    """
    env = os.environ if environ is None else environ
    if explicit := env.get("WAYRA_CACHE"):
        cache_dir = Path(explicit).expanduser()
    else:
        base = env.get("XDG_CACHE_HOME")
        cache_dir = (Path(base) if base else Path.home() / ".cache") / "wayra"
    return Settings(
        cache_dir=cache_dir,
        hub_offline=env.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"},
        isa=env.get("WAYRA_ISA") or None,
        threads=_thread_count(env.get("WAYRA_THREADS", "")),
        no_color=bool(env.get("NO_COLOR")),
        debug=env.get("WAYRA_DEBUG", "").lower() in {"1", "true", "yes", "on"},
        prefix_disk_bytes=_disk_bytes(env.get("WAYRA_PREFIX_DISK_MB", "")),
        api_key=env.get("WAYRA_API_KEY") or None,
        machine_usd_per_h=_usd_per_h(env.get("WAYRA_MACHINE_USD_PER_H", "")),
        has_otel_endpoint=bool(env.get("OTEL_EXPORTER_OTLP_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")),
        has_display=sys.platform in ("win32", "darwin") or bool(env.get("DISPLAY") or env.get("WAYLAND_DISPLAY")),
        runs_dir=Path(env["WAYRA_RUNS"]).expanduser() if env.get("WAYRA_RUNS") else None,
    )


def _thread_count(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_THREADS):
        raise InvalidParameter(
            f"WAYRA_THREADS is {text[:20]!r}; expected a number from 1 to {MAX_THREADS}, or unset it"
        )
    return int(text)


def _disk_bytes(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidParameter(
            f"WAYRA_PREFIX_DISK_MB is {text[:20]!r}; expected a number of MiB, 0 for none on disk, or unset it"
        )
    return int(text) << 20


def _usd_per_h(text: str) -> float | None:
    if not text:
        return None
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= MAX_USD_PER_H:
        raise InvalidParameter(
            f"WAYRA_MACHINE_USD_PER_H is {text[:20]!r}; expected USD an hour, 0 to {MAX_USD_PER_H:,.0f}, or unset it"
        )
    return found


def child_environment(**changes: str) -> dict[str, str]:
    """This process's environment with `changes`, to be handed to a program it starts."""
    return {**os.environ, **changes}


def keep_idle_threads_asleep() -> None:
    """NumPy's threads of matrix products sleep at once when they have nothing to do, unless the user says otherwise.

    As they come they spin for 0.1 s after they start, on cores that a loading model needs. Before NumPy is imported.
    """
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # the logarithm of a number of cycles


def named_variable(name: str) -> str | None:
    """An environment variable whose name the user gave, as for a server's key; None when it is unset or empty."""
    return os.environ.get(name) or None
