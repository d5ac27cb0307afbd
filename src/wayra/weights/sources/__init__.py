"""Where models come from: a name in, files on this disk out.

Knows nothing of what is in the files; the parsers of `wayra.weights` judge that.
"""

from wayra.weights.sources.aliases import ALIASES, DEFAULT_MODEL, Alias, short_name
from wayra.weights.sources.progress import Progress, Silent
from wayra.weights.sources.resolve import (
    FileCheck,
    LocalModel,
    check_files,
    find,
    pull,
    remembered,
    remove,
    remove_unfinished,
    resolve,
    understand,
)
from wayra.weights.sources.store import ModelStore, Record, StoredFile, StoredModel, sha256_of

__all__ = [
    "ALIASES",
    "DEFAULT_MODEL",
    "Alias",
    "FileCheck",
    "LocalModel",
    "ModelStore",
    "Progress",
    "Record",
    "Silent",
    "StoredFile",
    "StoredModel",
    "check_files",
    "find",
    "pull",
    "remembered",
    "remove",
    "remove_unfinished",
    "resolve",
    "sha256_of",
    "short_name",
    "understand",
]
