"""The figures of workers on memcached servers: each record is an item, and an index names those of a day.

This room must never know what a record says.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import msgspec

from payonce.errors import StoreError, StoreUnavailableError
from payonce.stores import memcached_words as words
from payonce.stores.memcached_books import MemcachedNode, swap

_INDEX_SECONDS = 60.0


class MemcachedNotes:
    """The records under `prefix`; `owner` says which server has an item."""

    def __init__(self, prefix: str, owner: Callable[[str], MemcachedNode]) -> None:
        self._prefix, self._owner = prefix, owner
        self._indexed: dict[str, float] = {}

    def note(self, day: int, notes: Mapping[str, bytes], keep: float, deadline: float) -> None:
        """Each record is an item; an index names those of a day. A server that was restarted has lost it."""
        now = time.time()
        named = self._named(day, deadline)
        for title, record in notes.items():
            value = msgspec.msgpack.encode((title, record))
            name = self._note_name(day, title)
            [answer] = self._owner(name).ask([words.put(name, value, keep, now)], deadline)
            if words.refusal(answer) is not None:
                raise StoreUnavailableError(f"a record was not kept ({answer.code}): look at the server")
            if title not in named or now - self._indexed.get(name, 0.0) > _INDEX_SECONDS:
                self._index(day, title, keep, deadline)
                self._indexed = {known: at for known, at in self._indexed.items() if now - at < _INDEX_SECONDS}
                self._indexed[name] = now

    def notes(self, days: Sequence[int], deadline: float) -> Mapping[str, bytes]:
        """The records that the indexes of these days name, as far as servers answer: one that does not is asked once.
        Raises StoreError where none does."""
        found: dict[str, bytes] = {}
        heard: set[MemcachedNode] = set()
        deaf: dict[MemcachedNode, StoreError] = {}

        def value_of(name: str) -> bytes | None:
            node = self._owner(name)
            if node in deaf:
                return None
            try:
                [answer] = node.ask([words.get(name, "v")], deadline)
            except StoreError as error:
                deaf[node] = error
                return None
            heard.add(node)
            return answer.value

        for day in days:
            for title in _titles(value_of(self._index_name(day))):
                value = value_of(self._note_name(day, title))
                with suppress(msgspec.DecodeError):
                    if value is not None:
                        said, record = msgspec.msgpack.decode(value, type=tuple[str, bytes])
                        found |= {said: record} if said == title else {}
        for error in deaf.values() if not heard else ():
            raise error
        return found

    def _named(self, day: int, deadline: float) -> list[str]:
        """The titles in the index of a day."""
        index = self._index_name(day)
        [answer] = self._owner(index).ask([words.get(index, "v")], deadline)
        return _titles(answer.value)

    def _index(self, day: int, title: str, keep: float, deadline: float) -> None:
        name = self._index_name(day)

        def with_title(value: bytes | None) -> bytes:
            return msgspec.msgpack.encode(sorted({*_titles(value), title}))

        swap(self._owner(name), name, with_title, keep, deadline)

    def _index_name(self, day: int) -> str:
        return f"{self._prefix}n:{day}"

    def _note_name(self, day: int, title: str) -> str:
        return f"{self._prefix}n:{day}:{hashlib.sha256(title.encode()).hexdigest()[:32]}"


def _titles(value: bytes | None) -> list[str]:
    if value is None:
        return []
    try:
        return msgspec.msgpack.decode(value, type=list[str])
    except msgspec.DecodeError:
        return []
