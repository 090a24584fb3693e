"""One connection to a memcached, bounded in time and bytes. Any exception leaves it in an unknown state: whoever holds
it destroys it (stores/links.py). This room must never retry.
"""

from __future__ import annotations

import itertools
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from payonce.stores import memcached_words as words
from payonce.stores.memcached_words import Answer
from payonce.stores.node import LostError

MOST_BYTES = 64 << 20
"""An exchange reads no more than this."""
_LINE_BYTES = 2048


class MemcachedLink:
    """One connection, connected."""

    def __init__(self, host: str, port: int, connect_timeout: float) -> None:
        self._name = f"{host}:{port}"
        try:
            self._sock = socket.create_connection((host, port), connect_timeout)
        except OSError as error:
            raise LostError(f"{self._name}: {error}") from None
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._held = b""
        self._room = MOST_BYTES
        self._deadline = 0.0
        self._numbers = itertools.count(1)

    def ask(self, commands: Sequence[tuple[str, bytes]], deadline: float) -> list[Answer]:
        """The answer to each command, in one round trip. Raises LostError."""
        numbered = [(command, next(self._numbers)) for command in commands]
        self._begin(b"".join([words.line(command, number) for command, number in numbered]), deadline)
        return [self._answer(number) for _, number in numbered]

    def lines(self, command: bytes, deadline: float) -> Iterator[str]:
        """The lines of an answer that ends with END. Raises LostError."""
        self._begin(command + b"\r\n", deadline)
        while (text := self._line().decode("ascii", "replace")) != "END":
            if text.startswith(("ERROR", "CLIENT_ERROR", "SERVER_ERROR", "BUSY")):
                raise LostError(f"{self._name} says {text[:80]!r}")
            yield text

    def is_quiet(self) -> bool:
        """Whether it is open and nothing waits to be read."""
        with suppress(OSError, ValueError):
            return not self._held and not select.select([self._sock], [], [], 0)[0]
        return False

    def close(self) -> None:
        """Destroy it."""
        self._sock.close()

    def _begin(self, data: bytes, deadline: float) -> None:
        self._deadline, self._room = deadline, MOST_BYTES
        try:
            self._sock.settimeout(self._left())
            self._sock.sendall(data)
        except OSError as error:
            raise LostError(f"{self._name}: {error}") from None

    def _answer(self, number: int) -> Answer:
        answer, length = words.read_head(self._line(), number)
        if length is None:
            return answer
        if length > MOST_BYTES:
            raise LostError(f"{self._name} announces {length} bytes")
        value = self._exactly(length + 2)
        if not value.endswith(b"\r\n"):
            raise LostError(f"{self._name}: a value does not end where it should")
        return answer._replace(value=value[:-2])

    def _line(self) -> bytes:
        while b"\n" not in self._held:
            if len(self._held) > _LINE_BYTES:
                raise LostError(f"{self._name}: a line without an end")
            self._more()
        line, _, self._held = self._held.partition(b"\n")
        return line.removesuffix(b"\r")

    def _exactly(self, size: int) -> bytes:
        pieces, have = [self._held], len(self._held)
        self._held = b""
        while have < size:
            self._more()
            pieces.append(self._held)
            have += len(self._held)
            self._held = b""
        data = b"".join(pieces)
        self._held = data[size:]
        return data[:size]

    def _more(self) -> None:
        try:
            self._sock.settimeout(self._left())
            data = self._sock.recv(1 << 16)
        except OSError as error:
            raise LostError(f"{self._name}: {error}") from None
        self._room -= len(data)
        if not data or self._room < 0:
            raise LostError(f"{self._name}: the server hung up" if not data else f"{self._name}: too much is said")
        self._held += data

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise LostError(f"{self._name}: no whole answer in time")
        return left
