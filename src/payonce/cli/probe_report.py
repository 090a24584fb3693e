"""What a probe found, as a table and sentences for people, or as values. This room must never ask anybody anything."""

from __future__ import annotations

from typing import Any

from payonce.cli.output import say, table
from payonce.doctor.excerpts import redacted
from payonce.doctor.findings import plain
from payonce.probing import Plan, Step, Verdict
from payonce.wording import money

_NAMES = {"long": "well above the minimum", "below": "a little below", "above": "a little above"}


def print_probe(plan: Plan, steps: list[Step], verdict: Verdict) -> None:
    """Each call in a row, then the verdict, what to change, and what it cost."""
    rows = [
        (
            _NAMES[step.name] if step.time == 1 else "  again",
            _count(step.usage.input_total),
            _count(step.usage.cache_read),
            _count(step.usage.cache_write),
            step.host or "-",
            "-" if step.cost is None else money(step.cost) + (" (estimate)" if step.estimated else ""),
            f"{step.seconds:.1f} s" if step.status == 200 else f"status {step.status}",
        )
        for step in steps
    ]
    table(
        ("prefix", "input", "read", "written", "host", "price", "time"),
        rows,
        right=("input", "read", "written", "price"),
    )
    say()
    say(_headline(plan, verdict))
    if (shortest := _shortest(verdict)) and verdict.works:
        say(shortest)
    for line in verdict.advice:
        say(redacted(line))
    if verdict.cost is not None:
        say(f"this probe cost {money(verdict.cost)}" + (" by the price list" if verdict.estimated else ""))


def _count(tokens: int | None) -> str:
    return "?" if tokens is None else f"{tokens:,}"


def _headline(plan: Plan, verdict: Verdict) -> str:
    how = "a marked prefix is" if plan.marked else "a prefix is, without a marker,"
    if verdict.works:
        return f"the prompt cache of {plan.model} works: {how} read when it comes again"
    return f"nothing was read from the prompt cache of {plan.model}"


def _shortest(verdict: Verdict) -> str:
    if verdict.cached is None:
        return ""
    if verdict.uncached is None:
        return f"the shortest prefix that was cached had {verdict.cached:,} tokens; none was too short"
    return f"the minimum lies between {verdict.uncached:,} tokens (not cached) and {verdict.cached:,} (cached)"


def probe_json(plan: Plan, steps: list[Step], verdict: Verdict, url: str) -> dict[str, Any]:
    """The same as plain values; money as decimal text."""
    estimate = plan.estimate()
    return {
        "model": plan.model,
        "upstream": redacted(url),
        "endpoint": plan.endpoint,
        "marked": plan.marked,
        "works": verdict.works,
        "minimum": {"documented": plan.minimum, "not_cached": verdict.uncached, "cached": verdict.cached},
        "hosts": list(verdict.hosts),
        "estimate": None if estimate is None else {"dollars": plain(estimate[0]), "most": plain(estimate[1])},
        "dollars": None if verdict.cost is None else plain(verdict.cost),
        "dollars_estimated": verdict.estimated,
        "calls_without_price": verdict.unpriced,
        "advice": [redacted(line) for line in verdict.advice],
        "calls": [
            {
                "prefix": step.name,
                "time": step.time,
                "status": step.status,
                "input": step.usage.input_total,
                "read": step.usage.cache_read,
                "written": step.usage.cache_write,
                "host": step.host,
                "dollars": None if step.cost is None else plain(step.cost),
                "estimated": step.estimated,
                "seconds": round(step.seconds, 3),
                "error": redacted(step.error),
            }
            for step in steps
        ],
    }
