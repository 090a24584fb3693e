"""What is said to a Redis server and what its answers mean: builders of commands and readers of replies, all pure.

Names: PREFIX`e:`GENERATION`:`KEY holds an entry, PREFIX`n:`DAY the figures of workers, PREFIX`book` the epochs. The
book is one sorted set, so it is kept or lost as a whole: `g` is its generation (a random number, made with it), `v`
counts its changes, `c:SCOPE` is a count, `t:SCOPE` when it was last raised (Unix milliseconds), and `k:DIGEST` the
epoch of a single key: the time of its purge, shifted below zero so that old ones can be cut off. A name holds the
generation: when the book is lost, everything older can't be found any more. This room must never do I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from payonce.errors import StoreError

Command = tuple[bytes | str | int | float, ...]

KEY_SCOPE_SECONDS = 2 * 86400
MOST_KEY_SCOPES = 100_000
"""Epochs of single keys that are remembered at most; what is purged is deleted too, so the oldest can go."""
GENERATIONS = 1 << 52
"""Generations are below this: a score is exact up to 2**53."""
_SHIFT = 1 << 52
_KEY = "key:"
_COUNT = re.compile(rb"-?\d+")


class GarbledError(StoreError):
    """A reply that is none: whatever else arrives on this connection can't be trusted either."""


@dataclass(frozen=True, slots=True)
class Book:
    """The epochs as a server has them; `raised` in Unix seconds."""

    generation: int
    version: int
    counts: Mapping[str, int]
    raised: Mapping[str, float]


FORMS: Mapping[str, tuple[type, ...]] = {
    "GET": (bytes, type(None)),
    "GETRANGE": (bytes,),
    "STRLEN": (int,),
    "SET": (bytes,),
    "UNLINK": (int,),
    "SCAN": (list,),
    "DBSIZE": (int,),
    "HSET": (int,),
    "EXPIRE": (int,),
    "HGETALL": (list,),
    "ZMSCORE": (list,),
    "ZRANGE": (list,),
    "ZREVRANGEBYSCORE": (list,),
    "MULTI": (bytes,),
    "EXEC": (list, type(None)),
    "CLUSTER": (list,),
    "SENTINEL": (list, type(None)),
}
"""What a reply to a command may be, errors aside. Inside of a transaction it is QUEUED."""


def fits(command: Command, reply: object, *, queued: bool) -> bool:
    """Whether `reply` can be the answer to `command`; if not, the connection is out of step."""
    if queued and command[0] != "EXEC":
        return reply == b"QUEUED"
    forms = FORMS.get(str(command[0]))
    return forms is None or isinstance(reply, forms)


# ------------------------------------------------------------------------------------------------------------- names


def generation_name(generation: int) -> str:
    """How a generation stands in names."""
    return f"{generation:013x}"


def entry_name(prefix: str, generation: int, slot: bytes) -> bytes:
    """Where the entry of `slot` stands."""
    return f"{prefix}e:{generation:013x}:{slot[:-1].hex()}{chr(slot[-1])}".encode("latin-1")


def slot_of(prefix: str, generation: int, name: bytes) -> bytes | None:
    """The slot whose entry stands at `name`; None where `name` is another generation's, or no entry's."""
    start = f"{prefix}e:{generation:013x}:".encode()
    if not name.startswith(start):
        return None
    try:
        return bytes.fromhex(name[len(start) : -1].decode("ascii")) + name[-1:]
    except ValueError:
        return None


def book_name(prefix: str) -> bytes:
    """Where the epochs stand."""
    return f"{prefix}book".encode()


def notes_name(prefix: str, day: int) -> bytes:
    """Where the figures stand that were noted on `day` (Unix days)."""
    return f"{prefix}n:{day}".encode()


# ----------------------------------------------------------------------------------------------------------- entries


def get(name: bytes) -> Command:
    """Read an entry."""
    return ("GET", name)


def read_get(reply: object) -> bytes | None:
    """The entry's bytes."""
    if reply is None or isinstance(reply, bytes):
        return reply
    raise GarbledError(f"GET was answered with {type(reply).__name__}")


def put(name: bytes, value: bytes, ttl: float) -> Command:
    """Keep an entry for `ttl` seconds; the server forgets it by itself."""
    return ("SET", name, value, "PX", max(1, int(ttl * 1000)))


def drop(name: bytes) -> Command:
    """Delete an entry."""
    return ("UNLINK", name)


def head(name: bytes, length: int) -> Command:
    """Read the first bytes of an entry."""
    return ("GETRANGE", name, 0, length - 1)


def scan(prefix: str, generation: int, cursor: int, count: int) -> Command:
    """One step of a listing; the server looks at about `count` names in it, whatever they are."""
    return ("SCAN", cursor, "MATCH", f"{prefix}e:{generation:013x}:*", "COUNT", count)


def read_scan(reply: object) -> tuple[int, list[bytes]]:
    """Where to go on (0: nowhere), and the names found."""
    if isinstance(reply, list | tuple) and len(reply) == 2 and isinstance(reply[1], list):
        names = [name for name in reply[1] if isinstance(name, bytes)]
        return read_count(reply[0]), names
    raise GarbledError(f"SCAN was answered with {type(reply).__name__}")


def read_count(reply: object) -> int:
    """A whole number."""
    if isinstance(reply, int):
        return reply
    if isinstance(reply, bytes) and _COUNT.fullmatch(reply):
        return int(reply)
    raise GarbledError(f"a number was answered with {type(reply).__name__}")


# ------------------------------------------------------------------------------------------------------------- notes


def note(name: bytes, records: Mapping[str, bytes], seconds: int) -> list[Command]:
    """Keep records, and the day they belong to for `seconds` from now."""
    fields: list[bytes | str] = []
    for title, record in records.items():
        fields += (title, record)
    return [("HSET", name, *fields), ("EXPIRE", name, seconds)]


def notes(name: bytes) -> Command:
    """All records of a day."""
    return ("HGETALL", name)


def read_notes(reply: object) -> dict[str, bytes]:
    """Records by title."""
    if isinstance(reply, dict):
        pairs = list(reply.items())
    elif isinstance(reply, list) and len(reply) % 2 == 0:
        pairs = list(zip(reply[::2], reply[1::2], strict=True))
    else:
        raise GarbledError(f"HGETALL was answered with {type(reply).__name__}")
    return {_raw(title).decode("utf-8", "replace"): _raw(record) for title, record in pairs}


# ---------------------------------------------------------------------------------------------------------- the book


def poll(book: bytes) -> Command:
    """Ask whether anything was purged: generation and version."""
    return ("ZMSCORE", book, "g", "v")


def read_poll(reply: object) -> tuple[int, int] | None:
    """Generation and version; None where there is no book."""
    if not isinstance(reply, list) or len(reply) != 2:
        raise GarbledError("ZMSCORE was answered with something else")
    if reply[0] is None:
        return None
    return _score(reply[0]), 0 if reply[1] is None else _score(reply[1])


def begin(book: bytes, generation: int) -> Command:
    """Make a book if there is none; of several who do at once, the first one's generation holds."""
    return ("ZADD", book, "NX", generation, "g")


def read_all(book: bytes) -> Command:
    """The whole book."""
    return ("ZRANGE", book, 0, -1, "WITHSCORES")


def read_book(reply: object) -> Book | None:
    """What the book says; None where there is none."""
    if not isinstance(reply, list) or len(reply) % 2:
        raise GarbledError("ZRANGE was answered with something else")
    generation: int | None = None
    version = 0
    counts: dict[str, int] = {}
    raised: dict[str, float] = {}
    for member, score in zip(reply[::2], reply[1::2], strict=True):
        kind, _, scope = _raw(member).decode("utf-8", "replace").partition(":")
        value = _score(score)
        if kind == "g":
            generation = value
        elif kind == "v":
            version = value
        elif kind == "c":
            counts[scope] = value
        elif kind == "t":
            raised[scope] = value / 1000
        elif kind == "k":
            counts[_KEY + scope] = value + _SHIFT
            raised[_KEY + scope] = (value + _SHIFT) / 1000
    return None if generation is None else Book(generation, version, counts, raised)


def last_forgotten(book: bytes, now: float) -> Command:
    """The latest of the single keys' epochs that are too old to matter."""
    return ("ZREVRANGEBYSCORE", book, _cutoff(now), "-inf", "WITHSCORES", "LIMIT", 0, 1)


def read_last_forgotten(reply: object) -> int | None:
    """Its time in Unix milliseconds."""
    if not isinstance(reply, list):
        raise GarbledError("ZREVRANGEBYSCORE was answered with something else")
    return _score(reply[1]) + _SHIFT if len(reply) == 2 else None


def raise_epoch(
    book: bytes, scope: str, at_least: int, now: float, generation: int, forgotten: int | None
) -> tuple[list[Command], int]:
    """One transaction that counts `scope` up by one, or to `at_least`, and cuts off epochs of single keys that are too
    old (`forgotten`: the latest of them); and the place of the reply that holds the new count."""
    at = int(now * 1000)
    commands: list[Command] = [begin(book, generation)]
    if scope.startswith(_KEY):
        member = "k:" + scope.removeprefix(_KEY)
        commands += [("ZADD", book, "NX", at - _SHIFT - 1, member), ("ZINCRBY", book, 1, member)]
        commands.append(("ZADD", book, "GT", max(at, at_least) - _SHIFT, member))
    else:
        member = "c:" + scope
        commands.append(("ZINCRBY", book, 1, member))
        if at_least > 0:
            commands.append(("ZADD", book, "GT", at_least, member))
        commands.append(("ZADD", book, "GT", at, "t:" + scope))
    commands.append(("ZINCRBY", book, 1, "v"))
    if forgotten is not None:
        commands.append(("ZADD", book, "GT", forgotten, "t:" + _KEY))
        commands.append(("ZREMRANGEBYSCORE", book, "-inf", _cutoff(now)))
    commands.append(("ZSCORE", book, member))
    return commands, len(commands) - 1


def carry(book: bytes, counts: Mapping[str, int]) -> list[Command]:
    """Give a book what it has lost: no count ever falls."""
    commands: list[Command] = []
    for scope, count in counts.items():
        if scope.startswith(_KEY):
            commands.append(("ZADD", book, "GT", count - _SHIFT, "k:" + scope.removeprefix(_KEY)))
        else:
            commands.append(("ZADD", book, "GT", count, "c:" + scope))
    return [*commands, ("ZINCRBY", book, 1, "v")] if commands else []


def trim(book: bytes, counts: Mapping[str, int]) -> list[Command]:
    """Cut off the oldest epochs of single keys where there are too many of them."""
    times = sorted(count for scope, count in counts.items() if scope.startswith(_KEY))
    if len(times) <= MOST_KEY_SCOPES:
        return []
    oldest = times[len(times) - MOST_KEY_SCOPES // 2 - 1]
    return [
        ("ZADD", book, "GT", oldest, "t:" + _KEY),
        ("ZREMRANGEBYSCORE", book, "-inf", oldest - _SHIFT),
        ("ZINCRBY", book, 1, "v"),
    ]


def read_count_of(scope: str, reply: object) -> int:
    """The new count of `scope`."""
    return _score(reply) + (_SHIFT if scope.startswith(_KEY) else 0)


def _cutoff(now: float) -> int:
    return int((now - KEY_SCOPE_SECONDS) * 1000) - _SHIFT


def _raw(reply: object) -> bytes:
    if isinstance(reply, bytes):
        return reply
    raise GarbledError(f"a text was answered with {type(reply).__name__}")


def _score(reply: Any) -> int:
    try:
        return int(float(reply))
    except (TypeError, ValueError, OverflowError):
        raise GarbledError("a score was answered with something else") from None


# ---------------------------------------------------------------------------------------------------------- topology


def slots() -> Command:
    """Ask a cluster which node has which keys."""
    return ("CLUSTER", "SLOTS")


def read_slots(reply: object, asked: tuple[str, int]) -> list[tuple[int, int, tuple[str, int]]]:
    """(first slot, last slot, address of the primary); a node that does not know its address has that of `asked`."""
    if not isinstance(reply, list) or not reply:
        raise GarbledError("CLUSTER SLOTS was answered with something else")
    found = []
    try:
        for first, last, primary, *_ in reply:
            host = _raw(primary[0] or b"").decode()
            found.append((int(first), int(last), (asked[0] if host in ("", "?") else host, int(primary[1]))))
    except (TypeError, ValueError, IndexError):
        raise GarbledError("CLUSTER SLOTS was answered with something else") from None
    return found


def master(service: str) -> Command:
    """Ask a sentinel where the primary is."""
    return ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)


def read_master(reply: object) -> tuple[str, int] | None:
    """The primary's address; None where the sentinel does not know the service."""
    if reply is None:
        return None
    if isinstance(reply, list | tuple) and len(reply) == 2:
        return _raw(reply[0]).decode("utf-8", "replace"), read_count(reply[1])
    raise GarbledError("SENTINEL was answered with something else")
