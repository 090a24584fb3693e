"""What the caching transports for threads and for asyncio share, whichever HTTP client of httpx's shape they are for.

`payonce.httpx` and `payonce.httpx2` mix `SyncCaching` (transport_sync.py) and `AsyncCaching` (transport_async.py) into
their base classes. This room must never import an HTTP client.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache as memo
from typing import Any

from payonce.callers import Place
from payonce.core import effects as do
from payonce.core.labels import Label
from payonce.desk import Desk, Options
from payonce.intake import Bypassed, Refused
from payonce.library import LibraryWorld
from payonce.model import reason as why
from payonce.model.call import Call
from payonce.model.course import Course
from payonce.model.receipt import Outcome, Receipt
from payonce.outgoing import SdkCall, sdk_call

OFF = Label(Outcome.BYPASS, why.CACHE_OFF)
TRIES = 3
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


def told(response: Any, course: Course) -> bool:
    """Whether the response has its whole body already, which the course has then heard."""
    if not hasattr(response, "_content"):
        return False
    course.heard(response.content)
    course.over(whole=True)
    return True


@memo
def joined(ours: type, base: type) -> Callable[..., Any]:
    """A class of ours that is also one of the HTTP client's."""
    return type(ours.__name__, (ours, base), {})
