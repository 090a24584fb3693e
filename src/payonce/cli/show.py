"""`payonce show KEY`: one stored answer, with what is known of it. This room must never change an entry."""

from __future__ import annotations

import json as jsonlib
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from payonce.cli.entries import open_shelf
from payonce.cli.flags import AsJson, ConfigFile, StoreUrl, Switch
from payonce.cli.ls import facts
from payonce.cli.output import complain, print_json, say
from payonce.dialects.sse import events
from payonce.listing import Listed, key_digits
from payonce.wording import money, size, span


def show(
    key: str,
    /,
    *,
    json: AsJson = False,
    raw: Annotated[bool, Switch, Parameter(help="Write the stored body alone, byte for byte.")] = False,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> int:
    """Show one stored answer: its facts, headers and body.

    Parameters
    ----------
    key
        The key, or at least 4 digits of its beginning, as `payonce ls` shows it.
    """
    digits = key_digits(key)
    with open_shelf(store, config) as shelf:
        now = shelf.clock()
        found = list(shelf.listed(lambda row: row.slot[:-1].hex().startswith(digits)))
    keys = list(dict.fromkeys(listed.key for listed in found))
    if not keys:
        complain(f"nothing is stored under {key}; payonce ls lists what is")
        return 1
    if len(keys) > 1:
        complain(f"{key} may be any of {len(keys)} keys; write more of it:")
        for candidate in keys:
            sys.stderr.write(f"  {candidate}\n")
        return 2
    if raw:
        sys.stdout.buffer.write(found[0].entry.body)
        sys.stdout.buffer.flush()
    elif json:
        print_json({"key": keys[0], "entries": [_document(listed, now) for listed in found]})
    else:
        for listed in found:
            _print(listed, now)
    return 0


def _document(listed: Listed, now: float) -> dict[str, Any]:
    entry = listed.entry
    tokens = entry.facts.tokens
    return facts(listed, now) | {
        "status": entry.status,
        "source_id": entry.facts.source_id,
        "answered_by": entry.facts.model,
        "usage": {"input": tokens.input, "output": tokens.output, "nano_dollars": tokens.cost},
        "took": entry.took,
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in entry.headers],
        "body": entry.body.decode("utf-8", "replace"),
    }


def _print(listed: Listed, now: float) -> None:
    entry, tokens = listed.entry, listed.entry.facts.tokens
    left = entry.expires_at - now
    lines = {
        "key": listed.key,
        "framing": listed.framing,
        "model": entry.model,
        "answered by": entry.facts.model,
        "endpoint": entry.endpoint,
        "namespace": entry.namespace,
        "tags": ", ".join(entry.tags),
        "tenant": entry.tenant,
        "age": span(entry.age(now)),
        "expires in": span(left) if left > 0 else "expired",
        "size": f"{size(len(entry.body))} body, {size(listed.row.size)} stored",
        "took": f"{entry.took:.3f} s",
        "tokens": f"{_known(tokens.input)} in, {_known(tokens.output)} out",
        "cost": "unknown" if tokens.cost is None else money(tokens.cost),
        "source id": entry.facts.source_id,
    }
    for name, value in lines.items():
        if value:
            say(f"{name + ':':<14}{value}")
    say()
    say(f"HTTP {entry.status}")
    for field, content in entry.headers:
        say(f"{field.decode('latin-1')}: {content.decode('latin-1')}")
    say()
    for line in _body(listed):
        say(line)
    say()


def _known(count: int | None) -> str:
    return "?" if count is None else str(count)


def _body(listed: Listed) -> list[str]:
    """A stream as numbered events, a whole answer as indented JSON; what is neither, as text."""
    body = listed.entry.body
    if listed.framing == "stream":
        return [f"[{number}] {data.decode('utf-8', 'replace')}" for number, data in enumerate(events(body), start=1)]
    try:
        return [jsonlib.dumps(jsonlib.loads(body), indent=2, ensure_ascii=False)]
    except (ValueError, RecursionError):
        return [body.decode("utf-8", "replace")]
