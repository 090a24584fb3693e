"""Pages as trees that escape everything: text can only ever become text, whoever wrote it.

There is no way to put markup in as a string; scripts and styles come as files only, handlers and inline styles not at
all, and a link leads nowhere but into the dashboard. This room must never know what a page is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Final, TypeAlias, Union

from payonce.wording import safe

Child: TypeAlias = Union["Element", str, int, Iterable["Child"], None]
Value: TypeAlias = str | int | bool | None

ROOT: Final = "/_payonce/"
_VOID: Final = frozenset(("area", "br", "col", "hr", "img", "input", "link", "meta"))
_EMPTY: Final = frozenset(("script", "style"))
"""What stands in these would be obeyed."""
_LINKS: Final = frozenset(("href", "src", "action", "hx-get", "hx-post", "formaction"))


@dataclass(frozen=True, slots=True)
class Element:
    """One element, its attributes and what stands in it."""

    tag: str
    attributes: tuple[tuple[str, str], ...]
    children: tuple[Child, ...]

    def __str__(self) -> str:
        return "".join(_written(self))


def h(tag: str, *children: Child, **attributes: Value) -> Element:
    """An element. `class_`, `for_` stand for `class`, `for`, `hx_get` for `hx-get`; None and False leave an attribute
    out, True gives one without a value. Raises ValueError for what would be obeyed: handlers, inline styles and
    scripts, and links that lead out of the dashboard."""
    listed = []
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        written = name.rstrip("_").replace("_", "-")
        text = "" if value is True else str(value)
        if written.startswith("on") or written in ("style", "srcdoc"):
            raise ValueError(f"{written} would be obeyed")
        if written in _LINKS and not (text.startswith((ROOT, "#", "?")) and "//" not in text.partition("?")[0]):
            raise ValueError(f"{written} leads out of the dashboard: {text!r}")
        listed.append((written, text))
    if tag in _EMPTY and any(child for child in children):
        raise ValueError(f"what stands in <{tag}> would be obeyed")
    return Element(tag, tuple(listed), children)


def document(root: Element) -> bytes:
    """A whole page."""
    return f"<!doctype html>\n{root}\n".encode("utf-8", "replace")


def fragment(*parts: Child) -> bytes:
    """A part of a page."""
    return "".join(piece for part in parts for piece in _written(part)).encode("utf-8", "replace")


def _written(child: Child) -> Iterator[str]:
    if child is None:
        return
    if isinstance(child, str | int):
        yield escape(safe(str(child)), quote=False)
    elif isinstance(child, Element):
        names = "".join(
            f' {name}="{escape(safe(value))}"' if value else f' {name}=""' for name, value in child.attributes
        )
        yield f"<{child.tag}{names}>"
        if child.tag not in _VOID:
            for inner in child.children:
                yield from _written(inner)
            yield f"</{child.tag}>"
    else:
        for inner in child:
            yield from _written(inner)
