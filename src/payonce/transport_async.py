"""The caching transport for asyncio.

A hit never touches the wrapped transport; what that raises reaches the caller as it is. Its twin for threads is
transport_sync.py, step by step. This room must never import an HTTP client, nor block the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Unpack

from payonce.callers import Place
from payonce.clients import Misplaced, fitting_request
from payonce.core import effects as do
from payonce.core.naming import Name, name_of
from payonce.desk import not_asyncio
from payonce.drive.navigated import REJECTED
from payonce.drive.performing import Turn
from payonce.intake import Admitted, Refused
from payonce.library import LibraryWorld
from payonce.library_warm import WarmOptions, warm_tasks, warming
from payonce.model.course import Course
from payonce.outgoing import head_of
from payonce.streams import AsyncHeardStream, AsyncTapeStream
from payonce.transport import OFF, TRIES, Caching, joined, told
from payonce.warming import Summary


class AsyncCaching(Caching):
    """Answers requests of tasks, on any asyncio event loop."""

    handle_request = __enter__ = Misplaced("CacheTransport", "a sync client")

    async def handle_async_request(self, request: Any) -> Any:
        """The response to `request`: from the cache, from a call under way, or from the wrapped transport."""
        started = time.perf_counter()
        if type(request) is not self.mod.Request:
            fitting_request(self.mod, self, request)
        desk = self.desk
        place = desk.callers.place(request)
        if self._early(place):
            response = await self.way.handle_async_request(desk.bare(request, ours=place is not None))
            return response if place is None else desk.labelled(response, OFF)
        assert place is not None
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise not_asyncio() from None
        body = await request.aread()
        world = desk.lease.world
        if world is None:
            world = await asyncio.to_thread(desk.open)
        known = desk.callers.known(world, place, request)
        name = name_of(known.told, body)
        ready = desk.shelved(world, name, started)
        if ready is not None:
            return ready
        taken = desk.admit(known, place, request, body)
        if isinstance(taken, Admitted):
            return await self._take(world, place, request, name, taken)
        if isinstance(taken, Refused):
            return self._refuse(world, place, taken)
        self._alone(taken)
        if taken is None:
            return await self.way.handle_async_request(desk.bare(request))
        return await self._pass(world, world.sync.bypass(taken.call, taken.reason), request)

    async def _take(self, world: LibraryWorld, place: Place, request: Any, name: Name, taken: Admitted) -> Any:
        desk, player, moment = self.desk, world.aio(), world.shelf.moment()
        patience = desk.patience(request)
        for tries in range(TRIES):
            try:
                turn = await player.open(taken.ask, taken.dialect, patience)
            except TimeoutError:
                raise self._slow() from None
            if isinstance(turn.effect, do.Relay):
                whole = desk.whole(turn)
                if whole is None:
                    stream = joined(AsyncTapeStream, self.mod.AsyncByteStream)(desk, player, turn, patience)
                    return desk.response(turn.effect, None, stream)
                response = desk.response(turn.effect, whole)
                if turn.reader is not None:
                    turn.reader.leave()
                desk.shelve(world, name, taken, turn, moment)
                return response
            if isinstance(turn.effect, do.Pass):
                self._alone(None)
                return await self._pass(world, turn, request)
            if tries + 1 == TRIES or not desk.outlives(turn, request):
                break
            turn.end(None)
        return desk.refused(place, taken, turn)

    async def warm(self, requests: Iterable[object], *, base_url: str, **options: Unpack[WarmOptions]) -> Summary:
        """As `SyncCaching.warm`, in tasks of the running loop."""
        return await warm_tasks(self.desk, warming(base_url, self.desk.options.mode, options), requests)

    async def _pass(self, world: LibraryWorld, turn: Turn, request: Any) -> Any:
        assert isinstance(turn.effect, do.Pass)
        course = self._course(world, turn.effect.call)
        try:
            response = await self._sent(request, course)
        finally:
            turn.end(None)
        return self.desk.labelled(response, turn.effect.label)

    async def _sent(self, request: Any, course: Course | None) -> Any:
        """The wrapped transport's response to `request`, which goes by `course` if there is one."""
        if course is None:
            return await self.way.handle_async_request(self.desk.bare(request))
        try:
            response = await self.way.handle_async_request(self._steered(request, course))
            course.begun(head_of(response))
            rejected = course.changed and response.status_code == REJECTED
            if rejected and course.refused(response.status_code, await response.aread()):
                await response.aclose()
                course.over(whole=False)
                return await self._sent(request, course.bare())
        except BaseException:
            course.over(whole=False)
            raise
        if not told(response, course):
            response.stream = joined(AsyncHeardStream, self.mod.AsyncByteStream)(response.stream, course)
        return response

    async def aclose(self) -> None:
        """Let this transport's own calls land (within `drain_timeout`), close the wrapped one, let go of the store."""
        await self._land()
        await self.way.aclose()
        await self._let_go()

    async def __aenter__(self) -> Any:
        await self.way.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._land()
        await self.way.__aexit__(*raised)
        await self._let_go()

    async def _land(self) -> None:
        world = self.desk.lease.world
        if world is not None:
            await world.aio().drain(world.settings.drain_timeout, self._mine)

    async def _let_go(self) -> None:
        if self.desk.lease.world is not None:
            await asyncio.to_thread(self.desk.lease.close)
