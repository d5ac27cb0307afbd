"""YAML as people write it: keys in the order given, long strings unbroken."""

from collections.abc import Sequence
from typing import Any

import yaml


def yaml_text(*documents: object, comments: Sequence[str] = ()) -> str:
    """One or several documents. comments: lines before them."""
    head = "".join(f"# {line}\n" for line in comments)
    # Aliases are valid YAML, but no person expects them in a manifest.
    bodies: list[Any] = [
        yaml.dump(document, Dumper=_PlainDumper, sort_keys=False, width=4096, allow_unicode=True)
        for document in documents
    ]
    return head + "---\n".join(bodies)


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True
