"""What may be risked: the largest premium that one request may pay, by what its account says and what was seen before.

Limits are a share of all that was asked, and so many average requests to begin with. This room must never judge a
prompt, nor move money.
"""

from __future__ import annotations

from payonce.optimise.accounts import Account
from payonce.optimise.decide import Allowed

_WEAK = (0.005, 0.3)
_STRONG = (0.02, 2.5)
_BACKED = (0.01, 8.0)
_BACKED_HOUR = (0.005, 5.0)
"""How much more than without a cache may have been paid. Where nothing was seen of the prefix or the conversation
before, where something was, and where such a prefix or turn of this tenant was seen to be used again: less for an hour,
which costs four times as much and shows late whether it pays; what a rehearsal earned counts there."""
_LOST = (0.005, 0.5)
_UNPROVED = (0.0, 0.5)
"""How much of that may have been lost for good: then no premium is paid, whatever is believed, until a rehearsal has
earned it back. The second before anything was read."""
_REHEARSED = 2.0
"""Before anything was read, a rehearsal speaks for so many requests at most: perhaps nothing ever is."""


def allowed(account: Account, everybody: Account, tokens: float, now: float, *, seen: bool, backed: bool) -> Allowed:
    """For a request of so many tokens. `seen` says that something was seen of it before, `backed` that such a prefix or
    turn of this tenant was seen to be used again; `everybody` is the account of all tenants together."""
    if is_stopped(account, tokens, now):
        return Allowed(0.0, 0.0)
    weak = max(0.0, min(account.allowance(tokens, *_WEAK), everybody.allowance(tokens, *_WEAK)))
    if backed:
        hour = account.allowance(tokens, *_BACKED_HOUR) + max(0.0, account.rehearsed)
        return Allowed(account.allowance(tokens, *_BACKED), weak, hour)
    if seen:
        return Allowed(account.allowance(tokens, *_STRONG), weak)
    return Allowed(weak, weak)


def is_stopped(account: Account, tokens: float, now: float) -> bool:
    """Whether too much was lost for good."""
    if account.proved:
        lost, earned = _LOST, account.rehearsed
    else:
        lost, earned = _UNPROVED, min(account.rehearsed, _REHEARSED * account.mean(tokens))
    return account.allowance(tokens, *lost) + account.at_stake(now) + max(0.0, earned) < 0.0
