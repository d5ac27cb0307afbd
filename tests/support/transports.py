"""Both ways in which the lab sends the requests of a bench: tests of what it measures hold for each."""

import pytest

from wayra.lab.load import native

NO_NATIVE = pytest.mark.skipif(native is None, reason="this system has no epoll, so the load loop is not built")

both_transports = pytest.mark.parametrize("transport", ["asyncio", pytest.param("auto", id="native", marks=NO_NATIVE)])
