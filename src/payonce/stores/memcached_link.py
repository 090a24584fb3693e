"""One connection to a memcached, bounded in time and bytes. Any exception leaves it in an unknown state: whoever holds
it destroys it (links.py, lanes.py). This room must never retry.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator, Sequence
from typing import TypeVar

from payonce.stores import memcached_words as words
from payonce.stores.memcached_words import Answer
from payonce.stores.talk import MOST_BYTES, READ_BYTES, LateError, LostError, Talk, hold, is_silent

_LINE_BYTES = 2048
T = TypeVar("T")


class MemcachedLink:
    """One connection, connected."""

    def __init__(self, host: str, port: int, connect_timeout: float) -> None:
        self._name = f"{host}:{port}"
        try:
            self.sock = socket.create_connection((host, port), connect_timeout)
            """What an event loop waits for."""
        except OSError as error:
            raise LostError(f"{self._name}: {error}") from None
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._held = b""
        self._buffer = bytearray(READ_BYTES)
        self._numbers = itertools.count(1)

    def ask(self, commands: Sequence[tuple[str, bytes]], deadline: float) -> list[Answer]:
        """The answer to each command, in one round trip. Raises LostError."""
        return self._hold(self.talk(commands), deadline)

    def talk(self, commands: Sequence[tuple[str, bytes]]) -> Talk[list[Answer]]:
        """The same as a talk: every answer repeats the number of its command."""
        numbered = [(command, next(self._numbers)) for command in commands]
        self._held += yield b"".join([words.line(command, number) for command, number in numbered])
        answers = []
        for _, number in numbered:
            answers.append((yield from self._answer(number)))
        return answers

    def lines(self, command: bytes, deadline: float) -> Iterator[str]:
        """The lines of an answer that ends with END. Raises LostError."""
        line = self._hold(self._first_line(command + b"\r\n"), deadline)
        while line != b"END":
            text = line.decode("ascii", "replace")
            if text.startswith(("ERROR", "CLIENT_ERROR", "SERVER_ERROR", "BUSY")):
                raise LostError(f"{self._name} says {text[:80]!r}")
            yield text
            line = self._hold(self._line(), deadline)

    @property
    def holds_more(self) -> bool:
        """Whether more was read than was asked for."""
        return bool(self._held)

    def is_quiet(self) -> bool:
        """Whether it is open and nothing waits to be read."""
        return not self._held and is_silent(self.sock)

    def close(self) -> None:
        """Destroy it."""
        self.sock.close()

    def _hold(self, talk: Talk[T], deadline: float) -> T:
        try:
            return hold(self.sock, talk, deadline, self._buffer)
        except LateError as error:
            raise LateError(f"{self._name}: {error}") from None
        except (LostError, OSError) as error:
            raise LostError(f"{self._name}: {error}") from None

    def _answer(self, number: int) -> Talk[Answer]:
        answer, length = words.read_head((yield from self._line()), number)
        if length is None:
            return answer
        if length > MOST_BYTES:
            raise LostError(f"{length} bytes are announced")
        value = yield from self._exactly(length + 2)
        if not value.endswith(b"\r\n"):
            raise LostError("a value does not end where it should")
        return answer._replace(value=value[:-2])

    def _first_line(self, asked: bytes) -> Talk[bytes]:
        self._held += yield asked
        return (yield from self._line())

    def _line(self) -> Talk[bytes]:
        while b"\n" not in self._held:
            if len(self._held) > _LINE_BYTES:
                raise LostError("a line without an end")
            self._held += yield b""
        line, _, self._held = self._held.partition(b"\n")
        return line.removesuffix(b"\r")

    def _exactly(self, size: int) -> Talk[bytes]:
        pieces, have = [self._held], len(self._held)
        self._held = b""
        while have < size:
            pieces.append(bytes((yield b"")))
            have += len(pieces[-1])
        data = b"".join(pieces)
        self._held = data[size:]
        return data[:size]
