"""The reckoning: what an answer means for the books, once it has come. Its bill, writes that nobody read, tokens that
could have been read, and what the doctor has to say.

One for each world; whoever calls it holds the lock. This room must never do I/O, nor touch a call.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from payonce.books.journal import Billed
from payonce.doctor import Diary, Finding, Seen, Watch
from payonce.doctor.models import MinimumOf
from payonce.ledger.accounts import Accounts
from payonce.ledger.money import Bill
from payonce.ledger.price_rows import Rates
from payonce.ledger.unread import Expired, PrefixId, Unread
from payonce.ledger.usage import Usage
from payonce.model.call import Headers, Steering
from payonce.optimise import Act, Advice, Plan
from payonce.optimise.sessions import own_name

_MARKS = frozenset((Act.MARK, Act.READ))
_OURS = _MARKS | {Act.SWITCH_OFF, Act.PIN}
_LIVES: Final[dict[str, Literal["5m", "1h"]]] = {"5m": "5m", "1h": "1h"}
_SHOWN = frozenset((b"anthropic-beta", b"x-anthropic-beta"))
"""What the doctor is shown of a request's headers."""
_BILLERS = frozenset(("openrouter.ai", "api.anthropic.com", "api.openai.com"))
EXPIRE_SECONDS = 60.0


class Books(Protocol):
    """Who keeps the figures."""

    def spent(self, bill: Bill, *, cacheable: bool = True) -> None:
        """An upstream answered, and this is its bill."""
        ...

    def unread(self, expired: Expired) -> None:
        """Written prefixes expired unread."""
        ...

    def missed(self, tokens: int, cost: Decimal | None) -> None:
        """An answer read less of a live entry than it could."""
        ...


class Outcome(msgspec.Struct, frozen=True):
    """What came of one call: its plan if it had one, the client's headers, times in Unix seconds, what it said."""

    plan: Plan | None
    steering: Steering
    dialect: str
    headers: Headers
    started: float
    began: float
    ended: float
    status: int
    usage: dict[str, Any] | None
    model: str
    host: str
    diagnosis: dict[str, Any]
    request: int = 0
    endpoint: str = ""


class Reckoning:
    """See the room's first paragraph."""

    def __init__(
        self,
        accounts: Accounts,
        books: Books,
        minimum_of: MinimumOf,
        *,
        worker: str = "",
        now: float = 0.0,
        file: Callable[[Billed], None] | None = None,
    ) -> None:
        """`file` is told of each answer once it was reckoned."""
        self.accounts = accounts
        self._file = file
        self._watch = Watch(price_of=self.price_of, minimum_of=minimum_of)
        self._diary = Diary(self._watch, worker, now)
        self._published: set[str] = set()
        self._books = books
        self._unread = Unread()
        self._expired = 0.0
        self._numbers = itertools.count(1)

    def learn_prices(self, base: str, document: object) -> int:
        """An upstream's GET /models answer (decoded JSON); how many models have a price in it."""
        count = self.accounts.prices.learn_models(document, provider=base)
        if count:
            self._published.add(base)
        return count

    def reckon(self, outcome: Outcome) -> None:
        """Enter one answer."""
        steering, advice = outcome.steering, outcome.plan.advice if outcome.plan is not None else ()
        usage: Usage | None = None
        bills: tuple[Bill, ...] = ()
        if outcome.status == 200:
            lives = {each.ttl for each in advice if each.act in _MARKS}
            bills = self.accounts.answered(
                outcome.usage,
                dialect=outcome.dialect,
                asked=steering.model,
                model=outcome.model,
                upstream=self._biller(steering.base),
                ttl=_LIVES.get(lives.pop()) if len(lives) == 1 else None,
                ours=any(each.act in _OURS for each in advice),
                cacheable=steering.cacheable,
            )
            usage = bills[0].usage
            self._follow(outcome, bills[0])
        found = self._examine(outcome, outcome.plan, usage) if outcome.plan is not None else ()
        if self._file is not None:
            self._file(_billed(outcome, bills, advice, found))

    def page(self, now: float, *, last: bool) -> tuple[str, bytes] | None:
        """What the doctor found, as a record to note, if something is new; `last`, if anything is."""
        return self._diary.leaf(now, last=last)

    def expire(self, now: float) -> None:
        """Enter what expired unread; to be called now and then."""
        if now - self._expired >= EXPIRE_SECONDS:
            self._expired = now
            expired = self._unread.expire(now)
            if expired.writes:
                self._books.unread(expired)

    def price_of(self, model: str, upstream: str, tokens: int, at: float, /) -> Rates | None:
        """The rates of a request of so many input tokens, for the doctor."""
        return self.accounts.prices.rates(model, provider=self._biller(upstream), prompt_tokens=tokens, at=at)

    def _biller(self, base: str) -> str | None:
        """Whose prices hold: those of the upstream, where they are known to be its own; else who made the model."""
        return base if base in self._published or _hostname(base) in _BILLERS else None

    def _follow(self, outcome: Outcome, bill: Bill) -> None:
        """Each marker that writes is watched until somebody reads it, by the hash of its prefix."""
        trace = outcome.plan.trace if outcome.plan is not None else None
        if trace is None:
            return
        digests, marks = trace.prefix.digests, trace.keeping.marks
        names = outcome.steering.tenant, outcome.steering.model
        if bill.usage.cache_read:
            reach = max((mark.at for mark in marks if not mark.fresh), default=-1)
            for digest in digests[: reach + 1]:
                self._unread.read(PrefixId(*names, digest.hex()), outcome.started)
        fresh = [mark for mark in marks if mark.fresh]
        written = bill.usage.cache_write
        if not fresh or not written:
            return
        mark, premium = fresh[-1], bill.write_premium or Decimal(0)
        lost = self._unread.wrote(
            PrefixId(*names, digests[mark.at].hex()), written, premium, outcome.started, ttl=mark.ttl or "5m"
        )
        if lost.writes:
            self._books.unread(lost)

    def _examine(self, outcome: Outcome, plan: Plan, usage: Usage | None) -> tuple[Finding, ...]:
        seen = Seen(
            body=plan.body,
            dialect=outcome.dialect,
            started=outcome.started,
            usage=usage,
            tenant=outcome.steering.tenant,
            upstream=outcome.steering.base,
            model=outcome.model or outcome.steering.model,
            session=_named(plan, outcome.headers),
            headers={name.decode(): value.decode("latin-1") for name, value in outcome.headers if name in _SHOWN},
            host=outcome.host,
            first_byte=outcome.began,
            ended=outcome.ended,
            diagnostics=next(iter(outcome.diagnosis.values()), None),
            status=outcome.status,
            number=next(self._numbers),
        )
        found = self._watch.saw(seen)
        for finding in found:
            if finding.wrong and finding.tokens:
                self._books.missed(finding.tokens, finding.cost)
        return found


def _billed(
    outcome: Outcome, bills: tuple[Bill, ...], advice: tuple[Advice, ...], found: tuple[Finding, ...]
) -> Billed:
    return Billed(
        at=outcome.ended,
        request=outcome.request,
        steering=outcome.steering,
        endpoint=outcome.endpoint,
        status=outcome.status,
        started=outcome.started,
        began=outcome.began,
        bills=bills,
        answered_by=outcome.model,
        host=outcome.host or urlsplit(outcome.steering.base).hostname or "",
        session=outcome.plan.session if outcome.plan is not None else "",
        advice=advice,
        findings=found,
    )


def _named(plan: Plan, headers: Headers) -> str | None:
    """What the client calls the conversation. A name of ours follows from how the conversation opens, and would change
    with the very system prompt whose change the doctor is to see."""
    ours = {advice.where for advice in plan.advice if advice.act is Act.STICK}
    body = {name: value for name, value in plan.body.items() if name not in ours}
    return own_name(body, headers, None) or None


@lru_cache(64)
def _hostname(base: str) -> str | None:
    return urlsplit(base).hostname
