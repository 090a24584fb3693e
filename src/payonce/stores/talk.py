"""One exchange with a server as a generator, so that a thread and an event loop can both hold it, word for word.

A `Talk` first gives what is to be sent; then it is sent what arrives, piece by piece, until it returns the replies.
It knows the protocol and does no I/O; whoever holds it does I/O and knows no protocol. A thread holds it here, an event
loop in lanes.py. This room must never retry.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Generator
from contextlib import suppress
from typing import TypeVar

from payonce.errors import StoreError

MOST_BYTES = 64 << 20
"""An exchange reads no more than this."""
READ_BYTES = 1 << 16
"""So much is read at once."""


class LostError(StoreError):
    """The server did not answer as it should: the connection, and maybe the server, is of no use."""


class LateError(LostError):
    """The time was over before there was a whole answer."""


T = TypeVar("T")
Talk = Generator[bytes, memoryview, T]
"""Yields what is to be sent (nothing, after the first time); is sent what has arrived; returns the replies. A piece
that arrived is good only until the next one."""


def hold(sock: socket.socket, talk: Talk[T], deadline: float, buffer: bytearray) -> T:
    """The replies of `talk`, held on `sock` by `deadline` (monotonic seconds). Raises LostError, OSError and what the
    talk raises; the connection is then of no use."""
    room = MOST_BYTES
    view = memoryview(buffer)
    try:
        _send(sock, next(talk), deadline)
        while True:
            count = _receive(sock, buffer, deadline)
            room -= count
            heed(count, room)
            talk.send(view[:count])
    except StopIteration as end:
        replies: T = end.value
        return replies
    except TimeoutError:
        raise LateError("no whole answer in time") from None


def is_silent(sock: socket.socket) -> bool:
    """Whether it is open and nothing waits to be read."""
    try:
        return not has_pending(sock) and not _is_ready(sock, 0.0)
    except (OSError, ValueError):
        return False


def _send(sock: socket.socket, said: bytes, deadline: float) -> None:
    if isinstance(sock, ssl.SSLSocket):
        sock.settimeout(_left(deadline))
        sock.sendall(said)
        return
    if sock.gettimeout() != 0.0:
        sock.setblocking(False)  # each wait is one system call then, where settimeout would make it two
    rest = memoryview(said)
    while rest:
        with suppress(BlockingIOError):
            rest = rest[sock.send(rest) :]
            continue
        _is_ready(sock, _left(deadline), to_send=True)


def _receive(sock: socket.socket, buffer: bytearray, deadline: float) -> int:
    if isinstance(sock, ssl.SSLSocket):
        sock.settimeout(_left(deadline))
        return sock.recv_into(buffer)
    while True:
        if _is_ready(sock, _left(deadline)):
            with suppress(BlockingIOError):
                return sock.recv_into(buffer)


def _is_ready(sock: socket.socket, seconds: float, *, to_send: bool = False) -> bool:
    """Whether there is something to be read, or room to send, within `seconds`."""
    if not hasattr(select, "poll"):
        return any(select.select([] if to_send else [sock], [sock] if to_send else [], [], seconds))
    look = select.poll()  # where there is one: select knows no more than 1024 files
    look.register(sock, select.POLLOUT if to_send else select.POLLIN)
    return bool(look.poll(1000 * seconds))


def has_pending(sock: socket.socket) -> bool:
    """Whether TLS holds something that was received already."""
    return isinstance(sock, ssl.SSLSocket) and bool(sock.pending())


def heed(count: int, room: int) -> None:
    """Raises LostError where what was just read ends the connection: nothing, or too much."""
    if not count:
        raise LostError("the server closed the connection")
    if room < 0:
        raise LostError(f"an answer of more than {MOST_BYTES} bytes")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise LateError("no whole answer in time")
    return left
