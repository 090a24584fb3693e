"""What the URLs of stores on this machine say: a file, a directory, or nothing. Pure; nothing here opens one.

`sqlite:PATH` and `cassette:PATH`, where PATH is `a/path`, `~/a/path`, or `//` and `/an/absolute/path` (three slashes in
all); `memory:`. This room must never make a file.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from payonce.errors import StoreUrlError
from payonce.stores.redacted import redact


def read_path(scheme: str, rest: str) -> Path:
    """The file (`sqlite`) or directory (`cassette`) of a store. Raises StoreUrlError where none is named."""
    what, fix = ("directory", "write  cassette:DIR") if scheme == "cassette" else ("file", f"write  {scheme}:PATH")
    url = f"{scheme}:{rest}"
    if "@" in rest and rest.startswith("//") and not rest.startswith("///"):
        raise StoreUrlError(f"a {what} has no user and no password, as the {scheme} URL names", fix)
    text = unquote(rest[2:]) if rest.startswith("//") else rest
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise StoreUrlError(f"{redact(url)} begins with the home of nobody who is known here", fix) from None
    if not text.strip("/") or "\0" in text or (what == "file" and not path.name):
        raise StoreUrlError(f"{redact(url)} names no {what}", fix)
    return path


def read_nothing(scheme: str, rest: str) -> None:
    """Raises StoreUrlError where something is named: a store in memory has no name."""
    if rest.strip("/"):
        raise StoreUrlError("the URL names something, but a store in memory has no name", f"write  {scheme}:")
