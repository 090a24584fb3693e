"""Which place of the dashboard is served by what: pages for people, the same figures as JSON for programs.

This room must never let anybody in; panel.py has asked before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from payonce.books.words import Conversation, Filed, Spent
from payonce.dashboard import conversations, entries, entry_pages, findings, health, purges, request_pages, requests
from payonce.dashboard.asking import Answer, Request, part
from payonce.dashboard.backstage import Backstage
from payonce.dashboard.door import Visitor
from payonce.dashboard.frame import Framed
from payonce.dashboard.overview import as_json, overview
from payonce.dashboard.overview_page import overview_page
from payonce.dashboard.receipt_page import receipt_page
from payonce.errors import PayonceError, SettingsError

Page = Callable[[Backstage, Request, Visitor], Framed | Answer]
Data = Callable[[Backstage, Request, Visitor], Any]
_Served = TypeVar("_Served")


class MissingError(PayonceError):
    """There is nothing at this place; the message says what was looked for."""


class ForbiddenError(PayonceError):
    """This visitor may not; the message says who may."""


def serving(table: Mapping[str, _Served], path: str) -> _Served:
    """What serves a path: what is named like it, else what serves all that begins so. Raises MissingError."""
    found = table.get(path) or table.get(path.partition("/")[0] + "/")
    if found is None:
        raise MissingError("There is no such page.")
    return found


def only_admin(visitor: Visitor) -> None:
    """Raises ForbiddenError for everybody else."""
    if not visitor.admin:
        raise ForbiddenError("Only an administrator may purge.")


# ------------------------------------------------------------------------------------------ requests, conversations


def _requests(stage: Backstage, request: Request, _visitor: Visitor) -> Framed:
    return request_pages.list_page(requests.listed(stage, request.query), request.query, stage.clock())


def _tail(stage: Backstage, request: Request, _visitor: Visitor) -> Answer:
    page, _ = requests.page_of(requests.listed(stage, request.query))
    return part(request_pages.table_of(page, stage.clock()))


def _requests_data(stage: Backstage, request: Request, _visitor: Visitor) -> Any:
    page, following = requests.page_of(requests.listed(stage, request.query))
    return {"requests": [requests.as_json(each) for each in page], "next": following}


def _receipt_at(stage: Backstage, request: Request) -> Filed:
    place = request.path.rpartition("/")[2]
    found = requests.one(stage, place)
    if found is None:
        raise MissingError(f"There is no receipt {place[:40]}; old ones are let go.")
    return found


def _conversation_at(stage: Backstage, request: Request) -> tuple[Conversation, list[Spent]]:
    name = request.path.rpartition("/")[2]
    found = conversations.turns_of(stage, name)
    if found is None:
        raise MissingError(f"There is no conversation {name[:40]}; old ones are let go.")
    return found


def _conversations_data(stage: Backstage, request: Request, _visitor: Visitor) -> Any:
    found = conversations.listed(stage, request.query)
    page = found[: conversations.PAGE]
    return {"conversations": page, "next": page[-1].ended if len(found) > len(page) else None}


def _conversation_data(stage: Backstage, request: Request, _visitor: Visitor) -> Any:
    talk, turns = _conversation_at(stage, request)
    return {"conversation": talk, "turns": turns}


# ------------------------------------------------------------------------------------------ entries


def _entries(stage: Backstage, request: Request, visitor: Visitor) -> Framed:
    reads = entries.may_read(stage, visitor)
    wanted = entries.search_of(request.query, reads=reads)
    found = entries.search(stage, wanted)
    purged = request.query.get("purged", "")
    return entry_pages.list_page(found, wanted, visitor, stage.clock(), reads=reads, purged=purged)


def _entries_data(stage: Backstage, request: Request, visitor: Visitor) -> Any:
    reads = entries.may_read(stage, visitor)
    if request.query.get("text") and not reads:
        raise SettingsError("text: an administrator may search the text of answers, where show_content is on")
    found = entries.search(stage, entries.search_of(request.query, reads=reads))
    now = stage.clock()
    return {
        "entries": [entries.facts(listed, now) for listed in found.entries],
        "next": found.more or None,
        "stopped_early": found.short,
        "too_many": found.too_many,
    }


def _entry(stage: Backstage, request: Request, visitor: Visitor) -> Framed:
    key = request.path.partition("/")[2]
    listed = entries.one(stage, key)
    if not listed:
        raise MissingError(f"Nothing is stored under {key[:80]}.")
    return entry_pages.one_page(listed, visitor, stage.clock(), reads=entries.may_read(stage, visitor))


def _entry_data(stage: Backstage, request: Request, visitor: Visitor) -> Any:
    key, now = request.path.partition("/")[2].partition("/")[2], stage.clock()
    reads = entries.may_read(stage, visitor)
    found = [
        entries.facts(listed, now) | ({"body": entries.text_of(listed)} if reads else {})
        for listed in entries.one(stage, key)
    ]
    if not found:
        raise MissingError(f"Nothing is stored under {key[:80]}.")
    return {"entries": found}


def _confirm(stage: Backstage, request: Request, visitor: Visitor) -> Framed:
    only_admin(visitor)
    return entry_pages.purge_page(*purges.confirm(stage, request.query), visitor)


# ------------------------------------------------------------------------------------------ findings, health


def _findings(stage: Backstage, _request: Request, visitor: Visitor) -> Framed:
    return findings.findings_page(findings.report(stage), stage.clock(), reads=entries.may_read(stage, visitor))


def _findings_data(stage: Backstage, _request: Request, visitor: Visitor) -> Any:
    return findings.as_json(findings.report(stage), reads=entries.may_read(stage, visitor))


PAGES: Final[Mapping[str, Page]] = {
    "": lambda stage, request, _visitor: overview_page(overview(stage, request.query.get("span", ""))),
    "requests": _requests,
    "requests/tail": _tail,
    "requests/": lambda stage, request, _visitor: receipt_page(_receipt_at(stage, request), stage.clock()),
    "conversations": lambda stage, request, _visitor: conversations.list_page(
        conversations.listed(stage, request.query), request.query, stage.clock()
    ),
    "conversations/": lambda stage, request, _visitor: conversations.one_page(
        *_conversation_at(stage, request), stage.clock()
    ),
    "entries": _entries,
    "entries/": _entry,
    "purge": _confirm,
    "findings": _findings,
    "health": lambda stage, _request, _visitor: health.health_page(health.health(stage), stage.clock()),
}
DATA: Final[Mapping[str, Data]] = {
    "overview": lambda stage, request, _visitor: as_json(overview(stage, request.query.get("span", ""))),
    "requests": _requests_data,
    "requests/": lambda stage, request, _visitor: requests.as_json(_receipt_at(stage, request)),
    "conversations": _conversations_data,
    "conversations/": _conversation_data,
    "entries": _entries_data,
    "entries/": _entry_data,
    "findings": _findings_data,
    "health": lambda stage, _request, _visitor: health.health(stage),
}
