"""The first page. This room must never ask for a figure; overview.py does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from payonce.books.words import Figures, Histogram, Point
from payonce.dashboard.asking import link
from payonce.dashboard.frame import Framed
from payonce.dashboard.html import Child, Element, h
from payonce.dashboard.overview import SPANS, Overview
from payonce.dashboard.pieces import (
    Column,
    badge,
    card,
    cards,
    count,
    nothing,
    notice,
    price,
    seconds,
    section,
    share,
    table,
    to,
)
from payonce.dashboard.requests import FROM_CACHE
from payonce.model.reason import REASONS

_MODELS: Final = (
    Column("Model"),
    Column("Requests", number=True),
    Column("Hit rate", number=True),
    Column("Paid", number=True),
    Column("Avoided", number=True),
)
_STEPS: Final = (
    Column("From"),
    Column("Requests", number=True),
    Column("Hit rate", number=True),
    Column("Avoided", number=True),
    Column("Prompt cache, net", number=True),
    Column("Paid", number=True),
    Column("Hit, median", number=True),
    Column("Miss, median", number=True),
)


def overview_page(shown: Overview) -> Framed:
    """All of it."""
    spans = [
        h("li", h("a", each.title, href=link("", span=each.name), aria_current="true" if each == shown.span else None))
        for each in SPANS.values()
    ]
    chosen = h("ul", *spans, class_="spans", aria_label="Time shown")
    empty = None if shown.total.requests or shown.total.calls else nothing("Nothing was asked in this time.")
    trouble = f"The ledger can't be written, so figures are missing, and no answer is: {shown.trouble}"
    said = notice(trouble, look="warning") if shown.trouble else None
    parts = (said, chosen, _cards(shown), empty, _charts(shown), _breakdown(shown), _steps(shown))
    return Framed("", "Overview", parts, f"The last {_LENGTHS[shown.span.name]}, all gateways that share the store.")


_LENGTHS: Final = {"1h": "hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}


def _cards(shown: Overview) -> Element:
    total, since = shown.total, round(shown.since)
    talks = link("conversations", since=since)
    hit, miss = _median(shown.latency.get("hit")), _median(shown.latency.get("miss"))
    every = link("requests", since=since)
    hits, misses = (link("requests", outcome=outcome, since=since) for outcome in (FROM_CACHE, "miss"))
    made = _parts(
        (f"{price(total.avoided_nano)} by answers from the cache{_by_price(total)}", hits),
        (f"{price(shown.prompt_nano)} by prompt caching", talks),
    )
    past = (f"{count(total.bypassed)} requests past the cache", link("requests", outcome="bypass", since=since))
    calls = _parts((f"{count(total.calls)} upstream calls", every), *([past] if total.bypassed else []))
    unaided = f", {price(total.unaided_nano)} of it unaided" if total.unaided_nano else ""
    return cards(
        card("Saved", price(shown.saved_nano), made, href=link("", span=shown.span.name) + "#money", look="first"),
        card("Requests", count(total.requests), _outcomes(total, since), href=every),
        card(
            "Hit rate",
            share(total.hit_rate),
            _parts((f"{count(total.served)} from the cache", hits), (f"{count(total.misses)} misses", misses)),
            href=hits,
        ),
        card("Paid", price(total.paid_nano), calls, href=every),
        card("Median answer", seconds(hit), _parts(("hits", hits), (f"misses {seconds(miss)}", misses)), href=hits),
        card(
            "Prompt cache",
            share(total.read_share),
            _parts(("of input tokens read", talks), (f"{price(total.net_nano)} net{unaided}", talks)),
            href=talks,
        ),
        card(
            "Lost",
            price(total.missed_nano),
            _parts(
                ("by avoidable prompt-cache misses", link("findings")),
                (f"{price(total.unread_nano)} for writes nobody read", talks),
            ),
            href=link("findings"),
        ),
    )


def _by_price(total: Figures) -> str:
    """What of the money that answers from the cache saved was worked out, as they say no cost."""
    estimated = total.avoided_estimated
    return (
        f", {price(estimated)} of it by price" if 0 < estimated < total.avoided_nano else ", by price" * bool(estimated)
    )


def _parts(*parts: tuple[str, str]) -> Element:
    """What a figure is made of: a text and where it leads, for each part."""
    return h("span", *(h("a", text, href=href) for text, href in parts), class_="parts")


def _outcomes(total: Figures, since: int) -> Child:
    """How many of each outcome, each leading to its requests."""
    counts = {"hit": total.hits, "miss": total.misses, "collapsed": total.collapsed, "stale": total.stale}
    counts |= {"bypass": total.bypassed, "refused": total.refused}
    return _parts(
        *(
            (f"{count(number)} {name}", link("requests", outcome=name, since=since))
            for name, number in counts.items()
            if number
        )
    )


def _charts(shown: Overview) -> Element:
    at = [point.at for point in shown.series]
    medians = dict(shown.latency_series)
    hit = [_median(medians.get(step, {}).get("hit")) for step in at]
    miss = [_median(medians.get(step, {}).get("miss")) for step in at]
    rate = [None if (found := point.figures.hit_rate) is None else round(found * 100, 2) for point in shown.series]
    return h(
        "div",
        _chart(
            "Money saved",
            "dollars",
            at,
            {
                "answers from the cache": _each(shown, lambda one: one.avoided_nano / 1e9),
                "prompt caching": _each(shown, lambda one: (one.net_nano - one.unaided_nano) / 1e9),
            },
            filled=True,
            id_="money",
        ),
        _chart("Hit rate", "percent", at, {"of cacheable requests": rate}, most=100),
        _chart("Median time to answer", "seconds", at, {"hits": hit, "misses": miss}),
        _chart(
            "Requests",
            "count",
            at,
            {
                "answered from the cache": _each(shown, lambda one: one.served),
                "went upstream": _each(shown, lambda one: one.misses + one.bypassed),
            },
            filled=True,
        ),
        class_="columns",
    )


def _each(shown: Overview, figure: Callable[[Figures], float]) -> list[float | None]:
    return [figure(point.figures) for point in shown.series]


def _chart(
    title: str, unit: str, at: Sequence[int], lines: dict[str, list[float | None]], *, id_: str = "", **more: Any
) -> Element:
    """A chart, drawn by dashboard.js from what stands in its attribute; the table at the end of the page says the same
    for who can't see it."""
    told = {
        "unit": unit,
        "at": at,
        "series": [{"label": label, "values": values} for label, values in lines.items()],
        **more,
    }
    drawn = h(
        "div",
        class_="chart",
        role="img",
        aria_label=f"{title} over time; the table below has the figures",
        data_chart=orjson.dumps(told).decode(),
    )
    return h("section", h("h2", title), drawn, class_="panel", id=id_ or None)


def _breakdown(shown: Overview) -> Element:
    since = round(shown.since)
    models = [_model(one.by[0], one.figures, since) for one in shown.models]
    reasons = [_reason(one.by[0], one.by[1], one.figures.requests, since) for one in shown.reasons]
    columns = (Column("Outcome"), Column("Reason"), Column("Requests", number=True), Column("That is", wide=True))
    return h(
        "div",
        section("Models", table("The models asked for most", _MODELS, models)) if models else None,
        section("Why not a hit", table("Why requests were no hits", columns, reasons)) if reasons else None,
        class_="columns",
    )


def _model(name: str, figures: Figures, since: int) -> tuple[Child, ...]:
    every, hits, _ = _lists(figures, model=name, since=since)
    return (
        h("a", name, href=every),
        to(every, count(figures.requests)),
        to(hits, share(figures.hit_rate)),
        to(every, price(figures.paid_nano)),
        to(hits, price(figures.avoided_nano)),
    )


def _lists(figures: Figures, **which: str | int) -> tuple[str, str, str]:
    """Where requests are listed: all of them, the hits, the misses; all of them where there are none of a kind."""
    every = link("requests", **which)
    hits, misses = (link("requests", **which, outcome=outcome) for outcome in (FROM_CACHE, "miss"))
    return every, hits if figures.served else every, misses if figures.misses else every


def _reason(outcome: str, reason: str, requests: int, since: int) -> tuple[Child, ...]:
    href = link("requests", outcome=outcome, reason=reason, since=since)
    sentence = REASONS[reason].sentence if reason in REASONS else None
    return badge(outcome), h("a", reason, href=href), to(href, count(requests)), sentence


def _steps(shown: Overview) -> Element:
    medians = dict(shown.latency_series)
    first = int(shown.since) // 60 * 60  # of the first step, what was before the span is not shown
    rows = [
        _step(point, range(max(first, point.at), point.at + shown.span.step), medians.get(point.at, {}))
        for point in shown.series
        if point.figures.requests or point.figures.calls
    ]
    return h(
        "details", h("summary", "The figures of the charts as a table"), table("Step by step, in UTC", _STEPS, rows)
    )


def _step(point: Point, time: range, medians: Mapping[str, Histogram]) -> tuple[Child, ...]:
    every, hits, misses = _lists(point.figures, since=time.start, until=time.stop)
    return (
        h("a", h("time", _clock(point.at), datetime=_clock(point.at) + "Z"), href=every),
        to(every, count(point.figures.requests)),
        to(hits, share(point.figures.hit_rate)),
        to(hits, price(point.figures.avoided_nano)),
        to(link("conversations", since=time.start), price(point.figures.net_nano)),
        to(every, price(point.figures.paid_nano)),
        to(hits, seconds(_median(medians.get("hit")))),
        to(misses, seconds(_median(medians.get("miss")))),
    )


def _clock(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def _median(histogram: Histogram | None) -> float | None:
    return None if histogram is None else histogram.quantile(0.5)
