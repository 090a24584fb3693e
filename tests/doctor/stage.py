"""A stage for the doctor: exchanges with the rules of rules.py, and what a watch says of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from payonce.doctor import Finding, Seen, Watch
from payonce.ledger.prices import Rates
from payonce.ledger.usage import parse
from tests.doctor.rules import Provider, Talk

RATES = Rates(
    input=Decimal("0.000003"),
    output=Decimal("0.000015"),
    cache_read=Decimal("0.0000003"),
    cache_write_5m=Decimal("0.00000375"),
    cache_write_1h=Decimal("0.000006"),
)


def price_of(_model: str, _upstream: str, _tokens: int, _at: float) -> Rates:
    return RATES


@dataclass
class Stage:
    """Requests in order; times are given, hosts are named."""

    provider: Provider = field(default_factory=Provider)
    watch: Watch = field(default_factory=lambda: Watch(price_of=price_of, minimum_of=lambda _model: 1024))
    usages: list[dict[str, Any]] = field(default_factory=list)
    tenant: str = "t"
    number: int = 0

    def send(
        self,
        body: dict[str, Any] | Talk,
        at: float,
        *,
        session: str | None = None,
        host: str = "h",
        first_byte: float | None = None,
        headers: dict[str, str] | None = None,
        **seen: Any,
    ) -> tuple[Finding, ...]:
        """What the watch says of this exchange."""
        request = body.body() if isinstance(body, Talk) else body
        usage = self.provider.ask(request, at, first_byte=first_byte, host=host)
        self.usages.append(usage)
        self.number += 1
        began = at + 1.0 if first_byte is None else first_byte
        return self.watch.saw(
            Seen(
                body=request,
                dialect="messages",
                started=at,
                usage=parse(usage, dialect="messages"),
                tenant=self.tenant,
                upstream="u",
                session=session,
                host=host,
                first_byte=began,
                ended=began + 1,
                headers=headers or {},
                number=self.number,
                **seen,
            )
        )
