"""A model file that says something else of itself: the same tokenizer and sizes, no weights, another chat template."""

import struct
from pathlib import Path

HEAD_BYTES = 8 << 20
"""More than all that stands before the weights."""
ALIGNMENT = 32
_KEY = b"tokenizer.chat_template" + struct.pack("<I", 8)


def with_template(source: Path, target: Path, template: str) -> Path:
    """`target`: the GGUF file `source` with this template, and zeros for weights, which take no space on disk."""
    with source.open("rb") as file:
        head = file.read(HEAD_BYTES)
    start = head.index(_KEY) + len(_KEY)
    (old_bytes,) = struct.unpack_from("<Q", head, start)
    # A comment makes it longer by whole units of the alignment, so that all tensors stay aligned.
    fill = (old_bytes - len(template.encode()) - len("{##}")) % ALIGNMENT
    stored = ("{#" + "." * fill + "#}" + template).encode()
    with target.open("wb") as file:
        file.write(head[:start] + struct.pack("<Q", len(stored)) + stored + head[start + 8 + old_bytes :])
        file.truncate(source.stat().st_size + len(stored) - old_bytes)
    return target
