"""Which kernel library and how many threads: what the CPU can run, what was asked for, and why."""

from dataclasses import dataclass
from pathlib import Path

from wayra.backends.native import _native
from wayra.base.errors import BackendError, InvalidParameter
from wayra.base.settings import MAX_THREADS


@dataclass(frozen=True, slots=True)
class Choice:
    """isa: "avx512_bf16", "avx512", "avx2" or "portable". kernels: the file of its library. reason: one sentence."""

    isa: str
    kernels: Path
    reason: str


def library_of(isa: str) -> Path:
    return Path(_native.__file__).with_name(f"kernels_{isa}.so")


def choose_isa(wanted: str | None) -> Choice:
    """The best instruction set this CPU has, or the wanted one. Raises BackendError when that cannot run here."""
    runnable = [isa for isa in _native.cpu_info()["isas"] if library_of(isa).is_file()]
    if not runnable:
        raise BackendError("no kernel library lies beside the native module; reinstall wayra")
    if wanted is None:
        return Choice(runnable[0], library_of(runnable[0]), f"best of what this CPU runs: {', '.join(runnable)}")
    if wanted not in runnable:
        raise BackendError(
            f"instruction set {wanted!r} is not available here; this CPU and build run {', '.join(runnable)}"
        )
    return Choice(wanted, library_of(wanted), "asked for")


def choose_threads(wanted: int | None) -> int:
    """One a physical core within affinity and cgroup, or the wanted number."""
    if wanted is None:
        return int(_native.cpu_info()["threads"])
    if not 1 <= wanted <= MAX_THREADS:
        raise InvalidParameter(f"threads is {wanted}; expected 1 to {MAX_THREADS}")
    return wanted


def describe(isa: str | None, threads: int | None) -> dict[str, object]:
    """What `wayra info` shows of the native backend; None: chosen here. Raises BackendError, InvalidParameter."""
    cpu = _native.cpu_info()
    choice = choose_isa(isa)
    return {
        "isa": choice.isa,
        "isa_reason": choice.reason,
        "cpu": cpu["name"],
        "threads": choose_threads(threads),
        "threads_reason": cpu["reason"] if threads is None else "asked for",
    }
