"""`wayra info`: what wayra uses of this machine, and why."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path

import click

from wayra import __version__
from wayra.base.errors import BackendError
from wayra.base.settings import Settings
from wayra.cli.output import emit, human_bytes, json_option, print_line

EPILOG = """\b
Examples:
  wayra info
  wayra info --json
  WAYRA_ISA=avx2 WAYRA_THREADS=1 wayra info
"""


@click.command(epilog=EPILOG)
@json_option
@click.pass_obj
def info(settings: Settings, as_json: bool) -> None:
    """Say what wayra uses of this machine, and why.

    Version, backends, instruction set, threads, memory, and what the caches hold. WAYRA_ISA and WAYRA_THREADS force the
    instruction set and the threads, WAYRA_CACHE moves the cache.
    """
    result = {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "backends": _backends(settings),
        "threads": _threads(settings),
        "memory": _memory(),
        "cache": _cache(settings.cache_dir),
        "prefix_cache": _prefix_cache(settings),
    }
    emit(result, as_json, lambda: _print(result))


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _backends(settings: Settings) -> dict[str, object]:
    """Every backend: available or not, with what the native library says of itself."""
    return {
        "native": _native(settings),
        "numpy": {"available": True, "note": "the specification, slow; chosen with --backend numpy"},
        "null": {"available": True, "note": "computes nothing; for tests"},
    }


def _native(settings: Settings) -> dict[str, object]:
    try:
        from wayra.backends.native.backend import describe
    except ImportError as error:
        return {"available": False, "reason": str(error)}
    try:
        return {"available": True, **describe(settings.isa, settings.threads)}
    except BackendError as error:
        return {"available": False, "reason": str(error)}


def _threads(settings: Settings) -> dict[str, object]:
    """What the system lets this process use; the native backend starts from the same figures."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "processors": os.cpu_count(),
        "affinity": affinity,
        "cgroup_cpus": _cgroup_cpus(Path("/sys/fs/cgroup/cpu.max")),
        "forced": settings.threads,
    }


def _cgroup_cpus(path: Path) -> float | None:
    try:
        quota, period = path.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _memory() -> dict[str, object]:
    from wayra.llm.memory import available_bytes

    total = None
    if hasattr(os, "sysconf"):
        try:
            total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (ValueError, OSError):
            total = None
    return {"total_bytes": total, "available_bytes": available_bytes()}


def _cache(folder: Path) -> dict[str, object]:
    """What lies in the cache, by its first level of folders."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        entries = []
    usable = os.access(folder if folder.exists() else _existing_parent(folder), os.W_OK)
    return {
        "path": str(folder),
        "writable": usable,
        "folders": {entry.name: _size_bytes(entry) for entry in entries},
    }


def _prefix_cache(settings: Settings) -> dict[str, object]:
    """The computed prompts on disk, of all models."""
    from wayra.engine.prefix_store import use_of
    from wayra.llm.prefixes import max_prefix_bytes, prefix_root

    root = prefix_root(settings)
    use = use_of(root)
    limit = max_prefix_bytes(settings)
    return {"path": str(root), "files": use.files, "size_bytes": use.size_bytes, "max_bytes": limit}


def _existing_parent(folder: Path) -> Path:
    return next((parent for parent in folder.parents if parent.exists()), Path("/"))


def _size_bytes(path: Path) -> int:
    """Bytes of the files in a folder, links not followed; what cannot be read counts nothing."""
    total = 0
    try:
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_size
        with os.scandir(path) as entries:
            for entry in entries:
                total += _size_bytes(Path(entry.path))
    except OSError:
        pass
    return total


def _print(result: Mapping[str, object]) -> None:
    print_line(f"wayra {result['version']}, Python {result['python']}, {result['platform']}")
    _line("processor", result["processor"])
    for name, backend in _items(result["backends"]):
        details = dict(_items(backend))
        available = details.pop("available", False)
        _line(name, "available" if available else "not available")
        for key, value in details.items():
            _line(f"  {key}", _shown(value))
    threads = dict(_items(result["threads"]))
    _line("threads", "; ".join(f"{key.replace('_', ' ')} {_shown(value)}" for key, value in threads.items()))
    memory = dict(_items(result["memory"]))
    _line("memory", f"{_bytes(memory['available_bytes'])} available of {_bytes(memory['total_bytes'])}")
    cache = dict(_items(result["cache"]))
    _line("cache", f"{cache['path']}{'' if cache['writable'] else ' (cannot be written)'}")
    for name, size in _items(cache["folders"]):
        _line(f"  {name}", _bytes(size))
    prefixes = dict(_items(result["prefix_cache"]))
    held = f"{prefixes['files']} files, {_bytes(prefixes['size_bytes'])} of {_bytes(prefixes['max_bytes'])}"
    _line("prefix cache", f"{prefixes['path']}: {held}")


def _items(value: object) -> list[tuple[str, object]]:
    return [(str(key), item) for key, item in value.items()] if isinstance(value, Mapping) else []


def _line(label: str, value: object) -> None:
    print_line(f"{label:<16} {value}")


def _bytes(value: object) -> str:
    return human_bytes(value) if isinstance(value, int) else "unknown"


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in _items(value))
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
