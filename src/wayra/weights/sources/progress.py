"""How a fetch tells what it is doing, without knowing who listens."""

import contextlib
import os
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Protocol

POLL_INTERVAL_S = 0.2


class Progress(Protocol):
    """Told about one fetch after another. `moved` may be called from another thread than `began`."""

    def began(self, what: str, total_bytes: int | None) -> None:
        """A step starts; total_bytes is None where nobody knows it."""
        ...

    def moved(self, done_bytes: int) -> None:
        """So many bytes of the step are done."""
        ...

    def ended(self) -> None:
        """The step is over, done or failed. May be called when none is under way."""
        ...


class Silent:
    """Tells nobody."""

    def began(self, what: str, total_bytes: int | None) -> None:
        return None

    def moved(self, done_bytes: int) -> None:
        return None

    def ended(self) -> None:
        return None


@contextlib.contextmanager
def step(progress: Progress, what: str, total_bytes: int | None) -> Generator[None, None, None]:
    """Announce a step, and its end however it ends."""
    progress.began(what, total_bytes)
    try:
        yield
    finally:
        progress.ended()


@contextlib.contextmanager
def watched(progress: Progress, done_bytes: Callable[[], int]) -> Generator[None, None, None]:
    """Ask `done_bytes` every moment and pass it on, while somebody else's code does the work in this thread."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(POLL_INTERVAL_S):
            progress.moved(done_bytes())

    watcher = threading.Thread(target=watch, name="wayra-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def folder_bytes(folder: Path) -> int:
    """What the files below `folder` take, for `watched`. Counts no link, and passes over what goes away meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total
