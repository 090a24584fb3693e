"""Ways of marking a request: the static ones that frameworks use, and the planner behind the same door.

A strategy sees a request before it is sent and, once its answer has ended, the usage of it. Static ones look at the
body alone. Which framework does which stands in docs/prefix-benchmark.md.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol

from benchmarks.prefix.traffic import Json, Request


class Strategy(Protocol):
    """What stands between the client and the provider."""

    def send(self, request: Request) -> tuple[Json, Any]:
        """The body that goes out, and whatever `ended` wants to see again."""

    def ended(self, token: Any, usage: Json, now: float) -> None:
        """The answer has ended."""


Edit = Callable[[Json, str], None]


class Static:
    """The same edit of every body."""

    def __init__(self, *edits: Edit) -> None:
        self._edits = edits

    def send(self, request: Request) -> tuple[Json, Any]:
        """A copy with markers."""
        body = copy.copy(request.body)
        if self._edits:
            body["messages"] = list(body["messages"])
        for edit in self._edits:
            edit(body, request.dialect)
        return body, None

    def ended(self, token: Any, usage: Json, now: float) -> None:
        """Static strategies learn nothing."""


def _control(ttl: str) -> Json:
    return {"type": "ephemeral"} if ttl == "5m" else {"type": "ephemeral", "ttl": ttl}


def _marked(content: Any, ttl: str) -> Any:
    """Content whose last part carries a marker; None where no part can."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())
    if not parts or (parts[-1].get("type") == "text" and not parts[-1]["text"]):
        return None
    parts[-1] = {**parts[-1], "cache_control": _control(ttl)}
    return parts


def system(ttl: str) -> Edit:
    """A marker at the end of the system prompt, or of the tools where there is none."""

    def edit(body: Json, dialect: str) -> None:
        if dialect == "messages" and body.get("system"):
            body["system"] = _marked(body["system"], ttl)
        elif dialect == "chat" and body["messages"] and body["messages"][0]["role"] == "system":
            first = body["messages"][0]
            body["messages"][0] = {**first, "content": _marked(first["content"], ttl)}

    return edit


def tail(ttl: str, last: int = 1, *, roles: tuple[str, ...] = ("user", "tool")) -> Edit:
    """A marker at the end of the last so many messages of those roles."""

    def edit(body: Json, _dialect: str) -> None:
        left = last
        for place in reversed(range(len(body["messages"]))):
            message = body["messages"][place]
            if left and message["role"] in roles:
                content = _marked(message.get("content"), ttl)
                if content is not None:
                    body["messages"][place] = {**message, "content": content}
                    left -= 1

    return edit


STATIC: dict[str, Callable[[], Strategy]] = {
    "no caching": Static,
    "system only": lambda: Static(system("5m")),
    "tail only": lambda: Static(tail("5m")),
    "system + tail": lambda: Static(system("5m"), tail("5m")),
    "1h system + 5m tail": lambda: Static(system("1h"), tail("5m")),
    "1h everything": lambda: Static(system("1h"), tail("1h")),
    "every user message": lambda: Static(tail("5m", 4, roles=("user",))),
}
"""Every static strategy by name."""


def _explicit(body: Json, _dialect: str) -> None:
    body["prompt_cache_options"] = {"mode": "explicit"}


PAID: dict[str, Callable[[], Strategy]] = {
    "no caching": lambda: Static(_explicit),
    "left alone": Static,
}
"""Where the provider writes and charges by itself: switched off, or not."""


class Planned:
    """Payonce's planner: it learns from the usage of each answer, and starts knowing nothing."""

    def __init__(self) -> None:
        from payonce.optimise import Planner  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

        self._planner: Any = Planner()

    def send(self, request: Request) -> tuple[Json, Any]:
        """The planned body, and the plan."""
        plan = self._planner.plan(
            request.body, dialect=request.dialect, model=request.model, tenant=request.tenant,
            session=request.session, now=request.at,
        )  # fmt: skip
        return plan.body, plan

    def ended(self, token: Any, usage: Json, now: float) -> None:
        """The planner sees the usage as it came."""
        self._planner.observe(token, usage, now=now)


PLANNER = "payonce"
