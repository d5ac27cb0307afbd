"""An event loop whose time passes only while there is nothing to do: programs that sleep end at once, always alike."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Waits for nothing; tells how long it would have waited."""

    waited_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("the program waits for something that never comes")
        self.waited_s += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.waited_s


def run_in_virtual_time(program: Coroutine[Any, Any, T]) -> T:
    """Nothing in it may come from other threads, processes or sockets."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(program)
