"""Cache writes worked out from the charge, for answers that don't report them, or not by time to live.

With one unknown the charge tells it: written = (cost - output x its price - read x its price - rest x input price) /
(write price - input price). OpenRouter reports writes now, so this is a fallback and a cross-check. What is worked out
is marked as inferred. This room must never accept a number that is not close to a whole one, nor guess a price.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Final, Literal

from msgspec.structs import replace

from payonce.ledger.money import EXACT
from payonce.ledger.price_rows import Rates
from payonce.ledger.usage import Usage

_CLOSE: Final = Decimal("0.02")
"""How far from a whole token count the result may lie. Charges are exact to far less than a token; a wrong price, host
or tier shows in the fraction."""


def infer_writes(usage: Usage, rates: Rates | None, *, ttl: Literal["5m", "1h"] = "5m") -> Usage:
    """`usage` with its writes worked out, or `usage` itself where that can't be done.

    Without any reported, all writes are taken to live for `ttl`; reported without their time to live, they are divided
    into 5m and 1h. Refused for: the user's own key (the cost is a fee), figures that don't add up, prices of another
    tier or unknown, and results that are not whole or outside the prompt.
    """
    with localcontext(EXACT):
        prompt_cost = _prompt_cost(usage, rates)
        if rates is None or prompt_cost is None or not _usable(usage, rates):
            return usage
        if usage.cache_write is None:
            return _unreported(usage, rates, prompt_cost, ttl)
        if usage.cache_write and "cache_write_5m" in usage.inferred:
            return _divided(usage, rates, prompt_cost)
        return usage


def _usable(usage: Usage, rates: Rates) -> bool:
    whole = usage.input_total
    if not whole or usage.byok or usage.anomaly or usage.elsewhere or usage.overlapping:
        return False
    return rates.above < whole and (rates.until is None or whole <= rates.until)


def _prompt_cost(usage: Usage, rates: Rates | None) -> Decimal | None:
    if usage.input_cost is not None:
        return usage.input_cost
    if usage.cost is None or usage.output is None or rates is None or rates.output is None:
        return None
    return usage.cost - usage.output * rates.output


def _unreported(usage: Usage, rates: Rates, prompt_cost: Decimal, ttl: str) -> Usage:
    write = rates.cache_write_1h if ttl == "1h" else rates.cache_write_5m
    whole, read = usage.input_total or 0, usage.cache_read or 0
    if rates.input is None or write is None or write == rates.input or (read and rates.cache_read is None):
        return usage
    rest = prompt_cost - read * (rates.cache_read or 0) - (whole - read) * rates.input
    written = _whole(rest / (write - rates.input), whole - read)
    if written is None:
        return usage
    return replace(
        usage,
        input_uncached=whole - read - written,
        cache_write_5m=0 if ttl == "1h" else written,
        cache_write_1h=written if ttl == "1h" else 0,
        inferred=tuple(sorted({*usage.inferred, "input_uncached", "cache_write_5m", "cache_write_1h"})),
    )


def _divided(usage: Usage, rates: Rates, prompt_cost: Decimal) -> Usage:
    short, long = rates.cache_write_5m, rates.cache_write_1h
    written, read, plain = usage.cache_write or 0, usage.cache_read or 0, usage.input_uncached or 0
    if rates.input is None or short is None or long is None or long == short or (read and rates.cache_read is None):
        return usage
    rest = prompt_cost - read * (rates.cache_read or 0) - plain * rates.input - written * short
    hour = _whole(rest / (long - short), written)
    return usage if hour is None else replace(usage, cache_write_5m=written - hour, cache_write_1h=hour)


def _whole(found: Decimal, most: int) -> int | None:
    near = found.to_integral_value()
    return int(near) if abs(found - near) <= _CLOSE and 0 <= near <= most else None
