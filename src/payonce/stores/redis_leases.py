"""Leases on Redis: SET NX with an expiry to take one, WATCH and a transaction to change one, and no Lua.

A lease's name ends with its entry's in braces, so that a cluster has both on one node and one round trip sees both. The
watched name can change between reading and EXEC only by the server's refusing the transaction, so no lease of another
is ever touched. This room must never know why a lease is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from payonce.errors import StoreUnavailableError
from payonce.stores import redis_words as words
from payonce.stores.redis_link import RedisLink
from payonce.stores.redis_wire import RedisWire
from payonce.stores.redis_words import Command
from payonce.stores.shared_leases import UNKEPT, Seen


class RedisLeases:
    """Those of the servers of `wire`; `name_of` says where the entry of a slot stands."""

    def __init__(self, wire: RedisWire, name_of: Callable[[bytes, float], bytes]) -> None:
        self._wire, self._name_of = wire, name_of

    def claim(self, slot: bytes, owner: bytes, seconds: float, deadline: float) -> Seen:
        """Taken if nobody has it; then who has it, and the parcel."""
        entry = self._name_of(slot, deadline)
        lease = words.lease_name(self._wire.place.prefix, entry)
        asked = [words.claim(lease, owner, seconds), words.get(lease), words.get(entry)]
        taken, *seen = self._wire.ask([(lease, command) for command in asked], deadline)
        for reply in seen:
            if isinstance(reply, Exception):
                raise words.refused(reply)
        holder, parcel = [words.read_get(reply) for reply in seen]
        if isinstance(taken, Exception):  # nothing is written: nobody has an answer to wait for
            return Seen(holder or UNKEPT, parcel)
        return Seen(owner if taken is not None else holder or b"", parcel)

    def turn(self, slot: bytes, owner: bytes, into: bytes | None, seconds: float, deadline: float) -> bool:
        """Changed if `owner` has it, and nobody was quicker."""
        lease = words.lease_name(self._wire.place.prefix, self._name_of(slot, deadline))

        def turned(link: RedisLink) -> bool:
            _, holder = _sound(link.ask([("WATCH", lease), words.get(lease)], deadline))
            if holder != owner:
                _sound(link.ask([("UNWATCH",)], deadline))
                return False
            change = words.drop(lease) if into is None else words.put(lease, into, seconds)
            commands: list[Command] = [("MULTI",), change, ("EXEC",)]
            return _sound(link.ask(commands, deadline))[-1] is not None

        return self._wire.hold(lease, turned, deadline)


def _sound(replies: list[Any]) -> list[Any]:
    """Raises where one is an error: the connection, which may watch, is then destroyed."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise StoreUnavailableError(f"the server refused: {reply}")
    return replies
