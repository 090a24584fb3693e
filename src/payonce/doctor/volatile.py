"""Text that will be another in the next request: times, dates, random ids, counters, the state of a checkout.

Each pattern runs in time linear in the text, on at most `_LONGEST` characters. An example of a date in an instruction
is no such text, so a time counts where it is near `now`, or where words around it say that it is the present one. This
room must never know where a text stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_LONGEST: Final = 1 << 16
_NEAR: Final = 2 * 86400.0
"""A time that is no farther from now than that, in seconds, is the present one, whatever stands around it."""
_AROUND: Final = 48


@dataclass(frozen=True, slots=True)
class Volatile:
    """A piece of text that changes: `what` it is, where it begins and ends, and how often it changes."""

    what: str
    start: int
    end: int
    pace: str = "always"
    """`always`, `daily`, or `local`: it differs between machines, not between requests."""


_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sep(?:t(?:ember)?)?"
    r"|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
_CLOCK = r"(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:[.,]\d{1,9})?)?"

_STAMP = re.compile(rf"\b(20\d\d)-(\d\d)-(\d\d)[T ]\s?{_CLOCK}(?:\s?(?:Z|UTC|[+-]\d\d:?\d\d))?", re.ASCII)
_PROSE_STAMP = re.compile(
    rf"\b(?:{_MONTH}\s\d{{1,2}}(?:st|nd|rd|th)?,?\s(20\d\d)|\d{{1,2}}\s{_MONTH},?\s(20\d\d))"
    rf"(?:,|\sat|\s-|\s@)?\s{_CLOCK}",
    re.ASCII | re.IGNORECASE,
)
_UNIX_DATE = re.compile(
    rf"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\s{_MONTH}\s+\d{{1,2}}\s{_CLOCK}\s(?:[A-Z]{{2,5}}\s)?20\d\d", re.ASCII
)
_DAY = re.compile(
    rf"\b(?:20\d\d-\d\d-\d\d|20\d\d/\d\d/\d\d|\d{{1,2}}[./]\d{{1,2}}[./]20\d\d"
    rf"|{_MONTH}\s\d{{1,2}}(?:st|nd|rd|th)?,?\s20\d\d|\d{{1,2}}\.?\s{_MONTH},?\s20\d\d)\b",
    re.ASCII | re.IGNORECASE,
)
_TIME = re.compile(rf"\b{_CLOCK}(?:\s?[AaPp]\.?[Mm]\b|\s?(?:UTC|GMT|Z)\b)?", re.ASCII)
_EPOCH = re.compile(r"(?<![\d.-])1[6-9]\d{8}(?:\d{3})?(?:\.\d{1,6})?(?![\d-])", re.ASCII)
_UUID = re.compile(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b", re.ASCII)
_ID = re.compile(
    r"\b(?:request|trace|span|correlation|session|run|conversation|thread|message|execution|invocation)[ _-]?id\b"
    r"[\"'*`]{0,3}\s{0,3}(?:[:=]|is)\s{0,3}[\"'*`]{0,3}([A-Za-z0-9][\w.:-]{5,120})",
    re.ASCII | re.IGNORECASE,
)
_NONCE = re.compile(
    r"\b(?:cch|nonce|cachebuster|cache_bust)\s?[=:]\s?[\"']?[A-Za-z0-9_-]{4,80}", re.ASCII | re.IGNORECASE
)
_COUNTER = re.compile(
    r"\b(?:turn|iteration|attempt|request|message|call)\s(?:number|count|no\.?|#)\s{0,2}[:=]?\s{0,2}#?\d+"
    r"|\b(?:turn|iteration|attempt)\s?[:#=]\s?\d+"
    r"|\b(?:tokens?|budget|requests?|turns?|steps?|seconds?|credits?)\s(?:remaining|left|used|so far)"
    r"\s{0,2}[:=]\s{0,2}[$]?\d[\d,.]*"
    r"|\b(?:remaining|used)\s(?:tokens?|budget|requests?|turns?|steps?|credits?)\s{0,2}[:=]\s{0,2}[$]?\d[\d,.]*",
    re.ASCII | re.IGNORECASE,
)
_CHECKOUT = re.compile(
    r"\bOn branch \S{1,80}|\bgit ?status\b\s{0,3}[:>]|\bgitStatus\b|\bCurrent branch:\s?\S{1,80}|\bRecent commits:"
    r"|\bChanges not staged for commit|\bUntracked files:",
    re.IGNORECASE,
)
_PLACE = re.compile(
    r"\b(?:current )?(?:working directory|cwd|pwd)\b[\"'*`]{0,3}\s{0,3}(?:[:=]|is)\s{0,3}[\"'*`]{0,3}"
    r"(?:/|~|[A-Za-z]:\\)[^\s\"'<>]{1,160}",
    re.IGNORECASE,
)

_PRESENT = re.compile(
    r"\b(?:current(?:ly)?|now|today(?:'s)?|present|as of|date|time|timestamp|generated|rendered|started|updated"
    r"|created|refreshed|it is|local)\b",
    re.IGNORECASE,
)
_TODAY = re.compile(r"\b(?:current(?:ly)?|now|today(?:'s)?|as of|it is|date(?: is|:))", re.IGNORECASE)
_EXAMPLE = re.compile(
    r"\b(?:e\.?g\.?|example|examples|such as|for instance|format(?:ted)?|formats|like|default(?:s)?|iso.?8601"
    r"|between|until|since|before|after|released?|version|cutoff|cut-off|founded|born|published|effective)\b",
    re.IGNORECASE,
)


def volatile(text: str, now: float | None = None, *, careful: bool = False) -> Iterator[Volatile]:
    """The pieces of `text` that will be others in the next request, the surest first. `now` is in Unix seconds;
    `careful` is for definitions of tools, which are full of examples: there only what is near `now` counts."""
    text = text[:_LONGEST]
    if not any(map(str.isdigit, text)) and not _CHECKOUT.search(text) and not _PLACE.search(text):
        return
    yield from _times(text, now, careful=careful)
    if careful:
        return
    for pattern, what in ((_UUID, "a random id"), (_ID, "an id"), (_NONCE, "a nonce"), (_COUNTER, "a counter")):
        for found in pattern.finditer(text):
            if not _exemplary(text, found) and not (pattern is _ID and not any(map(str.isdigit, found[1]))):
                yield Volatile(what, *found.span())
    for pattern, what in ((_CHECKOUT, "the state of a checkout"), (_PLACE, "a working directory")):
        for found in pattern.finditer(text):
            yield Volatile(what, *found.span(), pace="local")
    yield from _days(text, now)


def looks_volatile(before: str, after: str) -> str:
    """What kind of changing text two differing pieces are; "" where they look like an edit."""
    for pattern, what in _KINDS:
        if pattern.search(before) and pattern.search(after):
            shape = pattern.sub("\0", before), pattern.sub("\0", after)
            if _shape(shape[0]) == _shape(shape[1]):
                return what
    return "a number" if before and after and _shape(before) == _shape(after) and len(before) <= 80 else ""


_KINDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (_STAMP, "a time"),
    (_PROSE_STAMP, "a time"),
    (_UNIX_DATE, "a time"),
    (_EPOCH, "a time"),
    (_UUID, "a random id"),
    (_ID, "an id"),
    (_NONCE, "a nonce"),
    (_DAY, "a date"),
    (_TIME, "a time"),
    (_COUNTER, "a counter"),
    (_CHECKOUT, "the state of a checkout"),
)


def _shape(text: str) -> str:
    """Digits and random-looking words taken away."""
    return re.sub(r"\b(?=[\w-]*\d)[\w-]+|\d+", "0", text)


def _times(text: str, now: float | None, *, careful: bool) -> Iterator[Volatile]:
    for pattern in (_STAMP, _PROSE_STAMP, _UNIX_DATE):
        for found in pattern.finditer(text):
            if pattern is _STAMP and now is not None:
                counts = _is_near(found[0], now) or (
                    not careful and _leads(text, found) and not _exemplary(text, found)
                )
            else:
                counts = not (careful or _exemplary(text, found))
            if counts:
                yield Volatile("a time", *found.span())
    for found in _EPOCH.finditer(text):
        number = float(found[0][:10])
        if (now is not None and abs(number - now) < _NEAR) or (not careful and _is_said_present(text, found)):
            yield Volatile("a time", *found.span())
    if not careful:
        for found in _TIME.finditer(text):
            if _is_said_present(text, found) and not _exemplary(text, found) and len(found[0]) >= 4:
                yield Volatile("a time", *found.span())


def _days(text: str, now: float | None) -> Iterator[Volatile]:
    for found in _DAY.finditer(text):
        if _is_near(found[0], now) or (_TODAY.search(_before(text, found)) and not _exemplary(text, found)):
            yield Volatile("a date", *found.span(), pace="daily")


def _is_near(written: str, now: float | None) -> bool:
    if now is None:
        return False
    try:
        moment = datetime.fromisoformat(written[:10])
    except ValueError:
        return False
    return abs(moment.replace(tzinfo=UTC).timestamp() - now) < _NEAR + 86400


def _before(text: str, found: re.Match[str]) -> str:
    """The words before a find, on its line."""
    return text[max(0, found.start() - _AROUND) : found.start()].rpartition("\n")[2]


def _leads(text: str, found: re.Match[str]) -> bool:
    """Whether it is said to be the present time, or begins its line, as in a log."""
    return _is_said_present(text, found) or not _before(text, found).strip(" \t[(<#*-")


def _is_said_present(text: str, found: re.Match[str]) -> bool:
    return _PRESENT.search(_before(text, found)) is not None


def _exemplary(text: str, found: re.Match[str]) -> bool:
    return _EXAMPLE.search(_before(text, found)) is not None
