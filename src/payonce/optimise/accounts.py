"""What prompts cost beside what they would have without a cache, which premiums can still be earned back, and what
those would have earned that were not paid. Amounts are plain tokens. This room must never know a prompt, nor judge one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

_MOST = 64
"""So many open stakes are remembered; an older one counts as lost."""
_STILL = 0.97
"""What is left of what a rehearsal earned when the next request is rehearsed."""


@dataclass(slots=True, eq=False)
class Stake:
    """A premium, and until when (seconds) what was written for it can be read; from its first reading on, never."""

    premium: float
    until: float

    def settle(self) -> None:
        """It is read, and what it earns stands in the bills from now on; or it was never paid."""
        self.until = float("-inf")


@dataclass(slots=True)
class Account:
    """What one tenant's prompts of one model cost, and what they would have without a cache. `proved` says that
    something was read; `rehearsed` is what the premiums that were wanted and not allowed would have earned of late."""

    plain: float = 0.0
    paid: float = 0.0
    requests: int = 0
    proved: bool = False
    rehearsed: float = 0.0
    stakes: deque[Stake] = field(default_factory=lambda: deque(maxlen=_MOST))

    def open(self, tokens: float, expected: float) -> None:
        """A request goes out, and is expected to cost so much."""
        self.requests += 1
        self.plain += tokens
        self.paid += expected

    def correct(self, tokens: float, paid: float, tokens_expected: float, paid_expected: float) -> None:
        """The answer says what it was really."""
        self.plain += tokens - tokens_expected
        self.paid += paid - paid_expected

    def stake(self, premium: float, until: float) -> Stake:
        """Something is written for so much more than the plain price, and can be read until then."""
        stake = Stake(premium, until)
        self.stakes.append(stake)
        return stake

    def allowance(self, tokens: float, share: float, grant: float) -> float:
        """How much may be paid at once without having cost, in all, more than `share` above no caching, plus `grant`
        average requests to begin with."""
        return grant * self.mean(tokens) + share * (self.plain + tokens) - (self.paid - self.plain)

    def mean(self, tokens: float) -> float:
        """The average request, with one more of so many tokens."""
        return (self.plain + tokens) / (self.requests + 1)

    def rehearse(self, earned: float) -> None:
        """A request would have cost so much less, had all been allowed that was wanted."""
        self.rehearsed = self.rehearsed * _STILL + earned

    def at_stake(self, now: float) -> float:
        """The premiums that were paid and can still be earned back."""
        return sum(stake.premium for stake in self.stakes if stake.until > now)
