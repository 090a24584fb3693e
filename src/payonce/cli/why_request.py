"""`payonce why REQUEST` and `payonce why KEY`: what became of a request by its receipt, and which earlier request is
nearest to it and in which parts it differs. Receipts hold digests of these parts, no text.

This room must never decide what a reason means; the table of reasons does.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any, Final

from payonce.books.reader import Reader
from payonce.books.rows import Which
from payonce.books.words import Filed
from payonce.cli.output import complain, print_json, say
from payonce.dialects.parts import differing, distance
from payonce.errors import SettingsError
from payonce.model.key import parse_key
from payonce.model.reason import REASONS
from payonce.wording import money, span

COMPARED: Final = 5000
"""So many of the latest receipts of the tenant and endpoint are looked through for the nearest one."""
_ID: Final = 16
_SHOWN: Final = 12
"""So many digits of a key `payonce ls` shows."""


def explain_request(name: str, store: str | None, config: Path | None, *, json: bool) -> int:
    """Say why the request with this id, or the last one with this key, was answered as it was. 0 where it was a hit."""
    from payonce.bookkeeping import open_reader
    from payonce.config import load

    reader = open_reader(load({"store": store}, os.environ, config).settings, time.time)
    if reader is None:
        raise SettingsError("ledger: no receipts are kept here; set ledger = 'auto' and a store in a file")
    filed = _found(reader, name)
    if filed is None:
        complain(f"there is no receipt for {name}: it is not written yet, was pruned, or another machine has it")
        return 1
    near = nearest(reader, filed)
    served = filed.outcome in {"hit", "stale", "collapsed"}
    if json:
        print_json(_document(filed, near))
    else:
        _print(filed, near)
    reader.close()
    return 0 if served else 1


def nearest(reader: Reader, filed: Filed) -> tuple[Filed, tuple[str, ...]] | None:
    """The earlier request of the same tenant that is nearest to this one under another key, and the parts in which they
    differ; None where there is none to compare it with."""
    if not filed.parts:
        return None
    until = math.nextafter(filed.at, math.inf)  # several workers do not write down in the order of time
    recent = reader.recent(Which(tenant=filed.tenant, endpoint=filed.endpoint, until=until), COMPARED)
    place = filed.at, filed.n
    found = [one for one in recent if one.parts and one.key != filed.key and (one.at, one.n) < place]
    if not found:
        return None
    best = min(found, key=lambda one: (distance(filed.parts, one.parts), -one.at, -one.n))
    beside = [name for name in ("namespace", "stream") if getattr(best, name) != getattr(filed, name)]
    return best, (*differing(filed.parts, best.parts), *beside)


def _found(reader: Reader, name: str) -> Filed | None:
    if len(name) == _ID and (filed := reader.receipt(name.lower())) is not None:
        return filed
    digest = parse_key(name)
    if digest is None or 2 * len(digest) < _SHOWN:
        raise SettingsError(
            f"{name!r} is neither a request's id ({_ID} hexadecimal digits) nor a key (b3: and at least {_SHOWN}, as "
            "payonce ls shows them); to compare two requests, name two files"
        )
    same = reader.of_key(digest, 50)
    return next((one for one in same if one.outcome not in {"hit", "stale"}), same[0] if same else None)


def _document(filed: Filed, near: tuple[Filed, tuple[str, ...]] | None) -> dict[str, Any]:
    reason = REASONS.get(filed.reason)
    call = filed.call
    return {
        "id": filed.id,
        "at": filed.at,
        "outcome": filed.outcome,
        "reason": filed.reason,
        "sentence": reason.sentence if reason else "",
        "fix": reason.fix if reason else "",
        "key": filed.key,
        "model": filed.model,
        "endpoint": filed.endpoint,
        "namespace": filed.namespace,
        "took": filed.took,
        "unkept": call.unkept if call else "",
        "cost_nano": call.cost_nano if call else None,
        "nearest": None if near is None else {"id": near[0].id, "key": near[0].key, "differs": list(near[1])},
    }


def _print(filed: Filed, near: tuple[Filed, tuple[str, ...]] | None) -> None:
    reason, call = REASONS.get(filed.reason), filed.call
    say(f"{filed.outcome}, {span(time.time() - filed.at)} ago, in {filed.took:.3f} s: {filed.model} {filed.endpoint}")
    if filed.key:
        say(f"  key      {filed.key}")
    if reason is not None:
        say(f"  because  {reason.sentence} ({reason.id})" + (f"; {reason.fix}" if reason.fix else ""))
    if call is not None and call.unkept:
        unkept = REASONS.get(call.unkept)
        say(f"  not kept because {unkept.sentence if unkept else call.unkept}")
    if call is not None and call.cost_nano is not None:
        say(f"  paid     {money(call.cost_nano)}")
    if filed.avoided_nano:
        say(f"  avoided  {money(filed.avoided_nano)}")
    if near is not None:
        parts = ", ".join(near[1]) or "nothing that has a digest: X-Payonce-Sample, the upstream, or a longer part"
        say(f"  nearest  {near[0].id}, {span(filed.at - near[0].at)} before, differs in {parts}")
