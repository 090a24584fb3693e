"""`warm` of the library: a list of requests asked once each through a caching transport, as its clients would.

The desk reads each request and makes the call, so that key, tenant, namespace and sample are those of a client that
asks the same; the players perform it. This room must never read an answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypedDict

from payonce.config_options import ENDPOINTS
from payonce.config_types import did_you_mean
from payonce.desk import Desk
from payonce.errors import SettingsError
from payonce.intake import Admitted, Bypassed
from payonce.library import LibraryWorld
from payonce.model import reason as why
from payonce.model.call import Call, Headers
from payonce.model.ports import Clock
from payonce.warming import TRIES, OnDone, Request, Sent, Summary, Unread, read_request, warm, warm_threads
from payonce.warming.lines import path_of
from payonce.warming.sender import ask_once, ask_once_here, not_sent
from payonce.warming.watch import Watch, await_store
from payonce.warming.words import silent

TIMEOUT = 600.0
"""Seconds that a call may take to connect, or to send anything; as in the OpenAI SDK."""


class WarmOptions(TypedDict, total=False):
    """The arguments of `warm`, but for the base URL. Times in seconds.

    `headers` are every request's own (the API key, and what is part of the key, such as `anthropic-version`);
    `api_key` stands for `Authorization: Bearer …`. `endpoint` is that of requests which name none. `on_progress` is
    told of each request that is done and of the sum so far; nothing more is sent once `stop` is set. `clock` and
    `sleep` are for tests.
    """

    headers: Mapping[str, str]
    api_key: str
    endpoint: str
    concurrency: int
    tries: int
    timeout: float
    on_progress: OnDone
    stop: Any
    clock: Clock
    sleep: Any


class Warming(NamedTuple):
    """What is asked, of whom and how."""

    base: str
    headers: Headers
    endpoint: str
    concurrency: int = 8
    tries: int = TRIES
    timeout: float = TIMEOUT
    on_progress: OnDone = silent
    stop: Any = None
    clock: Clock = time.monotonic
    sleep: Any = None

    def requests(self, given: Iterable[object]) -> Iterator[Request | Unread]:
        """The requests of a list, read as it goes, numbered from 1."""
        for number, one in enumerate(given, start=1):
            request = read_request(number, one, self.endpoint, self.headers)
            if isinstance(request, Request) and request.endpoint not in ENDPOINTS:
                request = Unread(number, f"{request.endpoint!r} is not an endpoint that is cached")
            yield request

    def drive(self, **more: Any) -> dict[str, Any]:
        """The arguments for whoever drives."""
        given = {name: getattr(self, name) for name in ("concurrency", "tries", "clock", "stop")}
        return given | {"on_done": self.on_progress} | ({} if self.sleep is None else {"sleep": self.sleep}) | more


def warming(base_url: str, mode: str | None, options: WarmOptions) -> Warming:
    """The arguments, checked."""
    chosen = dict(options)
    if unknown := chosen.keys() - WarmOptions.__annotations__.keys():
        raise TypeError(f"warm() takes no argument {unknown.pop()!r}")
    if mode == "replay":
        raise SettingsError('warm: a client in mode "replay" asks nobody; make one with mode="record"')
    base = base_url.rstrip("/")
    if not base.startswith(("http://", "https://")) or not base.endswith("/v1"):
        raise SettingsError(
            f"warm: base_url: {base_url!r} is not the base URL of an API; write what the SDK has, with its /v1 at the "
            "end, such as https://openrouter.ai/api/v1"
        )
    endpoint = path_of(chosen.pop("endpoint", "chat/completions"))  # type: ignore[arg-type]
    if endpoint not in ENDPOINTS:
        hint = did_you_mean(endpoint, ENDPOINTS) or f"use one of {', '.join(ENDPOINTS)}"
        raise SettingsError(f"warm: endpoint: {endpoint!r} is not an endpoint that is cached; {hint}")
    fields = _fields(chosen.pop("headers", {}), chosen.pop("api_key", ""))
    found = Warming(base, fields, endpoint, **chosen)  # type: ignore[arg-type]
    if not 1 <= found.concurrency <= 1000 or found.tries < 1:
        raise SettingsError("warm: concurrency: write a whole number from 1 to 1000 (and tries: 1 or more)")
    return found


def _fields(headers: Any, api_key: Any) -> Headers:
    given = dict(headers) | ({"authorization": f"Bearer {api_key}"} if api_key else {})
    try:
        return tuple((name.strip().lower().encode("ascii"), value.encode("latin-1")) for name, value in given.items())
    except (AttributeError, UnicodeEncodeError):
        raise SettingsError(
            "warm: headers: a mapping of names to texts in Latin-1 is meant, and an api_key of such a text"
        ) from None


class _Asker:
    """Makes of a request what the transport makes of a client's."""

    def __init__(self, desk: Desk, way: Warming) -> None:
        self._desk = desk
        self._way = way

    def taken(self, world: LibraryWorld, request: Request) -> Admitted | Sent:
        """The request as an ask; or why it is not sent."""
        desk, mod = self._desk, self._desk.mod
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), self._way.timeout)
        built = mod.Request(
            "POST",
            f"{self._way.base}/{request.endpoint}",
            headers=list(request.headers),
            content=request.body,
            extensions={"timeout": timeout},
        )
        place = desk.callers.place(built)
        taken = None
        if place is not None and desk.options.mode != "off":
            taken = desk.admit(desk.callers.known(world, place, built), place, built, request.body)
        if isinstance(taken, Admitted):
            return taken
        return not_sent(taken or Bypassed(Call("", "POST", request.endpoint, b"", (), b""), why.CACHE_OFF))


def warm_here(desk: Desk, way: Warming, requests: Iterable[object]) -> Summary:
    """Warm in threads; the caller waits."""
    world = desk.lease.world or desk.lease.open()
    await_store(world.settings.store, world.tiers.keeper)
    asker, limit = _Asker(desk, way), world.settings.total_timeout
    at_once = min(way.concurrency, world.settings.max_flights)

    def send(request: Request) -> Sent:
        taken = asker.taken(world, request)
        if isinstance(taken, Sent):
            return taken
        return ask_once_here(world.sync, taken, request.headers, now=world.clock(), seconds=limit)

    watch = Watch(world.tiers.keeper)
    summary = warm_threads(way.requests(requests), send, **way.drive(concurrency=at_once, trouble=watch.trouble))
    world.tiers.keeper.flush(world.settings.drain_timeout)
    summary.because = summary.because or watch.trouble()  # what came last is written only now
    return summary


async def warm_tasks(desk: Desk, way: Warming, requests: Iterable[object]) -> Summary:
    """Warm in tasks of the running loop."""
    world = desk.lease.world
    if world is None:
        world = await asyncio.to_thread(desk.lease.open)
    await asyncio.to_thread(await_store, world.settings.store, world.tiers.keeper)
    player, limit = world.aio(), world.settings.total_timeout
    asker, at_once = _Asker(desk, way), min(way.concurrency, world.settings.max_flights)

    async def send(request: Request) -> Sent:
        taken = asker.taken(world, request)
        if isinstance(taken, Sent):
            return taken
        return await ask_once(player, taken, request.headers, now=world.clock(), seconds=limit)

    watch = Watch(world.tiers.keeper)
    summary = await warm(way.requests(requests), send, **way.drive(concurrency=at_once, trouble=watch.trouble))
    await asyncio.to_thread(world.tiers.keeper.flush, world.settings.drain_timeout)
    summary.because = summary.because or watch.trouble()  # as above
    return summary
