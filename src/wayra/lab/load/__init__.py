"""The load loop: a native thread that sends requests at their times and stamps what comes (csrc/load).

It speaks HTTP/1.1 over TCP, on Linux. Elsewhere, over TLS and for single questions `wayra.client` does the same in
asyncio.
"""

try:
    from wayra.lab.load import _load as native
except ImportError:  # a system without epoll
    native = None

__all__ = ["native"]
