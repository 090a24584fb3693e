"""How sizes, ages and amounts of money are written for people, and text that may come from anybody.

Commands and dashboard write with these. This room must never know what it writes about.
"""

from __future__ import annotations

import re
from decimal import Decimal

# Control characters (also C1, and those that turn the direction of text) could act on a terminal or turn a line of a
# page around: a stored answer or a tag must not (threat table: what is untrusted is shown, never obeyed).
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


_DIGITS = ((Decimal(1), 2), (Decimal("0.01"), 4), (Decimal("0.00001"), 6))
"""Digits after the point, for amounts from so many dollars on."""


def safe(text: str) -> str:
    """`text` without what a terminal would obey; line ends and tabs stay."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """The same on one line: line ends and tabs are written as they are in JSON."""
    return safe(text.replace("\n", "\\n").replace("\t", "\\t"))


def size(count: int) -> str:
    """`812 B`, `1.5 KiB`, `64 MiB`."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}".replace(".0 ", " ")


def span(seconds: float) -> str:
    """`12 s`, `5 min`, `3.2 h`, `2 d`."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if abs(seconds) >= length:
            return f"{seconds / length:.1f} {unit}".replace(".0 ", " ")
    return f"{seconds:.0f} s"


def money(amount: int | Decimal) -> str:
    """`$1,234.50`, `$0.0123`, `$0.001500`: the smaller it is, the more digits, so that something is not shown as
    nothing. An `int` is in billionths of a US dollar, a `Decimal` in dollars."""
    dollars = Decimal(amount).scaleb(-9) if isinstance(amount, int) else amount
    size = abs(dollars)
    digits = next((digits for least, digits in _DIGITS if size >= least), 9) if size else 2
    return f"{'-' if dollars < 0 else ''}${size:,.{digits}f}"
