"""payonce.toml as a file: where it is, whether it may be trusted, what is in it, and on which line each key stands.

tomllib says what a document holds but not where; `locate` walks the same text and says where. This room must never
know which keys there ought to be.
"""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path

from payonce.config_lines import Lines, locate
from payonce.config_types import Problem
from payonce.errors import SettingsError

FILE_NAME = "payonce.toml"
_POSITION = re.compile(r"\(at line (\d+), column \d+\)$")
_STATEMENT = re.compile(r"""\s*(?:\[|(?:[\w-]|"[^"]*"|'[^']*')[\w\s."'-]*=)""", re.ASCII)
_MOST_PROBLEMS = 20


def find_file(environ: Mapping[str, str], directory: Path) -> Path | None:
    """The file that `PAYONCE_CONFIG` names, else payonce.toml in `directory`, else the user's own, else None."""
    named = environ.get("PAYONCE_CONFIG", "")
    if named:
        return Path(named)
    places = [directory / FILE_NAME]
    base = environ.get("XDG_CONFIG_HOME", "")
    home = environ.get("HOME", "")
    if base.startswith("/"):
        places.append(Path(base) / "payonce" / FILE_NAME)
    elif home.startswith("/"):
        places.append(Path(home) / ".config" / "payonce" / FILE_NAME)
    return next((place for place in places if _is_file(place)), None)


def _is_file(place: Path) -> bool:
    try:
        return place.is_file()
    except OSError:
        return False


def read_file(path: Path) -> str:
    """The text of a configuration file that nobody but its owner and group can change."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise SettingsError(f"config: {path} is a directory; name a file")
        if mode & stat.S_IWOTH:
            raise SettingsError(f"config: everybody may write {path}, so it can't be trusted; run  chmod o-w {path}")
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"config: {path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except FileNotFoundError:
        raise SettingsError(f"config: there is no file {path}; correct --config or PAYONCE_CONFIG") from None
    except OSError as error:
        raise SettingsError(f"config: {path} can't be read ({error.strerror}); check its permissions") from None


def parse(text: str) -> tuple[dict[str, object], Lines, list[Problem]]:
    """What a file holds, the line of each key, and where it is not TOML.

    After a syntax error the statement is blanked and the rest is read, so that one mistake does not hide the others.
    """
    text = text.replace("\r\n", "\n")
    problems: list[Problem] = []
    for _ in range(_MOST_PROBLEMS):
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            lines = text.split("\n")
            start, end = _statement(lines, str(error))
            if not problems or _STATEMENT.match(lines[start - 1]):
                problems.append(Problem(start, _sentence(str(error)), "correct the line; payonce.toml is TOML 1.0"))
            lines[start - 1 : end] = [""] * (end - start + 1)
            text = "\n".join(lines)
        except RecursionError:
            return {}, {}, [*problems, Problem(1, "the file is nested too deeply", "write a flatter file")]
        else:
            return document, locate(text), problems
    return {}, {}, problems


def _statement(lines: list[str], error: str) -> tuple[int, int]:
    """First and last line of the statement with the syntax error: it begins behind the longest part that reads."""
    found = _POSITION.search(error)
    last = min(int(found[1]), len(lines)) if found else len(lines)
    start = last
    while start > 1 and not _reads("\n".join(lines[: start - 1])):
        start -= 1
    return start, max(start, last - 1)


def _reads(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _sentence(error: str) -> str:
    text = _POSITION.sub("", error).replace("(at end of document)", "").strip()
    return f"this is not TOML: {text[:1].lower()}{text[1:]}"
