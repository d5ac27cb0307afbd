"""How much memory there is, and how many KV blocks to take of it.

The check happens before anything is loaded, so that a model too large is refused in a sentence and not by the kernel.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from wayra.backends.api import KV_BLOCK_LEN
from wayra.base.errors import InvalidParameter, OutOfMemory
from wayra.engine.settings import blocks_for
from wayra.llm.options import LLMOptions
from wayra.model.cost import KV_BYTES, KV_SCALE_BYTES
from wayra.model.spec import ModelSpec
from wayra.weights.tensors import ModelWeights

DEFAULT_CONTEXT_LEN = 8192
LEAST_DEFAULT_CONTEXT_LEN = 512
WORKSPACE_BYTES = 64 * 1024**2
"""Kept free for activations, the tokenizer and Python itself."""
KV_SHARE = 0.4
"""Of the memory left after the weights, what KV blocks beyond the first full context may take."""


@dataclass(frozen=True, slots=True)
class KVPlan:
    """context_len: tokens a request may have. num_blocks: KV blocks to allocate, at least one full context."""

    context_len: int
    num_blocks: int


def available_bytes(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Memory that can still be taken: the system's, or what the cgroup leaves when that is less. None if unknown."""
    found = [n for n in (_from_meminfo(proc / "meminfo"), _from_cgroup(proc, cgroup)) if n is not None]
    if found:
        return min(found)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return None


def _from_meminfo(path: Path) -> int | None:
    try:
        for line in path.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _from_cgroup(proc: Path, root: Path) -> int | None:
    """What the tightest memory limit above this process leaves; pages of the file cache count as free."""
    found: list[int] = []
    for folder, limit_name, used_name in _memory_folders(proc, root):
        limit, used = _integer(folder / limit_name), _integer(folder / used_name)
        if limit is not None and used is not None and limit < 1 << 60:
            found.append(max(0, limit - used + _file_cache_bytes(folder / "memory.stat")))
    return min(found) if found else None


def _memory_folders(proc: Path, root: Path) -> list[tuple[Path, str, str]]:
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    folders: list[tuple[Path, str, str]] = []
    for line in [*lines, "0::/", "1:memory:/"]:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            base, names = root, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            base, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        folder = base / path.strip("/")
        # A limit may sit on any ancestor.
        folders += [(f, *names) for f in (folder, *folder.parents) if f.is_relative_to(base)]
    return folders


def _file_cache_bytes(path: Path) -> int:
    try:
        entries = dict(line.split(maxsplit=1) for line in path.read_text().splitlines())
        return int(entries.get("inactive_file", 0)) + int(entries.get("active_file", 0))
    except (OSError, ValueError):
        return 0


def _integer(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def kv_bytes_per_block(spec: ModelSpec, kv_dtype: str) -> int:
    """Bytes of one KV block over all layers, as the spec implies them (a loaded model's own figure may be larger)."""
    head_bytes = spec.head_dim * KV_BYTES[kv_dtype] + KV_SCALE_BYTES[kv_dtype]
    return 2 * spec.num_layers * spec.num_kv_heads * head_bytes * KV_BLOCK_LEN


def kv_dtype_beside(weights: ModelWeights) -> str:
    """The precision of a cache where nobody chose one.

    Integers of eight bits are the fastest and add 3e-4 of divergence: little beside that of 8-bit products, 2e-3, much
    beside that of floats. Those of sixteen add 2e-7, and are faster than float16.
    """
    parts = [part for weight in weights.matrices.values() for part in weight.parts]
    return "int8" if any(part.tensor.fmt.is_quantised for part in parts) else "int16"


def plan_kv(
    spec: ModelSpec, options: LLMOptions, weights_bytes: int, available: int | None, block_bytes: int
) -> KVPlan:
    """Choose the context and the number of KV blocks.

    block_bytes: of a block of the cache, with what a draft model's cache takes beside it.
    Raises InvalidParameter when context_len is beyond the model's, OutOfMemory when weights or one full context do not
    fit into `available` bytes (None: unknown, nothing is refused).
    """
    wanted = options.context_len
    if wanted is not None and wanted > spec.context_len:
        raise InvalidParameter(
            f"context_len is {wanted:,} tokens, {spec.name or 'the model'} allows {spec.context_len:,}; ask for less"
        )
    context_len = wanted if wanted is not None else min(spec.context_len, DEFAULT_CONTEXT_LEN)
    if available is None:
        return KVPlan(context_len, blocks_for(context_len) * options.max_batch)
    left = available - weights_bytes - WORKSPACE_BYTES
    if left < 0:
        raise OutOfMemory(
            f"the weights take {_gb(weights_bytes)}, computing {_gb(WORKSPACE_BYTES)}, and {_gb(available)} of memory "
            "are available; "
            "take a smaller model or quantisation, close other programs, or leave them on disk, which is slow, with "
            "map_weights (--mmap)"
        )
    if wanted is None:
        fits = left // block_bytes * KV_BLOCK_LEN
        context_len = min(context_len, max(fits, LEAST_DEFAULT_CONTEXT_LEN))
    one_context = blocks_for(context_len)
    if one_context * block_bytes > left:
        raise OutOfMemory(
            f"a context of {context_len:,} tokens takes {_gb(one_context * block_bytes)} beside "
            f"{_gb(weights_bytes)} of weights and {_gb(WORKSPACE_BYTES)} to compute in, and {_gb(available)} of memory "
            "are available; "
            "lower context_len (--context) or close other programs"
        )
    most = int(left * KV_SHARE) // block_bytes
    return KVPlan(context_len, min(one_context * options.max_batch, max(one_context, most)))


def planned_bytes(weights_bytes: int, plan: KVPlan, block_bytes: int) -> int:
    """What a model takes with the cache that was planned, and room to compute."""
    return weights_bytes + plan.num_blocks * block_bytes + WORKSPACE_BYTES


def least_bytes(weights_bytes: int, context_len: int, block_bytes: int) -> int:
    """What a model cannot do without: its weights, the cache of one full context, and room to compute."""
    return weights_bytes + blocks_for(context_len) * block_bytes + WORKSPACE_BYTES


def check_available(needed_bytes: int, available: int | None) -> None:
    """Raises OutOfMemory when a plan made for more memory than there is now cannot be carried out."""
    if available is not None and needed_bytes > available:
        raise OutOfMemory(
            f"{_gb(needed_bytes)} are needed and {_gb(available)} of memory are available; "
            "lower the budget (--memory-budget) or the context, or close other programs"
        )


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
