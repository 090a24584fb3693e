"""What the books add to `payonce stats`: rates by count, tokens and money, where time and money went, and the trend.

This room must never add up by itself what the reader adds up.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from payonce.bookkeeping import open_reader
from payonce.books.reader import Reader
from payonce.books.tallied import BY as TALLIED_BY
from payonce.books.tallied import tallied
from payonce.books.words import CALL, PASSED, Figures, Spent, Total
from payonce.cli.output import say, shortened, table
from payonce.config import Settings
from payonce.errors import StoreError
from payonce.ledger.tally import Tally, dollars
from payonce.wording import money

TOP: Final = 10
NAME: Final = 48
"""Characters of a name that a table shows: a model's is whatever a client writes."""
STEPS: Final = 48
"""So many columns the trend has, at most."""
_BARS: Final = " ▁▂▃▄▅▆▇█"
_LENGTHS: Final = (60, 300, 900, 3600, 6 * 3600, 86400, 7 * 86400, 28 * 86400)


class Books(NamedTuple):
    """What the books say: their own part, and what the tallies tell too, as the books have it. None where nobody keeps
    any, or they can't be read, which `trouble` says then."""

    ledger: dict[str, Any] | None = None
    tally: Tally | None = None
    trouble: str = ""


def books_of(settings: Settings, notes: Mapping[str, bytes], since: float, by: Sequence[str]) -> Books:
    """The books of a store, all of them of one moment; `notes` are the store's."""
    reader = open_reader(settings, time.time, notes)
    if reader is None:
        return Books()
    try:
        with reader.still():
            if not reader.kept:
                return Books()
            return Books(told(reader, time.time(), since, by), tallied(reader.totals(since, by=TALLIED_BY)))
    except StoreError as error:
        return Books(trouble=str(error))
    finally:
        reader.close()


def told(reader: Reader, now: float, since: float, by: Sequence[str]) -> dict[str, Any]:
    """The books' figures since then, as plain values; money in US dollars as decimal text."""
    figures = reader.total(since)
    latency = reader.latency(since)
    models = [each for each in reader.totals(since, by=("model",)) if each.by[0]]
    reasons = Counter[str]()
    for each in reader.totals(since, by=("reason", "outcome")):
        if each.by[0] and each.by[1] not in {CALL, PASSED}:
            reasons[each.by[0]] += each.figures.requests
    found = {
        **_line(figures),
        "tokens_hit_rate": figures.token_hit_rate,
        "money_hit_rate": figures.money_hit_rate,
        "prompt_cache_share": figures.read_share,
        "discounted": dollars(figures.read_saving_nano),
        "premium": dollars(figures.premium_nano),
        "wasted": dollars(figures.unread_nano),
        "missed": dollars(figures.missed_nano),
        "seconds": {
            outcome: {"p50": histogram.quantile(0.5), "p99": histogram.quantile(0.99)}
            for outcome, histogram in latency.items()
        },
        "models": [{"model": each.by[0], **_line(each.figures)} for each in models[:TOP]],
        "reasons": [{"reason": name, "requests": count} for name, count in reasons.most_common(TOP)],
        "slowest": [_call(call) for call in reader.slowest(since, TOP)],
        "trend": _trend(reader, now, since),
    }
    if by:
        found["by"] = [_part(by, each) for each in reader.totals(since, by=by)]
    return found


def show(found: dict[str, Any], by: Sequence[str]) -> None:
    """The same for people."""
    rates = [found[name] for name in ("hit_rate", "tokens_hit_rate", "money_hit_rate", "prompt_cache_share")]
    say()
    table(
        ("by the ledger", ""),
        [
            ("hits, by count, tokens, money", ", ".join(map(_percent, rates[:3]))),
            ("read from the prompt cache", f"{_percent(rates[3])} of the input tokens that were paid for"),
            ("avoided, discounted", _moneys(found, "avoided", "discounted")),
            ("paid as premium, wasted, missed", _moneys(found, "premium", "wasted", "missed")),
        ],
    )
    if found["trend"]:
        say()
        for title, name in (("requests", "requests"), ("hits", "served"), ("money avoided", "avoided")):
            amounts = [Decimal(point[name]) for point in found["trend"]]
            most = money(max(amounts)) if name == "avoided" else f"{max(amounts):,}"
            say(f"{title:<16} {bars([float(amount) for amount in amounts])}  most: {most}")
    if by:
        say()
        rows = [[_name(name, part) for name in by] + _cells(part) for part in found["by"]]
        table((*by, *_HEADS), rows, right=_HEADS)
        if explained := _explained(by, found["by"]):
            say(explained)
    if found["models"] and tuple(by) != ("model",):  # which has just been told
        say()
        rows = [[_name("model", part), *_cells(part)] for part in found["models"]]
        table(("model", *_HEADS), rows, right=_HEADS)
    if found["slowest"]:
        say()
        rows = [
            [
                *(one["request"], _name("model", one), f"{one['seconds']:.2f} s"),
                _moneys(one, "dollars") if one["dollars"] else "",
            ]
            for one in found["slowest"]
        ]
        table(("slowest call of request", "model", "took", "cost"), rows, right=("took", "cost"))


_HEADS: Final = ("requests", "hits", "paid", "avoided")


def _explained(by: Sequence[str], parts: Sequence[dict[str, Any]]) -> str:
    """What the rows are that stand for upstream calls and not for requests; empty where there are none."""
    if "outcome" in by and any(part["outcome"] in {CALL, PASSED} for part in parts):
        return f"{CALL}, {PASSED}: upstream calls, with what they cost; {PASSED} are those that went past the cache"
    if "reason" in by and any(not part["reason"] for part in parts):
        return "-: hits, and upstream calls with what they cost; a reason with 0 requests is why an answer was not kept"
    return ""


def bars(amounts: Sequence[float]) -> str:
    """Amounts as a line of bars, the largest one full; what is not nothing is never drawn as nothing."""
    top = max(amounts, default=0.0)
    if top <= 0:
        return " " * len(amounts)
    return "".join(_BARS[0 if amount <= 0 else max(1, round(amount / top * 8))] for amount in amounts)


def _trend(reader: Reader, now: float, since: float) -> list[dict[str, Any]]:
    """Steps of a length that suits people, from the first in which anything was."""
    start = max(since, now - _LENGTHS[-1] * STEPS)
    if not since:
        busy = [point.at for point in reader.series(start, step=86400) if point.figures.requests]
        start = max(busy[0], now - 400 * 86400) if busy else now
    finest = reader.finest(start)
    fitting = (length for length in _LENGTHS if length >= finest and (now - start) / length <= STEPS)
    step = next(fitting, _LENGTHS[-1])
    return [
        {
            "at": point.at,
            "requests": point.figures.requests,
            "served": point.figures.served,
            "avoided": dollars(point.figures.avoided_nano),
            "paid": dollars(point.figures.paid_nano),
        }
        for point in reader.series(start, step=step)
    ]


def _line(figures: Figures) -> dict[str, Any]:
    return {
        "requests": figures.requests,
        "hit_rate": figures.hit_rate,
        "paid": dollars(figures.paid_nano),
        "avoided": dollars(figures.avoided_nano),
        "calls": figures.calls,
    }


def _part(by: Sequence[str], total: Total) -> dict[str, Any]:
    return dict(zip(by, total.by, strict=True)) | _line(total.figures)


def _call(call: Spent) -> dict[str, Any]:
    cost = "" if call.cost_nano is None else dollars(call.cost_nano)
    return {"request": call.request, "model": call.model, "seconds": call.took, "dollars": cost, "at": call.at}


def _name(by: str, part: dict[str, Any]) -> str:
    if by == "reason":
        return str(part[by]) or "-"
    return str(part[by])[:16] if by == "tenant" else shortened(str(part[by]), NAME)  # of a digest, enough to know it by


def _cells(part: dict[str, Any]) -> list[str]:
    return [str(part["requests"]), _percent(part["hit_rate"]), _moneys(part, "paid"), _moneys(part, "avoided")]


def _moneys(found: dict[str, Any], *names: str) -> str:
    """Amounts that are kept as decimal text, for people."""
    return ", ".join(money(Decimal(found[name])) for name in names)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
