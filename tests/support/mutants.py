"""JSON values with one thing changed: for tests in which anything may be wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

Path = tuple[Any, ...]


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """The path to every value inside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in inner:
        yield (*path, name)
        yield from places(child, (*path, name))


def at(value: Any, path: Path) -> Any:
    for name in path:
        value = value[name]
    return value


def spoil(value: Any, other: Any, data: st.DataObject) -> Any:
    """`value` with one thing inside replaced by `other`, left out, doubled, or put elsewhere."""
    spoiled = deepcopy(value)
    path = data.draw(st.sampled_from(sorted(places(spoiled), key=repr)))
    holder, name = at(spoiled, path[:-1]), path[-1]
    how = data.draw(st.sampled_from(["replace", "drop", "double", "swap", "null"]))
    if how == "drop":
        del holder[name]
    elif how == "double" and isinstance(holder, list):
        holder.insert(name, deepcopy(holder[name]))
    elif how == "swap" and isinstance(holder, list):
        holder[0], holder[name] = holder[name], holder[0]
    else:
        holder[name] = None if how == "null" else other
    return spoiled


def strangers(value: Any, carried: Callable[[Path], bool]) -> Iterator[Any]:
    """`value` with a member that nobody knows in one object after the other, but for those that are `carried` whole."""
    for path in [(), *places(value)]:
        if not carried(path) and isinstance(at(value, path), dict):
            spoiled = deepcopy(value)
            at(spoiled, path)["stranger"] = 1
            yield spoiled
