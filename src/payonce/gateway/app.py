"""The ASGI app: routes, guards, and what comes between a scope and a story.

Mounts under any ASGI server; Payonce's own (gateway/server.py) adds the fast lane and deadlines. This room must never
decide whether something is cached.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping

from payonce.assembly import World
from payonce.config import Settings
from payonce.gateway import own_pages
from payonce.gateway.admin import PATH as ADMIN_PATH
from payonce.gateway.admin import Admin
from payonce.gateway.answering import Answering
from payonce.gateway.connection import StrictProtocol
from payonce.gateway.deadlines import keep_deadlines
from payonce.gateway.face import AbortedAnswer, AsgiFace, Receive, Scope, Send
from payonce.gateway.guard import Guard
from payonce.gateway.heads import Heads
from payonce.gateway.meter import Meter
from payonce.gateway.price_list import keep_prices
from payonce.gateway.routes import Route, Routes
from payonce.gateway.shelf import Shelf
from payonce.gateway.upstream import HttpUpstream
from payonce.gateway.watched import Told, WatchedFace, teller_of
from payonce.intake import Intake
from payonce.model import reason as why
from payonce.model.call import Headers
from payonce.model.ports import Clock, Upstream

log = logging.getLogger("payonce.gateway")

SHELF_SHARE = 4
"""The shelf may take a quarter of what the memory tier may."""


class Gateway:
    """One worker's gateway. Everything that needs a running loop is made by `start`. `board` is a directory in which
    the workers of one gateway tell each other their figures; empty where there is one worker. `on_start` is called when
    all of it stands."""

    def __init__(self, settings: Settings, board: str = "", *, on_start: Callable[[], None] | None = None) -> None:
        self.settings = settings
        self._board = board
        self._on_start = on_start
        self.routes = Routes(name for name, _ in settings.upstream)
        self.guard = Guard(settings)
        self.heads = Heads()
        self.clock: Clock = time.time
        self.stopping = False
        self.connections: set[StrictProtocol] = set()
        self.shelf: Shelf | None = None
        self.admin: Admin | None = None
        self._world: World | None = None

    @property
    def world(self) -> World:
        """The running world. Raises RuntimeError before `start`."""
        if self._world is None:
            raise RuntimeError("the gateway has not started: run it under an ASGI server with lifespan on")
        return self._world

    async def start(self) -> None:
        """Open the store and the way upstream."""
        settings = self.settings
        self._upstreams = {name: HttpUpstream(url, settings) for name, url in settings.upstream}
        upstreams: Mapping[str, Upstream] = self._upstreams
        teller = teller_of(settings, self.clock)
        opening = asyncio.get_running_loop().run_in_executor(None, World, settings, upstreams, self.clock, teller)
        world = await opening
        self._world = world
        self.intake = Intake(settings, world.tenant_secret)
        quick = settings.fast_lane and teller is None  # what the fast lane answers is not told of one by one
        shelf = Shelf(settings.memory_bytes // SHELF_SHARE if quick else 0, world.tiers)
        self.shelf = shelf
        self.answering = Answering(world, self.intake, self.guard, shelf)
        loop, thread = asyncio.get_running_loop(), threading.get_ident()

        def changed(slot: bytes) -> None:  # a purge by key comes from a reader's thread; the shelf belongs to the loop
            if threading.get_ident() == thread:
                shelf.drop(slot)
            else:
                loop.call_soon_threadsafe(shelf.drop, slot)

        world.tiers.on_change.append(changed)
        world.before_note.append(lambda: shelf.settle(world.ledger))
        for warning in world.warnings:
            log.warning("%s", warning)
        if settings.dashboard != "off":
            self.admin = Admin(world, self.connections, shelf, self._upstreams)
        await world.start()
        keeping = keep_deadlines(self.connections, self._upstreams.values(), settings)
        pricing = keep_prices(world.navigator, self._upstreams, self.clock)
        self.meter = Meter(world, shelf, self.connections, self.clock, self._board)
        each = (keeping, pricing, self.meter.keep_posting())
        self._keepers = [asyncio.get_running_loop().create_task(keeper) for keeper in each]
        if self._on_start is not None:
            self._on_start()

    async def stop(self) -> None:
        """Let flights land, flush the store, close connections."""
        self.stopping = True
        if self.admin is not None:
            self.admin.close()
        if self._world is not None:
            for keeper in self._keepers:
                keeper.cancel()
            await self._world.stop()
            await self.meter.post()
            for upstream in self._upstreams.values():
                upstream.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            try:
                message = await receive()
            except asyncio.CancelledError:
                return  # a second Ctrl-C: the server ends without having said so
            if message["type"] == "lifespan.startup":
                try:
                    await self.start()
                except Exception as error:  # noqa: BLE001 - whatever it is, the server must hear of it
                    log.error("the gateway can't start: %s", error)  # noqa: TRY400 - one line says it
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self.routes.find(scope.get("raw_path") or scope["path"].encode())
        face = self._face(scope, receive, send, route.endpoint if route else "")
        try:
            headers: Headers = tuple(scope["headers"])
            against = self.guard.against(headers)
            if against is not None:
                await face.refuse(against)
            elif route is None:
                await self._own(scope, receive, face)
            else:
                await self._serve(scope, receive, face, route, headers)
        except AbortedAnswer:
            raise
        except Exception:
            log.exception("a request failed")
            await self.answering.stumbled(face)
        finally:
            await face.close()
            if isinstance(face, WatchedFace):
                face.tell()

    def _face(self, scope: Scope, receive: Receive, send: Send, endpoint: str) -> AsgiFace:
        teller = self._world.teller if self._world is not None else None
        if teller is None:
            return AsgiFace(scope, receive, send, endpoint)
        return WatchedFace(scope, receive, send, endpoint, teller)

    async def _serve(self, scope: Scope, receive: Receive, face: AsgiFace, route: Route, headers: Headers) -> None:
        body = await self._body(receive, face, headers)
        if body is None:
            return
        query: bytes = scope["query_string"]
        if not route.cached or scope["method"] != "POST":
            call = self.intake.forward(route.upstream, scope["method"], route.endpoint, query, headers, body)
            await self.world.player.pass_on(call, face)
            told: Told = (None, call)
        else:
            told = await self.answering.play(route, query, headers, body, face)
        if isinstance(face, WatchedFace):
            face.told, face.received = told, len(body)

    async def _body(self, receive: Receive, face: AsgiFace, headers: Headers) -> bytes | None:
        """The whole request body; None where it was refused or the client left."""
        limit = self.settings.max_body_bytes
        for name, value in headers:
            if name == b"content-length" and value.isdigit() and int(value) > limit:
                await self._too_large(face, limit)
                return None
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                await self._too_large(face, limit)
                return None
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    @staticmethod
    async def _too_large(face: AsgiFace, limit: int) -> None:
        await face.refuse(why.BODY_TOO_LARGE, ((b"connection", b"close"),), f"at most {limit} bytes")

    async def _own(self, scope: Scope, receive: Receive, face: AsgiFace) -> None:
        """The gateway's own pages."""
        path, method = scope.get("raw_path") or scope["path"].encode(), scope["method"]
        if self.admin is not None and not self.stopping and (path + b"/").startswith(ADMIN_PATH):
            await self.admin.serve(scope, receive, face)
        elif method not in ("GET", "HEAD") or path not in own_pages.PATHS:
            await face.refuse(why.NO_ROUTE)
        else:
            await own_pages.answer(path, face, self.world, self.meter, stopping=self.stopping)
