"""What stands around every page: head, navigation, who is signed in. This room must never ask for a figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from payonce.dashboard.asking import Answer, link, page
from payonce.dashboard.assets import asset
from payonce.dashboard.door import CSRF_FIELD, Visitor
from payonce.dashboard.html import Child, Element, h

PAGES: Final = (
    ("", "Overview"),
    ("requests", "Requests"),
    ("entries", "Entries"),
    ("conversations", "Conversations"),
    ("findings", "Findings"),
    ("health", "Health"),
)

_HTMX: Final = '{"includeIndicatorCSS":false,"history":false,"mode":"same-origin","defaultTimeout":10000}'


@dataclass(frozen=True, slots=True)
class Framed:
    """A page's own part: its place in the navigation, its title, what stands in it."""

    place: str
    title: str
    body: tuple[Child, ...]
    lead: Child = None


def framed(what: Framed, visitor: Visitor, status: int = 200) -> Answer:
    """A whole page for who is in."""
    main = h(
        "main", h("h1", what.title), h("p", what.lead, class_="lead") if what.lead else None, *what.body, id="main"
    )
    skip = h("a", "Skip to the content", href="#main", class_="skip")
    return page(_html(what.title, skip, _top(what.place, visitor), main, charts=what.place == ""), status)


def bare(title: str, *body: Child, status: int = 200) -> Answer:
    """A page without navigation, for who is not in yet."""
    return page(_html(title, h("main", h("h1", title), *body, class_="alone", id="main")), status)


def form(visitor: Visitor, path: str, *children: Child, **fields: str) -> Element:
    """A form that changes something: it carries the visitor's proof that it is their own wish."""
    proof = visitor.session.csrf if visitor.session is not None else ""
    hidden = [
        h("input", type="hidden", name=name, value=value) for name, value in {**fields, CSRF_FIELD: proof}.items()
    ]
    return h("form", *hidden, *children, method="post", action=link(path))


def _html(title: str, *body: Child, charts: bool = False) -> Element:
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="color-scheme", content="light dark"),
        h("meta", name="htmx-config", content=_HTMX),
        h("title", f"{title} · Payonce"),
        h("link", rel="icon", href=asset("icon.svg"), type="image/svg+xml"),
        h("link", rel="stylesheet", href=asset("uplot.css")) if charts else None,
        h("link", rel="stylesheet", href=asset("dashboard.css")),
        h("script", src=asset("htmx.js"), defer=True),
        h("script", src=asset("uplot.js"), defer=True) if charts else None,
        h("script", src=asset("dashboard.js"), defer=True),
    )
    return h("html", head, h("body", *body), lang="en")


def _top(place: str, visitor: Visitor) -> Element:
    items = [
        h("li", h("a", name, href=link(path), aria_current="page" if path == place else None)) for path, name in PAGES
    ]
    mark = h(
        "a",
        h("img", src=asset("icon.svg"), alt="", width=22, height=22),
        h("span", "Payonce"),
        href=link(""),
        class_="mark",
    )
    return h("header", mark, h("nav", h("ul", *items), aria_label="Pages"), _who(visitor), class_="top")


def _who(visitor: Visitor) -> Element:
    if not visitor.signed_in:
        return h(
            "p",
            "on this machine",
            class_="who",
            title="Only this machine reaches this dashboard, so it asks for no token.",
        )
    name = "admin" if visitor.admin else "view only"
    return h(
        "div",
        h("span", name, class_="role"),
        form(visitor, "logout", h("button", "Sign out", class_="plain")),
        class_="who",
    )
