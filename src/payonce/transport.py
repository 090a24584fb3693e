"""The caching transports for threads and for asyncio, whichever HTTP client of httpx's shape they are for.

`payonce.httpx` and `payonce.httpx2` mix them into their base classes. A hit never touches the wrapped
transport; what it raises reaches the caller as it is. This room must never import an HTTP client.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import cache as memo
from typing import Any, Unpack

from payonce.clients import Misplaced, fitting_request
from payonce.core import effects as do
from payonce.core.labels import Label
from payonce.desk import Desk, Options, Place, not_asyncio
from payonce.drive.navigated import REJECTED
from payonce.drive.performing import Turn
from payonce.intake import Admitted, Bypassed, Refused
from payonce.library import LibraryWorld
from payonce.library_warm import WarmOptions, warm_here, warm_tasks, warming
from payonce.model import reason as why
from payonce.model.call import Call
from payonce.model.course import Course
from payonce.model.receipt import Outcome, Receipt
from payonce.outgoing import SdkCall, head_of, sdk_call
from payonce.streams import AsyncHeardStream, AsyncTapeStream, HeardStream, TapeStream
from payonce.warming import Summary

_OFF = Label(Outcome.BYPASS, why.CACHE_OFF)
_TRIES = 3
"""How often a client follows a flight whose leader had less time than itself, before it takes that for its answer."""


class Caching:
    """What both transports share."""

    mod: Any
    desk: Desk
    way: Any

    def _set_up(self, way: Any, options: Options) -> None:
        self.way = way
        self.desk = Desk(self.mod, way, options)

    def _early(self, place: Place | None) -> bool:
        """Whether a request goes the wrapped transport's way without a word to the store."""
        if place is not None and self.desk.options.mode != "off":
            return False
        if self.desk.options.mode == "replay":
            raise self.desk.miss("a request that is never recorded was made")
        return True

    def _mine(self, flight: do.Flight) -> bool:
        return isinstance(flight.ask.call, SdkCall) and flight.ask.call.way is self.way

    def _alone(self, taken: Bypassed | None) -> None:
        """A request that goes upstream although the cache is at hand."""
        if self.desk.options.mode == "replay":
            raise self.desk.miss(taken.reason.sentence if taken else "a request that is never recorded was made")

    def _course(self, world: LibraryWorld, call: Call) -> Course | None:
        return world.navigator.course(call) if call.steering is not None else None

    def _steered(self, request: Any, course: Course) -> Any:
        """`request` as it goes by `course`: the client's own, unless it is changed or its answer has to be plain."""
        if not course.keen:
            return self.desk.bare(request)
        at_most = self.desk.options.settings.total_timeout
        return sdk_call(course.call, way=self.way, request=request, mod=self.mod, at_most=at_most).request()

    def _refuse(self, world: LibraryWorld, place: Place, taken: Refused) -> Any:
        world.listener.exchanged(Receipt(Outcome.REFUSED, taken.reason), 0.0, None)
        return self.desk.refusal(place, taken.reason, Label(Outcome.REFUSED, taken.reason))

    def _slow(self) -> Exception:
        error: Exception = self.mod.ReadTimeout("payonce: the call that this one follows has not answered in time")
        return error


class SyncCaching(Caching):
    """Answers requests of threads."""

    handle_async_request = __aenter__ = Misplaced("AsyncCacheTransport", "an async client")

    def handle_request(self, request: Any) -> Any:
        """The response to `request`: from the cache, from a call under way, or from the wrapped transport."""
        started = time.perf_counter()
        if type(request) is not self.mod.Request:
            fitting_request(self.mod, self, request)
        desk = self.desk
        place = desk.place(request)
        if self._early(place):
            response = self.way.handle_request(desk.bare(request, ours=place is not None))
            return response if place is None else desk.labelled(response, _OFF)
        assert place is not None
        body = request.read()
        world = desk.lease.world or desk.open()
        digest = desk.digest(place, request, body)
        ready = desk.shelved(world, digest, started)
        if ready is not None:
            return ready
        taken = desk.admit(world, place, request, body)
        if isinstance(taken, Admitted):
            return self._take(world, place, request, digest, taken)
        if isinstance(taken, Refused):
            return self._refuse(world, place, taken)
        self._alone(taken)
        if taken is None:
            return self.way.handle_request(desk.bare(request))
        return self._pass(world, world.sync.bypass(taken.call, taken.reason), request)

    def _take(self, world: LibraryWorld, place: Place, request: Any, digest: bytes, taken: Admitted) -> Any:
        desk, player, moment = self.desk, world.sync, world.shelf.moment()
        patience = desk.patience(request)
        for tries in range(_TRIES):
            try:
                turn = player.open(taken.ask, taken.dialect, patience)
            except TimeoutError:
                raise self._slow() from None
            if isinstance(turn.effect, do.Relay):
                whole = desk.whole(turn)
                if whole is None:
                    stream = _joined(TapeStream, self.mod.SyncByteStream)(desk, player, turn, patience)
                    return desk.response(turn.effect, None, stream)
                response = desk.response(turn.effect, whole)
                player.leave(turn)
                desk.shelve(world, digest, taken, turn, moment)
                return response
            player.leave(turn)
            if isinstance(turn.effect, do.Pass):
                self._alone(None)
                return self._pass(world, turn, request)
            if tries + 1 == _TRIES or not desk.outlives(turn, request):
                break
            turn.end(None)
        return desk.refused(place, taken, turn)

    def warm(self, requests: Iterable[object], *, base_url: str, **options: Unpack[WarmOptions]) -> Summary:
        """Ask every request once, so that its answer is in the cache; what is there already costs nothing. A request is
        a body, `{"body": …, "headers": {…}, "endpoint": "…"}`, or a line of a batch file (docs/library.md)."""
        return warm_here(self.desk, warming(base_url, self.desk.options.mode, options), requests)

    def _pass(self, world: LibraryWorld, turn: Turn, request: Any) -> Any:
        assert isinstance(turn.effect, do.Pass)
        course = self._course(world, turn.effect.call)
        try:
            response = self._sent(request, course)
        finally:
            turn.end(None)
        return self.desk.labelled(response, turn.effect.label)

    def _sent(self, request: Any, course: Course | None) -> Any:
        """The wrapped transport's response to `request`, which goes by `course` if there is one."""
        if course is None:
            return self.way.handle_request(self.desk.bare(request))
        try:
            response = self.way.handle_request(self._steered(request, course))
            course.begun(head_of(response))
            rejected = course.changed and response.status_code == REJECTED
            if rejected and course.refused(response.status_code, response.read()):
                response.close()
                return self._sent(request, None)
        except BaseException:
            course.over(whole=False)
            raise
        if not _told(response, course):
            response.stream = _joined(HeardStream, self.mod.SyncByteStream)(response.stream, course)
        return response

    def close(self) -> None:
        """Let this transport's own calls land (within `drain_timeout`), close the wrapped one, let go of the store."""
        self._land()
        self.way.close()
        self.desk.lease.close()

    def __enter__(self) -> Any:
        self.way.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._land()
        self.way.__exit__(*raised)
        self.desk.lease.close()

    def _land(self) -> None:
        world = self.desk.lease.world
        if world is not None:
            world.sync.drain(world.settings.drain_timeout, self._mine)


class AsyncCaching(Caching):
    """Answers requests of tasks, on any asyncio event loop."""

    handle_request = __enter__ = Misplaced("CacheTransport", "a sync client")

    async def handle_async_request(self, request: Any) -> Any:
        """The response to `request`: from the cache, from a call under way, or from the wrapped transport."""
        started = time.perf_counter()
        if type(request) is not self.mod.Request:
            fitting_request(self.mod, self, request)
        desk = self.desk
        place = desk.place(request)
        if self._early(place):
            response = await self.way.handle_async_request(desk.bare(request, ours=place is not None))
            return response if place is None else desk.labelled(response, _OFF)
        assert place is not None
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise not_asyncio() from None
        body = await request.aread()
        world = desk.lease.world
        if world is None:
            world = await asyncio.to_thread(desk.open)
        digest = desk.digest(place, request, body)
        ready = desk.shelved(world, digest, started)
        if ready is not None:
            return ready
        taken = desk.admit(world, place, request, body)
        if isinstance(taken, Admitted):
            return await self._take(world, place, request, digest, taken)
        if isinstance(taken, Refused):
            return self._refuse(world, place, taken)
        self._alone(taken)
        if taken is None:
            return await self.way.handle_async_request(desk.bare(request))
        return await self._pass(world, world.sync.bypass(taken.call, taken.reason), request)

    async def _take(self, world: LibraryWorld, place: Place, request: Any, digest: bytes, taken: Admitted) -> Any:
        desk, player, moment = self.desk, world.aio(), world.shelf.moment()
        patience = desk.patience(request)
        for tries in range(_TRIES):
            try:
                turn = await player.open(taken.ask, taken.dialect, patience)
            except TimeoutError:
                raise self._slow() from None
            if isinstance(turn.effect, do.Relay):
                whole = desk.whole(turn)
                if whole is None:
                    stream = _joined(AsyncTapeStream, self.mod.AsyncByteStream)(desk, player, turn, patience)
                    return desk.response(turn.effect, None, stream)
                response = desk.response(turn.effect, whole)
                if turn.reader is not None:
                    turn.reader.leave()
                desk.shelve(world, digest, taken, turn, moment)
                return response
            if isinstance(turn.effect, do.Pass):
                self._alone(None)
                return await self._pass(world, turn, request)
            if tries + 1 == _TRIES or not desk.outlives(turn, request):
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
                return await self._sent(request, None)
        except BaseException:
            course.over(whole=False)
            raise
        if not _told(response, course):
            response.stream = _joined(AsyncHeardStream, self.mod.AsyncByteStream)(response.stream, course)
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


def _told(response: Any, course: Course) -> bool:
    """Whether the response has its whole body already, which the course has then heard."""
    if not hasattr(response, "_content"):
        return False
    course.heard(response.content)
    course.over(whole=True)
    return True


@memo
def _joined(ours: type, base: type) -> Callable[..., Any]:
    """A class of ours that is also one of the HTTP client's."""
    return type(ours.__name__, (ours, base), {})
