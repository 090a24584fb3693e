"""What an answer cost and what the provider's prompt cache saved of it: pure sums in Decimal US dollars.

saving = total x input price - (read x read price + written x write prices + plain x input price): the read saving less
the write premium, negative where writing did not pay. The answer's own charge stands above every price table. What a
provider's automatic cache, or the client's own markers, would have given anyway is `unaided`, not claimed. This room
must never know a model, a request, or why tokens were written.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Final

import msgspec

from payonce.ledger.price_rows import Rates
from payonce.ledger.usage import Usage

EXACT: Final = Context(prec=80, rounding=ROUND_HALF_EVEN)
"""Wide enough that no sum or product of token counts and prices is ever rounded; only `scale` divides."""

_ZERO: Final = Decimal(0)
_NANO: Final = Decimal("1e-9")


class Bill(msgspec.Struct, frozen=True):
    """The money of one answer. Amounts are US dollars, None where usage or prices don't tell.

    `cost` is what is paid for the answer: what it says itself, and only where it says nothing the sum by price, which
    `estimated` then tells; with the user's own key (BYOK) OpenRouter's fee and the host's charge together. `input_cost`
    is the prompt's part and `uncached_cost` what the same prompt would have cost without any prompt cache. `ours` says
    whether markers of ours made the cache work. Where the answer's charge for the prompt differs from the table's, all
    amounts follow the charge: the table's were multiplied by `scale`.
    """

    usage: Usage
    cost: Decimal | None = None
    estimated: bool = False
    input_cost: Decimal | None = None
    uncached_cost: Decimal | None = None
    read_saving: Decimal | None = None
    write_premium: Decimal | None = None
    scale: Decimal = Decimal(1)
    ours: bool = False
    unknown: str = ""
    """Why the saving is unknown: "usage" or "price"; empty where it is known."""

    @property
    def saving(self) -> Decimal | None:
        """What the prompt cache saved, net of the write premium; may be negative."""
        if self.read_saving is None or self.write_premium is None:
            return None
        with localcontext(EXACT):
            return self.read_saving - self.write_premium

    @property
    def claimed(self) -> Decimal:
        """The part of the saving that is due to us."""
        return (self.saving or _ZERO) if self.ours else _ZERO

    @property
    def unaided(self) -> Decimal:
        """The part that the provider gives, or the client's own markers gave, without us."""
        return _ZERO if self.ours else (self.saving or _ZERO)


def price(usage: Usage, rates: Rates | None, charged: Decimal | None = None, *, ours: bool = False) -> Bill:
    """The bill of one answer. `rates` are those for a prompt of `usage.input_total` tokens; `charged` overrides the
    cost that the answer says; `ours` says that markers or steering of ours were in the request."""
    with localcontext(EXACT):
        cost = _charged(usage) if charged is None else charged
        if usage.input_uncached is None or usage.input_total is None:
            return Bill(usage, cost, ours=ours, unknown="usage")
        sums = None if rates is None else _sums(usage, rates)
        if sums is None:
            return Bill(usage, cost, input_cost=_charged_prompt(usage, cost), ours=ours, unknown="price")
        table, uncached, saving, premium = sums
        prompt = _charged_prompt(usage, cost)
        scale = _scale(table, prompt)
        estimated = cost is None and rates is not None and rates.output is not None and usage.output is not None
        if estimated and rates is not None:
            cost = table + (usage.output or 0) * (rates.output or _ZERO)
        paid = table
        if scale != 1 and prompt is not None:
            paid = prompt
            uncached, saving = _near(uncached * scale), _near(saving * scale)
            premium = saving - (uncached - paid)  # so that the sums stay exact
        return Bill(usage, cost, estimated, paid, uncached, saving, premium, scale, ours)


def _charged(usage: Usage) -> Decimal | None:
    if usage.byok and usage.cost is not None and usage.upstream_cost is not None:
        return usage.cost + usage.upstream_cost
    return usage.cost


def _charged_prompt(usage: Usage, cost: Decimal | None) -> Decimal | None:
    """What the answer says was charged for the prompt. All of nothing is nothing; a fee for the user's own key says
    nothing of it."""
    if usage.byok:
        return usage.input_cost or None
    return _ZERO if cost == 0 else usage.input_cost


def _sums(usage: Usage, rates: Rates) -> tuple[Decimal, Decimal, Decimal, Decimal] | None:
    """Input cost, the same without any cache, read saving and write premium; None where a price that is needed is
    unknown. What is not reported counts as nothing: no saving is claimed for it."""
    read, plain = usage.cache_read or 0, usage.input_uncached or 0
    short, long = usage.cache_write_5m or 0, usage.cache_write_1h or 0
    whole = rates.input
    needed = ((read, rates.cache_read), (short, rates.cache_write_5m), (long, rates.cache_write_1h))
    if whole is None or any(count and each is None for count, each in needed):
        return None
    read_cost, short_cost, long_cost = (count * (each or _ZERO) for count, each in needed)
    twice = min(read, short + long) if usage.overlapping else 0  # tokens that are billed as written and as read
    table = read_cost + short_cost + long_cost + plain * whole
    uncached = (read + short + long - twice + plain) * whole
    saving = read * whole - read_cost
    premium = short_cost + long_cost - (short + long - twice) * whole
    return table, uncached, saving, premium


def _scale(table: Decimal, charged: Decimal | None) -> Decimal:
    """By how much the charge differs from the table: another host's price, a discount. Less than a billionth of a
    dollar, or of the charge, is rounding."""
    if charged is None or not table or abs(charged - table) <= max(_NANO, charged * _NANO):
        return Decimal(1)
    return charged / table


def _near(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("1e-18"))


def nano_dollars(amount: Decimal | None) -> int:
    """Billionths of a dollar, to the nearest; 0 for None."""
    return 0 if amount is None else int((amount * 1_000_000_000).to_integral_value(ROUND_HALF_EVEN))


def avoidable(usage: Usage, expected: int, rates: Rates | None) -> tuple[int, Decimal | None]:
    """What an answer should have read and did not: `expected` tokens of a live entry less those that were read, and
    what that cost more than reading them. Tokens written again were paid at the write price, the rest in full."""
    missed = max(0, expected - (usage.cache_read or 0))
    if not missed or rates is None or rates.input is None or rates.cache_read is None:
        return missed, None if missed else _ZERO
    short = min(missed, usage.cache_write_5m or 0)
    long = min(missed - short, usage.cache_write_1h or 0)
    prices = ((short, rates.cache_write_5m), (long, rates.cache_write_1h), (missed - short - long, rates.input))
    if any(count and each is None for count, each in prices):
        return missed, None
    with localcontext(EXACT):
        return missed, sum((count * ((each or _ZERO) - rates.cache_read) for count, each in prices), _ZERO)
