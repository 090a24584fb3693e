"""The planner: a body goes in, an improved copy, what was done to it and why come out; later, what the answer used.

It learns only from the requests it sees and from their usage; it starts knowing nothing but the bundled tables. Pure:
no I/O, the clock is an argument, memory is bounded, and the same requests in the same order give the same plans. Not
thread safe: one belongs to one loop or one lock. This room must never fail a call: what it can't read, it leaves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from blake3 import blake3

from payonce.ledger.usage import parse
from payonce.optimise import sessions
from payonce.optimise.accounts import Account
from payonce.optimise.advice import Act, Advice
from payonce.optimise.bodies import read
from payonce.optimise.keep import Ttl
from payonce.optimise.learned import Models
from payonce.optimise.lessons import Trace, forget, learn
from payonce.optimise.marking import Asked, Dialect, Mode, mark
from payonce.optimise.memory import Memory
from payonce.optimise.nodes import Beliefs, Talk
from payonce.optimise.prefix import Json, UnreadableError
from payonce.optimise.sessions import HeaderChange, Sticky, Upstream
from payonce.optimise.traits import Catalogue, PriceList


@dataclass(frozen=True, slots=True)
class Plan:
    """An outgoing request. `body` is a new object; `headers` are changes to the client's (None: leave it out);
    `changed` says whether anything differs from what the client sent; `session` names the conversation."""

    body: Json
    advice: tuple[Advice, ...] = ()
    headers: tuple[HeaderChange, ...] = ()
    changed: bool = False
    session: str = ""
    trace: Trace | None = field(default=None, repr=False, compare=False)


class Planner:
    """Plans requests. `prices` (anything with `rates(model)`) and `minimums` (model to tokens) go before the bundled
    tables; `beliefs` are what is expected before anything was seen; `most` bounds the remembered accounts."""

    def __init__(
        self,
        prices: PriceList | None = None,
        minimums: Mapping[str, float] | None = None,
        *,
        beliefs: Beliefs | None = None,
        most: int = 5_000,
    ) -> None:
        self._catalogue = Catalogue(prices, minimums)
        self._memory = Memory(beliefs)
        self._models = Models()
        self._accounts: OrderedDict[bytes, Account] = OrderedDict()
        self._most = most

    def plan(
        self,
        body: Json,
        *,
        dialect: Dialect,
        model: str,
        tenant: str | None = "",
        session: str | None = None,
        now: float,
        mode: Mode = "auto",
        ttl: Ttl = "auto",
        upstream: Upstream = "openrouter",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> Plan:
        """Improve a request that is about to be sent, at `now` (seconds on any clock)."""
        if mode == "off":
            return Plan(dict(body), (Advice(Act.LEAVE, "prompt caching is switched off"),))
        seed = blake3(
            b"\0".join(
                (b"payonce prefix 1", *((t or "").encode("utf-8", "replace") for t in (tenant, model, upstream)))
            )
        ).digest(16)
        try:
            prefix = read(body, dialect, seed)
        except UnreadableError as error:
            return Plan(dict(body), (Advice(Act.LEAVE, str(error)),))
        traits, knows = self._catalogue.traits(model), self._models.of(model)
        own = sessions.own_name(body, headers, session)
        sight, now = self._memory.arrive(prefix, seed, now, own or "payonce-" + prefix.identity)
        name = own or sight.talk.identity
        account = self._account(seed)
        marking = mark(
            Asked(body, self._memory, prefix, sight, traits, knows, account, now, mode, ttl, upstream, dialect)
        )
        for one in (account, knows.account):
            one.open(marking.keeping.total, marking.keeping.paid)
        least = traits.minimum / knows.per_character()
        together = sessions.stays_together(prefix, sight, least, paid=traits.kind == "paid-auto")
        bare = mode == "respect"
        sticky = sessions.stick(body, headers, name, traits, upstream, dialect, keyed=together, bare=bare)
        members, changes, more = _stuck(body, headers, sticky, None if bare else sight.talk, upstream, now)
        out = {**marking.body, **members}
        trace = Trace(model, traits, knows, account, sight, prefix, marking.keeping, now, dialect)
        changed = marking.changed or bool(members) or bool(changes)
        return Plan(out, (*marking.advice, *more), changes, changed, name, trace)

    def observe(
        self, plan: Plan, usage: object, *, now: float, provider: str | None = None, failed: bool = False
    ) -> None:
        """What came of a plan: the usage object of the answer as it came, and the host that served, where known.
        `failed` says that there was no answer. To be called at most once; never calling it is allowed."""
        trace = plan.trace
        if trace is None or trace.done:
            return
        trace.done = True
        if failed:
            forget(trace.keeping)
            for account in (trace.account, trace.knows.account):
                account.correct(0.0, 0.0, trace.keeping.total, trace.keeping.paid)
            sessions.unpin(trace.sight.talk)
            return
        host = provider or ""
        trace.knows.answered(now - trace.now)
        learn(trace, parse(usage, dialect=trace.dialect, model=trace.model, provider=provider), host)

    def refused(self, plan: Plan, status: int, body: bytes, provider: str | None = None) -> bool:
        """Whether an answer refuses what the planner added: then send the client's own body once, and the planner
        stands down for this model (on this host, if that is known) for a day."""
        trace = plan.trace
        if trace is None or not plan.changed or status != _REFUSED or not any(word in body for word in _OURS):
            return False
        forget(trace.keeping)
        trace.knows.stand_down(provider or "", trace.now)
        return True

    def _account(self, seed: bytes) -> Account:
        account = self._accounts.get(seed)
        if account is None:
            account = self._accounts[seed] = Account()
            if len(self._accounts) > self._most:
                self._accounts.popitem(last=False)
        else:
            self._accounts.move_to_end(seed)
        return account


_REFUSED = 400
_OURS = (b"cache_control", b"prompt_cache", b"session_id")


def _stuck(
    body: Json,
    headers: Sequence[tuple[bytes, bytes]],
    sticky: Sticky,
    talk: Talk | None,
    upstream: Upstream,
    now: float,
) -> tuple[Json, tuple[HeaderChange, ...], list[Advice]]:
    """What keeps the conversation on its host: members to add, header changes, and why. Without `talk` no host is asked
    for by name."""
    members: Json = dict(sticky.members)
    advice: list[Advice] = []
    named = (*sticky.members, *(header.decode() for header, _ in sticky.headers))
    why = "names the conversation, so that it reaches the same host"
    advice.extend(Advice(Act.STICK, why, where=name) for name in named)
    if talk is not None and (pinned := sessions.pin(body, talk, upstream, now)):
        members |= pinned
        why = "reads stayed low on changing hosts: the one that served last is asked for, others may fall in"
        advice.append(Advice(Act.PIN, why, where="provider"))
    dropped = sessions.retired(headers)
    why = "a retired prompt-caching token; some hosts refuse it"
    advice.extend(Advice(Act.DROP, why, where=header.decode()) for header, _ in dropped)
    return members, (*sticky.headers, *dropped), advice
