"""`wayra tokenize`: text to token ids and back, by a model's own tokenizer; no weights are loaded."""

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from wayra.base.errors import InvalidParameter
from wayra.base.settings import Settings
from wayra.cli.generation import DEFAULT_MODEL, decoded, for_terminal
from wayra.cli.output import emit, json_option, print_line, write_text

if TYPE_CHECKING:
    from wayra.text.tokenizer import Tokenizer

EPILOG = """\b
Examples:
  wayra tokenize "Hello, world"
  wayra tokenize --count < book.txt
  wayra tokenize --ids "Hello" | wayra tokenize --decode
  wayra tokenize -m llama3.2:1b --json "<|eot_id|>"
"""


@click.command(epilog=EPILOG)
@click.argument("text", nargs=-1)
@click.option("-m", "--model", metavar="NAME", default=DEFAULT_MODEL, show_default=True, help="Whose tokenizer.")
@click.option("--decode", is_flag=True, help="The other way: TEXT is token ids.")
@click.option("--ids", "form", flag_value="ids", help="Only the ids, on one line.")
@click.option("--count", "form", flag_value="count", help="Only how many tokens there are.")
@click.option("--no-special", is_flag=True, help="No BOS, control tokens are read as plain text and not shown.")
@json_option
@click.pass_obj
def tokenize(settings: Settings, text: Sequence[str], as_json: bool, **options: str | bool | None) -> None:
    """Show the tokens of TEXT, or of standard input without TEXT.

    As the model would see it: BOS first where the model wants one, control tokens written in the text recognised.
    With --decode, TEXT is ids separated by spaces or commas, and their text is printed.
    """
    from wayra.llm.load import load_tokenizer_of

    content = " ".join(text) if text else decoded(sys.stdin.buffer.read(), "standard input")
    special = not options["no_special"]
    wanted = _ids(content) if options["decode"] else None
    tokenizer = load_tokenizer_of(str(options["model"]), settings)
    if wanted is not None:
        _check(wanted, tokenizer)
        decoded_text = tokenizer.decode(wanted, skip_special=not special)
        emit({"text": decoded_text, "count": len(wanted)}, as_json, lambda: _print_text(decoded_text))
        return
    ids = tokenizer.encode(content, add_bos=None if special else False, parse_special=special)
    result = {"ids": ids, "pieces": [_piece(tokenizer, i) for i in ids], "count": len(ids)}
    emit(result, as_json, lambda: _print_tokens(tokenizer, ids, str(options["form"])))


def _ids(text: str) -> list[int]:
    """Ids separated by white space or commas, brackets allowed around them."""
    words = [word for word in re.split(r"[\s,\[\]]+", text) if word]
    for word in words:
        if not re.fullmatch(r"\d{1,10}", word):
            raise InvalidParameter(f"{word[:40]!r} is not a token id; give whole numbers separated by spaces or commas")
    return [int(word) for word in words]


def _check(ids: Sequence[int], tokenizer: "Tokenizer") -> None:
    for token_id in ids:
        if token_id >= tokenizer.vocab_size:
            raise InvalidParameter(f"token id {token_id} is outside the vocabulary, 0 to {tokenizer.vocab_size - 1:,}")


def _piece(tokenizer: "Tokenizer", token_id: int) -> str:
    """The token's text; bytes that are no whole character are written as \\xNN."""
    return tokenizer.token_bytes(token_id).decode("utf-8", "backslashreplace")


def _print_tokens(tokenizer: "Tokenizer", ids: Sequence[int], form: str) -> None:
    if form == "count":
        print_line(str(len(ids)))
    elif form == "ids":
        print_line(" ".join(map(str, ids)))
    else:
        width = len(str(tokenizer.vocab_size))
        for token_id in ids:
            mark = "  control" if tokenizer.is_special(token_id) else ""
            print_line(f"{token_id:>{width}}  {_quoted(_piece(tokenizer, token_id))}{mark}")


def _quoted(piece: str) -> str:
    return for_terminal(piece.replace("\n", "\\n").replace("\t", "\\t")).join("''")


def _print_text(text: str) -> None:
    write_text(for_terminal(text) if sys.stdout.isatty() else text)
    if sys.stdout.isatty() and not text.endswith("\n"):
        write_text("\n")
