"""Which layers of a GGUF file have a sliding window: as the file lists them, or as its architecture counts them off.

The counts are llama.cpp's, which reads the same keys: what is not written there is in its code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from wayra.base.errors import FileFormatError
from wayra.model.keys import Keys, shown

MAX_WINDOW = 1 << 30
UNUSED = ("phi3",)
"""Their files have a window that llama.cpp does not use."""


@dataclass(frozen=True, slots=True)
class _Counted:
    """Every `period`-th layer attends to everything, the last of them or, with full_first, the first.

    window: where the file has none; fixed: whatever it has. layers: only models of so many; 0 for all.
    """

    period: int
    full_first: bool = False
    window: int = 0
    fixed: bool = False
    layers: int = 0


_COUNTED: Mapping[str, _Counted] = MappingProxyType(
    {
        **dict.fromkeys(("afmoe", "cohere2", "mellum", "muse-glimmer", "olmo2"), _Counted(4)),
        "cohere2moe": _Counted(4, full_first=True),
        "exaone4": _Counted(4, window=4096, layers=64),
        "exaone-moe": _Counted(4, window=128),
        "gemma2": _Counted(2, window=4096),
        "gemma3": _Counted(6),
        "gemma3n": _Counted(5),
        "gpt-oss": _Counted(2),
        "laguna": _Counted(4, full_first=True),
        "llama4": _Counted(4, window=8192, fixed=True),
        "plamo3": _Counted(8),
        "smallthinker": _Counted(4, full_first=True, window=4096, fixed=True),
    }
)


@dataclass(frozen=True, slots=True)
class Windows:
    """of: for each layer the tokens it sees, 0 for all. chunked: from fixed borders. note: what is left open."""

    of: tuple[int, ...]
    chunked: bool = False
    note: str = ""


def windows_of(keys: Keys, kind: str, depth: int) -> Windows:
    """The windows of so many layers. Raises FileFormatError on a list that is too short, or an absurd window."""
    every = Windows((0,) * depth)
    name = f"{kind}.attention.sliding_window"
    counted = _COUNTED.get(kind)
    window = keys.integer(name, counted.window if counted else 0)
    if counted is not None and counted.layers not in (0, depth):
        return every
    if not window:
        return every
    if not 1 <= window <= MAX_WINDOW:
        raise FileFormatError(f"{keys.source}: {name} is {shown(window)}; expected 1 to {MAX_WINDOW:,}")
    if counted is not None and counted.fixed:
        window = counted.window
    if kind in UNUSED:
        return Windows(every.of, note="llama.cpp does not use its window, so all layers count with the whole context")
    has_window = _pattern(keys, f"{name}_pattern", counted, depth)
    if has_window is None:
        return Windows(
            every.of, note="which layers have its window is not in the file, so all count with the whole context"
        )
    return Windows(tuple(window if has else 0 for has in has_window), chunked=kind == "llama4")


def _pattern(keys: Keys, name: str, counted: _Counted | None, depth: int) -> Sequence[bool] | None:
    """Of each layer whether it has the window; None where nothing says so."""
    value = keys.get(name)
    if value is None and counted is None:
        return None
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        flags = [bool(flag) for flag in cast(Sequence[object], value)]
        if len(flags) < depth:
            raise FileFormatError(f"{keys.source}: {name} lists {len(flags)} of {depth} layers")
        return flags[:depth]
    period = keys.integer(name, counted.period if counted else None)
    full_first = counted is not None and counted.full_first
    if period < 0:
        raise FileFormatError(f"{keys.source}: {name} is {shown(period)}; expected at least 0")
    if not period:
        return [True] * depth
    return [i % period != (0 if full_first else period - 1) for i in range(depth)]
