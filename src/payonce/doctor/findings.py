"""What the doctor says: a finding is a cause, the place, the differing text, and what it cost.

Text is shortened and credentials are replaced before it gets in here. This room must never hold a whole prompt.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from payonce.doctor.causes import CAUSES, WRONG, Cause, Severity
from payonce.doctor.places import public

_Amount = TypeVar("_Amount", int, Decimal)

SEVERITIES = (Severity.ERROR, Severity.WARNING, Severity.NOTICE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found, `times` times.

    `where` is a JSON path in the request (`system[0].text`); `block` is the place of the block in the order tools,
    system, messages, from 0. `before` and `after` are the differing texts of the earlier and the later request,
    `detail` says the rest in words. `tokens` were paid for again, for `cost` US dollars more than reading them from the
    cache would have cost; None is unknown. `requests` are the numbers of the requests it was last seen in.
    """

    cause: Cause
    where: str = ""
    block: int | None = None
    detail: str = ""
    before: str = ""
    after: str = ""
    tokens: int | None = None
    cost: Decimal | None = None
    model: str = ""
    upstream: str = ""
    requests: tuple[int, ...] = ()
    at: float = 0.0
    times: int = 1

    @property
    def id(self) -> str:
        """The row of the table of causes."""
        return self.cause.id

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        return self.cause.severity

    @property
    def title(self) -> str:
        """What it is, in one sentence."""
        return self.cause.sentence

    @property
    def fix(self) -> str:
        """What to change."""
        return self.cause.fix

    @property
    def place(self) -> str:
        """Where it is, as far as that can be said without text of the request."""
        return public(self.where)

    @property
    def wrong(self) -> bool:
        """Whether something is to be put right."""
        return self.cause.severity in WRONG

    def plus(self, other: Finding) -> Finding:
        """Both as one: figures added up, the rest from the later one."""
        last = other if other.at >= self.at else self
        return dataclasses.replace(
            last,
            times=self.times + other.times,
            tokens=_sum(self.tokens, other.tokens),
            cost=_sum(self.cost, other.cost),
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values; money as decimal text."""
        return {
            "id": self.id,
            "severity": self.severity.value,
            "title": self.title,
            "where": self.where,
            "block": self.block,
            "detail": self.detail,
            "before": self.before,
            "after": self.after,
            "tokens": self.tokens,
            "cost": None if self.cost is None else plain(self.cost),
            "fix": self.fix,
            "times": self.times,
            "model": self.model,
            "upstream": self.upstream,
            "requests": list(self.requests),
            "at": self.at,
        }


def from_json(said: Any) -> Finding:
    """A finding as `as_json` wrote it. Raises KeyError, TypeError or ValueError where it is none."""
    texts = {name: str(said[name])[:2000] for name in ("where", "detail", "before", "after", "model", "upstream")}
    return Finding(
        cause=CAUSES[said["id"]],
        block=None if said["block"] is None else int(said["block"]),
        tokens=None if said["tokens"] is None else int(said["tokens"]),
        cost=None if said["cost"] is None else _money(said["cost"]),
        requests=tuple(int(number) for number in said["requests"][:8]),
        at=float(said["at"]),
        times=int(said["times"]),
        **texts,
    )


def ranked(findings: list[Finding]) -> list[Finding]:
    """The worst first: errors, then what cost most, then what came most often."""
    return sorted(
        findings,
        key=lambda one: (SEVERITIES.index(one.severity), -(one.cost or 0), -(one.tokens or 0), -one.times, one.id),
    )


def plain(amount: Decimal) -> str:
    """Dollars as decimal text, exact, without an exponent."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _money(text: object) -> Decimal:
    try:
        amount = Decimal(text) if isinstance(text, str) else Decimal("NaN")
    except InvalidOperation:
        raise ValueError("no amount of money") from None
    if not amount.is_finite():
        raise ValueError("no amount of money")
    return amount


def _sum(a: _Amount | None, b: _Amount | None) -> _Amount | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b
