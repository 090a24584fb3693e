"""Models that change behind their names: what players do with an answer that another model has made than before.

One count is raised, which retires what was kept under the name, in every process that shares the store. Names that
two models answer in turns are left alone after a while, names beyond a bound always, and both are counted. A fault of
the store leaves things as they were. This room must never judge an answer.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Protocol

from payonce.core.changes import MOST_CHANGES, Standing, changed, changes_in, pause, standing
from payonce.core.effects import Flight, Witness
from payonce.errors import StoreError
from payonce.model.ports import Chronicle, Clock, Store
from payonce.model.scopes import ANSWERS

MOST_NAMES = 1000
"""Names whose models are watched."""
log = logging.getLogger("payonce.drive")


class Shelves(Protocol):
    """Whoever knows the epochs; `Tiers` does."""

    current: Mapping[str, int]

    @property
    def keeper(self) -> Store:
        """The store that has the last word."""
        ...

    def refresh(self, teller: Flight | None = None) -> bool:
        """Read the epochs anew. What `teller` has told of its name's model does not keep others from boarding it."""
        ...


class Changes:
    """What is known of the names of one store. `counts` says how often a model's entries were `retired`, and how many
    answers of another model were kept beside them because that was too recent (`unsettled`)."""

    def __init__(self, tiers: Shelves, clock: Clock, complain: Callable[[Exception], None]) -> None:
        self._tiers, self._clock, self._complain = tiers, clock, complain
        self._quiet: OrderedDict[str, float] = OrderedDict()
        self.counts: Counter[str] = Counter()

    def seen(self, effect: Witness) -> int | None:
        """The count under which an answer is kept; None where only the store can tell. At once."""
        count = self._tiers.current.get(effect.scope, 0)
        how = standing(count, effect.born, effect.said, effect.name)
        if how is Standing.CHANGED:
            if self._clock() >= self._quiet.get(effect.scope, 0.0):
                return None
            self.counts["unsettled"] += 1
        return effect.born if how is Standing.LATE else count

    def settle(self, effect: Witness, teller: Flight | None = None) -> int:
        """The same, of the store: retire what another model has answered, unless that was done a moment ago; `teller`
        is the flight that says so. May wait; never raises."""
        try:
            self._tiers.refresh()
            known = self.seen(effect)
            return self._retire(effect, teller) if known is None else known
        except StoreError as error:
            self._complain(error)
            return effect.born

    def _retire(self, effect: Witness, teller: Flight | None) -> int:
        scope, keeper = effect.scope, self._tiers.keeper
        count = self._tiers.current.get(scope, 0)
        since = keeper.raised().get(scope, 0.0) if count and isinstance(keeper, Chronicle) else 0.0
        until = since + pause(count)
        if self._clock() < until or changes_in(count) >= MOST_CHANGES or not (count or self._has_room()):
            self._quiet[scope] = max(until, self._clock() + 1.0)
            if len(self._quiet) > MOST_NAMES:
                self._quiet.popitem(last=False)
            self.counts["unsettled"] += 1
            return count
        raised = keeper.raise_epoch(scope, changed(count, effect.said))
        self._tiers.refresh(teller)
        if count:
            self.counts["retired"] += 1
            log.info("%s is now answered by %s: what another model has answered is retired", effect.name, effect.said)
        return raised

    def _has_room(self) -> bool:
        return sum(scope.startswith(ANSWERS) for scope in self._tiers.current) < MOST_NAMES
