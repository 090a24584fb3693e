"""On which line each key of a TOML document stands.

The document must be one that tomllib accepts: then a walk that knows keys, strings, comments and brackets is enough,
and no value has to be understood. This room must never know what a key means.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

Path = tuple[str | int, ...]
Lines = Mapping[Path, int]

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_LONG_BASIC = re.compile(r'"""(?:[^\\]|\\.)*?""""{0,2}', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''.*?''''{0,2}", re.DOTALL)
_SCALAR = re.compile(r"[^,\]}#\n]*")


def locate(text: str) -> Lines:
    """The line (from 1) of every key, table, array item and `[[table]]` of a valid document, by its path."""
    return _Walk(text.replace("\r\n", "\n")).document()


def line_of(lines: Lines, path: Path) -> int:
    """The line of `path`, or of the nearest thing around it; 1 for the whole document."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return 1


class _Walk:
    """One pass over the text. `at` only grows; every method leaves it behind what it has read."""

    __slots__ = ("at", "counted", "counts", "line", "lines", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}
        self.counted = 0
        self.line = 1

    def document(self) -> Lines:
        table: Path = ()
        while True:
            self.skip(_BLANK)
            if self.at >= len(self.text):
                return self.lines
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.member(table)

    def header(self) -> Path:
        """`[a.b]` or `[[a.b]]`: the path of the table that follows."""
        many = self.text.startswith("[[", self.at)
        line = self.here()
        self.at += 2 if many else 1
        parts = self.key()
        self.at += 2 if many else 1
        path: Path = ()
        for index, part in enumerate(parts, start=1):
            path += (part,)
            self.lines.setdefault(path, line)
            if many and index == len(parts):
                self.counts[path] = self.counts.get(path, 0) + 1
            if path in self.counts:
                path += (self.counts[path] - 1,)
                self.lines.setdefault(path, line)
        return path

    def member(self, table: Path) -> None:
        """`key = value`, in a table or in braces."""
        line = self.here()
        path = table
        for part in self.key():
            path += (part,)
            self.lines.setdefault(path, line)
        self.skip(_SPACE)
        self.at += 1
        self.skip(_SPACE)
        self.value(path)

    def key(self) -> list[str]:
        """A key and its dotted parts; ends before `=` or `]`."""
        parts = []
        while True:
            self.skip(_SPACE)
            raw = self.take(_BARE) or self.take(_BASIC) or self.take(_LITERAL)
            parts.append(next(iter(tomllib.loads(f"{raw} = 0"))))
            self.skip(_SPACE)
            if self.text[self.at : self.at + 1] != ".":
                return parts
            self.at += 1

    def value(self, path: Path) -> None:
        """Any value; keys and items inside it are recorded under `path`."""
        rest = self.text[self.at : self.at + 3]
        if rest == '"""':
            self.skip(_LONG_BASIC)
        elif rest == "'''":
            self.skip(_LONG_LITERAL)
        elif rest[:1] == '"':
            self.skip(_BASIC)
        elif rest[:1] == "'":
            self.skip(_LITERAL)
        elif rest[:1] in ("[", "{"):
            self.bracketed(path, "]" if rest[0] == "[" else "}")
        else:
            self.skip(_SCALAR)

    def bracketed(self, path: Path, end: str) -> None:
        """An array (its items are numbered) or an inline table."""
        self.at += 1
        index = 0
        while True:
            self.skip(_BLANK)
            mark = self.text[self.at : self.at + 1]
            if mark in (end, ""):
                self.at += 1
                return
            if mark == ",":
                self.at += 1
            elif end == "}":
                self.member(path)
            else:
                item = (*path, index)
                self.lines[item] = self.here()
                self.value(item)
                index += 1

    def here(self) -> int:
        """The line of `at`."""
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.line

    def take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if not found:
            return ""
        self.at = found.end()
        return found[0]

    def skip(self, pattern: re.Pattern[str]) -> None:
        self.take(pattern)
