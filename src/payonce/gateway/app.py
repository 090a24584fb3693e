"""The ASGI app: routes, guards, and what comes between a scope and a story.

Mounts under any ASGI server; Payonce's own (gateway/server.py) adds the fast lane and deadlines. This room must never
decide whether something is cached.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from payonce.assembly import World
from payonce.config import Settings
from payonce.core.labels import Label
from payonce.core.labels import headers as label_headers
from payonce.drive.aio_prompt import Ends, PromptExchange
from payonce.gateway import own_pages
from payonce.gateway.admin import PATH as ADMIN_PATH
from payonce.gateway.admin import Admin
from payonce.gateway.connection import StrictProtocol
from payonce.gateway.cycle import LaneAnswer
from payonce.gateway.deadlines import keep_deadlines
from payonce.gateway.face import AbortedAnswer, AsgiFace, Receive, Scope, Send
from payonce.gateway.guard import Guard
from payonce.gateway.heads import Heads, KnownHead
from payonce.gateway.meter import Meter
from payonce.gateway.price_list import keep_prices
from payonce.gateway.routes import Route, Routes
from payonce.gateway.shelf import Name, Ready, Shelf
from payonce.gateway.upstream import HttpUpstream
from payonce.gateway.watched import Told, WatchedFace, teller_of
from payonce.intake import Admitted, Bypassed, Intake, Refused, Said
from payonce.model import reason as why
from payonce.model.call import Headers
from payonce.model.ports import Clock, Upstream
from payonce.model.receipt import Outcome, Receipt

log = logging.getLogger("payonce.gateway")

Begin = Callable[[Coroutine[Any, Any, None]], object]
"""Makes a task of what takes longer."""

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
            await self._stumbled(face)
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
            told = await self._play(self._heard(route, query, headers), body, face)
        if isinstance(face, WatchedFace):
            face.told, face.received = told, len(body)

    def answer(self, head: KnownHead, body: bytes, face: LaneAnswer, name: Name, begin: Begin) -> None:
        """Answer a POST to a cached endpoint that the fast lane has read; `name` is its name on the shelf. What takes
        longer than to look is begun as a task by `begin`."""

        def failed(error: Exception) -> None:
            log.error("a request failed", exc_info=error)
            begin(self._stumbled(face))

        try:
            said = head.said
            if said is None:
                head.against, said = self.guard.against(head.headers), self._heard(head.route, head.query, head.headers)
                head.said = said
            if head.against is not None:
                begin(face.refuse(head.against))
                return
            taken = self._take(said, body, face)
            if not isinstance(taken, Admitted):
                begin(self._decline(taken, face, failed))
                return
            before = self._moment()

            def done(receipt: Receipt) -> None:
                if before == self._moment():
                    self._shelve(name, taken, receipt)

            PromptExchange(self.world.player, taken.ask, taken.dialect, face, Ends(done, failed, begin))
        except Exception as error:  # noqa: BLE001 - whatever it is, the client has to be answered
            failed(error)

    async def _stumbled(self, face: AsgiFace | LaneAnswer) -> None:
        """A mistake of ours: count it, and let the client know."""
        self.world.ledger.exchanged(Receipt(Outcome.REFUSED, why.INTERNAL), 0.0, None)
        if face.started:
            face.abort()
        else:
            await face.refuse(why.INTERNAL)

    def _heard(self, route: Route, query: bytes, headers: Headers) -> Said:
        return self.intake.heard(route.upstream, route.endpoint, query, headers)

    def _take(self, said: Said, body: bytes, face: AsgiFace | LaneAnswer) -> Admitted | Bypassed | Refused:
        """What becomes of a request; the answer is going to say its id."""
        taken = self.intake.take(said, body)
        if self.world.books is not None and not isinstance(taken, Refused):
            call = taken.ask.call if isinstance(taken, Admitted) else taken.call
            face.said = self.world.books.journal.named(call.number)
        return taken

    async def _play(self, said: Said, body: bytes, face: AsgiFace) -> Told:
        taken = self._take(said, body, face)
        if isinstance(taken, Admitted):
            return await self.world.player.exchange(taken.ask, taken.dialect, face), taken.ask
        return await self._turn_down(taken, face)

    async def _turn_down(self, taken: Bypassed | Refused, face: AsgiFace | LaneAnswer) -> Told:
        """What the cache takes no part in is passed on, or refused."""
        if isinstance(taken, Bypassed):
            return await self.world.player.bypass(taken.call, taken.reason, face), taken.call
        receipt = Receipt(Outcome.REFUSED, taken.reason)
        await face.refuse(taken.reason, label_headers(Label(Outcome.REFUSED, taken.reason)))
        self.world.ledger.exchanged(receipt, 0.0, None)
        return receipt, None

    async def _decline(self, taken: Bypassed | Refused, face: LaneAnswer, failed: Callable[[Exception], None]) -> None:
        try:
            await self._turn_down(taken, face)
        except Exception as error:  # noqa: BLE001 - as above
            failed(error)

    def _moment(self) -> tuple[int, int]:
        """Moves on with every purge and every change of an entry: what was read before may no longer hold."""
        return self.world.tiers.purges, self.shelf.changes if self.shelf is not None else 0

    def _shelve(self, name: Name, taken: Admitted, receipt: Receipt) -> None:
        """Let the fast lane repeat a fresh hit whose request says nothing that depends on the moment."""
        ask = taken.ask
        if self.shelf is None or receipt.outcome is not Outcome.HIT or not ask.plain:
            return
        if receipt.entry is None:
            return  # a batch: its items are kept, it is not
        body = receipt.entry.body
        if ask.hit_usage != "verbatim":
            body = taken.dialect.respend(body, ask.key.stream, ask.hit_usage)
        books, key = self.world.books, ask.key
        named = books.journal.named if books is not None else None
        ready = Ready(receipt.entry, body, key.slot, self.world.tiers.purges, named, converted=receipt.converted)
        self.shelf.put(name, ready)

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
