"""One call on its way out, as it was planned, and what is learned from its answer.

It passes on what happens and decides nothing; who sent it out draws the conclusions. This room must never read a body.
"""

from __future__ import annotations

from typing import Protocol

from payonce.dialects.ear import Ear, Heard
from payonce.model.call import Call
from payonce.model.ports import Clock, Head
from payonce.optimise import Plan
from payonce.reckoning import Outcome


class Owner(Protocol):
    """Who sent the call out. `limit` is the largest whole answer that is listened to, in bytes."""

    clock: Clock
    limit: int

    def refused(self, course: PlannedCourse, status: int, body: bytes) -> bool:
        """Whether this answer rejects what the plan changed."""
        ...

    def bare(self, course: PlannedCourse) -> PlannedCourse:
        """The course of the client's own call, once what the plan changed was rejected."""
        ...

    def learn(self, course: PlannedCourse, ear: Ear | None) -> None:
        """The answer has ended; None where it failed, or did not come whole."""
        ...


class PlannedCourse:
    """`call` is `asked` with what `plan` changed, which the upstream may have `rejected`; times are Unix seconds."""

    __slots__ = (
        *("_ear", "_over", "_owner", "asked", "began", "call", "changed"),
        *("dialect", "keen", "plan", "rejected", "started", "status"),
    )

    def __init__(self, owner: Owner, asked: Call, call: Call, plan: Plan | None, dialect: str, started: float) -> None:
        self._owner = owner
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
        self.rejected = False

    @property
    def planned(self) -> bool:
        """Whether the prompt is any of our business."""
        return self.asked.steering is not None and self.asked.steering.mode != "off"

    def refused(self, status: int, body: bytes) -> bool:
        """Whether this answer rejects what was changed."""
        self.rejected = self._owner.refused(self, status, body)
        return self.rejected

    def bare(self) -> PlannedCourse:
        """The course of the client's own call, after a rejection."""
        return self._owner.bare(self)

    def begun(self, head: Head) -> None:
        """The answer begins."""
        self.began = self._owner.clock()
        self.status = head.status
        if head.status == 200:
            self._ear = Ear(head.headers, self._owner.limit)

    def heard(self, chunk: bytes) -> None:
        """A part of the answer's body."""
        if self._ear is not None:
            self._ear.feed(chunk)

    def over(self, *, whole: bool) -> None:
        """No more of the answer will come."""
        ear, self._ear = self._ear, None
        if not self._over:
            self._over = True
            self._owner.learn(self, ear if whole else None)

    def outcome(self, said: Heard, ended: float) -> Outcome:
        """What came of it, for the books."""
        assert self.asked.steering is not None
        return Outcome(
            plan=self.plan,
            steering=self.asked.steering,
            dialect=self.dialect,
            headers=self.asked.headers,
            started=self.started,
            began=self.began,
            ended=ended,
            status=self.status,
            usage=said.usage,
            model=said.model,
            host=said.provider,
            diagnosis=said.diagnosis,
            request=self.asked.number,
            endpoint=self.asked.endpoint,
        )
