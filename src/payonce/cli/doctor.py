"""`payonce doctor`: why a prompt cache is not hit, for one request, a log of requests, or the gateways on a store.

This room must never decide what is wrong; payonce.doctor does.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from payonce.cli.findings import findings_json, print_findings
from payonce.cli.flags import AsJson, ConfigFile, StoreUrl, Switch
from payonce.cli.output import complain, print_json, say
from payonce.cli.progress import Gauge, progress
from payonce.config_types import duration
from payonce.doctor import Finding, Report, Seen, Watch, add_up, lint
from payonce.doctor.causes import Severity
from payonce.doctor.findings import ranked
from payonce.doctor.models import MinimumOf, rates_from
from payonce.doctor.pages import PREFIX
from payonce.errors import PayonceError, SettingsError
from payonce.ledger.prices import Prices
from payonce.ledger.usage import parse
from payonce.recorded import BadLine, Record, read_records

_CLOCKED = 1e9
"""A time from which on a recording's clock is taken for Unix seconds."""


def doctor(
    file: Path | None = None,
    /,
    *,
    live: Annotated[bool, Switch, Parameter(help="What the gateways on the store found.")] = False,
    dialect: Annotated[
        Literal["chat", "messages", "responses"] | None, Parameter(help="The dialect of the file, if it can't be told.")
    ] = None,
    since: Annotated[
        str | None, Parameter(help="With --live: only the last 24h, 7d … (in whole days).", allow_leading_hyphen=True)
    ] = None,
    json: AsJson = False,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> int:
    """Why a prompt cache is not hit, what that costs, and what to change. Exit code 0: nothing is wrong; 1: something.

    Parameters
    ----------
    file
        One request in JSON, or a log of requests: JSON lines such as {"at": …, "body": {…}, "usage": {…}}.
    """
    if live == (file is not None):
        raise SettingsError("name a file with a request or a log of requests, or say --live; not both")
    if live:
        return _live(since, store, config, as_json=json)
    if since is not None:
        raise SettingsError("--since goes with --live: a file is read whole")
    return _file(file or Path(), dialect, as_json=json)


# ------------------------------------------------------------------------------------------- the gateways on a store


def _live(since: str | None, store: str | None, config: Path | None, *, as_json: bool) -> int:
    from payonce.cli.entries import open_named
    from payonce.model.ports import Notebook

    length = None if since is None else duration(since)
    if since is not None and not length:
        raise SettingsError(f"--since: {since!r} is not a length of time; write, for example, 24h or 7d")
    with open_named(store, config, time.time) as (opened, _settings):
        if not isinstance(opened, Notebook):
            raise SettingsError("store: this store keeps no findings; give doctor a log of requests instead")
        notes = {name: note for name, note in opened.notes().items() if name.startswith(PREFIX)}
    report = add_up(notes, 0.0 if length is None else time.time() - length)
    if not report.counts["seen"] and not as_json:
        say("no request was looked at: the doctor is shown those of 1 KB and more that went upstream, to models whose")
        say("prompts can be cached; payonce stats says what else was asked")
        return 0
    return _end(report, as_json=as_json)


# ------------------------------------------------------------------------------------------- a file


def _file(file: Path, dialect: str | None, *, as_json: bool) -> int:
    try:
        whole = file.read_bytes() if file.stat().st_size < _ONE_REQUEST else b""
        lines = file.open("rb")
    except OSError as error:
        raise PayonceError(f"{file} can't be read ({error.strerror}); name a file with requests in JSON") from None
    with lines:
        single = _single(whole)
        if single is not None:
            records: Iterator[Record | BadLine] = iter([single])
        else:
            records = read_records(lines)
        with progress("reading", None if single else file.stat().st_size) as gauge:
            report, bad = _judge(records, dialect, gauge, lines.tell)
        if single is not None:  # there is but one to speak of
            report = Report(report.counts, tuple(dataclasses.replace(one, requests=()) for one in report.findings))
    if bad and not report.counts["seen"] and not as_json:
        return 2  # nothing was read, so nothing is said of it
    if not bad and not report.counts["seen"]:
        raise PayonceError(f"{file} holds no requests; write one request a line as JSON")
    code = _end(report, as_json=as_json)
    return 2 if bad else code


_ONE_REQUEST = 64 << 20
"""A longer file is a log."""


def _single(whole: bytes) -> Record | None:
    """The one request of a file that is one JSON document, in however many lines."""
    import orjson

    try:
        document = orjson.loads(whole)
    except orjson.JSONDecodeError:
        return None
    found = list(read_records([orjson.dumps(document)]))
    if len(found) == 1 and isinstance(found[0], Record):
        return found[0]
    because = found[0].because if found and isinstance(found[0], BadLine) else "it holds no request"
    raise PayonceError(f"line 1: {because}")


def _judge(
    records: Iterator[Record | BadLine], dialect: str | None, gauge: Gauge, place: Callable[[], int]
) -> tuple[Report, int]:
    """Every request looked at by itself, and as a turn of its conversation; how many lines could not be read."""
    prices, minimum_of = Prices(), minimums()
    watch = Watch(price_of=rates_from(prices), minimum_of=minimum_of, blind=True)
    lints: dict[tuple[str, str, str], Finding] = {}
    told: set[tuple[str, str, str]] = set()
    bad, last = 0, 0.0
    for record in records:
        if isinstance(record, BadLine):
            bad += 1
            complain(f"line {record.number}: {record.because}")
            continue
        one = record if dialect is None else dataclasses.replace(record, dialect=dialect)
        last = one.at if one.at is not None else last + 1.0
        seen = _seen(one, last)
        found = watch.saw(seen)
        for finding in _lints(one, seen, minimum_of):
            key = finding.id, finding.model, finding.where
            lints[key] = lints[key].plus(finding) if key in lints else finding
        told.update((finding.id, finding.model, finding.where) for finding in found)
        gauge.show(place(), f"{watch.counts['seen']} requests")
    more = [finding for key, finding in lints.items() if key not in told]
    return Report(watch.counts, tuple(ranked([*watch.report(), *more]))), bad


def _lints(record: Record, seen: Seen, minimum_of: MinimumOf) -> list[Finding]:
    """What the request itself shows; where its answer says what was cached, only what no answer can excuse."""
    now = record.at if record.at is not None and record.at > _CLOCKED else time.time()
    found = lint(
        record.body,
        dialect=record.dialect,
        model=record.model,
        headers=record.headers,
        minimum_of=minimum_of,
        now=now,
    )
    if seen.usage is not None and seen.usage.cache_read is not None:
        found = [one for one in found if one.severity is Severity.ERROR]
    return [
        dataclasses.replace(one, requests=(record.number,), at=seen.started)
        for one in found
        if one.id != "retired-header"  # the watch names it
    ]


def _seen(record: Record, started: float) -> Seen:
    usage = record.usage
    return Seen(
        body=record.body,
        dialect=record.dialect,
        started=started,
        usage=None if usage is None else parse(usage, dialect=record.dialect, model=record.model),
        tenant=record.tenant or record.key or "",
        model=record.model,
        session=record.session,
        headers=record.headers,
        host=record.provider or "",
        ended=record.ended,
        number=record.number,
    )


def minimums() -> MinimumOf:
    """The shortest prefix that each model caches, as the planner knows it."""
    from payonce.optimise.traits import Catalogue

    catalogue = Catalogue()
    return lambda model: catalogue.traits(model).minimum or None


def _end(report: Report, *, as_json: bool) -> int:
    counts = report.counts
    if as_json:
        print_json(
            findings_json(
                report.findings,
                requests=counts["seen"],
                judged=counts["judged"],
                unknown=counts["unknown"],
                unreadable=counts["unreadable"] + counts["unreadable_pages"],
            )
        )
        return 1 if report.wrong else 0
    print_findings(report.findings)
    if any(finding.tokens and finding.cost is None for finding in report.findings) and (missing := Prices().missing):
        say(missing)
    said = f"{counts['seen']:,} {'request' if counts['seen'] == 1 else 'requests'} looked at"
    if counts["unknown"] and counts["judged"]:
        said += f"; {counts['unknown']:,} of them do not say what was read from the cache"
    say(said)
    return 1 if report.wrong else 0
