"""`payonce stats`: what all gateways on a store did and saved, as they noted it. This room must never count itself."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from payonce.books.words import BY
from payonce.cli.entries import open_named
from payonce.cli.flags import AsJson, ConfigFile, StoreUrl, Switch
from payonce.cli.output import print_json, say, table
from payonce.cli.stats_ledger import books_of, show
from payonce.config_types import duration
from payonce.errors import SettingsError
from payonce.ledger.prices import MISSING_EXTRA
from payonce.ledger.tally import add_up, summary
from payonce.model.ports import Notebook, Rationing
from payonce.model.quota import NEAR, SHOWN_TENANTS, Holding, Quotas, fullness
from payonce.model.reason import REASONS
from payonce.wording import money, size, span

WATCH_SECONDS: Final = 2.0
CLEAR: Final = "\x1b[H\x1b[2J"
"""Empties the screen of a terminal."""


def stats(
    *,
    since: Annotated[
        str | None, Parameter(help="Only the last 30m, 24h, 7d …, as the ledger has it.", allow_leading_hyphen=True)
    ] = None,
    by: Annotated[str | None, Parameter(help=f"Tell figures apart by {', '.join(BY)}; several with commas.")] = None,
    watch: Annotated[bool, Switch, Parameter(help="Print anew every two seconds, until interrupted.")] = False,
    json: AsJson = False,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> int:
    """What the cache did and saved: requests by outcome, money, time, and why requests were not hits."""
    length = None if since is None else duration(since)
    if since is not None and not length:
        raise SettingsError(f"--since: {since!r} is not a length of time; write, for example, 30m, 24h or 7d")
    wanted = () if by is None else tuple(name.strip() for name in by.split(","))
    if unknown := [name for name in wanted if name not in BY]:
        raise SettingsError(f"--by: {unknown[0]!r} can't be told apart; use {', '.join(BY)}")

    def draw() -> None:
        figures = _figures(store, config, length, wanted)
        if json:
            print_json(figures, lines=watch)
        else:
            _print(figures)
            _print_ledger(figures, wanted, since=since is not None)

    draw()
    if not watch:
        return 0
    clear = CLEAR if sys.stdout.isatty() else "\n"
    return again(draw, time.sleep, "" if json else clear)


def again(draw: Callable[[], None], wait: Callable[[float], None], between: str) -> int:
    """Draw every two seconds, with `between` before each time, until interrupted."""
    try:
        while True:
            sys.stdout.flush()
            wait(WATCH_SECONDS)
            sys.stdout.write(between)
            draw()
    except KeyboardInterrupt:
        return 0


def _figures(store: str | None, config: Path | None, length: float | None, by: Sequence[str]) -> dict[str, Any]:
    """Everything that is told, as plain values."""
    since = 0.0 if length is None else time.time() - length
    with open_named(store, config, time.time) as (opened, settings):
        if not isinstance(opened, Notebook):
            raise SettingsError("store: this store keeps no figures; look at the gateway's /metrics instead")
        notes = opened.notes()
        volume = opened.volume()
        holdings = opened.holdings(SHOWN_TENANTS) if isinstance(opened, Rationing) else ()
    books = books_of(settings, notes, since, by)
    figures = summary(add_up(notes, since))
    figures["source"] = "tallies"
    if length is not None and books.tally is not None:  # tallies have whole hours; what only they have stays
        figures |= summary(books.tally) | {name: figures[name] for name in ("waits", "dropped")}
        figures["source"] = "ledger"
    figures["store"] = {"entries": volume.entries, "bytes": volume.used_bytes, "limit_bytes": volume.limit_bytes}
    figures["tenants"] = [_tenant(holding, settings.quotas) for holding in holdings]
    figures["ledger"] = books.ledger
    figures["ledger_trouble"] = books.trouble
    return figures


def _print_ledger(figures: dict[str, Any], by: Sequence[str], *, since: bool) -> None:
    """Its part, or why there is none where something hangs on it."""
    if figures["ledger"] is not None:
        show(figures["ledger"], by)
    elif figures["ledger_trouble"]:
        say(f"the ledger's part is missing: {figures['ledger_trouble']}")
    elif since:
        say("these are figures of whole hours: without a ledger nothing shorter is known")


def _print(figures: dict[str, Any]) -> None:
    avoided, paid, passed, kept = figures["avoided"], figures["paid"], figures["passed"], figures["store"]
    rate = "-" if figures["hit_rate"] is None else f"{figures['hit_rate']:.1%}"
    tokens = f"{avoided['input_tokens']:,} in, {avoided['output_tokens']:,} out"
    bill = money(Decimal(paid["dollars"]) + Decimal(passed["dollars"]))
    rows = [
        ("requests", str(figures["requests"])),
        *((f"  {name}", str(count)) for name, count in figures["outcomes"].items() if count),
        ("hit rate", rate),
        ("upstream calls", f"{figures['upstream_calls'] + passed['calls']} made, {avoided['calls']} avoided"),
        ("money", f"{bill} paid, {_money(avoided['dollars'])} avoided"),
        *(
            [("  past the cache", f"{_money(passed['dollars'])} paid, calls: {passed['calls']}")]
            if passed["calls"]
            else []
        ),
        ("tokens avoided", tokens),
        ("waiting avoided", span(avoided["seconds"])),
        *_waits(figures["waits"]),
        ("store", f"{kept['entries']} entries, {size(kept['bytes'])}"),
    ]
    if Decimal(avoided["estimated_dollars"]):
        rows.append(("of what was avoided", f"{_money(avoided['estimated_dollars'])} estimated, by price"))
    if avoided["calls_without_price"]:
        rows.append(("of unknown price", f"{avoided['calls_without_price']} of the avoided calls"))
    if paid["estimated_calls"]:
        rows.append(
            (
                "of what was paid",
                f"{_money(paid['estimated_dollars'])} estimated, by price for {paid['estimated_calls']} calls",
            )
        )
    table(("", "total"), rows)
    if figures["prompt_cache"]["calls"]:
        say()
        table(("prompt cache", "total"), _prompt(figures["prompt_cache"]))
        if figures["prompt_cache"]["unknown_price"] and find_spec("genai_prices") is None:
            say(MISSING_EXTRA)
    if full := [tenant for tenant in figures["tenants"] if (tenant["quota_share"] or 0) >= NEAR]:
        say()
        table(("tenant near its quota", "entries", "size", "of its quota"), [_cells(tenant) for tenant in full])
    for title, name in (
        ("not a hit, because", "reasons"),
        ("not kept, because", "unkept"),
        ("lost, because", "dropped"),
    ):
        if figures[name]:
            say()
            table((title, "count", ""), [_why(*found) for found in figures[name].items()], right=("count",))


def _tenant(holding: Holding, quotas: Quotas) -> dict[str, Any]:
    quota = quotas.of(holding.tenant)
    share = round(fullness(holding, quota), 4) if any(quota) else None
    return {"tenant": holding.tenant, "entries": holding.entries, "bytes": holding.used_bytes, "quota_share": share}


def _cells(tenant: dict[str, Any]) -> tuple[str, ...]:
    held = size(tenant["bytes"]) if tenant["bytes"] else ""
    return tenant["tenant"][:16], str(tenant["entries"]), held, f"{tenant['quota_share']:.0%}"


def _waits(waits: dict[str, Any]) -> list[tuple[str, str]]:
    """How often an answer was awaited that another process was paying for."""
    brought, lone = waits.get("brought", 0), waits.get("nothing", 0) + waits.get("in_vain", 0)
    if not brought + lone:
        return []
    return [("calls of others awaited", f"{brought} answered, {lone} in vain, {span(waits['seconds'])}")]


def _prompt(cache: dict[str, Any]) -> list[tuple[str, str]]:
    share = "-" if cache["read_share"] is None else f"{cache['read_share']:.1%}"
    rows = [
        ("read", f"{share} of {cache['input_tokens']:,} input tokens"),
        ("saved, net of premiums", f"{_money(cache['net'])}, {_money(cache['unaided'])} of it without Payonce"),
        ("  discount on reads", _money(cache["read_saving"])),
        ("  premium on writes", _money(cache["write_premium"])),
    ]
    if cache["unread_tokens"]:
        rows.append(("  of that never read", f"{_money(cache['unread'])}, {cache['unread_tokens']:,} tokens"))
    if cache["missed_tokens"]:
        rows.append(("avoidable misses", f"{_money(cache['missed'])}, {cache['missed_tokens']:,} tokens"))
    for name, what in (("unknown_usage", "usage"), ("unknown_price", "price")):
        if cache[name]:
            rows.append((f"of unknown {what}", f"{cache[name]} of {cache['calls']} calls"))
    return rows


def _money(text: str) -> str:
    return money(Decimal(text))


def _why(id: str, count: int) -> tuple[str, str, str]:  # noqa: A002 - the word of the table of reasons
    reason = REASONS.get(id)
    return id, str(count), reason.sentence if reason else ""
