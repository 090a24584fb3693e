"""How a setting's value is read: from a flag or a variable (text), or from payonce.toml (a TOML value).

Every reader takes what was written and returns the checked value, or raises `Wrong` with what is wrong and the fix;
reading a value twice changes nothing. This room must never know where a value came from, nor what it is used for.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from payonce.core.fields import CREDENTIALS
from payonce.errors import PayonceError

Reader = Callable[[object], object]

YEAR = 31_536_000
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZES = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_SIZES |= {f"{unit}i": 1024**power for power, unit in enumerate("kmgt", start=1)}
_DURATION = re.compile(r"([0-9]{1,12})([smhdw]?)", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([kmgt]?i?)b?", re.ASCII | re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?[0-9](?:_?[0-9]){0,17}", re.ASCII)
_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_SHARE = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class Wrong(Exception):  # noqa: N818 - it carries what is wrong with one value; the caller makes the error of it
    """One value can't be used. `at` leads from the setting to the part that is wrong (a list index or a table key);
    `more` are the further things wrong with the same value; `own` is the error to raise, if it has one of its own."""

    def __init__(
        self,
        message: str,
        fix: str,
        at: tuple[str | int, ...] = (),
        more: tuple[Wrong, ...] = (),
        own: PayonceError | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.at = at
        self.more = more
        self.own = own

    def inside(self, *at: str | int) -> Wrong:
        """The same, seen from further out."""
        return Wrong(self.message, self.fix, (*at, *self.at))

    @property
    def all(self) -> tuple[Wrong, ...]:
        """Everything that is wrong with the value."""
        return (self, *self.more)


def refuse(wrongs: Sequence[Wrong]) -> None:
    """Raise all of them as one, if there are any."""
    if wrongs:
        first = wrongs[0]
        raise Wrong(first.message, first.fix, first.at, tuple(wrongs[1:]))


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that a file gets wrong."""

    line: int
    message: str
    fix: str


def shown(value: object) -> str:
    """A value as it stands in a message: short, on one line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean X?`, or the empty string where nothing is near."""
    choices = list(known)
    near = difflib.get_close_matches(word.lower().replace("-", "_"), choices, n=1, cutoff=0.6)
    near = near or difflib.get_close_matches(word.lower(), choices, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""


def integer(low: int, high: int) -> Reader:
    """A whole number from `low` to `high`."""

    def read(value: object) -> int:
        number = int(value) if isinstance(value, str) and _INTEGER.fullmatch(value.strip()) else value
        if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
            raise Wrong(f"{shown(value)} is not usable", f"write a whole number from {low} to {high}")
        return number

    return read


def number(low: float, high: float) -> Reader:
    """A finite number from `low` to `high`."""

    def read(value: object) -> float:
        result: object = value
        if isinstance(value, str):
            try:
                result = float(value)
            except ValueError:
                result = None
        if isinstance(result, bool) or not isinstance(result, int | float) or not math.isfinite(result):
            raise Wrong(f"{shown(value)} is not a number", f"write a number from {low:g} to {high:g}")
        if not low <= result <= high:
            raise Wrong(f"{shown(value)} is out of range", f"write a number from {low:g} to {high:g}")
        return float(result)

    return read


def duration(text: str) -> int | None:
    """The seconds in `90`, `90s`, `30m`, `24h`, `7d` or `2w`; None where it is none of these."""
    found = _DURATION.fullmatch(text.strip().lower())
    return int(found[1]) * _UNITS[found[2] or "s"] if found else None


def seconds(low: int, high: int) -> Reader:
    """A lifetime in whole seconds, also as `30m`, `24h`, `7d`."""

    def read(value: object) -> int:
        result = duration(value) if isinstance(value, str) else value
        if isinstance(result, bool) or not isinstance(result, int) or not low <= result <= high:
            raise Wrong(
                f"{shown(value)} is not a lifetime from {low} to {high} seconds",
                'write whole seconds, or for example "30m", "24h" or "7d"',
            )
        return result

    return read


def size(low: int, high: int) -> Reader:
    """A number of bytes, also as `1GiB`, `500MB`."""

    def read(value: object) -> int:
        result: object = value
        if isinstance(value, str):
            found = _SIZE.fullmatch(value.strip())
            result = int(float(found[1]) * _SIZES[found[2].lower()]) if found and found[2].lower() in _SIZES else None
        if isinstance(result, bool) or not isinstance(result, int):
            raise Wrong(f"{shown(value)} is not a size", 'write bytes, or for example "64MiB" or "500MB"')
        if not low <= result <= high:
            raise Wrong(f"{shown(value)} is out of range", f"write a size from {low} to {high} bytes")
        return result

    return read


def choice(*values: str) -> Reader:
    """One of a few words."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in values:
            hint = did_you_mean(value, values) if isinstance(value, str) else ""
            listed = ", ".join(f'"{known}"' for known in values)
            raise Wrong(f"{shown(value)} is not one of {listed}", hint or f'write, for example, "{values[0]}"')
        return value

    return read


def switch(value: object) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise Wrong(f"{shown(value)} is neither true nor false", "write true or false")


def names(read_one: Callable[[str], str]) -> Reader:
    """Several words: a list of strings, or one string with commas between them."""

    def read(value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, list | tuple):
            raise Wrong(f"{shown(value)} is not a list of strings", 'write, for example, ["one", "two"]')
        found: list[str] = []
        wrongs: list[Wrong] = []
        for index, item in enumerate(value):
            try:
                if not isinstance(item, str):
                    raise Wrong(f"{shown(item)} is not a string", "put it in quotes")
                found.append(read_one(item))
            except Wrong as wrong:
                wrongs.append(wrong.inside(index))
        refuse(wrongs)
        return tuple(dict.fromkeys(found))

    return read


def ignored_header(text: str) -> str:
    """The name of a header that may stay out of the key, in lower case."""
    name = text.strip().lower()
    if not _TOKEN.fullmatch(name):
        raise Wrong(f"{shown(text)} is not the name of a header", 'write a name, for example "x-request-id"')
    if name.encode() in CREDENTIALS:
        raise Wrong(f'"{name}" says whose request it is', 'to share answers between API keys, set share = "NAME"')
    return name


def share(value: object) -> str:
    """Empty, or the name of the one tenant that all callers share."""
    if not isinstance(value, str) or (value and not _SHARE.fullmatch(value)):
        raise Wrong(f"{shown(value)} is not a name of 1 to 64 of A-Z a-z 0-9 . _ -", 'write, for example, "team"')
    return value


def ledger_place(value: object) -> str:
    """`auto`, `off`, or a file's path."""
    return path_text(value) or "auto"


def log_place(value: object) -> str:
    """A file's path, `-` for standard output, or `off`."""
    if isinstance(value, str) and value.strip().lower() in ("true", "on", "yes", "1"):
        raise Wrong(f"{shown(value)} is not a place", 'write the path of a file, "-" for standard output, or "off"')
    return path_text(value) or "off"


def path_text(value: object) -> str:
    """A file's path, or empty."""
    if not isinstance(value, str) or "\0" in value or "\n" in value:
        raise Wrong(f"{shown(value)} is not a path", "write the path of a file, in quotes")
    return value
