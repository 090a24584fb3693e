"""What is said to a Redis server and what its answers mean: builders of commands and readers of replies, all pure.

Names: PREFIX`e:`GENERATION`:`KEY holds an entry, PREFIX`l:{`that name`}` its lease, PREFIX`n:`DAY the figures of
workers, PREFIX`book` the epochs (redis_book.py), whose generation stands in the names of entries. This room must never
do I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from redis.exceptions import OutOfMemoryError

from payonce.errors import StoreError, StoreFullError, StoreUnavailableError

Command = tuple[bytes | str | int | float, ...]

_COUNT = re.compile(rb"-?\d+")


class GarbledError(StoreError):
    """A reply that is none: whatever else arrives on this connection can't be trusted either."""


FORMS: Mapping[str, tuple[type, ...]] = {
    "GET": (bytes, type(None)),
    "GETRANGE": (bytes,),
    "STRLEN": (int,),
    "SET": (bytes, type(None)),
    "UNLINK": (int,),
    "SCAN": (list,),
    "DBSIZE": (int,),
    "HSET": (int,),
    "EXPIRE": (int,),
    "HGETALL": (list,),
    "ZMSCORE": (list,),
    "ZRANGE": (list,),
    "ZCOUNT": (int,),
    "ZREVRANGEBYSCORE": (list,),
    "MULTI": (bytes,),
    "WATCH": (bytes,),
    "UNWATCH": (bytes,),
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


def lease_name(prefix: str, entry: bytes) -> bytes:
    """Where the lease for an entry stands: in a cluster, on the node that has the entry."""
    return f"{prefix}l:{{".encode() + entry + b"}"


def notes_name(prefix: str, day: int) -> bytes:
    """Where the figures stand that were noted on `day` (Unix days)."""
    return f"{prefix}n:{day}".encode()


def read_raw(reply: object) -> bytes:
    """A text."""
    if isinstance(reply, bytes):
        return reply
    raise GarbledError(f"a text was answered with {type(reply).__name__}")


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


def claim(name: bytes, owner: bytes, seconds: float) -> Command:
    """Take a lease for `seconds`, if nobody has it; answered with nothing where somebody has."""
    return ("SET", name, owner, "NX", "PX", max(1, int(seconds * 1000)))


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


# ------------------------------------------------------------------------------------------------------ transactions


def read_transaction(reply: object, count: int) -> list[Any]:
    """The replies to the `count` commands of a transaction. Raises StoreError where it was not carried out."""
    if not isinstance(reply, list) or len(reply) != count:
        raise StoreUnavailableError("the server did not carry the transaction out: try again")
    for part in reply:
        if isinstance(part, Exception):
            raise refused(part)
    return reply


def refused(error: Exception) -> StoreError:
    """What a server says instead of a reply, as an error of the store's."""
    if isinstance(error, OutOfMemoryError):
        return StoreFullError(
            "the server is full and evicts nothing: raise its maxmemory, or let it evict (CONFIG SET maxmemory-policy "
            "allkeys-lru; volatile-lru where it holds other data too)"
        )
    return error if isinstance(error, StoreError) else StoreUnavailableError(f"the server refused: {error}")


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
    return {read_raw(title).decode("utf-8", "replace"): read_raw(record) for title, record in pairs}


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
            host = read_raw(primary[0] or b"").decode()
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
        return read_raw(reply[0]).decode("utf-8", "replace"), read_count(reply[1])
    raise GarbledError("SENTINEL was answered with something else")
