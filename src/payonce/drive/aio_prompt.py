"""Exchanges without a task: told at once, when the store has answered, or when a flight's answer has come whole.

Most requests need no more. Where a story asks for anything else that takes a while, the rest of it becomes a task,
performed as the player performs every other. This room must never judge.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from payonce.core import effects as do
from payonce.core.gather import told
from payonce.core.labels import headers as label_headers
from payonce.core.tape import COMPLETE
from payonce.drive.aio import AsyncPlayer
from payonce.drive.aio_faces import Face, HeadWait
from payonce.model.call import Ask, Headers
from payonce.model.entry import Entry
from payonce.model.ports import Dialect, Head, Later
from payonce.model.reason import Reason
from payonce.model.receipt import Receipt


class PromptFace(Face, Protocol):
    """A face that may take a whole answer at once."""

    @property
    def ready(self) -> bool:
        """Whether `give` will do: the client's buffer has room."""
        ...

    def give(self, head: Head, fields: Headers, body: bytes) -> None:
        """As `start` with a body."""
        ...


class Ends:
    """What becomes of an exchange: `done` is given its receipt, `failed` what was raised; `begin` makes the task of
    what takes longer."""

    __slots__ = ("begin", "done", "failed")

    def __init__(
        self,
        done: Callable[[Receipt], None],
        failed: Callable[[Exception], None],
        begin: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.done = done
        self.failed = failed
        self.begin = begin


class PromptExchange:
    """One request that the cache takes part in, answered from its construction on."""

    __slots__ = ("_ask", "_asked_at", "_dialect", "_ends", "_face", "_player", "_sought", "_started", "_story")

    def __init__(self, player: AsyncPlayer, ask: Ask, dialect: Dialect, face: PromptFace, ends: Ends) -> None:
        self._player, self._ask, self._dialect, self._face, self._ends = player, ask, dialect, face, ends
        self._started = player.clock()
        self._asked_at = 0.0
        self._sought: do.Lookup | None = None
        self._story = told(ask, dialect, self._started)
        self._go_on(None)

    def _go_on(self, answer: Any) -> None:
        """Tell the story on from the answer to its last question."""
        try:
            receipt = self._told(answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client has to be answered
            self._ends.failed(error)
        else:
            if receipt is not None:
                self._end(receipt)

    def _told(self, answer: Any) -> Receipt | None:
        """The receipt, where the story ends; None where it waits."""
        try:
            while True:
                effect = self._story.send(answer)
                if isinstance(effect, do.Lookup):
                    answer = self._look(effect)
                    if answer is None:
                        return None
                elif isinstance(effect, do.Board):
                    answer = self._player.flights.board(effect, self._dialect)
                elif isinstance(effect, do.Await):
                    HeadWait(effect, self._go_on)
                    return None
                elif isinstance(effect, do.Relay) and (body := self._whole(effect)) is not None:
                    self._face.give(effect.head, label_headers(effect.label), body)
                    answer = not self._face.gone
                else:
                    self._ends.begin(self._rest(effect))
                    return None
        except StopIteration as end:
            receipt: Receipt = end.value
        return receipt

    def _look(self, effect: do.Lookup) -> Entry | Reason | None:
        """What is found at once; None where the story goes on later."""
        found = self._player.reads.begin(effect.ask)
        if isinstance(found, Entry | Reason):
            return found
        if found is None:
            self._ends.begin(self._rest(effect))
        else:
            self._sought, self._asked_at = effect, time.monotonic()
            found.add_done_callback(self._answered)
        return None

    def _answered(self, come: Later) -> None:
        effect = self._sought
        assert effect is not None
        if self._player.closing:  # its client has left, or the server would not have come to this: nothing takes off
            self._story.close()
            return
        try:
            answer = come.result()
            found = self._player.reads.end(effect.ask, answer, time.monotonic() - self._asked_at)
        except Exception as error:  # noqa: BLE001 - as above
            self._ends.failed(error)
            return
        if found is None:
            self._ends.begin(self._read_on(effect, answer))
        else:
            self._go_on(found)

    def _whole(self, effect: do.Relay) -> bytes | None:
        """The body that can be given at once."""
        return effect.tape.body() if effect.tape.ending is COMPLETE and self._face.ready else None

    async def _read_on(self, effect: do.Lookup, answer: Any) -> None:
        try:
            found = await self._player.reads.read_on(effect.ask, answer)
        except Exception as error:  # noqa: BLE001 - as above
            self._ends.failed(error)
        else:
            self._go_on(found)

    async def _rest(self, effect: do.Effect[Any]) -> None:
        try:
            receipt = await self._player.perform(self._story, self._face, self._dialect, effect)
        except Exception as error:  # noqa: BLE001 - as above
            self._ends.failed(error)
        else:
            self._end(receipt)

    def _end(self, receipt: Receipt) -> None:
        try:
            self._player.listener.exchanged(receipt, self._player.clock() - self._started, self._ask)
            self._ends.done(receipt)
        except Exception as error:  # noqa: BLE001 - as above
            self._ends.failed(error)
