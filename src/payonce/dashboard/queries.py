"""What a program may write in the query of the JSON API: a field that can't be read is refused, not passed over.

Pages fall back to their usual view instead. This room must never look anything up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from payonce.dashboard.overview import SPANS
from payonce.errors import SettingsError
from payonce.model.receipt import Outcome

_TIME: Final = (r"\d{1,15}", "a Unix time in whole seconds")
_FIELDS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "overview": {"span": ("|".join(SPANS), f"one of {', '.join(SPANS)}")},
    "requests": {
        "outcome": ("|".join(Outcome), f"one of {', '.join(Outcome)}"),
        "since": _TIME,
        "until": _TIME,
        "before": (r"\d{1,15}", "the number of a receipt (next of the page before)"),
    },
    "conversations": {"before": (r"\d{1,15}(\.\d{1,7})?", "a Unix time in seconds (next of the page before)")},
    "entries": {"skip": (r"\d{1,9}", "a number of entries (next of the page before)")},
}


def check_query(place: str, query: Mapping[str, str]) -> None:
    """Raises `SettingsError` where a field of this place says nothing that it may; an empty one asks for nothing."""
    for name, (pattern, meant) in _FIELDS.get(place, {}).items():
        value = query.get(name, "")
        if value and not re.fullmatch(pattern, value, re.ASCII):
            raise SettingsError(f"{name}: {value[:40]!r} is not {meant}")
