"""`payonce why A.json B.json`: which parts of two requests differ, and whether that gives them different keys; with one
argument, the id or key of a request that was made (cli/why_request.py).

This room must never decide what belongs to a key; dialects/explain.py and core/fields.py do.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import orjson
from cyclopts import Parameter

from payonce.cli.flags import AsJson, ConfigFile, StoreUrl
from payonce.cli.output import print_json, say, shortened
from payonce.cli.why_request import explain_request
from payonce.config import load
from payonce.config_options import ENDPOINTS
from payonce.config_types import did_you_mean
from payonce.dialects import DIALECTS
from payonce.dialects.canonical import parse
from payonce.dialects.explain import Difference, explain, explain_headers
from payonce.errors import PayonceError, SettingsError
from payonce.model.call import Headers
from payonce.model.reason import Reason


def why(
    a: str,
    b: Path | None = None,
    /,
    *,
    endpoint: Annotated[str, Parameter(help="The endpoint that both requests are for.")] = "chat/completions",
    json: AsJson = False,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> int:
    """Which part of two requests makes their keys differ, or why one that was made was no hit.

    Exit code 0: the same key, or a hit; 1: two keys, or no hit.

    Parameters
    ----------
    a
        A request body in JSON, or {"headers": {…}, "body": {…}}; alone, a request's id (X-Payonce-Request-Id) or key.
    b
        Another request.
    """
    if b is None:
        return explain_request(a, store, config, json=json)
    endpoint = endpoint.strip("/").removeprefix("api/").removeprefix("v1/")
    if endpoint not in ENDPOINTS:
        hint = did_you_mean(endpoint, ENDPOINTS) or f"use one of {', '.join(ENDPOINTS)}"
        raise SettingsError(f"--endpoint: {endpoint!r} is not an endpoint that is cached; {hint}")
    settings = load({}, os.environ, config).settings
    (headers_a, body_a), (headers_b, body_b) = _request(Path(a)), _request(b)
    inert = frozenset(name.encode() for name in settings.ignore_headers)
    found = explain_headers(headers_a, headers_b, inert, settings.share) + explain(endpoint, body_a, body_b)
    without = _without_key(endpoint, body_a, body_b)
    same = not any(difference.matters for difference in found) and not without
    if json:
        differences = [dataclasses.asdict(difference) for difference in found]
        print_json(
            {
                "same_key": same,
                "differences": differences,
                "no_key": {side: against.id for side, against in without.items()},
            }
        )
    else:
        _print(found, without, same=same)
    return 0 if same else 1


def _without_key(endpoint: str, *bodies: bytes) -> dict[str, Reason]:
    """Which of the two, `a` and `b`, the cache would take no part in whatever the other is, and why."""
    readings = {name: DIALECTS[endpoint].read(body) for name, body in zip("ab", bodies, strict=True)}
    return {name: reading for name, reading in readings.items() if isinstance(reading, Reason)}


def _print(found: list[Difference], without: Mapping[str, Reason], *, same: bool) -> None:
    for difference in sorted(found, key=lambda one: not one.matters):
        focus = _common(difference.a, difference.b)
        say(f"{difference.path}  {'moves the key' if difference.matters else 'does not matter'}: {difference.because}")
        say(f"  a: {shortened(difference.a, 100, focus)}")
        say(f"  b: {shortened(difference.b, 100, focus)}")
    for name, reason in without.items():
        say(f"{name} has no key, it is never cached ({reason.id}): {reason.sentence}; {reason.fix}")
    if found or without:
        say()
    if without:
        say("no key to compare")
        return
    parts = sum(difference.matters for difference in found)
    say("the same key" if same else f"two keys, because of {parts} {'part' if parts == 1 else 'parts'}")


def _common(a: str, b: str) -> int:
    """How many characters two texts begin with alike."""
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _request(path: Path) -> tuple[Headers, bytes]:
    """Headers and body of a file that holds a bare body, or both."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise PayonceError(f"{path} can't be read ({error.strerror}); name a file with a request in JSON") from None
    document = parse(text)
    if not isinstance(document, dict) or "body" not in document or not document.keys() <= {"headers", "body"}:
        return (), text
    headers, body = document.get("headers", {}), document["body"]
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise PayonceError(
            f'{path}: "headers" is not an object of strings; write {{"headers": {{"name": "value"}}, …}}'
        )
    fields = tuple((name.lower().encode(), value.encode()) for name, value in headers.items())
    return fields, body.encode() if isinstance(body, str) else orjson.dumps(body)
