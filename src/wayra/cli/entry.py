"""Where the `wayra` command begins: Ctrl-C leaves no traceback even while the command's own code is being loaded.

It imports nothing of wayra before that is so; the interpreter's own start is all that remains uncovered.
"""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

EXIT_INTERRUPTED = 130


def main() -> int:
    """Run the command line with this process's arguments; returns the exit code."""
    _on_ctrl_c(_leave_at_once)
    try:
        _open_closed_streams()
        from wayra.cli.collector import kept_for_good

        with kept_for_good():
            from wayra.base.settings import keep_idle_threads_asleep
            from wayra.cli.main import main as run_command_line

        keep_idle_threads_asleep()

        _on_ctrl_c(signal.default_int_handler)
        return run_command_line()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        # The command has flushed what it printed; the interpreter's own end would only print a traceback.
        _on_ctrl_c(_leave_at_once)


def _open_closed_streams() -> None:
    """Give a process started with `>&-` the null device, or the next file it opens would receive its output."""
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is not None:
            continue
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
        setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8"))


def _on_ctrl_c(handler: Callable[[int, FrameType | None], object]) -> None:
    # Where whoever started us switched Ctrl-C off (`nohup`, a script's `&`), it stays so.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def _leave_at_once(_signal: int, _frame: FrameType | None) -> None:
    os._exit(EXIT_INTERRUPTED)
