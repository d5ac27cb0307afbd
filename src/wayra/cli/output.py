"""What every verb prints through: results on stdout, errors on stderr, JSON when asked, no traceback ever.

For a verb:
    @click.command(...)
    @json_option                                  # adds --json, passed as `as_json`
    @click.pass_obj                               # the resolved Settings
    def verb(settings, as_json): ...
        emit(result, as_json, lambda: print_line("for people"))   # result: dataclass, mapping, list; one JSON line
        raise fail("what was seen; what to do")                   # or any WayraError
    console = make_console(settings)              # rich on stdout; honours NO_COLOR and pipes. Imports rich: 0.13 s,
                                                  # so a verb that streams text uses write_text / print_line instead.
    note("loading ...")                           # a line on stderr, only when stderr is a terminal
`guarded` is the one place that turns exceptions into a sentence and an exit code.
"""

import contextlib
import dataclasses
import errno
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from wayra.base.errors import WayraError
from wayra.base.settings import Settings, from_environment
from wayra.cli.entry import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from rich.console import Console

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BUG = 70
EXIT_BROKEN_PIPE = 141

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")


def printable(text: str) -> str:
    """`text` with control characters escaped, so that a model file cannot drive the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def human_bytes(count: int) -> str:
    """98362432 -> "98.4 MB": powers of ten, as file managers and hubs count."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _jsonable(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset | set):
        return sorted(value, key=str)
    if isinstance(value, Path):
        return str(value)
    item = getattr(value, "item", None)
    if item is not None:
        return item()
    raise TypeError(f"cannot print a {type(value).__name__} as JSON")


def to_json(result: object) -> str:
    """One line of JSON: dataclasses, mappings, sets, paths, NumPy scalars. What is not finite becomes null."""
    try:
        return json.dumps(result, default=_jsonable, ensure_ascii=False, allow_nan=False)
    except ValueError:
        lenient = json.dumps(result, default=_jsonable)
        return json.dumps(json.loads(lenient, parse_constant=lambda _name: None), ensure_ascii=False)


def write_text(text: str) -> None:
    """Write to stdout at once, without a newline: for streamed answers."""
    sys.stdout.write(text)
    sys.stdout.flush()


def print_line(text: str = "") -> None:
    """A line on stdout."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """A remark on stderr, for people only: nothing when stderr is not a terminal."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)


def emit(result: object, as_json: bool, for_people: Callable[[], None]) -> None:
    """The result of a verb on stdout: one line of JSON, or whatever `for_people` prints."""
    if as_json:
        print_line(to_json(result))
    else:
        for_people()


def fail(message: str, exit_code: int = EXIT_FAILED) -> WayraError:
    """An error to raise when no class of base.errors fits: `raise fail("nothing to read; pass a prompt")`."""
    error = WayraError(message)
    error.exit_code = exit_code
    return error


def make_console(settings: Settings, *, stderr: bool = False) -> "Console":
    """A rich console on stdout or stderr: no colour with NO_COLOR or into a pipe, and no markup in our texts."""
    from rich.console import Console

    return Console(stderr=stderr, no_color=settings.no_color or None, markup=False, highlight=False, soft_wrap=True)


def report_error(message: str, kind: str, as_json: bool) -> None:
    """One sentence on stderr; with `as_json` an object {"error": {"type", "message"}}, also on stderr."""
    line = to_json({"error": {"type": kind, "message": message}}) if as_json else f"wayra: error: {_one_line(message)}"
    # A closed or full stderr leaves nobody to tell.
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def guarded(command: Callable[[], Any], args: Sequence[str]) -> int:
    """Run a command and give its exit code; every exception becomes one sentence, BrokenPipe and Ctrl-C silence."""
    options = list(args[: args.index("--")] if "--" in args else args)
    as_json, debug = "--json" in options, "--debug" in options or _debug_wished()
    for stream in (sys.stdout, sys.stderr):
        _never_fail_to_encode(stream)
    try:
        result = command()
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, click.Abort):
        _drop_stdout()
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return EXIT_BROKEN_PIPE
    except Exception as error:
        _drop_stdout()
        return _explain(error, as_json, debug)


def _explain(error: Exception, as_json: bool, debug: bool) -> int:
    if isinstance(error, WayraError):
        report_error(str(error), type(error).__name__, as_json)
        return error.exit_code
    if isinstance(error, click.ClickException):
        usage = isinstance(error, click.UsageError) and error.ctx is not None
        hint = f"; see `{error.ctx.command_path} --help`" if usage and error.ctx else ""  # pyright: ignore
        report_error(_uncapitalised(error.format_message()) + hint, "UsageError", as_json)
        return error.exit_code
    if isinstance(error, MemoryError):
        report_error("not enough memory; close other programs or take a smaller model", "OutOfMemory", as_json)
        return EXIT_FAILED
    if isinstance(error, OSError) and error.errno is not None and not debug:
        where = f" ({error.filename})" if error.filename else ""
        report_error(f"the system refused: {os.strerror(error.errno)}{where}", errno.errorcode[error.errno], as_json)
        return EXIT_FAILED
    if debug:
        import traceback

        traceback.print_exception(error)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    report_error(
        f"internal error ({what}); please report it, with what `wayra --debug ...` prints", "InternalError", as_json
    )
    return EXIT_BUG


def _debug_wished() -> bool:
    try:
        return from_environment().debug
    except (RuntimeError, WayraError):  # no home folder, a bad setting: the command itself says so
        return False


def _one_line(message: str) -> str:
    return printable(" ".join(message.split()))


def _uncapitalised(message: str) -> str:
    message = message.rstrip(".")
    return message[:1].lower() + message[1:]


def _never_fail_to_encode(stream: TextIO) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _drop_stdout() -> None:
    """Let the interpreter's own flush at exit find nothing to complain about."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
