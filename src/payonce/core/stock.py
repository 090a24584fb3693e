"""What is known of a batch's items: which are held, which are stale, which are lacking; and what each of them counts.

Pure decisions for core/gather.py. This room must never know how an item or an answer is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from payonce.core.rules import still_fresh, usable_stale
from payonce.model import reason as why
from payonce.model.call import Batch
from payonce.model.entry import Entry, Tokens
from payonce.model.reason import Reason
from payonce.model.receipt import Saved


@dataclass(frozen=True, slots=True)
class Stock:
    """What is known of a batch's distinct items, by number: `held` may be served, `stale` has only outlived its TTL,
    `lacking` is all that is not held, and `missed` says why the first of them is not."""

    held: Mapping[int, Entry]
    stale: Mapping[int, Entry]
    lacking: tuple[int, ...]
    missed: Reason


def take_stock(batch: Batch, found: Iterable[Entry | Reason], now: float) -> Stock:
    """The stock, from what a lookup has found of each item."""
    held: dict[int, Entry] = {}
    stale: dict[int, Entry] = {}
    lacking: dict[int, Reason] = {}
    for number, (item, entry) in enumerate(zip(batch.items, found, strict=True)):
        verdict = entry if isinstance(entry, Reason) else still_fresh(entry, item, now)
        if verdict is not None:
            lacking[number] = verdict
        if isinstance(entry, Entry):
            if verdict is None:
                held[number] = entry
            elif verdict is why.EXPIRED:
                stale[number] = entry
    return Stock(held, stale, tuple(lacking), next(iter(lacking.values()), why.ABSENT))


def nothing(batch: Batch, reason: Reason) -> Stock:
    """The stock of which nothing may be used, for this reason."""
    return Stock({}, {}, tuple(range(len(batch.items))), reason)


def all_usable(stock: Stock, window: int, now: float) -> bool:
    """Whether everything that is lacking may be served stale, `window` seconds past its TTL."""
    return all(
        number in stock.stale and usable_stale(stock.stale[number], window, why.EXPIRED, now)
        for number in stock.lacking
    )


def stocked(stock: Stock, count: int) -> list[Entry]:
    """The entry of each item, stale where it has to be."""
    return [stock.held.get(number) or stock.stale[number] for number in range(count)]


def alike(entries: Iterable[Entry]) -> bool:
    """Whether one model made them all: vectors of two models must never stand in one answer."""
    return len({entry.facts.model for entry in entries}) == 1


def weights(batch: Batch) -> list[int]:
    """The weight of each place; an item that was sent twice is kept with the usage of both."""
    times = Counter(batch.places)
    return [batch.items[number].intent.items[0].weight * times.pop(number, 0) for number in batch.places]


def saved(batch: Batch, entries: list[Entry], paid: Collection[int], size: int) -> Saved:
    """What was not paid: stored items each time they were asked for, paid ones each time but the first."""
    tokens = cost = 0
    priced = False
    for number, times in Counter(batch.places).items():
        spared, used = times - (number in paid), entries[number].facts.tokens
        tokens += (used.input or 0) * spared
        cost += (used.cost or 0) * spared
        priced = priced or used.cost is not None
    took = 0.0 if paid else max(entry.took for entry in entries)
    total = Tokens(tokens, None, cost if priced else None)
    return Saved(total, 0 if paid else 1, took, size, entries[0].model)
