"""How findings are printed, for the commands that find something. This room must never know how one is found."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from payonce.cli.output import say
from payonce.doctor.causes import Severity
from payonce.doctor.findings import Finding, plain
from payonce.wording import money, safe

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.NOTICE: "bold"}


def print_findings(findings: Sequence[Finding]) -> None:
    """Each finding with its place, the differing text and what to change; then what they cost together."""
    for finding in findings:
        _print(finding)
        say()
    say(summary(findings))


def summary(findings: Sequence[Finding]) -> str:
    """`2 findings: 1 warning, 1 notice; 5,120 tokens paid again, $0.0177 lost`."""
    if not findings:
        return "nothing is wrong"
    kinds = [(name, sum(one.severity is name for one in findings)) for name in Severity]
    said = ", ".join(f"{count} {_plural(name.value, count)}" for name, count in kinds if count)
    text = f"{len(findings)} {_plural('finding', len(findings))}: {said}"
    tokens, cost = totals(findings)
    if tokens:
        text += f"; {tokens:,} tokens paid again"
    return text + (f", {money(cost)} lost" if cost is not None else "")


def totals(findings: Iterable[Finding]) -> tuple[int, Decimal | None]:
    """Tokens paid again, and what they cost as far as it is known; None where no price is."""
    found = list(findings)
    costs = [one.cost for one in found if one.cost is not None]
    return sum(one.tokens or 0 for one in found), sum(costs, Decimal(0)) if costs else None


def findings_json(findings: Sequence[Finding], **more: Any) -> dict[str, Any]:
    """The same as plain values."""
    tokens, cost = totals(findings)
    return {
        **more,
        "wrong": any(one.wrong for one in findings),
        "tokens": tokens,
        "dollars": None if cost is None else plain(cost),
        "findings": [one.as_json() for one in findings],
    }


def _print(finding: Finding) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    head = Text.assemble((finding.severity.value, _STYLES[finding.severity]), "  ", (finding.id, "bold"))
    lost = [money(finding.cost)] if finding.cost is not None else []
    lost += [f"{finding.tokens:,} tokens"] if finding.tokens else []
    head.append("".join(f"  {part}" for part in [*lost, *([f"{finding.times} times"] if finding.times > 1 else [])]))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in _rows(finding):
        grid.add_row(f"  {label}", Text(safe(text)))
    console = Console(file=sys.stdout, highlight=False)
    if console.is_terminal:
        console.print(head)
        console.print(grid)
        return
    say(head.plain)
    for label, text in _rows(finding):
        say(f"  {label:<8}  {text}")


def _rows(finding: Finding) -> list[tuple[str, str]]:
    place = finding.where + (f" (block {finding.block})" if finding.block is not None else "")
    requests = ", ".join(str(number) for number in finding.requests if number)
    rows = [
        ("what", finding.title),
        ("where", place),
        ("that is", finding.detail),
        ("before", finding.before),
        ("after" if finding.before else "text", finding.after),
        ("model", finding.model),
        ("requests", requests),
        ("fix", finding.fix),
    ]
    return [(label, text) for label, text in rows if text]


def _plural(word: str, count: int) -> str:
    return word if count == 1 else word + "s"
