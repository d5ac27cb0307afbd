"""Keys of the servers that the lab asks: from the environment or a file, never from the command line.

A command line is seen by every user of a machine and kept by the shell.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from wayra.base.errors import InvalidParameter
from wayra.base.settings import named_variable
from wayra.cli.generation import key_from_file

DEFAULT_VARIABLE = "WAYRA_TARGET_KEY"

KEY_OPTIONS = (
    click.option("--key-env", metavar="NAME", help=f"Environment variable that holds the server's key.  "
                                                   f"[default: {DEFAULT_VARIABLE}]"),
    click.option("--key-file", type=click.Path(path_type=Path), metavar="FILE", help="File that holds it."),
)  # fmt: skip
LABELLED_KEY_OPTIONS = (
    click.option("--key-env", multiple=True, metavar="B=NAME", help="Environment variable that holds B's key (or "
                 f"judge=NAME).  [default: {DEFAULT_VARIABLE}, where one server is compared]"),
    click.option("--key-file", multiple=True, metavar="B=FILE", help="File that holds B's key (or judge=FILE)."),
)  # fmt: skip


def key_of(options: Mapping[str, Any], target: str) -> str | None:
    """The key for TARGET; None for a model here, and for a server that nobody named a key of. Raises WayraError."""
    variable, path = options["key_env"], options["key_file"]
    if not target.startswith(("http://", "https://")):
        if variable is not None or path is not None:
            raise InvalidParameter("--key-env and --key-file are for servers; TARGET is a model")
        return None
    if variable is not None and path is not None:
        raise click.UsageError("--key-env and --key-file are two keys; give one")
    if path is not None:
        return key_from_file(path)
    return named_variable(DEFAULT_VARIABLE) if variable is None else key_in(variable)


def key_in(variable: str) -> str:
    """Raises InvalidParameter when it is not set."""
    found = named_variable(variable)
    if found is None:
        raise InvalidParameter(f"the environment variable {variable[:80]!r} holds no key; set and export it")
    return found


def keys_by_label(variables: Mapping[str, str], files: Mapping[str, str], servers: Sequence[str]) -> dict[str, str]:
    """The key of each label that was given one. servers: labels of the compared ones. Raises WayraError."""
    twice = sorted(set(variables) & set(files))
    if twice:
        raise InvalidParameter(f"{twice[0]} has a key in a variable and one in a file; give one")
    found = {label: key_in(variable) for label, variable in variables.items()}
    found |= {label: key_from_file(Path(path)) for label, path in files.items()}
    fallback = named_variable(DEFAULT_VARIABLE)
    # A key belongs to one server: two would each learn the other's.
    if fallback is not None and len(servers) == 1 and servers[0] not in found:
        found[servers[0]] = fallback
    return found
