"""The caching transport for threads.

A hit never touches the wrapped transport; what that raises reaches the caller as it is. Its twin for asyncio is
transport_async.py, step by step. This room must never import an HTTP client.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Unpack

from payonce.callers import Place
from payonce.clients import Misplaced, fitting_request
from payonce.core import effects as do
from payonce.core.naming import Name, name_of
from payonce.drive.navigated import REJECTED
from payonce.drive.performing import Turn
from payonce.intake import Admitted, Refused
from payonce.library import LibraryWorld
from payonce.library_warm import WarmOptions, warm_here, warming
from payonce.model.course import Course
from payonce.outgoing import head_of
from payonce.streams import HeardStream, TapeStream
from payonce.transport import OFF, TRIES, Caching, joined, told
from payonce.warming import Summary


class SyncCaching(Caching):
    """Answers requests of threads."""

    handle_async_request = __aenter__ = Misplaced("AsyncCacheTransport", "an async client")

    def handle_request(self, request: Any) -> Any:
        """The response to `request`: from the cache, from a call under way, or from the wrapped transport."""
        started = time.perf_counter()
        if type(request) is not self.mod.Request:
            fitting_request(self.mod, self, request)
        desk = self.desk
        place = desk.callers.place(request)
        if self._early(place):
            response = self.way.handle_request(desk.bare(request, ours=place is not None))
            return response if place is None else desk.labelled(response, OFF)
        assert place is not None
        body = request.read()
        world = desk.lease.world or desk.open()
        known = desk.callers.known(world, place, request)
        name = name_of(known.told, body)
        ready = desk.shelved(world, name, started)
        if ready is not None:
            return ready
        taken = desk.admit(known, place, request, body)
        if isinstance(taken, Admitted):
            return self._take(world, place, request, name, taken)
        if isinstance(taken, Refused):
            return self._refuse(world, place, taken)
        self._alone(taken)
        if taken is None:
            return self.way.handle_request(desk.bare(request))
        return self._pass(world, world.sync.bypass(taken.call, taken.reason), request)

    def _take(self, world: LibraryWorld, place: Place, request: Any, name: Name, taken: Admitted) -> Any:
        desk, player, moment = self.desk, world.sync, world.shelf.moment()
        patience = desk.patience(request)
        for tries in range(TRIES):
            try:
                turn = player.open(taken.ask, taken.dialect, patience)
            except TimeoutError:
                raise self._slow() from None
            if isinstance(turn.effect, do.Relay):
                whole = desk.whole(turn)
                if whole is None:
                    stream = joined(TapeStream, self.mod.SyncByteStream)(desk, player, turn, patience)
                    return desk.response(turn.effect, None, stream)
                response = desk.response(turn.effect, whole)
                player.leave(turn)
                desk.shelve(world, name, taken, turn, moment)
                return response
            player.leave(turn)
            if isinstance(turn.effect, do.Pass):
                self._alone(None)
                return self._pass(world, turn, request)
            if tries + 1 == TRIES or not desk.outlives(turn, request):
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
                course.over(whole=False)
                return self._sent(request, course.bare())
        except BaseException:
            course.over(whole=False)
            raise
        if not told(response, course):
            response.stream = joined(HeardStream, self.mod.SyncByteStream)(response.stream, course)
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
