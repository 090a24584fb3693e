"""What a program may write in the query of the JSON API: a field that is not known, or can't be read, is refused, not
passed over: an answer to another question than was meant looks like an answer.

Pages fall back to their usual view instead. This room must never look anything up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from payonce.config_types import did_you_mean
from payonce.dashboard.overview import SPANS
from payonce.dashboard.requests import FILTERS
from payonce.errors import SettingsError
from payonce.model.receipt import Outcome


class Field(NamedTuple):
    """What a field's value is like, and in words."""

    pattern: str
    meant: str


_ANY: Final = Field("(?s:.*)", "a text")
_TIME: Final = Field(r"\d{1,15}", "a Unix time in whole seconds")
_OUTCOMES: Final = "|".join(Outcome)
_FIELDS: Final[Mapping[str, Mapping[str, Field]]] = {
    "overview": {"span": Field("|".join(SPANS), f"one of {', '.join(SPANS)}")},
    "requests": dict.fromkeys(FILTERS, _ANY)
    | {
        "outcome": Field(rf"({_OUTCOMES})(,({_OUTCOMES}))*", f"one of {', '.join(Outcome)}, or several with commas"),
        "since": _TIME,
        "until": _TIME,
        "before": Field(r"\d{1,15}", "the number of a receipt (next of the page before)"),
    },
    "conversations": {
        "since": _TIME,
        "before": Field(r"\d{1,15}(\.\d{1,7})?", "a Unix time in seconds (next of the page before)"),
    },
    "entries": dict.fromkeys(("model", "tag", "namespace", "text"), _ANY)
    | {"skip": Field(r"\d{1,9}", "a number of entries (next of the page before)")},
}
_NONE: Final[Mapping[str, Field]] = {}
PURGE: Final = ("selector", "value")


def check_query(place: str, query: Mapping[str, str]) -> None:
    """Raises `SettingsError` where a field is not known at this place, or says nothing that it may; an empty one asks
    for nothing."""
    fields = _FIELDS.get(place, _NONE)
    check_names(query, fields)
    for name, value in query.items():
        pattern, meant = fields[name]
        if value and not re.fullmatch(pattern, value, re.ASCII):
            raise SettingsError(f"{name}: {value[:40]!r} is not {meant}")


def check_names(given: Iterable[str], known: Iterable[str]) -> None:
    """Raises `SettingsError` where a name that is given is not known."""
    names = sorted(known)
    for name in given:
        if name not in names:
            listed = f"what is known here: {', '.join(names)}" if names else "nothing can be asked for here"
            hint = did_you_mean(name, names)
            raise SettingsError(f"{name[:40]!r} is not a field; {hint + ' ' if hint else ''}{listed}")
