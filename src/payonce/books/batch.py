"""What the clerk enters at once, as values: sums, receipts, and upstream calls with both their halves.

This room must never know SQL, nor decide what is counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from payonce.books.journal import Answered, Billed, Landed
from payonce.books.schema import Place, ReceiptRow, Scene
from payonce.books.values import Values
from payonce.ledger.hits import Hit
from payonce.model.call import Ask, Call
from payonce.model.entry import Facts, Tokens
from payonce.model.receipt import Hits, Outcome

MINUTE: Final = 60
HIT: Final = Outcome.HIT.value
SERVED: Final = (Outcome.HIT, Outcome.STALE)


@dataclass(slots=True)
class CallRow:
    """What is known of one upstream call: either half, or both. `row` is where it stands in the file, if it does."""

    request: int
    landed: Landed | None = None
    billed: Billed | None = None
    since: float = 0.0
    filed: bool = True
    """Whether it gets a row of its own."""
    row: int | None = None
    landed_counted: bool = False
    billed_counted: bool = False
    """Which halves are in the sums."""

    @property
    def whole(self) -> bool:
        """Whether nothing more will come."""
        if self.landed is None:
            return self.billed is not None and not self.billed.steering.cacheable
        return self.billed is not None or not self.landed.steered

    @property
    def due(self) -> bool:
        """Whether a half is not in the sums yet."""
        return (self.landed is not None) > self.landed_counted or (self.billed is not None) > self.billed_counted

    @property
    def scene(self) -> Scene:
        """Who asked whom for what, as far as it is known."""
        if self.billed is None:
            return self.landed.scene if self.landed is not None else Scene()
        return self.billed.scene


@dataclass(slots=True)
class Batch:
    """What is to be entered at once."""

    sums: dict[Place, Counter[str]] = field(default_factory=dict)
    latency: Counter[tuple[int, str, int]] = field(default_factory=Counter)
    receipts: list[ReceiptRow] = field(default_factory=list)
    calls: list[CallRow] = field(default_factory=list)
    turns: list[Billed] = field(default_factory=list)
    """The bills of calls that belong to a conversation."""

    def __bool__(self) -> bool:
        return bool(self.sums or self.receipts or self.calls or self.latency)

    def at(self, at: float, scene: Scene, outcome: str, reason: str = "") -> Counter[str]:
        """The sums of this minute, scene, outcome and reason."""
        place = int(at) // MINUTE * MINUTE, scene, outcome, reason
        found = self.sums.get(place)
        if found is None:
            found = self.sums[place] = Counter()
        return found


def scene_of(asked: Ask | Call | None) -> tuple[Scene, int]:
    """Who asked whom for what, and the number of the request."""
    if asked is None:
        return Scene(), 0
    if isinstance(asked, Ask):
        return Scene(asked.tenant, asked.namespace, asked.call.endpoint, asked.intent.model), asked.call.number
    steering = asked.steering
    if steering is None:
        return Scene(endpoint=asked.endpoint), asked.number
    return Scene(steering.tenant, steering.namespace, asked.endpoint, steering.model), asked.number


def answered_row(event: Answered, scene: Scene, parts: bytes | None, values: Values) -> ReceiptRow:
    receipt, asked = event.receipt, event.asked
    ask = asked if isinstance(asked, Ask) else None
    spared, avoided, size = receipt.spared, Tokens(), 0
    if receipt.entry is not None and receipt.outcome in SERVED:
        avoided = spared.facts.tokens if spared is not None else avoided
        size = len(receipt.entry.body)
    elif receipt.saved is not None:
        avoided, size = receipt.saved.tokens, receipt.saved.size
    worth, estimated = values.of(scene.model, spared.facts) if spared is not None else (avoided.cost, False)
    _, number = scene_of(asked)
    return ReceiptRow(
        id=number,
        request=receipt.flight or (number if receipt.outcome is Outcome.BYPASS else 0),
        scene=scene,
        at=event.at,
        outcome=receipt.outcome.value,
        reason=receipt.reason.id if receipt.reason is not None else "",
        times=1,
        took=event.took,
        stream=ask is not None and ask.key.stream,
        converted=receipt.converted,
        key=None if ask is None else ask.key.digest,
        avoided_nano=worth,
        avoided_input=avoided.input,
        avoided_output=avoided.output,
        served_bytes=size,
        parts=parts,
        avoided_estimated=estimated,
    )


def joined_row(row: ReceiptRow, facts: Facts | None, values: Values) -> ReceiptRow:
    """The receipt of a request that joined a call whose answer said this of itself; None where it is not known."""
    if facts is None:
        return row
    tokens, (worth, estimated) = facts.tokens, values.of(row.scene.model, facts)
    return row._replace(
        avoided_nano=_plus(row.avoided_nano, worth),
        avoided_input=_plus(row.avoided_input, tokens.input),
        avoided_output=_plus(row.avoided_output, tokens.output),
        avoided_estimated=row.avoided_estimated or estimated,
    )


def _plus(one: int | None, other: int | None) -> int | None:
    return one if other is None else other + (one or 0)


def hit_row(hit: Hit, values: Values) -> ReceiptRow:
    scene, tokens = Scene(*hit.scene), hit.facts.tokens
    worth, estimated = values.of(scene.model, hit.facts)
    return ReceiptRow(
        id=hit.request,
        request=0,
        scene=scene,
        at=hit.at,
        outcome=HIT,
        reason="",
        times=1,
        took=hit.took,
        stream=hit.key.stream,
        converted=hit.converted,
        key=hit.key.digest,
        avoided_nano=worth,
        avoided_input=tokens.input,
        avoided_output=tokens.output,
        served_bytes=hit.size,
        parts=None,
        avoided_estimated=estimated,
    )


def shelved_row(hits: Hits, at: float, took: float, values: Values) -> ReceiptRow:
    entry = hits.entry
    tokens = entry.facts.tokens
    worth, estimated = values.of(entry.model, entry.facts)
    return ReceiptRow(
        id=hits.request,
        request=0,
        scene=Scene(entry.tenant, entry.namespace, entry.endpoint, entry.model),
        at=at,
        outcome=HIT,
        reason="",
        times=hits.times,
        took=took,
        stream=hits.slot[-1:] == b"s",
        converted=hits.converted,
        key=hits.slot[:-1],
        avoided_nano=worth,
        avoided_input=tokens.input,
        avoided_output=tokens.output,
        served_bytes=len(entry.body),
        parts=None,
        avoided_estimated=estimated,
    )
