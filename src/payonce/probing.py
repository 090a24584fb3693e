"""Asking a provider whether its prompt cache works: a marked prefix twice, then one a little below and one a little
above the minimum, twice each, and what the answers' own figures say.

Every prefix begins with a word that was never sent before, so that nothing is read that an earlier run wrote. `probe`
is told how to send; it stops at the first answer that is no 200. This room must never open a connection, read a clock
or show a credential.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal

import orjson

from payonce.doctor import causes as why
from payonce.ledger.money import price
from payonce.ledger.prices import Rates
from payonce.ledger.usage import Usage, parse

Endpoint = Literal["chat/completions", "messages"]
DIALECTS: Final = {"chat/completions": "chat", "messages": "messages"}
MAX_TOKENS: Final = 16
"""Output tokens that are asked for at most; some endpoints take no fewer."""
UNKNOWN_MINIMUM: Final = 1024
NEAR: Final = 0.08
"""How far below and above the minimum is probed, as a share of it."""
CALLS: Final = 6
_OVERHEAD: Final = 16
"""Tokens of the question and of the frames around it, about."""
_DENSE: Final = 1.5
"""Tokens of a word at most (English words, newer tokenizers): for the estimate, not for the figures."""
_WORDS: Final = (
    *("the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on", "not", "he"),
    *("his", "but", "at", "are", "this", "have", "from", "or", "had", "an", "they", "which", "one", "you", "were"),
    *("all", "her", "she", "there", "would", "their", "we", "him", "been", "has", "when", "who", "will", "no"),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be asked. `minimum` is the documented one, None where it is not known; `marked` is whether the prefix
    carries a marker (some providers cache by themselves, and refuse one)."""

    model: str
    endpoint: Endpoint
    nonce: str
    minimum: int | None = None
    marked: bool = True
    rates: Rates | None = None

    @property
    def around(self) -> int:
        """The length that is probed from below and above, in tokens."""
        return self.minimum or UNKNOWN_MINIMUM

    @property
    def long(self) -> int:
        """Words of the first prefix: well above the minimum, and above twice as much, which some hosts ask for."""
        return self.around * 9 // 4

    def estimate(self) -> tuple[Decimal, Decimal] | None:
        """About what it costs, and at most, in US dollars; None where no price is known. Words are taken for one token
        for the first figure; for the second for as many as they may be, and nothing for read."""
        rates = self.rates
        if rates is None or rates.input is None:
            return None
        write = max(rates.input, rates.cache_write_5m or rates.input) if self.marked else rates.input
        read = rates.input if rates.cache_read is None else rates.cache_read
        output = CALLS * MAX_TOKENS * (rates.output or Decimal(0))
        below, above = (round(self.around * (1 + sign * NEAR)) for sign in (-1, 1))
        about = (self.long + above) * (write + read) + 2 * below * rates.input
        most = 2 * (Decimal(str(_DENSE)) * self.long + below + above + 3 * _OVERHEAD) * write
        return about + output, most + output


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back: status, decoded body where it is an object, and how long it took in seconds."""

    status: int
    body: dict[str, Any]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """One call: which prefix (`long`, `below`, `above`), the first or the second time, and what its answer says.

    `prefix` is the marked prefix in tokens: what was written or read, else all input less the question. `estimated` is
    whether `cost` comes from prices and not from the answer.
    """

    name: str
    time: int
    status: int
    usage: Usage
    prefix: int | None
    host: str
    cost: Decimal | None
    estimated: bool
    seconds: float
    error: str = ""

    @property
    def cached(self) -> bool:
        """Whether anything was read or written."""
        return bool(self.usage.cache_read or self.usage.cache_write)


Send = Callable[[bytes], Awaitable[Answered]]


def body_of(plan: Plan, name: str, words: int) -> bytes:
    """The request of one prefix: so many words behind a word that is new, and a short question."""
    drawn = random.Random(f"{plan.nonce} {name}")  # noqa: S311 - filler; the nonce makes it new
    text = f"{plan.nonce}-{name} " + " ".join(drawn.choice(_WORDS) for _ in range(words)) + "."
    block: dict[str, Any] = {"type": "text", "text": text}
    if plan.marked:
        block["cache_control"] = {"type": "ephemeral"}
    question = "Answer with the word OK."
    members: dict[str, Any] = {"model": plan.model, "max_tokens": MAX_TOKENS}
    if plan.endpoint == "messages":
        members |= {"system": [block], "messages": [{"role": "user", "content": question}]}
    else:
        members["messages"] = [{"role": "system", "content": [block]}, {"role": "user", "content": question}]
    return orjson.dumps(members)


async def probe(plan: Plan, send: Send, pause: Callable[[], Awaitable[None]]) -> AsyncIterator[Step]:
    """Each call as it has been answered; at most six. `pause` waits between a prefix's first time and its second."""
    density = 1.0
    for name in ("long", "below", "above"):
        target = {"below": 1 - NEAR, "above": 1 + NEAR}.get(name)
        words = plan.long if target is None else max(1, round((plan.around * target - 12) / density))
        body = body_of(plan, name, words)
        for time in (1, 2):
            if time == 2:
                await pause()
            step = _step(plan, name, time, await send(body))
            yield step
            if step.status != 200:
                return
            if name == "long" and step.usage.input_total:
                density = max(0.2, (step.usage.input_total - _OVERHEAD) / words)


def _step(plan: Plan, name: str, time: int, answered: Answered) -> Step:
    body = answered.body
    usage = parse(body.get("usage"), dialect=DIALECTS[plan.endpoint], model=plan.model)
    bill = price(usage, plan.rates)
    host = body.get("provider")
    return Step(
        name,
        time,
        answered.status,
        usage,
        _prefix(usage),
        host if isinstance(host, str) else "",
        bill.cost,
        bill.estimated,
        answered.seconds,
        "" if answered.status == 200 else _message(body),
    )


def _prefix(usage: Usage) -> int | None:
    cached = (usage.cache_read or 0) + (0 if usage.overlapping else usage.cache_write or 0)
    if cached:
        return cached
    return None if usage.input_total is None else max(0, usage.input_total - _OVERHEAD)


def _message(body: dict[str, Any]) -> str:
    error = body.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return " ".join(str(message or "").split())[:300]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the calls tell. `works`: a prefix was read when it was sent again. `uncached` and `cached` are the longest
    prefix that was not cached and the shortest that was, in tokens: the minimum lies between them."""

    works: bool
    uncached: int | None = None
    cached: int | None = None
    hosts: tuple[str, ...] = ()
    cost: Decimal | None = None
    estimated: bool = False
    unpriced: int = 0
    advice: tuple[str, ...] = field(default=())


def conclude(plan: Plan, steps: list[Step]) -> Verdict:
    """The verdict over all calls, and what to change."""
    good = [step for step in steps if step.status == 200]
    seconds = [step for step in good if step.time == 2]
    works = any(step.usage.cache_read for step in seconds)
    caught = [step.prefix for step in good if step.cached and step.prefix]
    least = min(caught, default=None)
    by_name: dict[str, list[Step]] = {}
    for step in good:
        by_name.setdefault(step.name, []).append(step)
    missed = [
        both[0].prefix
        for both in by_name.values()
        if len(both) == 2 and not any(step.cached for step in both) and both[0].prefix
    ]
    missed = [tokens for tokens in missed if least is None or tokens < least]
    costs = [step.cost for step in good if step.cost is not None]
    return Verdict(
        works,
        max(missed, default=None),
        least,
        tuple(dict.fromkeys(step.host for step in good if step.host)),
        sum(costs, Decimal(0)) if costs else None,
        any(step.estimated for step in good),
        sum(step.cost is None for step in good),
        tuple(_advice(plan, steps, good, least, works=works)),
    )


def _advice(plan: Plan, steps: list[Step], good: list[Step], least: int | None, *, works: bool) -> list[str]:
    if steps and steps[-1].status != 200:
        last = steps[-1]
        if not last.status:
            return [f"the rest was not asked: {last.error}"]
        said = f" ({last.error})" if last.error else ""
        return [f"the upstream answered {last.status}{said}: check the key, the model's name and --upstream"]
    hosts = {step.host for step in good if step.host}
    if works:
        return _fine(plan, good, least, hosts)
    if all(step.usage.cache_read is None for step in good):
        return ["the answers do not say what was read from a cache: ask through OpenRouter, or the provider's own API"]
    if any(step.usage.cache_write for step in good):
        if len(hosts) > 1:
            both = ", ".join(sorted(hosts))
            return [f"written at one host and asked for at another ({both}): {why.HOST_CHANGED.fix}"]
        return ["written and not read a moment later: ask again with --pause 5; some providers need a while"]
    if not plan.marked:
        return ["this model caches by itself, and did not: automatic caches are best effort, ask again with --pause 5"]
    at = f" at {', '.join(sorted(hosts))}" if hosts else ""
    what = "this host does not cache for this model, or only longer prefixes"
    return [f"nothing was written or read{at}: {what}; choose other hosts with provider.only, or another model"]


def _fine(plan: Plan, good: list[Step], least: int | None, hosts: set[str]) -> list[str]:
    found = []
    if len(hosts) > 1:
        found.append(f"{len(hosts)} hosts answered ({', '.join(sorted(hosts))}): send session_id, so that one does")
    above = [step for step in good if step.name == "above"]
    below = [step for step in good if step.name == "below"]
    if plan.minimum and len(above) == 2 and not any(step.cached for step in above):
        found.append(
            f"{above[0].prefix:,} tokens were not cached, though the documented minimum is {plan.minimum:,}: "
            "count on more for this host"
        )
    if plan.minimum and least is not None and any(step.cached for step in below) and least < plan.minimum:
        found.append(f"{least:,} tokens were cached, though the documented minimum is {plan.minimum:,}")
    return found
