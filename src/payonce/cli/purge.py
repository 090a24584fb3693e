"""`payonce purge`: one selector, one epoch raised; right for answers still in flight, and independent of how many there
are. This room must never delete what was not selected.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from payonce.cli.entries import Shelf, key_digits, open_shelf
from payonce.cli.flags import AsJson, ConfigFile, StoreUrl, Switch
from payonce.cli.output import complain, print_json, say
from payonce.config_types import duration
from payonce.errors import SettingsError
from payonce.model import scopes
from payonce.model.ports import Row

SELECTORS = "--key, --model, --tag, --namespace, --tenant, --older-than, --all"


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to go: the epoch that is raised (`at_least` is a time, for `before`), and which rows that concerns."""

    scope: str
    concerns: Callable[[Row], bool]
    at_least: int = 0
    digest: bytes = b""


def purge(
    *,
    key: Annotated[str | None, Parameter(help="One key, or enough of its beginning to be the only one.")] = None,
    model: Annotated[str | None, Parameter(help="The answers to requests for this model.")] = None,
    tag: Annotated[str | None, Parameter(help="The answers with this tag.")] = None,
    namespace: Annotated[str | None, Parameter(help="This namespace, of all tenants.")] = None,
    tenant: Annotated[str | None, Parameter(help="The answers of this tenant; ls --json shows whose is whose.")] = None,
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
    _check(name, value)
    with open_shelf(store, config) as shelf:
        selection = _select(shelf, name, value)
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
        epoch = _purge(shelf, selection)
    if json:
        print_json({"scope": selection.scope, "dry_run": False, "epoch": epoch})
    else:
        say(f"purged {selection.scope}; gateways that share this store know it within a second")
    return 0


def _check(name: str, value: str) -> None:
    """What can be refused before a store is opened."""
    if name == "key":
        key_digits(value)
    elif name == "older_than":
        if duration(value) is None:
            raise SettingsError(f"--older-than: {value!r} is not an age; write, for example, 30m, 24h or 7d")
    elif not value and name not in ("namespace", "all"):
        raise SettingsError(f"--{name} names nothing; write the {name}'s name")
    elif name == "model" and any(mark in value for mark in "*?"):
        raise SettingsError(f"--model: {value!r} is a glob, and a purge takes one model; payonce ls --model lists them")


_NAMED: dict[str, tuple[Callable[[str], str], Callable[[Row, str], bool]]] = {
    "model": (scopes.of_model, lambda row, name: row.about.model == name),
    "tag": (scopes.of_tag, lambda row, name: name in row.about.tags),
    "namespace": (scopes.of_namespace, lambda row, name: row.about.namespace == name),
    "tenant": (scopes.of_tenant, lambda row, name: row.about.tenant == name),
    "all": (lambda _name: scopes.ALL, lambda _row, _name: True),
}


def _select(shelf: Shelf, selector: str, value: str) -> Selection | None:
    """The epoch and the rows of a selector; None where a key is not stored."""
    if selector == "key":
        return _select_key(shelf, value)
    if selector == "older_than":
        before = int((shelf.clock() - (duration(value) or 0)) * 1000)
        return Selection(scopes.BEFORE, lambda row: row.about.stored_at * 1000 <= before, at_least=before)
    scope, concerns = _NAMED[selector]
    return Selection(scope(value), lambda row: concerns(row, value))


def _select_key(shelf: Shelf, value: str) -> Selection | None:
    digits = key_digits(value)
    digests = {bytes.fromhex(digits)} if len(digits) == 64 else set()
    digests = digests or {row.slot[:-1] for row in shelf.store.rows() if row.slot.hex().startswith(digits)}
    if len(digests) > 1:
        listed = ", ".join(f"b3:{digest.hex()}" for digest in sorted(digests)[:10])
        raise SettingsError(f"--key: {value} may be any of {len(digests)} keys, write more of it: {listed}")
    if not digests:
        return None
    digest = digests.pop()
    return Selection(scopes.of_key(digest), lambda row: row.slot[:-1] == digest, digest=digest)


def _purge(shelf: Shelf, selection: Selection) -> int:
    """Raise the epoch; a key's answers are deleted as well, so that their space is free at once."""
    present = shelf.store.epochs().get(selection.scope, 0)
    if selection.at_least and present >= selection.at_least:
        return present
    epoch = shelf.store.raise_epoch(selection.scope, at_least=selection.at_least)
    if selection.digest:
        for framing in (b"s", b"w"):
            shelf.store.delete(selection.digest + framing)
    return epoch


def _agreed() -> bool:
    sys.stderr.write("payonce: this purges every stored answer; go on? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
