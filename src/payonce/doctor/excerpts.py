"""Short pieces of prompts: where two texts differ, without credentials, and a bounded shelf of texts to compare with.

This room must never show a credential, nor hold more text than it was given room for.
"""

from __future__ import annotations

import re
from collections import OrderedDict

WIDTH = 96
"""Characters of an excerpt."""

_SECRETS = re.compile(
    r"""
    \b(?:sk|pk|rk|xai|gsk|pplx|hf|fw|r8|glpat|ghp|gho|ghu|ghs|github_pat|xox[abprs]|AIza|AKIA|ASIA)[-_]?[A-Za-z0-9_-]{12,}
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?
    | (?i:\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}
    | (?i:\b(?:api[_-]?key|secret|token|passwd|password|authorization|credential)s?["']?\s{0,3}[:=]\s{0,3}["']?)
      [^\s"',;]{6,}
    | (?<=://)[^\s/@:]{1,80}:[^\s/@]{1,200}(?=@)
    """,
    re.VERBOSE,
)


def redacted(text: str) -> str:
    """`text` with everything that looks like a credential replaced by `***`."""
    return _SECRETS.sub("***", text)


def excerpt(text: str, focus: int = 0, width: int = WIDTH) -> str:
    """At most `width` characters around the place `focus`, on one line, without credentials."""
    start = max(0, min(focus - width // 3, len(text) - width))
    margin = 256  # a credential that is cut in half would not be recognised
    left, right = max(0, start - margin), start + width + margin
    shown = redacted(text[left:right])
    if shown == text[left:right]:
        shown = text[start : start + width]
    else:
        shown = _around(text, left, start, width, right)
    flat = " ".join(shown.split())
    return ("…" if start else "") + flat + ("…" if start + width < len(text) else "")


def _around(text: str, left: int, start: int, width: int, right: int) -> str:
    """The part from `start`, with each credential that reaches into it replaced whole."""
    pieces, place, end = [], start, start + width
    for found in _SECRETS.finditer(text, left, right):
        if found.end() <= place or found.start() >= end:
            continue
        pieces += [text[place : max(place, found.start())], "***"]
        place = found.end()
    return "".join((*pieces, text[place:end]))


def difference(before: str, after: str) -> tuple[str, str, int]:
    """Excerpts of both around the first character in which they differ, and that place."""
    place = _common(before, after)
    return excerpt(before, place), excerpt(after, place), place


def changed_words(before: str, after: str) -> tuple[str, str]:
    """The parts between the common beginning and the common end, at most 400 characters each, grown to whole words."""
    start = _common(before, after)
    most = min(len(before), len(after)) - start
    end = _common(before[::-1][:most], after[::-1][:most]) if most > 0 else 0
    while start and not before[start - 1].isspace():
        start -= 1
    while end and not before[len(before) - end].isspace():
        end -= 1
    return before[start : len(before) - end][:400], after[start : len(after) - end][:400]


def alike(before: str, after: str) -> bool:
    """Whether two texts are mostly the same: half of the longer one at their beginnings and ends."""
    start, end = _common(before, after), _common(before[::-1], after[::-1])
    return min(start + end, len(before), len(after)) * 2 >= max(len(before), len(after)) > 0


def _common(a: str, b: str) -> int:
    """How many characters two texts begin with alike; by halves, as comparing slices is quick."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class Texts:
    """The texts of blocks by their digest, the least recently used dropped first; a long one keeps its beginning."""

    __slots__ = ("_held", "_longest", "_room", "_used")

    def __init__(self, room: int, longest: int = 1 << 16) -> None:
        """`room` is for all of them, `longest` for one, in characters."""
        self._held: OrderedDict[int, str] = OrderedDict()
        self._room = room
        self._longest = longest
        self._used = 0

    def __contains__(self, digest: int) -> bool:
        return digest in self._held

    def __len__(self) -> int:
        """The characters held."""
        return self._used

    def keep(self, digest: int, text: str) -> None:
        """Hold `text`."""
        text = text[: self._longest]
        if digest in self._held:
            self._held.move_to_end(digest)
            return
        self._held[digest] = text
        self._used += len(text)
        while self._used > self._room:
            _, dropped = self._held.popitem(last=False)
            self._used -= len(dropped)

    def use(self, digest: int) -> None:
        """It was seen again."""
        if digest in self._held:
            self._held.move_to_end(digest)

    def get(self, digest: int) -> str | None:
        """The text, if it is still held."""
        return self._held.get(digest)
