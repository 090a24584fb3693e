"""`payonce ls`: the stored answers, newest first. This room must never show a body."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from payonce.cli.entries import open_shelf
from payonce.cli.flags import AsJson, ConfigFile, OnlyModel, OnlyNamespace, OnlyTag, StoreUrl
from payonce.cli.output import complain, print_json, say, table
from payonce.errors import SettingsError
from payonce.listing import Listed, fitting
from payonce.wording import size, span


def ls(
    *,
    limit: Annotated[int, Parameter(help="How many to list; 0 lists all.")] = 50,
    model: OnlyModel = None,
    tag: OnlyTag = None,
    namespace: OnlyNamespace = None,
    json: AsJson = False,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> int:
    """List the stored answers, newest first; what was purged is not listed."""
    if limit < 0:
        raise SettingsError("--limit: write a whole number; 0 lists all")
    with open_shelf(store, config) as shelf:
        now = shelf.clock()
        wanted = fitting(model, tag, namespace)
        found, looked = shelf.newest(wanted, limit) if limit > 0 else (list(shelf.listed(wanted)), 0)
    if looked:
        complain(f"the store holds more than the {looked} entries that were looked at; --limit 0 looks at all")
    if json:
        print_json([facts(listed, now) for listed in found])
    elif found:
        columns = ("key", "age", "expires in", "size", "model", "endpoint", "framing", "namespace", "tags")
        table(columns, [_cells(listed, now) for listed in found], right=("age", "expires in", "size"))
    else:
        say("nothing is stored" if model is tag is namespace is None else "nothing that is stored fits")
    return 0


def facts(listed: Listed, now: float) -> dict[str, Any]:
    """What is known of an entry, apart from its headers and body; times in seconds."""
    entry = listed.entry
    return {
        "key": listed.key,
        "framing": listed.framing,
        "model": entry.model,
        "endpoint": entry.endpoint,
        "namespace": entry.namespace,
        "tags": list(entry.tags),
        "tenant": entry.tenant,
        "size": listed.row.size,
        "stored_at": entry.stored_at,
        "age": round(entry.age(now), 3),
        "ttl": entry.ttl,
        "expires_in": round(entry.expires_at - now, 3),
    }


def _cells(listed: Listed, now: float) -> tuple[str, ...]:
    entry = listed.entry
    left = entry.expires_at - now
    return (
        listed.key[:15],
        span(entry.age(now)),
        span(left) if left > 0 else "expired",
        size(listed.row.size),
        entry.model,
        entry.endpoint,
        listed.framing,
        entry.namespace,
        ",".join(entry.tags),
    )
