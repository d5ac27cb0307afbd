"""The least that any program in Python does for a streamed answer: wait, read, keep the time and the bytes.

No HTTP is read, no request made, nothing recorded: what this costs and adds on a machine, no load generator avoids.
"""

import random
import re
import select
import socket
import time

LAST = b"0\r\n\r\n"
FIRST_EVENT = re.compile(rb'"text": "([0-9.]+) ([0-9.]+) "')
"""As scripted_server.py tells in its first event: when it had the request, and when it wrote this."""


def bare_loop(port: int, rate: float, count: int) -> tuple[float, list[float]]:
    """So many requests at random times: CPU seconds a request, and of each the milliseconds added to its TTFT."""
    body = b'{"prompt":"' + b"word " * 250 + b'","stream":true}'
    request = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    drawn = random.Random(1)
    gaps = [drawn.expovariate(rate) for _ in range(count)]
    sent_s: dict[int, float] = {}
    open_sockets: dict[int, socket.socket] = {}
    idle: list[int] = []
    kept: dict[int, list[tuple[float, bytes]]] = {}
    answers: list[tuple[float, list[tuple[float, bytes]]]] = []
    with select.epoll() as waiting:
        used_s, due_s = time.process_time(), time.perf_counter()
        while len(answers) < count:
            now_s = time.perf_counter()
            if gaps and due_s <= now_s:
                due_s += gaps.pop()
                place = idle.pop() if idle else _connect(port, open_sockets, waiting)
                sent_s[place], kept[place] = time.perf_counter(), []
                open_sockets[place].send(request)
                continue
            ready = waiting.poll(due_s - now_s if gaps else 1)
            at_s = time.perf_counter()
            for place, _ in ready:
                data = open_sockets[place].recv(65536)
                kept[place].append((at_s, data))
                if data.endswith(LAST):
                    answers.append((sent_s[place], kept[place]))
                    idle.append(place)
        used_s = time.process_time() - used_s
    for one in open_sockets.values():
        one.close()
    return used_s / count, [_added_ms(sent, pieces) for sent, pieces in answers]


def _connect(port: int, open_sockets: dict[int, socket.socket], waiting: select.epoll) -> int:
    made = socket.create_connection(("127.0.0.1", port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    open_sockets[made.fileno()] = made
    waiting.register(made.fileno(), select.EPOLLIN)
    return made.fileno()


def _added_ms(sent_s: float, pieces: list[tuple[float, bytes]]) -> float:
    for at_s, data in pieces:
        if found := FIRST_EVENT.search(data):
            return 1000 * ((at_s - sent_s) - (float(found[2]) - float(found[1])))
    raise ValueError("an answer has no first event of the scripted server's")
