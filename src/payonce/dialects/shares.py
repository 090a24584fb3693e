"""The usage of a batch, shared out among its items and added up again, exactly.

Every number is a whole count of some power of ten, so nothing is ever rounded: the shares of a number add up to it,
whatever the weights. Counts are shared in whole ones, amounts of money (a member called cost, and fractions) a million
times finer than they were written. This room must never know what is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import orjson

from payonce.model.policy import HitUsage

_FINER = 6
_MOST_DIGITS = 60


class Amount(NamedTuple):
    """`units` times 10 to the power of minus `places`."""

    units: int
    places: int

    def split(self, weights: Sequence[int]) -> list[int]:
        """Shares of `units`, in proportion to the weights (at least one is above 0), that add up to it."""
        total = sum(weights)
        marks = [0, *(self.units * passed // total for passed in accumulate(weights))]
        return [after - before for before, after in pairwise(marks)]

    def at(self, places: int) -> int:
        """How many units of 10 to the power of minus `places`, which is at least as fine."""
        return self.units * int(10 ** (places - self.places))

    def __str__(self) -> str:
        if not self.places:
            return str(self.units)
        digits = str(abs(self.units)).rjust(self.places + 1, "0")
        whole, fraction = digits[: -self.places], digits[-self.places :].rstrip("0")
        return ("-" if self.units < 0 else "") + whole + ("." + fraction if fraction else "")


def amount(number: orjson.Fragment) -> Amount:
    """A number as it was written. Raises ValueError for one that no usage holds."""
    sign, digits, exponent = Decimal(orjson.dumps(number).decode()).as_tuple()
    if not isinstance(exponent, int) or len(digits) > _MOST_DIGITS or abs(exponent) > _MOST_DIGITS:
        raise ValueError("out of range")
    count = int("".join(map(str, digits)) or "0") * 10 ** max(0, exponent)
    return Amount(-count if sign else count, max(0, -exponent))


def readable(value: Any) -> bool:
    """Whether every number of a usage object can be shared out."""
    if isinstance(value, dict):
        return all(map(readable, value.values()))
    if isinstance(value, list):
        return all(map(readable, value))
    try:
        return not isinstance(value, orjson.Fragment) or amount(value) is not None
    except ValueError:
        return False


def share_out(value: Any, weights: Sequence[int], *, fine: bool = False) -> list[str]:
    """The JSON text of each item's share of a usage object; what is no number goes to each as it is."""
    if isinstance(value, dict):
        names = [orjson.dumps(name).decode() for name in value]
        columns = [share_out(inner, weights, fine=fine or "cost" in name) for name, inner in value.items()]
        return [
            "{" + ",".join([f"{name}:{column[n]}" for name, column in zip(names, columns, strict=True)]) + "}"
            for n in range(len(weights))
        ]
    if isinstance(value, list):
        columns = [share_out(inner, weights, fine=fine) for inner in value]
        return ["[" + ",".join([column[n] for column in columns]) + "]" for n in range(len(weights))]
    if not isinstance(value, orjson.Fragment):
        return [orjson.dumps(value).decode()] * len(weights)
    whole = amount(value)
    if not whole.units:
        return ["0"] * len(weights)
    places = whole.places + _FINER if fine or whole.places else 0
    return [str(Amount(share, places)) for share in Amount(whole.at(places), places).split(weights)]


def add(usages: Iterable[tuple[dict[str, Any], HitUsage]]) -> dict[str, Any] | None:
    """Usage objects as one, each under the mode in which it is reported; None if there are none. The numbers of the
    result are `Amount`s."""
    alike: dict[tuple[int, HitUsage], dict[str, Any]] = {}
    times: Counter[tuple[int, HitUsage]] = Counter()
    for usage, mode in usages:
        alike[id(usage), mode] = usage
        times[id(usage), mode] += 1
    total: dict[str, Any] | None = None
    for (which, mode), usage in alike.items():
        part = _times(usage, times[which, mode], costs=mode == "verbatim", counts=mode != "zero")
        total = part if total is None else _sum(total, part)
    return total


def _times(value: Any, times: int, *, costs: bool, counts: bool, cost: bool = False) -> Any:
    if isinstance(value, dict):
        return {
            name: _times(inner, times, costs=costs, counts=counts, cost=cost or "cost" in name)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_times(inner, times, costs=costs, counts=counts, cost=cost) for inner in value]
    if not isinstance(value, orjson.Fragment):
        return value
    one = amount(value)
    return Amount(one.units * times, one.places) if (costs if cost else counts) else Amount(0, 0)


def _sum(a: Any, b: Any) -> Any:
    """Numbers are added, members and elements one by one; of anything else the first counts."""
    if isinstance(a, Amount) and isinstance(b, Amount):
        places = max(a.places, b.places)
        return Amount(a.at(places) + b.at(places), places)
    if isinstance(a, dict) and isinstance(b, dict):
        return {name: _sum(a.get(name), b.get(name)) for name in (*a, *(name for name in b if name not in a))}
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [_sum(one, other) for one, other in zip(a, b, strict=True)]
    return b if a is None else a


def spell_usage(value: Any) -> str:
    """The JSON text of what `add` gives."""
    if isinstance(value, Amount):
        return str(value)
    if isinstance(value, dict):
        return (
            "{"
            + ",".join([f"{orjson.dumps(name).decode()}:{spell_usage(inner)}" for name, inner in value.items()])
            + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(map(spell_usage, value)) + "]"
    return orjson.dumps(value).decode()
