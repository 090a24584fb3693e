"""What is said to a memcached (1.6 or later, its meta commands) and what its answers mean. All pure.

Every command carries a number that its answer must repeat, so a connection that is out of step is found out at once.
The book of epochs is one item, changed by compare-and-swap: kept or lost as a whole, and with it its generation, which
stands in the name of every entry. This room must never do I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from payonce.model import reason
from payonce.model.reason import Reason
from payonce.model.scopes import KEY_SCOPE_SECONDS
from payonce.stores.shared_medium import Epochs
from payonce.stores.talk import LostError

MOST_KEY_SCOPES = 4000
"""Epochs of single keys in a book: with more than that the oldest half goes, so that it stays below an item's limit."""
NUMBERS = 1 << 32
"""What a client may keep beside an item is below this (memcached's protocol.txt: 32 bits)."""
_KEY = "key:"
_MONTH = 30 * 86400


class Book(msgspec.Struct, frozen=True, array_like=True):
    """The epochs as one server has them; `raised` in Unix milliseconds."""

    generation: int
    version: int
    counts: dict[str, int]
    raised: dict[str, int]


class Answer(NamedTuple):
    """One answer: its code (`HD`, `VA`, `EN`, `NS`, `EX`, `NF`, or an error's text), its flags by letter, its value."""

    code: str
    flags: Mapping[str, str]
    value: bytes | None

    @property
    def is_error(self) -> bool:
        """Whether the server refused."""
        return self.code.startswith("SERVER_ERROR")


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Book)


# ---------------------------------------------------------------------------------------------------------- commands


def get(name: str, *flags: str) -> tuple[str, bytes]:
    """Read what `flags` ask for: `v` the value, `c` its version for a swap, `f` the client's number."""
    return f"mg {name} {' '.join(flags)}".rstrip(), b""


def put(name: str, value: bytes, ttl: float, now: float, *, number: int = 0, flags: str = "") -> tuple[str, bytes]:
    """Keep `value`, and a number below `NUMBERS` beside it. `now` is Unix time, for a `ttl` of more than a month."""
    seconds = max(1, -int(-ttl // 1))
    until = seconds if seconds <= _MONTH else int(now) + seconds
    return f"ms {name} {len(value)} T{0 if ttl == 0 else until} F{number} {flags}".rstrip(), value


def drop(name: str) -> tuple[str, bytes]:
    """Delete an item."""
    return f"md {name}", b""


def line(command: tuple[str, bytes], number: int) -> bytes:
    """The command as it is sent, with its number."""
    text, value = command
    head = f"{text} O{number}\r\n".encode()
    return head + value + b"\r\n" if text.startswith("ms ") else head


def read_head(head: bytes, number: int) -> tuple[Answer, int | None]:
    """The first line of an answer, and how long the value is that follows (None: there is none). Raises LostError
    where it is not the answer to command `number`."""
    words = head.decode("ascii", "replace").split(" ")
    if words[0] == "SERVER_ERROR":
        return Answer(" ".join(words), {}, None), None
    if words[0] not in ("HD", "VA", "EN", "NS", "EX", "NF"):
        raise LostError(f"memcached says {' '.join(words)[:80]!r}")
    length = None
    if words[0] == "VA":
        if len(words) < 2 or not words[1].isdigit():
            raise LostError("memcached announces a value without its length")
        length = int(words.pop(1))
    flags = {word[:1]: word[1:] for word in words[1:]}
    if flags.get("O") != str(number) and (words[0] != "EN" or flags):  # of old, EN alone repeats no number
        raise LostError("memcached answers something else than was asked")
    return Answer(words[0], flags, None), length


def refusal(answer: Answer) -> Reason | None:
    """Why an item was not kept; None where it was."""
    if answer.code == "HD":
        return None
    if "too large" in answer.code:
        return reason.ENTRY_TOO_LARGE
    return reason.STORE_FULL if "out of memory" in answer.code else reason.WRITE_FAULT


def read_number(answer: Answer, flag: str) -> int | None:
    """The number behind a flag."""
    text = answer.flags.get(flag, "")
    return int(text) if text.isdigit() else None


# ------------------------------------------------------------------------------------------------------------- names


def entry_name(prefix: str, generation: int, slot: bytes) -> str:
    """Where the entry of `slot` stands."""
    return f"{prefix}e:{generation:013x}:{slot[:-1].hex()}{slot[-1]:02x}"


def slot_of(prefix: str, generation: int, name: str) -> bytes | None:
    """The slot whose entry stands at `name`; None where that is another generation's, or no entry's."""
    start = f"{prefix}e:{generation:013x}:"
    if not name.startswith(start):
        return None
    try:
        return bytes.fromhex(name.removeprefix(start))
    except ValueError:
        return None


def crawled(line: str) -> str:
    """The name on a line of the crawler's list; empty where there is none."""
    first = line.split(" ", 1)[0]
    return unquote(first.removeprefix("key=")) if first.startswith("key=") else ""


# ---------------------------------------------------------------------------------------------------------- the book


def write_book(book: Book) -> bytes:
    """A book as it is kept."""
    return _encoder.encode(book)


def read_book(value: bytes | None) -> Book | None:
    """The book; None where there is none, or something else stands there."""
    if value is None:
        return None
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def raise_in(book: Book, least: Mapping[str, int], now: float) -> tuple[Book, dict[str, int]]:
    """A book in which scopes count one more, or what is given, and from which old single keys are gone; and what those
    scopes count."""
    at = int(now * 1000)
    raised_to = {
        scope: max(book.counts.get(scope, 0) + 1, at_least, at if scope.startswith(_KEY) else 0)
        for scope, at_least in least.items()
    }
    raised = {**book.raised, **{scope: at for scope in least if not scope.startswith(_KEY)}}
    changed = Book(book.generation, book.version + 1, {**book.counts, **raised_to}, raised)
    return _forget(changed, at - KEY_SCOPE_SECONDS * 1000), raised_to


def carry_in(book: Book, known: Epochs) -> Book:
    """A book in which no scope counts less than is known; the same one where that holds already."""
    lost = {scope: count for scope, count in known.counts.items() if book.counts.get(scope, 0) < count}
    if not lost:
        return book
    times = {
        scope: max(round(known.raised[scope] * 1000), book.raised.get(scope, 0))
        for scope in lost
        if scope in known.raised and not scope.startswith(_KEY)
    }
    return _forget(Book(book.generation, book.version + 1, {**book.counts, **lost}, {**book.raised, **times}), 0)


def raised_of(book: Book) -> dict[str, float]:
    """When each scope was last raised, in Unix seconds; a single key's count is that time."""
    keys = {scope: count / 1000 for scope, count in book.counts.items() if scope.startswith(_KEY)}
    return {**{scope: at / 1000 for scope, at in book.raised.items()}, **keys}


def _forget(book: Book, before: int) -> Book:
    times = sorted(count for scope, count in book.counts.items() if scope.startswith(_KEY))
    if len(times) > MOST_KEY_SCOPES:
        before = max(before, times[len(times) - MOST_KEY_SCOPES // 2 - 1])
    gone = [count for count in times if count <= before]
    if not gone:
        return book
    kept = {scope: count for scope, count in book.counts.items() if not scope.startswith(_KEY) or count > before}
    raised = {**book.raised, _KEY: max(gone[-1], book.raised.get(_KEY, 0))}
    return Book(book.generation, book.version, kept, raised)
