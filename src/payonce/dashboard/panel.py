"""The dashboard as one function: a request in, an answer out. Who may come in is asked first, always.

A fault ends here as a page that says so; it never reaches the gateway. This room must never read a socket.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Final

from payonce.dashboard import purges
from payonce.dashboard.asking import Answer, Request, data, leads_to, link, trouble
from payonce.dashboard.assets import FOR_GOOD, read
from payonce.dashboard.backstage import Backstage, NoLedgerError
from payonce.dashboard.door import CSRF_FIELD, Door, Visitor, strange
from payonce.dashboard.frame import Framed, bare, framed
from payonce.dashboard.handlers import DATA, PAGES, ForbiddenError, MissingError, only_admin, serving
from payonce.dashboard.html import h
from payonce.dashboard.login import AGAIN, denied, login_page, place_of, safe_place
from payonce.dashboard.pieces import notice
from payonce.dashboard.queries import PURGE, check_names, check_query
from payonce.errors import SettingsError, StoreError

log = logging.getLogger("payonce.dashboard")

API: Final = "api/"


class Panel:
    """See the room's first paragraph. Safe to call from several threads."""

    def __init__(self, stage: Backstage, door: Door) -> None:
        self._stage = stage
        self._door = door

    def answer(self, request: Request) -> Answer:
        """What to answer. Never raises."""
        try:
            return self._answer(request)
        except StoreError as error:
            return _trouble(request, 503, f"The store can't be read at the moment: {error}")
        except SettingsError as error:
            return _trouble(request, 400, str(error))
        except (MissingError, NoLedgerError) as error:
            return _trouble(request, 404, str(error))
        except ForbiddenError as error:
            return _trouble(request, 403, str(error))
        except Exception:
            log.exception("a page failed")
            return _trouble(request, 500, "This page made a mistake; the log says which.")

    def _answer(self, request: Request) -> Answer:
        if strange(request):
            raise ForbiddenError("Another site asked for this.")
        if request.path.startswith("assets/"):
            return _asset(request)
        visitor = self._door.greet(request)
        answer = self._change(request, visitor) if request.method == "POST" else self._show(request, visitor)
        return answer.plus(("set-cookie", visitor.cookie)) if visitor.cookie else answer

    def _show(self, request: Request, visitor: Visitor) -> Answer:
        if request.method not in ("GET", "HEAD"):
            return _trouble(request, 405, "Pages are read with GET and changed with POST.")
        if request.path == "login":
            place = safe_place(request.query.get("to", ""))
            return login_page(visitor, place, has_tokens=self._door.has_tokens())
        if visitor.role is None:
            if request.path.startswith(API):
                return denied(self._door.wait(request))
            return AGAIN if "hx-request" in request.headers else leads_to("login", to=place_of(request))
        if request.path.startswith(API):
            place = request.path.removeprefix(API)
            served = serving(DATA, place)
            check_query(place, request.query)
            return data(served(self._stage, request, visitor))
        try:
            shown = serving(PAGES, request.path)(self._stage, request, visitor)
        except NoLedgerError as error:
            shown = Framed(request.path.partition("/")[0], "No figures", (notice(str(error), look="warning"),))
        return framed(shown, visitor) if isinstance(shown, Framed) else shown

    def _change(self, request: Request, visitor: Visitor) -> Answer:
        if visitor.role is None and (visitor.session is None or request.path.startswith(API)):
            return denied(self._door.wait(request))  # a program, with a token that is none, or with none
        if not self._door.own_wish(request, visitor):
            raise ForbiddenError("This did not come from a page of this dashboard; open it anew and try again.")
        if request.path == "login":
            return self._login(request, visitor)
        if request.path == "logout":
            return leads_to("login").plus(("set-cookie", self._door.leave(request)))
        if request.path in ("purge", API + "purge"):
            only_admin(visitor)
            if as_data := request.path.startswith(API):
                check_names((*request.query, *request.form), (*PURGE, CSRF_FIELD))
            return purges.purge(self._stage, request, as_data=as_data)
        raise MissingError("There is no such page.")

    def _login(self, request: Request, visitor: Visitor) -> Answer:
        place = safe_place(request.form.get("to", ""))
        wait = self._door.wait(request)
        cookie = None if wait else self._door.enter(request, request.form.get("token", "").strip())
        if cookie is None:
            wrong = f"Too many wrong tokens: wait {wait} s." if wait else "This is not one of the tokens."
            tokens = self._door.has_tokens()
            return login_page(visitor, place, has_tokens=tokens, wrong=wrong, status=429 if wait else 403)
        return leads_to(place).plus(("set-cookie", cookie))


def _asset(request: Request) -> Answer:
    """A file of ours; anybody may have it."""
    found = read(request.path.removeprefix("assets/"))
    if found is None or request.method not in ("GET", "HEAD"):
        return _trouble(request, 404, "There is no such file.")
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Answer(
            200, found.packed, found.kind, (("content-encoding", "gzip"), ("vary", "accept-encoding")), FOR_GOOD
        )
    return Answer(200, found.body, found.kind, (("vary", "accept-encoding"),), FOR_GOOD)


def _trouble(request: Request, status: int, said: str) -> Answer:
    """A page, or a JSON document, that says what is wrong."""
    if request.path.startswith(API):
        return trouble(status, said)
    back = h("p", h("a", "To the overview", href=link(""), class_="button"))
    answer = bare("That did not work", notice(said, look="bad"), back, status=status)
    return dataclasses.replace(answer, fields=(("allow", "GET, HEAD, POST"),)) if status == 405 else answer
