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
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from payonce.config_urls import is_loopback
from payonce.dialects.canonical import parse
from payonce.dialects.ear import Ear, Heard
from payonce.model.call import Call, Headers, Steering
from payonce.model.ports import Clock, Head
from payonce.model.reason import Reason
from payonce.optimise import Plan, Planner
from payonce.optimise.marking import Dialect
from payonce.optimise.sessions import Upstream
from payonce.reckoning import Outcome, Reckoning
from payonce.request_log import RequestLog

log = logging.getLogger("payonce.navigator")

REJECTED = 400
PLANNED_BYTES = 1024
"""Shorter bodies go as they are, unless the client has marked them, of which the doctor is to hear: no provider caches
so short a prompt."""

UNPRICED = 1024
"""So many answers may wait for their price; of more, the oldest is left out of the books."""

UPSTREAMS = 64
PRICES_SECONDS = 86400.0
"""How old an upstream's own list of prices may be."""

DIALECTS: Final[dict[str, Dialect]] = {"chat/completions": "chat", "messages": "messages", "responses": "responses"}
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
        self._waiting: deque[Outcome] = deque(maxlen=UNPRICED)
        self._loading: threading.Thread | None = None
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

    def learn(self, course: PlannedCourse, heard: Heard | None) -> None:
        """What an answer said of itself; None where it failed, or did not come whole."""
        try:
            self._learn(course, heard)
        except Exception as error:  # noqa: BLE001
            self._stumble(error)

    def settle(self) -> None:
        """Reckon the answers that came while the price table was still being read; to be called now and then."""
        try:
            with self._lock:
                while self._waiting and self._ready():
                    self._reckoning.reckon(self._waiting.popleft())
                self._reckoning.expire(self.clock())
        except Exception as error:  # noqa: BLE001
            self._stumble(error)

    def page(self, *, last: bool = False) -> tuple[str, bytes] | None:
        """What the doctor found, as a record to note, if something is new; `last`, if anything is."""
        with self._lock:
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
        steering, dialect = call.steering, DIALECTS.get(call.endpoint)
        if steering is None or dialect is None:
            return None
        now = self.clock()
        if call.upstream not in self._bases and len(self._bases) < UPSTREAMS:
            self._bases[call.upstream] = steering.base
        short = len(call.body) < PLANNED_BYTES and b'"cache_control"' not in call.body
        if short or not self._heeds(steering.model):
            return PlannedCourse(self, call, call, None, dialect, now)
        members = parse(call.body)
        if isinstance(members, Reason):
            return None
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

    def _learn(self, course: PlannedCourse, heard: Heard | None) -> None:
        now, plan = self.clock(), course.plan
        steering = course.asked.steering
        assert steering is not None
        said = heard or Heard()
        outcome = Outcome(
            plan=plan,
            steering=steering,
            dialect=course.dialect,
            headers=course.asked.headers,
            started=course.started,
            began=course.began,
            ended=now,
            status=course.status,
            usage=said.usage,
            model=said.model,
            host=said.provider,
            diagnosis=said.diagnosis,
            request=course.asked.number,
            endpoint=course.asked.endpoint,
        )
        with self._lock:
            if plan is not None and (heard is None or heard.usage is not None):
                self._planner.observe(plan, said.usage, now=now, provider=said.provider, failed=heard is None)
            if heard is not None or course.status == REJECTED:
                self._waiting.append(outcome)
                while self._waiting and self._ready():
                    self._reckoning.reckon(self._waiting.popleft())
        if self._log is not None and heard is not None:
            self._log.add(_record(course, heard, now))

    def _ready(self) -> bool:
        """Whether prices can be asked for without waiting: the table takes half a second to read, off this thread."""
        if self._loading is None:
            load = self._reckoning.accounts.prices.load
            self._loading = threading.Thread(target=load, name="payonce-prices", daemon=True)
            self._loading.start()
        return not self._loading.is_alive()

    def _stumble(self, error: Exception) -> None:
        name = type(error).__name__
        self.stumbled[name] += 1
        if self.stumbled[name] == 1:
            log.error("a call goes unplanned: the navigator stumbled", exc_info=error)


class PlannedCourse:
    """One call on its way out, and what is learned from its answer."""

    __slots__ = (
        "_ear",
        "_navigator",
        "_over",
        "asked",
        "began",
        "call",
        "changed",
        "dialect",
        "keen",
        "plan",
        "started",
        "status",
    )

    def __init__(
        self, navigator: PrefixNavigator, asked: Call, call: Call, plan: Plan | None, dialect: str, started: float
    ) -> None:
        self._navigator = navigator
        self._ear: Ear | None = None
        self._over = False
        self.asked = asked
        self.call = call
        self.changed = call is not asked
        self.keen = plan is not None
        self.plan = plan
        self.dialect = dialect
        self.started = started
        self.began = started
        self.status = 0

    def refused(self, status: int, body: bytes) -> bool:
        """Whether this answer rejects what was changed."""
        return self._navigator.refused(self, status, body)

    def begun(self, head: Head) -> None:
        """The answer begins."""
        self.began = self._navigator.clock()
        self.status = head.status
        if head.status == 200:
            self._ear = Ear(head.headers, self._navigator.limit)

    def heard(self, chunk: bytes) -> None:
        """A part of the answer's body."""
        if self._ear is not None:
            self._ear.feed(chunk)

    def over(self, *, whole: bool) -> None:
        """No more of the answer will come."""
        ear, self._ear = self._ear, None
        if not self._over:
            self._over = True
            self._navigator.learn(self, ear.told() if ear is not None and whole else None)


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
        "body": orjson.Fragment(asked.body),
    }
    return {name: value for name, value in record.items() if value is not None}
