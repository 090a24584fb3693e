"""genai-prices read into flat rows: who bills, which of its models an id names, and that model's prices.

The package (MIT, offline, extra `prices`) takes up to 0.6 s to import and 0.1 ms a call, so it is imported when first
asked and every answer becomes a row. Its API is used as of 0.2: `data_snapshot.get_snapshot()`, `find_provider_model`,
prices in US dollars a million tokens, tiers that re-price the whole prompt, eras by date or by time of day. This room
must never raise: what it can't read is unknown.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from payonce.ledger.price_rows import Era, Override, Row, Window, midnight

_MILLION: Final = 1_000_000
_FIELDS: Final = (
    ("input", "input_mtok", ""),
    ("output", "output_mtok", ""),
    ("cache_read", "cache_read_mtok", ""),
    ("cache_write_5m", "cache_write_5m_mtok", "cache_write_mtok"),
    ("cache_write_1h", "cache_write_1h_mtok", ""),
)
Finder = Callable[[str, str | None], Row | None]
"""The row of a model id, billed by a provider (an id of the table, or a base URL); None where nothing is known."""


def genai_finder() -> Finder | None:
    """The table of genai-prices, or None where the extra is not installed. Slow: imports the package."""
    try:
        snapshot = importlib.import_module("genai_prices.data_snapshot").get_snapshot()
    except Exception:  # noqa: BLE001 - a broken table is no table: prices are then unknown, calls never fail
        return None

    def find(model: str, provider: str | None) -> Row | None:
        try:
            return _find(snapshot, model, provider)
        except Exception:  # noqa: BLE001 - LookupError where unknown; anything else is unknown too
            return None

    return find


def _find(snapshot: Any, model: str, provider: str | None) -> Row | None:
    if provider is None and "/" in model:  # an id of OpenRouter's, or of the maker's where OpenRouter has none
        author, _, name = model.removeprefix("~").partition("/")
        return _found(snapshot, model, "openrouter") or _found(snapshot, name, author)
    if provider is not None and "://" in provider:
        # The table's patterns are prefixes: a host that only begins like a provider's is not that provider.
        url = provider
        provider = next(
            (one.id for one in snapshot.providers if re.match(f"(?:{one.api_pattern})(?![\\w.-])", url)), None
        )
        if provider is None:
            return None
    return _found(snapshot, model, provider)


def _found(snapshot: Any, model: str, provider: str | None) -> Row | None:
    try:
        owner, info = snapshot.find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    row = _row(info)
    if row is None or owner.id != "openrouter" or "/" not in info.id:
        return row
    author, _, name = info.id.removeprefix("~").partition("/")
    return _completed(row, _found(snapshot, name, author))


def _completed(row: Row, maker: Row | None) -> Row:
    """OpenRouter's prices with the maker's for an hour's write, which the table lacks for most: taken only into an era
    all of whose prices are the maker's latest."""
    if maker is None:
        return row
    return Row(row.source, tuple(_complete(era, maker.eras[-1]) for era in row.eras))


def _complete(era: Era, maker: Era) -> Era:
    pairs = list(zip(era.overrides, maker.overrides, strict=False))
    same = (
        "cache_write_1h" not in era.prices
        and _same(era.prices, maker.prices)
        and len(era.overrides) == len(maker.overrides)
        and all(one.above == other.above and _same(one.prices, other.prices) for one, other in pairs)
    )
    if not same:
        return era
    overrides = tuple(Override({**other.prices, **one.prices}, one.above, one.window) for one, other in pairs)
    return Era({**maker.prices, **era.prices}, overrides, era.since, era.window)


def _same(one: Any, other: Any) -> bool:
    shared = one.keys() & other.keys()
    return {"input", "cache_write_5m"} <= shared and all(one[kind] == other[kind] for kind in shared)


def _row(info: Any) -> Row | None:
    listed = info.prices if isinstance(info.prices, list) else [None]
    eras = [_era(info.prices, None) if one is None else _era(one.prices, one.constraint) for one in listed]
    return Row("genai-prices", tuple(eras)) if eras else None


def _era(price: Any, constraint: Any) -> Era:
    base: dict[str, Decimal] = {}
    tiers: dict[int, dict[str, Decimal]] = {}
    for kind, name, fallback in _FIELDS:
        value = getattr(price, name, None)
        if value is None and fallback:
            value = getattr(price, fallback, None)
        if value is None:
            continue
        base[kind] = getattr(value, "base", value) / _MILLION
        for tier in getattr(value, "tiers", ()):
            tiers.setdefault(tier.start, {})[kind] = tier.price / _MILLION
    overrides = tuple(Override(prices, above) for above, prices in sorted(tiers.items()))
    return Era(base, overrides, *_when(constraint))


def _when(constraint: Any) -> tuple[float | None, Window | None]:
    if (start := getattr(constraint, "start_date", None)) is not None:
        return midnight(start.year, start.month, start.day), None
    if (start := getattr(constraint, "start_time", None)) is not None:
        return None, Window(_second(start), _second(constraint.end_time))
    return None, None


def _second(time: Any) -> int:
    offset = time.utcoffset()
    return int(time.hour * 3600 + time.minute * 60 + time.second - (offset.total_seconds() if offset else 0)) % 86_400
