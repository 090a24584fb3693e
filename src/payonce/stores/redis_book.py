"""The book of epochs on Redis, and what is said about it: one sorted set, so it is kept or lost as a whole.

`g` is its generation (a random number, made with it), `v` the stamp of its last change (a random number, made with each
change), `c:SCOPE` is a count, `t:SCOPE` when it was last raised (Unix milliseconds), and `k:DIGEST` the epoch of a
single key: the time of its purge, shifted below zero so that old ones can be cut off. When the book is lost, everything
older can't be found any more. All pure; this room must never do I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from payonce.model.scopes import KEY_SCOPE_SECONDS
from payonce.stores.redis_words import Command, GarbledError, read_raw
from payonce.stores.shared_medium import Epochs

MOST_KEY_SCOPES = 100_000
"""Epochs of single keys that are remembered at most; what is purged is deleted too, so the oldest can go."""
AT_ONCE = 500
"""Scopes that are raised in one transaction."""
STAMPS = 1 << 52
"""Generations and stamps are below this: a score is exact up to 2**53."""
_SHIFT = 1 << 52
_KEY = "key:"


@dataclass(frozen=True, slots=True)
class Book:
    """The epochs as a server has them."""

    generation: int
    stamp: int
    epochs: Epochs


def book_name(prefix: str) -> bytes:
    """Where the epochs stand."""
    return f"{prefix}book".encode()


def poll(book: bytes) -> Command:
    """Ask whether anything was purged: generation and stamp."""
    return ("ZMSCORE", book, "g", "v")


def read_poll(reply: object) -> tuple[int, int] | None:
    """Generation and stamp; None where there is no book."""
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
    stamp = 0
    counts: dict[str, int] = {}
    raised: dict[str, float] = {}
    for member, score in zip(reply[::2], reply[1::2], strict=True):
        kind, _, scope = read_raw(member).decode("utf-8", "replace").partition(":")
        value = _score(score)
        if kind == "g":
            generation = value
        elif kind == "v":
            stamp = value
        elif kind == "c":
            counts[scope] = value
        elif kind == "t":
            raised[scope] = value / 1000
        elif kind == "k":
            counts[_KEY + scope] = value + _SHIFT
            raised[_KEY + scope] = (value + _SHIFT) / 1000
    return None if generation is None else Book(generation, stamp, Epochs(counts, raised))


def last_forgotten(book: bytes, now: float) -> Command:
    """The latest of the single keys' epochs that are too old to matter."""
    return ("ZREVRANGEBYSCORE", book, _cutoff(now), "-inf", "WITHSCORES", "LIMIT", 0, 1)


def read_last_forgotten(reply: object) -> int | None:
    """Its time in Unix milliseconds."""
    if not isinstance(reply, list):
        raise GarbledError("ZREVRANGEBYSCORE was answered with something else")
    return _score(reply[1]) + _SHIFT if len(reply) == 2 else None


def portions(least: Mapping[str, int]) -> Iterator[Mapping[str, int]]:
    """Scopes in pieces, so that no transaction holds the server for long."""
    items = iter(least.items())
    while some := dict(islice(items, AT_ONCE)):
        yield some


def raise_epochs(
    book: bytes, least: Mapping[str, int], now: float, generation: int, stamp: int, forgotten: int | None
) -> list[Command]:
    """One transaction that counts scopes up by one, or to what is given, and cuts off epochs of single keys that are
    too old (`forgotten`: the latest of them). Its last replies are the new counts."""
    at = int(now * 1000)
    commands: list[Command] = [begin(book, generation)]
    for scope, at_least in least.items():
        member = _member(scope)
        if scope.startswith(_KEY):
            commands += [("ZADD", book, "NX", at - _SHIFT - 1, member), ("ZINCRBY", book, 1, member)]
            commands.append(("ZADD", book, "GT", max(at, at_least) - _SHIFT, member))
        else:
            commands.append(("ZINCRBY", book, 1, member))
            if at_least > 0:
                commands.append(("ZADD", book, "GT", at_least, member))
            commands.append(("ZADD", book, "GT", at, "t:" + scope))
    commands.append(_stamped(book, stamp))
    if forgotten is not None:
        commands.append(("ZADD", book, "GT", forgotten, "t:" + _KEY))
        commands.append(("ZREMRANGEBYSCORE", book, "-inf", _cutoff(now)))
    return [*commands, *(("ZSCORE", book, _member(scope)) for scope in least)]


def read_counts(least: Mapping[str, int], replies: Sequence[object]) -> dict[str, int]:
    """The new counts of the scopes that were raised."""
    scores = replies[len(replies) - len(least) :]
    return {
        scope: _score(score) + (_SHIFT if scope.startswith(_KEY) else 0)
        for scope, score in zip(least, scores, strict=True)
    }


def _member(scope: str) -> str:
    return "k:" + scope.removeprefix(_KEY) if scope.startswith(_KEY) else "c:" + scope


def carry(book: bytes, lost: Epochs, stamp: int) -> list[Command]:
    """Give a book what it has lost: no count ever falls, no time either."""
    commands: list[Command] = []
    for scope, count in lost.counts.items():
        if scope.startswith(_KEY):
            commands.append(("ZADD", book, "GT", count - _SHIFT, "k:" + scope.removeprefix(_KEY)))
        else:
            commands.append(("ZADD", book, "GT", count, "c:" + scope))
            if scope in lost.raised:
                commands.append(("ZADD", book, "GT", round(lost.raised[scope] * 1000), "t:" + scope))
    return [*commands, _stamped(book, stamp)] if commands else []


def trim(book: bytes, counts: Mapping[str, int], stamp: int) -> list[Command]:
    """Cut off the oldest epochs of single keys where there are too many of them."""
    times = sorted(count for scope, count in counts.items() if scope.startswith(_KEY))
    if len(times) <= MOST_KEY_SCOPES:
        return []
    oldest = times[len(times) - MOST_KEY_SCOPES // 2 - 1]
    return [
        ("ZADD", book, "GT", oldest, "t:" + _KEY),
        ("ZREMRANGEBYSCORE", book, "-inf", oldest - _SHIFT),
        _stamped(book, stamp),
    ]


def _stamped(book: bytes, stamp: int) -> Command:
    """Mark a change, in its own transaction: a server that has lost one change and gained another shows another stamp.
    A count would be the same again, and the poll would believe that nothing happened."""
    return ("ZADD", book, stamp, "v")


def _cutoff(now: float) -> int:
    return int((now - KEY_SCOPE_SECONDS) * 1000) - _SHIFT


def _score(reply: Any) -> int:
    try:
        return int(float(reply))
    except (TypeError, ValueError, OverflowError):
        raise GarbledError("a score was answered with something else") from None
