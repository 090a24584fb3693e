"""`payonce purge`: one selector, one epoch raised; right for answers still in flight, and independent of how many there
are. This room must never delete what was not selected.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated, Final

from cyclopts import Parameter

from payonce import purging
from payonce.cli.entries import open_shelf
from payonce.cli.flags import AsJson, ConfigFile, StoreUrl, Switch
from payonce.cli.output import complain, print_json, say
from payonce.errors import SettingsError
from payonce.model.ports import Distant

SELECTORS = "--key, --model, --tag, --namespace, --tenant, --older-than, --all"


def purge(
    *,
    key: Annotated[str | None, Parameter(help="One key, or enough of its beginning to be the only one.")] = None,
    model: Annotated[str | None, Parameter(help="The answers to requests for this model.")] = None,
    tag: Annotated[str | None, Parameter(help="The answers with this tag.")] = None,
    namespace: Annotated[str | None, Parameter(help="This namespace, of all tenants.")] = None,
    tenant: Annotated[
        str | None,
        Parameter(
            help="The answers of this tenant, or of the only one that begins so; ls --json shows whose is whose."
        ),
    ] = None,
    older_than: Annotated[str | None, Parameter(help="What was stored longer ago than 30m, 24h, 7d …")] = None,
    all: Annotated[bool, Switch, Parameter(help="Everything.")] = False,  # noqa: A002 - the flag's name
    dry_run: Annotated[bool, Switch, Parameter(help="Only count what would go.")] = False,
    yes: Annotated[bool, Switch, Parameter(help="Don't ask.")] = False,
    json: AsJson = False,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> int:
    """Purge stored answers by exactly one of key, model, tag, namespace, tenant, age, or all."""
    given = {"key": key, "model": model, "tag": tag, "namespace": namespace, "tenant": tenant, "older_than": older_than}
    chosen = [(name, value) for name, value in given.items() if value is not None] + ([("all", "")] if all else [])
    if len(chosen) != 1:
        raise SettingsError(f"purge takes exactly one of {SELECTORS}, and {len(chosen)} were given")
    name, value = chosen[0]
    purging.check(name, value)
    with open_shelf(store, config, create=not dry_run) as shelf:  # a purge also concerns what is brought in later
        selection = purging.select(shelf, name, value)
        if selection is None:
            complain(f"nothing is stored under {value}; payonce ls lists what is")
            return 1
        if dry_run:
            count = sum(1 for _ in shelf.listed(selection.concerns))
            if json:
                print_json({"scope": selection.scope, "dry_run": True, "entries": count})
            else:
                say(f"{count} {'entry' if count == 1 else 'entries'} would go ({selection.scope})")
            return 0
        if all and not yes and sys.stdin.isatty() and not _agreed():
            complain("nothing was purged")
            return 1
        done = purging.purge(shelf, selection)
        servers = isinstance(shelf.store, Distant)
    if json:
        told = {"epoch": done.epoch, "until": done.until, "entries": done.entries}
        print_json({"scope": selection.scope, "dry_run": False, **told})
    else:
        when = datetime.fromtimestamp(done.until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        say(f"purged {selection.scope}: {_CONCERNED[name].format(value=value)}, {_UNTIL[name == 'older_than']} {when}")
        say(_counted(done.entries, everything=all, about=servers))
        say("gateways that share this store know it within a second")
    return 0


_CONCERNED: Final = {
    "key": "the answers under this key",
    "model": "every answer to requests for {value}",
    "tag": "every answer with the tag {value}",
    "namespace": "every answer in the namespace {value!r}, of all tenants",
    "tenant": "every answer of this tenant",
    "older_than": "every answer",
    "all": "every answer",
}
_UNTIL: Final = ("asked for until", "stored until")


def _counted(entries: int | None, *, everything: bool, about: bool) -> str:
    """How many that were, or why nobody has counted."""
    if entries is None:
        return "how many that were is not counted, as a purge looks at none of them; --dry-run counts before"
    number = f"{entries:,} {'entry' if entries == 1 else 'entries'}"
    if not everything:
        return f"{number} deleted"
    return f"of {'about ' * about}{number} in the store, none is served any more"


def _agreed() -> bool:
    sys.stderr.write("payonce: this purges every stored answer; go on? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
