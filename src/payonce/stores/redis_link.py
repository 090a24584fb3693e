"""One connection to a Redis server: redis-py connects and logs in; what is read is bounded in time and bytes.

A server that answers one byte now and then can't hold a thread, and one that announces half a gigabyte gets no room for
it. Any exception leaves the connection in an unknown state: whoever holds it destroys it (links.py, lanes.py). This
room must never retry.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis._parsers import _HiredisParser
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from payonce.stores.redis_url import Address, Login, Place, show
from payonce.stores.redis_words import Command, fits
from payonce.stores.talk import MOST_BYTES, READ_BYTES, LateError, LostError, Talk, heed, hold, is_silent


class BoundedParser(_HiredisParser):
    """As redis-py's, which reads what is said before and during the login, with a deadline and a limit for it all."""

    def __init__(self, socket_read_size: int) -> None:
        super().__init__(socket_read_size)  # type: ignore[no-untyped-call]  # redis-py's own
        self.buffer = self._buffer
        self.deadline = time.monotonic() + 30.0
        self.room = MOST_BYTES
        self._sock = None

    def arm(self, deadline: float) -> None:
        """All of it ends by `deadline` (monotonic seconds)."""
        self.deadline = deadline
        self.room = MOST_BYTES

    @property
    def reader(self) -> Any:
        """Hiredis, which parses."""
        if self._reader is None:
            raise RedisConnectionError("the connection is closed")
        return self._reader

    def read_from_socket(self, timeout: object = None, raise_on_timeout: bool = True) -> bool:  # noqa: ARG002
        """Read what has arrived. Raises redis-py's errors."""
        sock, reader = self._sock, self._reader
        if sock is None or reader is None:
            raise RedisConnectionError("the connection is closed")
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise RedisTimeoutError("no whole answer in time")
        sock.settimeout(left)
        try:
            count = sock.recv_into(self._buffer)
        except TimeoutError:
            raise RedisTimeoutError("no answer in time") from None
        self.room -= count
        heed(count, self.room)
        reader.feed(self._buffer, 0, count)  # type: ignore[arg-type]  # any buffer will do
        return True


class RedisLink:
    """One connection, connected."""

    def __init__(self, place: Place, address: Address, login: Login, db: int) -> None:
        parsers: list[BoundedParser] = []

        def parser(socket_read_size: int) -> BoundedParser:
            parsers.append(BoundedParser(socket_read_size))
            return parsers[-1]

        options: dict[str, Any] = {
            "host": address[0],
            "port": address[1],
            "db": db,
            "username": login.user or None,
            "password": login.password or None,
            "socket_timeout": place.connect_timeout,
            "socket_connect_timeout": place.connect_timeout,
            "socket_read_size": READ_BYTES,
            "parser_class": parser,
            "retry": Retry(NoBackoff(), 0),
            "driver_info": None,
            "protocol": 2,
        }
        if place.tls:
            options |= {"ssl_ca_certs": place.ca or None, "ssl_certfile": place.cert or None}
            options |= {"ssl_keyfile": place.key or None, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
        self._name = show(address)
        self._connection: Any = (SSLConnection if place.tls else Connection)(**options)
        self._parser = parsers[-1]
        self._parser.arm(time.monotonic() + 2 * place.connect_timeout)
        try:
            self._connect()
        except (RedisError, OSError, ValueError) as error:
            self.close()
            raise LostError(f"{show(address)}: {_harmless(error, login)}") from None
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        self._connection.connect()

    @property
    def sock(self) -> socket.socket:
        """What an event loop waits for."""
        sock = self._connection._sock  # noqa: SLF001 - redis-py has no other way to it
        if sock is None:
            raise LostError(f"{self._name}: the connection is closed")
        found: socket.socket = sock
        return found

    def ask(self, commands: Sequence[Command], deadline: float) -> list[Any]:
        """The reply to each command, in one round trip; a reply that is an error stands in the list. Raises LostError
        where there was no whole answer by `deadline` (monotonic seconds)."""
        try:
            return hold(self.sock, self.talk(commands), deadline, self._parser.buffer)
        except LateError as error:
            raise LateError(f"{self._name}: {error}") from None
        except (LostError, RedisError, OSError, ValueError) as error:
            raise LostError(f"{self._name}: {error}") from None

    def talk(self, commands: Sequence[Command]) -> Talk[list[Any]]:
        """The same as a talk: no reply is taken that can't be the answer to its command."""
        reader = self._parser.reader
        packed = [pack_command(command) for command in commands]  # type: ignore[arg-type]  # it takes any length
        reader.feed((yield b"".join(packed)))
        replies: list[Any] = []
        queued = False
        for command in commands:
            while (reply := reader.gets(False)) is NOT_ENOUGH_DATA:
                reader.feed((yield b""))
            if isinstance(reply, RedisConnectionError):
                raise reply
            if not isinstance(reply, Exception) and not fits(command, reply, queued=queued):
                raise LostError(f"{command[0]!s} was answered with something else")
            queued = (queued or command[0] == "MULTI") and command[0] != "EXEC"
            replies.append(reply)
        return replies

    @property
    def holds_more(self) -> bool:
        """Whether more was read than was asked for."""
        more: bool = self._parser.reader.has_data()
        return more

    def is_quiet(self) -> bool:
        """Whether it is open and nothing waits to be read."""
        try:
            return not self.holds_more and is_silent(self.sock)
        except (RedisError, LostError):
            return False

    def close(self) -> None:
        """Destroy it."""
        self._connection.disconnect()


def _harmless(error: Exception, login: Login) -> str:
    """What went wrong at the login. A server that knows no AUTH repeats the beginning of what it was told."""
    said = str(error).partition("with args")[0].rstrip(", ")
    return type(error).__name__ if login.password and login.password in said else said
