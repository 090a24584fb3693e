"""Of many recordings the one that is nearest to a question, and the parts in which the two differ, as a clause.

Endpoint and model weigh most, then the number of parts that differ, then how little their texts have in common. The
work is bounded: at most `MOST` recordings are compared, and one of them closely. This room must never read a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import orjson

from payonce.dialects.explain import Difference, explain, explain_headers
from payonce.errors import PayonceError
from payonce.model.call import Asked
from payonce.model.ports import Recording

MOST: Final = 10_000
_PARTS: Final = 3
_WIDTH: Final = 60
_MOST_LEAVES: Final = 2000

Distance = tuple[bool, bool, int, float]
_Leaves = dict[tuple[Any, ...], Any]


def nearest(asked: Asked, stream: bool, recordings: Iterable[Recording]) -> str:
    """What is known of the recording that is nearest to `asked`: a clause for a sentence, or nothing."""
    leaves = _leaves(asked)
    best: Recording | None = None
    least: Distance | None = None
    for recording in islice(recordings, MOST):
        distance = _distance(asked, leaves, stream, recording)
        if least is None or distance < least:
            best, least = recording, distance
    if best is None:
        return "there is no recording to compare it with"
    return f"the nearest recording is {best.name}, {_differing(asked, stream, best)}"


def _distance(asked: Asked, leaves: _Leaves, stream: bool, recording: Recording) -> Distance:
    other = recording.asked
    theirs = _leaves(other)
    paths = [path for path in leaves.keys() | theirs.keys() if leaves.get(path, _GAP) != theirs.get(path, _GAP)]
    apart = sum(_unlike(leaves.get(path), theirs.get(path)) for path in paths[:16])
    beside = sum(
        (
            asked.upstream != other.upstream,
            asked.query != other.query,
            asked.namespace != other.namespace,
            asked.sample != other.sample,
            asked.headers != other.headers,
            stream != recording.stream,
        )
    )
    return asked.endpoint != other.endpoint, asked.model != other.model, len(paths) + beside, apart


_GAP: Final = object()


def _leaves(asked: Asked) -> _Leaves:
    """Every value of the body by its path; the first so many of a long one."""
    try:
        body = orjson.loads(asked.body)
    except ValueError:
        return {(): asked.body}
    found: _Leaves = {}
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), body)]
    while waiting and len(found) < _MOST_LEAVES:
        path, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [((*path, name), child) for name, child in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, place), child) for place, child in enumerate(value[:_MOST_LEAVES])]
        else:
            found[path] = value
    return found


def _unlike(a: Any, b: Any) -> float:
    """0 for texts that are alike, 1 for those that neither begin nor end alike."""
    if type(a) is not str or type(b) is not str:
        return 1.0
    head = _alike(a, b)
    tail = _alike(a[head:][::-1], b[head:][::-1])
    return 1.0 - (head + tail) / max(len(a), len(b), 1)


def _alike(a: str, b: str) -> int:
    """How many characters two texts begin with alike."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _differing(asked: Asked, stream: bool, recording: Recording) -> str:
    """The parts in which the two differ, as a clause."""
    parts = list(_parts(asked, stream, recording))
    if not parts:
        return (
            "which shows the same request under another key: it was edited, its scrubbed parts differ, "
            "or another version of Payonce made it"
        )
    told = [
        f"{part.path} (recorded {_shortened(part.a, part.b)}, asked {_shortened(part.b, part.a)})"
        for part in parts[:_PARTS]
    ]
    more = f" and {len(parts) - _PARTS} more" if len(parts) > _PARTS else ""
    return f"which differs in {', '.join(told)}{more}"


def _parts(asked: Asked, stream: bool, recording: Recording) -> Iterator[Difference]:
    """Every part that matters: the recording's first, then what was asked."""
    other = recording.asked
    for name in ("endpoint", "upstream", "query", "namespace", "sample"):
        old, new = getattr(other, name), getattr(asked, name)
        if old != new:
            yield Difference(name, old or "(none)", new or "(none)", matters=True, because="")
    if stream != recording.stream:
        yield Difference("stream", _json(recording.stream), _json(stream), matters=True, because="")
    try:
        found = explain(asked.endpoint, other.body, asked.body)
    except PayonceError:  # not JSON: compared as text
        found = [Difference("body", _text(other.body), _text(asked.body), matters=True, because="")]
    found += explain_headers(other.headers, asked.headers)
    yield from (part for part in found if part.matters and part.a != part.b)


def _json(value: bool) -> str:
    return "true" if value else "false"


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")


def _shortened(text: str, beside: str) -> str:
    """`text` on one line and cut, so that the place where it leaves `beside` can be seen."""
    focus = _alike(text, beside)
    flat = text.replace("\n", "\\n")
    if len(flat) <= _WIDTH:
        return flat
    start = max(0, min(focus - _WIDTH // 3, len(flat) - _WIDTH))
    return ("…" if start else "") + flat[start : start + _WIDTH] + ("…" if start + _WIDTH < len(flat) else "")
