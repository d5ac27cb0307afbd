"""Where the KV blocks of past prompts are kept on disk, how many of them, and for which model they are good."""

from pathlib import Path
from typing import TYPE_CHECKING

from wayra import __version__
from wayra.backends.api import Model
from wayra.base.settings import Settings
from wayra.llm.options import LLMOptions

if TYPE_CHECKING:
    from wayra.engine.stored_prefixes import StoredPrefixes


def prefix_root(settings: Settings) -> Path:
    """The folder of this user's stored prefixes, of all models."""
    return settings.cache_dir / "prefixes"


def max_prefix_bytes(settings: Settings, disk_mb: int | None = None) -> int:
    """The most they may take together. disk_mb: in MiB, as asked for; None: what the settings say, else a default."""
    if disk_mb is not None:
        return disk_mb << 20
    if settings.prefix_disk_bytes is not None:
        return settings.prefix_disk_bytes
    from wayra.engine.prefix_store import default_max_bytes

    return default_max_bytes(prefix_root(settings))


def stored_prefixes(model: Model, digest: str, settings: Settings, options: LLMOptions) -> "StoredPrefixes | None":
    """The store of a loaded model, None when nothing is to be kept. digest: of the checkpoint's content.

    Nothing is read or written yet.
    """
    max_bytes = max_prefix_bytes(settings, options.prefix_disk_mb) if options.prefix_cache else 0
    if max_bytes == 0:
        return None
    from wayra.engine.prefix_store import PrefixStore
    from wayra.engine.stored_prefixes import StoredPrefixes

    # All that the bits of a key or value depend on: another release may compute them in another order.
    identity = "\n".join((__version__, digest, model.kv_layout(), repr(model.spec)))
    return StoredPrefixes(model, PrefixStore(prefix_root(settings), identity, model.kv_bytes_per_block(), max_bytes))
