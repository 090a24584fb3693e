"""Leases on memcached: an item that is added to take one, and swapped by its version to change one.

The item stands on the server that has the entry, so that one round trip sees both. This room must never know why a
lease is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from payonce.errors import StoreUnavailableError
from payonce.stores import memcached_words as words
from payonce.stores.memcached_books import Books, MemcachedNode
from payonce.stores.shared_leases import UNKEPT, Seen


class MemcachedLeases:
    """Under names that begin with `prefix`; `node_of` says which server has a slot."""

    def __init__(self, books: Books, prefix: str, node_of: Callable[[bytes], MemcachedNode]) -> None:
        self._books, self._prefix, self._node_of = books, prefix, node_of

    def claim(self, slot: bytes, owner: bytes, seconds: float, deadline: float) -> Seen:
        """Taken if nobody has it; then who has it, and the parcel."""
        node, lease, entry = self._place_of(slot, deadline)
        taken, holder, parcel = node.ask(
            [words.put(lease, owner, seconds, time.time(), flags="ME"), words.get(lease, "v"), words.get(entry, "v")],
            deadline,
        )
        for answer in (holder, parcel):
            if answer.is_error:
                raise StoreUnavailableError(f"{node.name} refused ({answer.code}): look at its memory")
        if taken.is_error:  # nothing is written: nobody has an answer to wait for
            return Seen(holder.value or UNKEPT, parcel.value)
        return Seen(owner if taken.code == "HD" else holder.value or b"", parcel.value)

    def turn(self, slot: bytes, owner: bytes, into: bytes | None, seconds: float, deadline: float) -> bool:
        """Changed if `owner` has it, and nobody was quicker."""
        node, lease, _ = self._place_of(slot, deadline)
        [holder] = node.ask([words.get(lease, "v", "c")], deadline)
        if holder.value != owner:
            return False
        version = f"C{words.read_number(holder, 'c')}"
        if into is None:
            text, value = words.drop(lease)
            change = f"{text} {version}", value
        else:
            change = words.put(lease, into, seconds, time.time(), flags=version)
        [answer] = node.ask([change], deadline)
        return answer.code == "HD"

    def _place_of(self, slot: bytes, deadline: float) -> tuple[MemcachedNode, str, str]:
        """The server of `slot`, and there the names of its lease and its entry."""
        node, prefix = self._node_of(slot), self._prefix
        entry = words.entry_name(prefix, self._books.generation(node, deadline), slot)
        return node, f"{prefix}l:{entry.removeprefix(prefix + 'e:')}", entry
