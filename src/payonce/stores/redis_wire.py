"""Redis servers and the way to them: which one has a name, whether it is asked at all, and what it answers.

Every exchange is one attempt within a deadline; what fails costs a miss. What repairs (probes, looking for the primary,
learning a cluster's new shape) is done by whoever calls `tend`, off the request path. This room must never know an
entry.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from redis.exceptions import MovedError, ReadOnlyError

from payonce.errors import NoneIdleError, StoreError, StoreUnavailableError
from payonce.stores import redis_words as words
from payonce.stores.lane_queue import Fault
from payonce.stores.redis_link import RedisLink
from payonce.stores.redis_map import Map, RedisNode, look, new_node
from payonce.stores.redis_url import Address, Place
from payonce.stores.redis_words import Command

LOOK_EVERY = 15.0
"""How often a cluster is asked for its shape without a sign that it changed, in seconds."""
LOOK_AGAIN = 0.2
LOST_SECONDS = 1.0
"""For so long nobody asks again on the request path where the servers are."""

_SIGNS = (ReadOnlyError, StoreError, MovedError)
"""Answers that may mean that the topology has changed."""

T = TypeVar("T")


class RedisWire:
    """The servers of one place."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._map = Map({}, ())
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self.budget = 0.05
        """A probe has to be answered in so many seconds, as a read has."""
        self._stale = True
        self._looked_at = 0.0
        self._probe_name = f"{place.prefix}probe".encode()
        self._lost = ""
        if place.kind == "single":
            node = new_node(place, place.addresses[0])
            self._map = Map({node.address: node}, [node])
            self._stale = False

    def ask(self, asked: Sequence[tuple[bytes, Command]], deadline: float) -> list[Any]:
        """The reply to each (name, command), at most one round trip to each node; where there was none, a StoreError
        stands in its place, and where the server refused, redis-py's error."""
        replies: list[Any] = [None] * len(asked)
        for node, places in self._groups(asked, replies, deadline):
            self._ask_node(node, places, asked, replies, deadline)
        moved = [place for place, reply in enumerate(replies) if isinstance(reply, MovedError)]
        if moved:
            for place in moved:
                self._follow(replies[place])
            again: list[Any] = [replies[place] for place in moved]
            named = [asked[place] for place in moved]
            for node, places in self._groups(named, again, deadline):
                self._ask_node(node, places, named, again, deadline)
            for place, reply in zip(moved, again, strict=True):
                replies[place] = reply
        return replies

    def ask_now(self, name: bytes, command: Command, deadline: float) -> Any:
        """The reply to one command, as `ask` has it, by a connection that is there. Raises NoneIdleError where there is
        none, or it is not known where to ask, or no longer true."""
        known = self._map
        node = known.node(name) if known.slots else None
        if node is None:
            raise NoneIdleError("it is not known where this name is")
        replies: list[Any] = [None]
        try:
            answers: list[Any] = node.ask([command], deadline, idle=True)
        except NoneIdleError:
            raise
        except StoreError as error:
            answers = [error]
        self._note(answers, [0], replies)
        if isinstance(replies[0], MovedError):
            self._follow(replies[0])
            raise NoneIdleError("this name has moved")
        return replies[0]

    async def ask_soon(self, asked: Sequence[tuple[bytes, Command]], deadline: float) -> list[Any] | None:
        """As `ask`, on the running loop and without a thread; a TimeoutError stands where an answer was late. None
        where a thread has to ask: there is no connection yet, or it is not known where, or no longer true."""
        known = self._map
        replies: list[Any] = [None] * len(asked)
        if not known.slots:
            return None
        groups = _by_node(known, asked, replies)
        lanes = [node.breaker.open or node.lanes.here() for node, _ in groups]  # each is told that it is wanted
        if not all(lanes):
            return None
        waits = []
        for node, places in groups:
            try:
                waits.append((node.ask_soon([asked[place][1] for place in places], deadline), places))
            except StoreError as error:
                self._note([error] * len(places), places, replies)
        for future, places in waits:
            answers = await future
            self._note(answers if isinstance(answers, list) else [answers] * len(places), places, replies)
        moved = [reply for reply in replies if isinstance(reply, MovedError)]
        for reply in moved:
            self._follow(reply)
        return None if moved else replies

    def ask_for(self, name: bytes, command: Command, deadline: float) -> asyncio.Future[list[Any] | Fault] | None:
        """As `ask_soon` for one command, to be told later; an error in the list is for `heed`. Raises
        StoreUnavailableError where too much waits already."""
        known = self._map
        node = known.node(name) if known.slots else None
        lane = None if node is None or node.breaker.open else node.lanes.here()
        return None if lane is None else lane.ask([command], deadline)

    def heed(self, reply: Exception) -> None:
        """A reply may be a sign that the topology has changed. Raises NoneIdleError where it says where to ask."""
        self._stale = self._stale or isinstance(reply, _SIGNS)
        if isinstance(reply, MovedError):
            self._follow(reply)
            raise NoneIdleError("this name has moved")

    def one(self, name: bytes, commands: Sequence[Command], deadline: float) -> list[Any]:
        """The replies to several commands about one name. Raises StoreError."""
        replies = self.ask([(name, command) for command in commands], deadline)
        for reply in replies:
            if isinstance(reply, Exception):
                raise words.refused(reply)
        return replies

    def transact(self, name: bytes, commands: Sequence[Command], deadline: float) -> list[Any]:
        """The replies to commands about one name that happen all or not at all. Raises StoreError."""
        wrapped: list[Command] = [("MULTI",), *commands, ("EXEC",)]
        for _ in range(2):
            node = self._known(deadline).node(name)
            if node is None:
                break
            replies = node.ask(wrapped, deadline)
            for reply in replies:
                if isinstance(reply, ReadOnlyError):
                    self._stale = True
            refusal = next((reply for reply in replies if isinstance(reply, Exception)), None)
            if refusal is None:
                return words.read_transaction(replies[-1], len(commands))
            if not isinstance(refusal, MovedError):
                raise words.refused(refusal)
            self._follow(refusal)
        raise StoreUnavailableError("the cluster is changing its shape: try again")

    def hold(self, name: bytes, job: Callable[[RedisLink], T], deadline: float) -> T:
        """What `job` makes of a connection to the node that has `name`. Raises StoreError."""
        node = self._known(deadline).node(name)
        if node is None:
            raise StoreUnavailableError("no node of the cluster has this name at the moment")
        return node.use(job, deadline)

    def nodes(self, deadline: float) -> list[RedisNode]:
        """Every node that has entries."""
        return list(self._known(deadline).nodes.values())

    def trouble(self, name: bytes) -> str:
        """Why `name` can't be asked for at the moment, in words; empty where it can."""
        known = self._map
        if not known.slots:
            return self._lost
        node = known.node(name)
        return node.breaker.because if node is not None and node.breaker.open else ""

    @property
    def troubled(self) -> bool:
        """Whether there is a server, or its whereabouts, that does not answer."""
        known = self._map
        return bool(self._lost and not known.slots) or any(node.breaker.open for node in known.nodes.values())

    def tend(self) -> None:
        """Probe what is due, and learn the topology anew where it may have changed. May wait; never raises."""
        for node in list(self._map.nodes.values()):
            if node.breaker.due():
                with suppress(StoreError):
                    node.ask([words.get(self._probe_name)], time.monotonic() + self.budget, probe=True)
            node.tend()
        if self.place.kind == "single":
            return
        now = time.monotonic()
        age = now - self._looked_at
        if (age > LOOK_AGAIN and (self._stale or self.troubled)) or age > LOOK_EVERY:
            with suppress(StoreError):
                self._look()

    def suspect(self) -> None:
        """Something was said that does not fit what is known of the topology."""
        self._stale = True

    def close(self) -> None:
        """Destroy every connection."""
        for node in self._map.nodes.values():
            node.close()

    # ---------------------------------------------------------------------------------------------- who has what

    def _groups(
        self, asked: Sequence[tuple[bytes, Command]], replies: list[Any], deadline: float
    ) -> list[tuple[RedisNode, list[int]]]:
        try:
            known = self._known(deadline)
        except StoreError as error:
            replies[:] = [error] * len(replies)
            return []
        return _by_node(known, asked, replies)

    def _ask_node(
        self,
        node: RedisNode,
        places: list[int],
        asked: Sequence[tuple[bytes, Command]],
        replies: list[Any],
        deadline: float,
    ) -> None:
        try:
            answers = node.ask([asked[place][1] for place in places], deadline)
        except StoreError as error:
            answers = [error] * len(places)
        self._note(answers, places, replies)

    def _note(self, answers: Sequence[Any], places: Sequence[int], replies: list[Any]) -> None:
        for place, answer in zip(places, answers, strict=True):
            replies[place] = answer
            if isinstance(answer, _SIGNS):
                self._stale = True

    def _known(self, deadline: float) -> Map:
        if not self._map.slots:
            now = time.monotonic()
            if self._lost and now - self._looked_at < LOST_SECONDS:
                raise StoreUnavailableError(self._lost)
            if deadline > now:
                self._look(first=True)
        return self._map

    def _follow(self, moved: Any) -> None:
        with self._lock:
            address = (moved.host, moved.port)
            nodes = dict(self._map.nodes)
            nodes.setdefault(address, self._map.nodes.get(address) or new_node(self.place, address))
            slots = list(self._map.slots)
            slots[moved.slot_id] = nodes[address]
            self._map = Map(nodes, slots)
            self._stale = True

    def _look(self, *, first: bool = False) -> None:
        """Learn the topology. Raises StoreError."""
        with self._looking:
            if first and self._map.slots:
                return  # another thread was quicker
            self._looked_at = time.monotonic()
            try:
                found = look(self.place, self._map)
            except StoreError as error:
                self._lost = str(error)
                raise
            with self._lock:
                old, self._map = self._map, found
                self._lost, self._stale = "", False
        for address, node in old.nodes.items():
            if address not in found.nodes:
                node.close()


def _by_node(
    known: Map, asked: Sequence[tuple[bytes, Command]], replies: list[Any]
) -> list[tuple[RedisNode, list[int]]]:
    """The places of what each node has to be asked; a name that no node has is answered in `replies`."""
    only = known.slots[0] if len(known.slots) == 1 else None
    if only is not None:
        return [(only, list(range(len(asked))))]
    places: dict[Address, list[int]] = {}
    for place, (name, _) in enumerate(asked):
        node = known.node(name)
        if node is None:
            replies[place] = StoreUnavailableError("no node of the cluster has this name at the moment")
        else:
            places.setdefault(node.address, []).append(place)
    return [(known.nodes[address], found) for address, found in places.items()]
