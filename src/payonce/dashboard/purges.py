"""A purge in two steps: what it would take, then the deed. This room must never purge what was not confirmed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from payonce import purging
from payonce.dashboard.asking import Answer, Request, data, leads_to
from payonce.dashboard.backstage import Backstage
from payonce.dashboard.entries import LISTABLE, LOOKED_AT, SECONDS
from payonce.errors import SettingsError
from payonce.listing import key_digits
from payonce.model.ports import Distant
from payonce.purging import Selection

SELECTORS: Final = ("key", "model", "tag", "namespace", "tenant", "all")


def confirm(stage: Backstage, query: Mapping[str, str]) -> tuple[str, str, str]:
    """Selector, value, and in words how many entries would go. Raises SettingsError where it is not exactly one."""
    named = [name for name in SELECTORS if name in query]
    if len(named) != 1:
        raise SettingsError("A purge takes exactly one of " + ", ".join(SELECTORS) + ".")
    name = named[0]
    value = "" if name == "all" else query[name]
    return name, value, _taken(stage, _selected(stage, name, value))


def purge(stage: Backstage, request: Request, *, as_data: bool) -> Answer:
    """Carry out what was confirmed."""
    name, value = request.form.get("selector", ""), request.form.get("value", "")
    if name not in SELECTORS:
        raise SettingsError("A purge takes exactly one of " + ", ".join(SELECTORS) + ".")
    selection = _selected(stage, name, value)
    stage.purge(selection)
    return data({"purged": selection.scope}) if as_data else leads_to("entries", purged=f"{name} {value}".strip())


def _selected(stage: Backstage, name: str, value: str) -> Selection:
    purging.check(name, value)
    digits = {"key": key_digits, "tenant": purging.tenant_digits}.get(name)
    if digits is not None and len(digits(value)) != 64:
        raise SettingsError(f"A purge here takes a whole {name}: 64 hexadecimal digits, as the pages of entries show.")
    selection = purging.select(stage.shelf, name, value)
    assert selection is not None  # what is whole needs no look at the store
    return selection


def _taken(stage: Backstage, selection: Selection) -> str:
    """How many would go, counted as far as it is no burden."""
    if selection.digest:
        number = len(list(stage.shelf.under(selection.digest)))
        return _entries(number)
    if isinstance(stage.shelf.store, Distant) and stage.volume().entries > LISTABLE:
        return "The store has too many entries to count them here."
    epochs, until, number = stage.shelf.store.epochs(), time.monotonic() + SECONDS, 0
    for place, row in enumerate(stage.shelf.store.rows()):
        if place >= LOOKED_AT or time.monotonic() > until:
            return f"At least {number:,} entries would go."
        if selection.concerns(row) and stage.shelf.read(row, epochs) is not None:
            number += 1
    return _entries(number)


def _entries(number: int) -> str:
    return f"{number:,} {'entry' if number == 1 else 'entries'} would go."
