"""The navigator: sends each call by the way on which its prompt is cached best, and learns from what it cost.

It hands bodies to the planner (`payonce.optimise`), and what an answer used to the planner, the reckoning and the
request log. Whatever goes wrong in here costs a plan, never a call. This room must never do I/O, nor decide how a
prompt is marked.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from msgspec.structs import replace

from payonce.config_urls import is_loopback
from payonce.dialects.canonical import parse
from payonce.dialects.ear import Ear, Heard
from payonce.model.call import Call, Headers, Steering
from payonce.model.ports import Clock
from payonce.model.reason import Reason
from payonce.optimise import Planner
from payonce.optimise.marking import Dialect
from payonce.optimise.sessions import Upstream
from payonce.planned import PlannedCourse
from payonce.reckoning import Reckoning
from payonce.request_log import RequestLog

log = logging.getLogger("payonce.navigator")

REJECTED = 400
PLANNED_BYTES = 1024
"""Shorter bodies go as they are, unless the client has marked them, of which the doctor is to hear: no provider caches
so short a prompt."""

SLICE = 32
"""So many answers are booked at a time, which costs less than one by one: less than a millisecond for all of them."""

UNPRICED = 1024
"""So many answers may wait for the table of prices; of more, the oldest is left out of the books, and counted."""

HELD_BYTES = 64 * 1024
"""Of a longer answer only what it said of itself is held until it is booked."""

UPSTREAMS = 64
PRICES_SECONDS = 86400.0
"""How old an upstream's own list of prices may be."""

DIALECTS: Final[dict[str, Dialect]] = {"chat/completions": "chat", "messages": "messages", "responses": "responses"}
HEARD: Final[dict[str, str]] = {**DIALECTS, "embeddings": "embeddings"}
"""The endpoints whose answers tell what they cost."""
_HOSTS: Final[dict[str, Upstream]] = {
    "openrouter.ai": "openrouter",
    "api.anthropic.com": "anthropic",
    "api.openai.com": "openai",
}


class PrefixNavigator:
    """See the room's first paragraph. `limit` is the largest whole answer that is listened to, in bytes; `heeds` tells
    whether anybody is known to cache prompts for a model: for others there is nothing to plan."""

    def __init__(
        self,
        planner: Planner,
        reckoning: Reckoning,
        *,
        clock: Clock,
        limit: int,
        heeds: Callable[[str], bool] = lambda _model: True,
        request_log: RequestLog | None = None,
    ) -> None:
        self.clock = clock
        self._heeds = heeds
        self.limit = limit
        self.stumbled: Counter[str] = Counter()
        """What went wrong in here, by the name of the exception."""
        self._planner = planner
        self._reckoning = reckoning
        self._lock = threading.Lock()
        self._log = request_log
        self._booking = threading.Lock()
        self._waiting: deque[tuple[PlannedCourse, Heard | Ear, float]] = deque()
        self._begun = False
        """Whether anything was booked yet: the first answer has the table of prices loaded."""
        self._prices = reckoning.accounts.prices
        self._bases: dict[str, str] = {}
        self._asked_prices: dict[str, float] = {}

    def course(self, call: Call) -> PlannedCourse | None:
        """How `call` goes upstream; None where it goes as it is and nobody listens."""
        try:
            return self._plot(call)
        except Exception as error:  # noqa: BLE001 - a plan is not worth a call
            self._stumble(error)
            return None

    def refused(self, course: PlannedCourse, status: int, body: bytes) -> bool:
        """Whether this answer rejects what the plan changed."""
        try:
            with self._lock:
                return course.plan is not None and self._planner.refused(course.plan, status, body)
        except Exception as error:  # noqa: BLE001
            self._stumble(error)
            return False

    def bare(self, course: PlannedCourse) -> PlannedCourse:
        """The course of the client's own call, once what the plan changed was rejected: by now the planner has stood
        down, and only listens."""
        again = self.course(course.asked)
        if again is not None and not again.changed:
            return again
        return PlannedCourse(self, course.asked, course.asked, None, course.dialect, self.clock())

    def learn(self, course: PlannedCourse, ear: Ear | None) -> None:
        """What an answer said of itself; None where it failed, or did not come whole."""
        try:
            self._learn(course, ear)
        except Exception as error:  # noqa: BLE001
            self._stumble(error)

    def settle(self) -> None:
        """Book the answers that wait for it; to be called now and then, and before the books are read."""
        with self._booking:
            self._book()
            try:
                self._reckoning.expire(self.clock())
            except Exception as error:  # noqa: BLE001
                self._stumble(error)

    def await_prices(self, seconds: float = 5.0, *, owing: bool = False) -> None:
        """Before the last settling: wait for the prices that answers wait for, so that a run of one call is billed;
        where hits are `owing` their value, for their sake."""
        if self._waiting or owing:
            self._prices.wait(seconds)

    def page(self, *, last: bool = False) -> tuple[str, bytes] | None:
        """What the doctor found, as a record to note, if something is new; `last`, if anything is."""
        with self._booking:
            return self._reckoning.page(self.clock(), last=last)

    def unpriced(self, now: float) -> list[tuple[str, str]]:
        """The upstreams, by name and base URL, whose own list of prices should be asked for now: those that calls were
        steered to and that were not asked for `PRICES_SECONDS`. An upstream on this machine is a test or a proxy, and
        is not asked unbidden."""
        asked = self._asked_prices
        due = [
            (name, base)
            for name, base in self._bases.items()
            if not is_loopback(urlsplit(base).hostname or "") and now - asked.get(name, -math.inf) >= PRICES_SECONDS
        ]
        asked.update((name, now) for name, _ in due)
        return due

    def published(self, base: str, document: object) -> int:
        """An upstream's GET /models answer (decoded JSON); how many models have a price in it."""
        return self._reckoning.learn_prices(base, document)

    def _plot(self, call: Call) -> PlannedCourse | None:
        steering, heard = call.steering, HEARD.get(call.endpoint)
        if steering is None or heard is None:
            return None
        now = self.clock()
        if call.upstream not in self._bases and len(self._bases) < UPSTREAMS:
            self._bases[call.upstream] = steering.base
        short = len(call.body) < PLANNED_BYTES and b'"cache_control"' not in call.body
        dialect = DIALECTS.get(call.endpoint) if steering.mode != "off" else None
        if dialect is None or short or not self._heeds(steering.model):
            return PlannedCourse(self, call, call, None, heard, now)
        members = parse(call.body)
        if isinstance(members, Reason):
            return PlannedCourse(self, call, call, None, heard, now)
        with self._lock:
            plan = self._planner.plan(
                members,
                dialect=dialect,
                model=steering.model,
                tenant=steering.tenant,
                now=now,
                mode=steering.mode,
                ttl=steering.ttl,
                upstream=upstream_kind(steering, dialect),
                headers=call.headers,
            )
        sent = call
        if plan.changed:
            same = len(plan.body) == len(members) and all(plan.body.get(name) is members[name] for name in members)
            body = call.body if same else orjson.dumps(plan.body)
            sent = replace(call, body=body, headers=merged(call.headers, plan.headers))
        return PlannedCourse(self, call, sent, plan, dialect, now)

    def _learn(self, course: PlannedCourse, ear: Ear | None) -> None:
        now, plan = self.clock(), course.plan
        said: Heard | Ear = Heard() if ear is None else ear
        if ear is not None and (plan is not None or self._log is not None or ear.size > HELD_BYTES):
            said = ear.told()
        if plan is not None and isinstance(said, Heard) and (ear is None or said.usage is not None):
            with self._lock:
                self._planner.observe(plan, said.usage, now=now, provider=said.provider, failed=ear is None)
        if self._log is not None and ear is not None and isinstance(said, Heard) and course.planned:
            self._log.add(_record(course, said, now))
        if ear is not None or (course.status == REJECTED and not course.rejected):
            self._waiting.append((course, said, now))
            if len(self._waiting) >= SLICE or not self._begun:
                self._begun = True
                with self._booking:
                    self._book()

    def _book(self) -> None:
        """Enter all that waits, once prices are known."""
        if not self._prices.ready():
            while len(self._waiting) > UNPRICED:
                self._waiting.popleft()
                self.stumbled["unpriced"] += 1
            return
        while self._waiting:
            course, said, ended = self._waiting.popleft()
            try:
                self._reckoning.reckon(course.outcome(said.told() if isinstance(said, Ear) else said, ended))
            except Exception as error:  # noqa: BLE001 - the others still count
                self._stumble(error)

    def _stumble(self, error: Exception) -> None:
        name = type(error).__name__
        self.stumbled[name] += 1
        if self.stumbled[name] == 1:
            log.error("a call goes unplanned: the navigator stumbled", exc_info=error)


def upstream_kind(steering: Steering, dialect: str) -> Upstream:
    """Whose rules an upstream follows, by its host; where nobody knows it, by how the model is named: a vendor before
    it is how routers of OpenRouter's kind name it, and only Anthropic's own API and those like it speak `messages`."""
    host = urlsplit(steering.base).hostname or ""
    known = _HOSTS.get(host)
    if known is not None:
        return known
    if "/" in steering.model:
        return "openrouter"
    return "anthropic" if dialect == "messages" else "other"


def merged(headers: Headers, changes: tuple[tuple[bytes, bytes | None], ...]) -> Headers:
    """`headers` with each changed one in the place of those of its name, or without it where its value is None."""
    if not changes:
        return headers
    named = dict(changes)
    kept = tuple(field for field in headers if field[0] not in named)
    return kept + tuple((name, value) for name, value in changes if value is not None)


def _record(course: PlannedCourse, heard: Heard, ended: float) -> dict[str, Any]:
    """A line of the request log: what the client asked, not what became of it on its way."""
    asked = course.asked
    assert asked.steering is not None
    record = {
        "at": course.started,
        "ended": ended,
        "dialect": course.dialect,
        "model": asked.steering.model,
        "tenant": asked.steering.tenant,
        "session": course.plan.session if course.plan is not None else None,
        "provider": heard.provider or None,
        "usage": heard.usage,
        "planned": (course.call.body is not asked.body) or None,  # the usage is then not that of this body
        "body": orjson.Fragment(asked.body),
    }
    return {name: value for name, value in record.items() if value is not None}
