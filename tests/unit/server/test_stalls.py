"""When a connection of which nothing moves is given up, and how."""

import asyncio
import socket
import struct
from typing import Any, cast

import pytest

from wayra.server.connection import GOODBYE_S, Connection

STALL_S = 15.0
RESET = struct.pack("ii", 1, 0)


class FakeTransport:
    """unsent_bytes, closing: as the test wants them. aborted: whether it was, lingering: as set on the socket."""

    def __init__(self) -> None:
        self.unsent_bytes = 0
        self.closing = False
        self.aborted = False
        self.lingering: bytes | None = None

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.aborted = True

    def get_extra_info(self, name: str) -> Any:
        return self if name == "socket" else None

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER)
        self.lingering = value


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def connection(transport: FakeTransport) -> Connection:
    made = Connection.__new__(Connection)
    made._seen, made._stalled_since = (0, False), 0.0
    made.transport = cast(asyncio.Transport, transport)
    return made


def test_one_that_has_just_been_closed_has_its_time_to_go(connection: Connection, transport: FakeTransport) -> None:
    transport.closing = True
    connection.check_stall(1000.0, STALL_S)
    connection.check_stall(1000.0 + 0.9 * GOODBYE_S, STALL_S)
    assert not transport.aborted
    connection.check_stall(1000.0 + GOODBYE_S, STALL_S)
    assert transport.aborted
    assert transport.lingering is None


def test_one_that_takes_nothing_is_reset_when_its_time_is_up(connection: Connection, transport: FakeTransport) -> None:
    transport.unsent_bytes = 5000
    connection.check_stall(1000.0, STALL_S)
    connection.check_stall(1000.0 + STALL_S - 1, STALL_S)
    assert not transport.aborted
    connection.check_stall(1000.0 + STALL_S, STALL_S)
    assert transport.aborted
    assert transport.lingering == RESET


def test_one_that_takes_a_little_goes_on(connection: Connection, transport: FakeTransport) -> None:
    for number in range(10):
        transport.unsent_bytes = 5000 - number
        connection.check_stall(1000.0 + 0.9 * STALL_S * number, STALL_S)
    assert not transport.aborted
