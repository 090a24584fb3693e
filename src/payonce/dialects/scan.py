"""A place in JSON text that moves forward, and gives what it passes as values and as the text in which they stand.

For texts of which only a part is worth parsing. Strict: no NaN, no member twice, nothing behind the end. This room
must never know what a member means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from payonce.dialects.canonical import decoder

_SPACE = re.compile(r"[ \t\n\r]*")


class Unreadable(ValueError):  # noqa: N818 - a finding, not a mistake
    """The text is not what it should be."""


class Scan:
    """See the room's first paragraph. Every method raises `Unreadable`, or another ValueError, where the text is not
    JSON."""

    __slots__ = ("place", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        found = _SPACE.match(self.text, self.place)
        assert found is not None
        self.place = found.end()
        return self.text[self.place : self.place + 1]

    def take(self, character: str) -> None:
        """Pass this character."""
        if self.peek() != character:
            raise Unreadable
        self.place += 1

    def members(self) -> Iterator[str]:
        """The names of an object's members; whoever is given one has to pass its value."""
        self.take("{")
        seen: set[str] = set()
        while self.peek() != "}" or seen:
            name, _ = self.value()
            if not isinstance(name, str) or name in seen:
                raise Unreadable
            seen.add(name)
            self.take(":")
            yield name
            if self.peek() == "}":
                break
            self.take(",")
        self.take("}")

    def elements(self) -> Iterator[int]:
        """The numbers of a list's elements; whoever is given one has to pass it."""
        self.take("[")
        count = 0
        while self.peek() != "]" or count:
            yield count
            count += 1
            if self.peek() == "]":
                break
            self.take(",")
        self.take("]")

    def value(self) -> tuple[Any, str]:
        """A value, numbers as `orjson.Fragment`s, and its text."""
        self.peek()
        start = self.place
        value, self.place = decoder.raw_decode(self.text, start)
        return value, self.text[start : self.place]

    def flat(self) -> str:
        """The text of a list without lists in it, or of a string without quotes in it; what is inside is not read."""
        opening = self.peek()
        if opening not in ("[", '"') or not opening:
            raise Unreadable
        start = self.place
        self.place = self.text.index("]" if opening == "[" else '"', start + 1) + 1
        return self.text[start : self.place]

    def end(self) -> None:
        """Nothing may follow."""
        if self.peek():
            raise Unreadable
