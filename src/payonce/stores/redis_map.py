"""Which Redis server has which names: asked of a cluster, of sentinels, or as the URL says.

This room must never be on the way of a request, but for the first one: what it asks may take a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.crc import key_slot
from redis.exceptions import BusyLoadingError, ClusterDownError, MasterDownError

from payonce.errors import StoreError, StoreUnavailableError
from payonce.stores import redis_words as words
from payonce.stores.node import Node
from payonce.stores.redis_link import RedisLink
from payonce.stores.redis_url import Address, Login, Place, show
from payonce.stores.redis_words import Command
from payonce.stores.talk import LostError

LOOK_SECONDS = 1.0
"""For how long a question for the topology may take."""
_SLOTS = 16384
_UNWELL = (BusyLoadingError, ClusterDownError, MasterDownError)


class RedisNode(Node[RedisLink]):
    """One Redis server."""

    def __init__(self, address: Address, dial: Callable[[float], RedisLink]) -> None:
        super().__init__(show(address), dial)
        self.address = address

    def ask(
        self, commands: Sequence[Command], deadline: float, *, probe: bool = False, idle: bool = False
    ) -> list[Any]:
        """The replies; errors stand in the list. Raises StoreError at once while the breaker is open; `idle` as for
        `use`. To nothing there is no reply, and none is waited for."""
        if not commands:
            return []

        def asked(link: RedisLink) -> list[Any]:
            replies = link.ask(commands, deadline)
            self.sound(replies)
            return replies

        return self.use(asked, deadline, probe=probe, idle=idle)

    def sound(self, replies: Sequence[object]) -> None:
        """Raises LostError where the server is loading, or cut off from what it needs."""
        for reply in replies:
            if isinstance(reply, _UNWELL):
                raise LostError(f"{self.name}: {reply}")


@dataclass(frozen=True, slots=True)
class Map:
    """Which node has which slots (of a cluster; else all are one node's)."""

    nodes: Mapping[Address, RedisNode]
    slots: Sequence[RedisNode | None]

    def node(self, name: bytes) -> RedisNode | None:
        """The node that has `name`."""
        return self.slots[key_slot(name) if len(self.slots) > 1 else 0]


def new_node(place: Place, address: Address) -> RedisNode:
    """The server at `address`; nothing connects yet."""
    return RedisNode(address, lambda _deadline: RedisLink(place, address, place.login, place.db))


def look(place: Place, old: Map) -> Map:
    """Learn the topology anew; nodes that were known stay the same. Raises StoreError."""
    return _sentinel(place, old) if place.kind == "sentinel" else _cluster(place, old)


def _cluster(place: Place, old: Map) -> Map:
    because = "no node answers"
    known = [node.address for node in old.nodes.values() if not node.breaker.open]
    for address in [*known, *place.addresses]:
        try:
            ranges = words.read_slots(_ask_once(place, address, words.slots(), place.login), address)
        except StoreError as error:
            because = str(error)
            continue
        nodes: dict[Address, RedisNode] = {}
        slots: list[RedisNode | None] = [None] * _SLOTS
        for first, last, owner in ranges:
            if owner not in nodes:
                nodes[owner] = old.nodes.get(owner) or new_node(place, owner)
            for slot in range(max(0, first), min(_SLOTS, last + 1)):
                slots[slot] = nodes[owner]
        return Map(nodes, slots)
    raise StoreUnavailableError(f"{place}: the cluster can't be asked for its shape ({because})")


def _sentinel(place: Place, old: Map) -> Map:
    because = "no sentinel answers"
    for address in place.addresses:
        try:
            primary = words.read_master(_ask_once(place, address, words.master(place.service), place.sentinel_login))
        except StoreError as error:
            because = str(error)
            continue
        if primary is None:
            because = f"the sentinel does not know the service {place.service!r}"
            continue
        node = old.nodes.get(primary) or new_node(place, primary)
        return Map({primary: node}, [node])
    raise StoreUnavailableError(f"{place}: the primary is not known ({because})")


def _ask_once(place: Place, address: Address, command: Command, login: Login) -> Any:
    link = RedisLink(place, address, login, 0)
    try:
        [reply] = link.ask([command], time.monotonic() + LOOK_SECONDS)
    finally:
        link.close()
    if isinstance(reply, Exception):
        raise StoreUnavailableError(f"{show(address)} refused: {reply}")
    return reply
