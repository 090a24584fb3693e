"""From a request that has been read to its story: intake, the id that the answer says, and the shelf afterwards.

For the ASGI face and for the fast lane. This room must never decide whether something is cached.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from payonce.assembly import World
from payonce.core.labels import Label
from payonce.core.labels import headers as label_headers
from payonce.core.naming import Name
from payonce.drive.aio_prompt import Ends, PromptExchange
from payonce.gateway.cycle import LaneAnswer
from payonce.gateway.face import AsgiFace
from payonce.gateway.guard import Guard
from payonce.gateway.heads import KnownHead
from payonce.gateway.routes import Route
from payonce.gateway.shelf import Ready, Shelf
from payonce.gateway.watched import Told
from payonce.intake import Admitted, Bypassed, Intake, Refused, Said
from payonce.model import reason as why
from payonce.model.call import Headers
from payonce.model.receipt import Outcome, Receipt

log = logging.getLogger("payonce.gateway")

Begin = Callable[[Coroutine[Any, Any, None]], object]
"""Makes a task of what takes longer."""


class Answering:
    """See the room's first paragraph."""

    def __init__(self, world: World, intake: Intake, guard: Guard, shelf: Shelf) -> None:
        self._world = world
        self._intake = intake
        self._guard = guard
        self._shelf = shelf
        self._named = world.books.journal.named if world.books is not None else None

    def answer(self, head: KnownHead, body: bytes, face: LaneAnswer, name: Name, begin: Begin) -> None:
        """Answer a POST to a cached endpoint that the fast lane has read; `name` is its name on the shelf. What takes
        longer than to look is begun as a task by `begin`."""

        def failed(error: Exception) -> None:
            log.error("a request failed", exc_info=error)
            begin(self.stumbled(face))

        try:
            said = head.said
            if said is None:
                against = self._guard.against(head.headers)
                if against is not None:
                    begin(face.refuse(against))
                    return
                route = head.route
                said = self._intake.heard(route.upstream, route.endpoint, head.query, head.headers)
                head.said = said
            taken = self._take(said, body, face)
            if not isinstance(taken, Admitted):
                begin(self._decline(taken, face, failed))
                return
            before = self._moment()

            def done(receipt: Receipt) -> None:
                if before == self._moment():
                    self._shelve(name, taken, receipt)

            PromptExchange(self._world.player, taken.ask, taken.dialect, face, Ends(done, failed, begin))
        except Exception as error:  # noqa: BLE001 - whatever it is, the client has to be answered
            failed(error)

    def _take(self, said: Said, body: bytes, face: AsgiFace | LaneAnswer) -> Admitted | Bypassed | Refused:
        """What becomes of a request; the answer is going to say its id."""
        taken = self._intake.take(said, body)
        if self._named is not None and not isinstance(taken, Refused):
            call = taken.ask.call if isinstance(taken, Admitted) else taken.call
            face.said = self._named(call.number)
        return taken

    async def play(self, route: Route, query: bytes, headers: Headers, body: bytes, face: AsgiFace) -> Told:
        """Answer a POST to a cached endpoint."""
        said = self._intake.heard(route.upstream, route.endpoint, query, headers)
        taken = self._take(said, body, face)
        if isinstance(taken, Admitted):
            return await self._world.player.exchange(taken.ask, taken.dialect, face), taken.ask
        return await self._turn_down(taken, face)

    async def _turn_down(self, taken: Bypassed | Refused, face: AsgiFace | LaneAnswer) -> Told:
        """What the cache takes no part in is passed on, or refused."""
        if isinstance(taken, Bypassed):
            return await self._world.player.bypass(taken.call, taken.reason, face), taken.call
        receipt = Receipt(Outcome.REFUSED, taken.reason)
        await face.refuse(taken.reason, label_headers(Label(Outcome.REFUSED, taken.reason)))
        self._world.ledger.exchanged(receipt, 0.0, None)
        return receipt, None

    async def _decline(self, taken: Bypassed | Refused, face: LaneAnswer, failed: Callable[[Exception], None]) -> None:
        try:
            await self._turn_down(taken, face)
        except Exception as error:  # noqa: BLE001 - as above
            failed(error)

    def _moment(self) -> tuple[int, int]:
        """Moves on with every purge and every change of an entry: what was read before may no longer hold."""
        return self._world.tiers.purges, self._shelf.changes

    def _shelve(self, name: Name, taken: Admitted, receipt: Receipt) -> None:
        """Let the fast lane repeat a fresh hit whose request says nothing that depends on the moment."""
        ask = taken.ask
        if receipt.outcome is not Outcome.HIT or not ask.plain:
            return
        if receipt.entry is None:
            return  # a batch: its items are kept, it is not
        body = receipt.entry.body
        if ask.hit_usage != "verbatim":
            body = taken.dialect.respend(body, ask.key.stream, ask.hit_usage)
        purges, slot = self._world.tiers.purges, ask.key.slot
        ready = Ready(receipt.entry, body, slot, purges, self._named, converted=receipt.converted)
        self._shelf.put(name, ready)

    async def stumbled(self, face: AsgiFace | LaneAnswer) -> None:
        """A mistake of ours: count it, and let the client know."""
        self._world.ledger.exchanged(Receipt(Outcome.REFUSED, why.INTERNAL), 0.0, None)
        if face.started:
            face.abort()
        else:
            await face.refuse(why.INTERNAL)
