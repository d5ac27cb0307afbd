"""The options by which `run` is told what an answer must look like."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wayra.base.errors import InvalidParameter

if TYPE_CHECKING:
    from wayra.text.structure import GrammarSpec

MAX_FILE_BYTES = 1 << 20

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

STRUCTURE_OPTIONS = (
    click.option("--json-schema", type=_FILE, metavar="FILE", help="Answer in JSON that this schema accepts."),
    click.option("--json-object", is_flag=True, help="Answer with a JSON object."),
    click.option("--regex", metavar="PATTERN", help="Answer in text that this expression matches as a whole."),
    click.option("--choice", multiple=True, metavar="TEXT", help="Answer with one of these texts; repeat the option."),
    click.option("--grammar", type=_FILE, metavar="FILE", help="Answer in text that this Lark grammar produces."),
)

_NAMES = ("json_schema", "json_object", "regex", "choice", "grammar")


def structure_spec(options: Mapping[str, Any]) -> "GrammarSpec | None":
    """From the options of STRUCTURE_OPTIONS. Raises InvalidParameter for a malformed one, UsageError for several."""
    from wayra.text.structure import Choice, Grammar, JsonObject, JsonSchema, Regex

    given = [name for name in _NAMES if options[name]]
    if len(given) > 1:
        flags = " and ".join("--" + name.replace("_", "-") for name in given)
        raise click.UsageError(f"{flags} ask for different answers; give one of them")
    if options["json_schema"]:
        return JsonSchema(_text_of(options["json_schema"]))
    if options["json_object"]:
        return JsonObject()
    if options["regex"]:
        return Regex(options["regex"])
    if options["choice"]:
        return Choice(options["choice"])
    return Grammar(_text_of(options["grammar"])) if options["grammar"] else None


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise InvalidParameter(f"{path} is larger than {MAX_FILE_BYTES:,} bytes; shorten it")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidParameter(f"{path} is not UTF-8 text (byte {error.start:,}); convert it") from error
    except OSError as error:
        raise InvalidParameter(f"{path} cannot be read ({error.strerror}); check it") from error
