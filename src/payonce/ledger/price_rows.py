"""A model's prices as flat rows: which apply to a prompt of so many tokens at such a time, and OpenRouter's /models
document read into rows.

Prices are Decimal US dollars a token. Above a length threshold the *whole* prompt has the other price, as OpenRouter,
Anthropic, OpenAI and Google bill it. This room must never look up a model, nor read a clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

import msgspec

Prices = Mapping[str, Decimal]
KINDS: Final = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
_KEYS: Final = {
    "prompt": "input",
    "completion": "output",
    "input_cache_read": "cache_read",
    "input_cache_write": "cache_write_5m",
    "input_cache_write_1h": "cache_write_1h",
}
_CONDITIONS: Final = frozenset({"min_prompt_tokens", "utc_start", "utc_end", "utc_days"})
_WEEK: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MODELS: Final = 20_000
"""No more models of one document than that are kept."""
_DAY: Final = 86_400


class Rates(msgspec.Struct, frozen=True):
    """US dollars a token, None where unknown. `source` is "models" (the upstream's own /models) or "genai-prices".
    They hold for prompts of more than `above` tokens, up to and with `until` (None: any length)."""

    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write_5m: Decimal | None = None
    cache_write_1h: Decimal | None = None
    source: str = ""
    above: int = 0
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Some hours of the UTC day (`start` and `end` in seconds, half open, may wrap past midnight) on some weekdays
    (Monday is 0, None means all)."""

    start: int = 0
    end: int = _DAY
    days: frozenset[int] | None = None

    def holds(self, at: float) -> bool:
        """Whether a time (Unix seconds) lies inside."""
        day, second = divmod(int(at), _DAY)
        if self.days is not None and (day + 3) % 7 not in self.days:  # 1970 began on a Thursday
            return False
        if self.start <= self.end:
            return self.start <= second < self.end
        return second >= self.start or second < self.end


@dataclass(frozen=True, slots=True)
class Override:
    """Prices that replace others for prompts of more than `above` tokens, and within `window`."""

    prices: Prices
    above: int = 0
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Era:
    """The prices since a time (Unix seconds; None: always), or within a daily window, with what overrides them."""

    prices: Prices
    overrides: tuple[Override, ...] = ()
    since: float | None = None
    window: Window | None = None

    def holds(self, at: float) -> bool:
        """Whether it has begun."""
        return (self.since is None or at >= self.since) and (self.window is None or self.window.holds(at))


@dataclass(frozen=True, slots=True)
class Row:
    """All prices of one model: of the eras the last that has begun counts, or the first."""

    source: str
    eras: tuple[Era, ...]

    def rates(self, prompt_tokens: int, at: float) -> Rates:
        """The prices of a prompt of that length at that time (Unix seconds)."""
        era = next((one for one in reversed(self.eras) if one.holds(at)), self.eras[0])
        prices = dict(era.prices)
        above, until = 0, None
        for one in era.overrides:
            if one.window is not None and not one.window.holds(at):
                continue
            if prompt_tokens > one.above or not one.above:
                prices.update(one.prices)
                above = max(above, one.above)
            else:
                until = one.above if until is None else min(until, one.above)
        return Rates(
            prices.get("input"),
            prices.get("output"),
            prices.get("cache_read"),
            prices.get("cache_write_5m"),
            prices.get("cache_write_1h"),
            self.source,
            above,
            until,
        )


def rows_of(document: object) -> Iterator[tuple[str, Row]]:
    """The id (lower case) and prices of each model of a /models document that publishes any: OpenRouter's `pricing`
    (schema PublicPricing: decimal texts, US dollars a token; `discount`; `overrides`, of which later ones win). What
    can't be read is left out, and so is a negative price, which says that it depends on the model chosen."""
    listed = document.get("data") if isinstance(document, dict) else document
    for model in listed[:MODELS] if isinstance(listed, list) else ():
        if not isinstance(model, dict) or not isinstance(model.get("pricing"), dict):
            continue
        row = _row(model["pricing"])
        if row is None:
            continue
        for name in ("id", "canonical_slug"):
            if isinstance(model.get(name), str) and 0 < len(model[name]) <= 200:
                yield model[name].lower(), row


def _row(pricing: dict[str, Any]) -> Row | None:
    kept = 1 - (amount(pricing.get("discount")) or Decimal(0))
    base = _prices(pricing, kept)
    if base is None or "input" not in base or kept < 0:
        return None
    listed = pricing.get("overrides")
    overrides = (
        [_override(one, kept) for one in listed[:50] if isinstance(one, dict)] if isinstance(listed, list) else []
    )
    if None in overrides:
        return None  # a price under a condition that this version can't judge
    return Row("models", (Era(base, tuple(one for one in overrides if one is not None)),))


def _prices(source: dict[str, Any], kept: Decimal) -> dict[str, Decimal] | None:
    found = {}
    for name, kind in _KEYS.items():
        if source.get(name) is None:
            continue
        price = amount(source[name])
        if price is None:
            return None
        found[kind] = price * kept
    return found


def _override(source: dict[str, Any], kept: Decimal) -> Override | None:
    prices = _prices(source, kept)
    above = amount(source.get("min_prompt_tokens", 0))
    window = _window(source)
    strange = any(name.startswith(("utc_", "min_", "max_")) and name not in _CONDITIONS for name in map(str, source))
    if prices is None or above is None or strange or isinstance(window, str):
        return None
    return Override(prices, int(above), window)


def _window(source: dict[str, Any]) -> Window | Literal["unreadable"] | None:
    """The hours and days that an override is for, None where it is for all."""
    named, start, end = source.get("utc_days"), source.get("utc_start"), source.get("utc_end")
    if named is None and start is None and end is None:
        return None
    if named is not None and not (isinstance(named, list) and all(day in _WEEK for day in named)):
        return "unreadable"
    days = None if named is None else frozenset(map(_WEEK.index, named))
    if start is None and end is None:
        return Window(days=days)
    seconds = _second(start), _second(end)
    return "unreadable" if None in seconds else Window(seconds[0] or 0, seconds[1] or 0, days)


def _second(clock: object) -> int | None:
    """An HHMM clock number (1030 is 10:30) as seconds of the day."""
    number = amount(clock)
    if number is None or number > 2400 or number % 100 >= 60:
        return None
    return int(number) // 100 * 3600 + int(number) % 100 * 60


def amount(value: object) -> Decimal | None:
    """A decimal text or JSON number that is a price, else None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    if isinstance(value, str) and len(value) > 40:
        return None
    try:
        found = Decimal(str(value)) if not isinstance(value, int) or abs(value) < 10**9 else Decimal("NaN")
    except InvalidOperation:
        return None
    return found if found.is_finite() and 0 <= found < 10**9 else None


def midnight(year: int, month: int, day: int) -> float:
    """The Unix seconds at which a UTC date begins."""
    return datetime(year, month, day, tzinfo=UTC).timestamp()
