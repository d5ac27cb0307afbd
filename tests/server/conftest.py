"""Servers shared by the tests of this folder: one without maths, one that computes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from live_server import LiveServer


@pytest.fixture(scope="session")
def server(smollm2_path: Path) -> Iterator[LiveServer]:
    """Predictable tokens, the real tokenizer and chat template."""
    with LiveServer(str(smollm2_path), "--backend", "null", "--context", "4096") as live:
        yield live


@pytest.fixture(scope="session")
def real_server(smollm2_path: Path) -> Iterator[LiveServer]:
    """The real model on the native backend."""
    with LiveServer(str(smollm2_path), "--context", "1024") as live:
        yield live
