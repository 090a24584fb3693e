"""The page that asks for a token. This room must never hear one."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlencode

from payonce.dashboard.asking import Answer, Request, trouble
from payonce.dashboard.door import Visitor
from payonce.dashboard.frame import bare, form
from payonce.dashboard.html import h
from payonce.dashboard.pieces import notice

_PLACE: Final = re.compile(r"[a-z0-9/:_.-]{0,120}(\?[A-Za-z0-9=&%+,:_.~-]{0,400})?", re.ASCII)
AGAIN: Final = Answer(204, b"", fields=(("hx-refresh", "true"),))
"""For a part of a page that is asked for when its session has ended: the page is to be opened again."""


def place_of(request: Request) -> str:
    """The page that is asked for, with its query, to come back to."""
    return request.path + ("?" + urlencode(request.query) if request.query else "")


def safe_place(place: str) -> str:
    """The page to lead to after signing in: one of ours, else the first."""
    safe = _PLACE.fullmatch(place) and "//" not in place and ".." not in place
    return place if safe and place.partition("?")[0] != "login" else ""


def login_page(visitor: Visitor, place: str, *, has_tokens: bool, wrong: str = "", status: int = 200) -> Answer:
    """The page, with what was wrong the last time."""
    field = h(
        "input",
        type="password",
        name="token",
        id="token",
        autocomplete="current-password",
        required=True,
        autofocus=True,
    )
    asks = form(visitor, "login", h("label", "Token", field), h("button", "Sign in"), to=place)
    known = h(
        "p",
        "It was shown on the terminal when the gateway started for the first time. ",
        h("code", "payonce tokens"),
        " makes new ones.",
        class_="hint",
    )
    none = notice(
        "There are no tokens yet: run ",
        h("code", "payonce tokens"),
        " on the gateway's machine, as its user.",
        look="warning",
    )
    said = notice(wrong, look="bad") if wrong else None
    return bare("Sign in to Payonce", said, asks, known if has_tokens else none, status=status)


def denied(wait: int) -> Answer:
    """For a program without a token, or with a wrong one."""
    said = (
        "wait, then show a token of the dashboard"
        if wait
        else "show a token of the dashboard that holds: Authorization: Bearer TOKEN; payonce tokens makes new ones"
    )
    answer = trouble(429 if wait else 401, said)
    return answer.plus(("retry-after", str(wait))) if wait else answer.plus(("www-authenticate", "Bearer"))
