"""The library's desk: requests of an HTTP client in, asks out; answers in, the client's own responses out.

One for each transport, the same for httpx and httpx2, for threads and event loops. What it can't read as a call to a
cached endpoint is not its business. This room must never wait, nor decide whether something is cached.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from blake3 import blake3
from msgspec import structs

from payonce.at_hand import at_hand
from payonce.callers import Callers, Known, Place
from payonce.config import Settings
from payonce.core import effects as do
from payonce.core.directives import NAMES as DIRECTIVES
from payonce.core.labels import Label
from payonce.core.labels import headers as label_headers
from payonce.core.naming import Name
from payonce.core.tape import COMPLETE
from payonce.dialects import DIALECTS
from payonce.drive.performing import Turn
from payonce.errors import MissError, PayonceError
from payonce.intake import Admitted, Bypassed, Refused
from payonce.library import Lease, LibraryWorld
from payonce.library_shelf import Ready, answer_fields
from payonce.model import reason as why
from payonce.model.call import Ask, Headers
from payonce.model.ports import Clock, Head
from payonce.model.reason import Reason
from payonce.model.receipt import Outcome
from payonce.outgoing import SdkCall, sdk_call, twin
from payonce.replaying import known_of, opened

Mode = Literal["record", "replay", "refresh", "off"]
MODES = ("record", "replay", "refresh", "off")

Nearest = Callable[[Ask], str]
"""What is known of the recording that is nearest to an ask that missed: a clause for a sentence, or nothing."""

_OURS = tuple(name for name in DIRECTIVES if name != b"cache-control")
_EXTENSIONS = frozenset(("timeout", "trace"))
"""What a request may tell its transport and be cached all the same."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a client was set up with. `said` are directives that hold where a request says nothing else."""

    settings: Settings
    mode: Mode | None = None
    said: Headers = ()
    nearest: Nearest | None = None
    clock: Clock = time.time
    remedy: str = 'run once with mode="record"'
    """How a recording that is missing is made, for the error that names it."""


class Desk:
    """See the room's first paragraph. `mod` is httpx or httpx2, `way` the transport that is wrapped."""

    def __init__(self, mod: Any, way: Any, options: Options) -> None:
        self.mod = mod
        self.way = way
        self.options = options
        self.lease = Lease(options.settings, options.clock)
        salt = blake3(repr((mod.__name__, options.settings, options.mode, options.said)).encode()).digest()
        self.callers = Callers(options.settings, options.said, salt)
        self._at_hand = at_hand(mod)

    def open(self) -> LibraryWorld:
        """The world, made now if nobody has it open. May wait for a disk. Raises `StoreError` where a mode can't have
        its store."""
        return opened(self.lease, self.options.mode)

    # Requests.

    def shelved(self, world: LibraryWorld, name: Name, started: float) -> Any:
        """The response that stands ready for a request with this name, or None."""
        now = world.clock()
        ready = world.shelf.get(name, now)
        if ready is None:
            return None
        response = self._at_hand(ready.entry.status, ready.headers(now), ready.body)
        world.shelf.served(ready, time.perf_counter() - started)
        return response

    def admit(self, known: Known, place: Place, request: Any, body: bytes) -> Admitted | Bypassed | Refused | None:
        """What becomes of a request; None where it is the wrapped transport's alone."""
        settings = self.options.settings
        heard = self.callers.heard(known, place, request)
        if heard is None or len(body) > settings.max_body_bytes or not request.extensions.keys() <= _EXTENSIONS:
            return None
        intake, said = heard
        taken = intake.take(said, body)
        if not isinstance(taken, Admitted):
            return taken
        call = sdk_call(taken.ask.call, way=self.way, request=request, mod=self.mod, at_most=settings.total_timeout)
        ask = structs.replace(taken.ask, call=call)
        if self.options.mode == "refresh":
            ask = structs.replace(ask, refresh=True, plain=False)
        elif self.options.mode == "replay":
            ask = structs.replace(ask, only_if_cached=True, refresh=False, clear=False)
        return Admitted(ask, taken.dialect)

    def bare(self, request: Any, *, ours: bool = True) -> Any:
        """`request` without what is said to the cache; the very same one where it says nothing. `ours`: it goes to a
        cached endpoint, so `Cache-Control` is said to us."""
        names = DIRECTIVES if ours else _OURS
        kept = [field for field in request.headers.raw if not self._dropped(field[0].lower(), names)]
        if len(kept) == len(request.headers.raw):
            return request
        bare = self.mod.Request(
            request.method, request.url, headers=kept, stream=request.stream, extensions=request.extensions
        )
        if hasattr(request, "_content"):
            bare.read()
        return bare

    def _dropped(self, name: bytes, names: Any) -> bool:
        if name not in names:
            return False
        return not (self.options.settings.forward_cache_headers and name.startswith(b"x-openrouter-"))

    def patience(self, request: Any) -> float | None:
        """For how many seconds the client waits for something to read."""
        timeout = request.extensions.get("timeout")
        return timeout.get("read") if timeout else None

    # Answers.

    def whole(self, turn: Turn) -> bytes | None:
        """The whole body of an answer that has ended well; None while it is arriving, and where it ended otherwise."""
        effect = turn.effect
        assert isinstance(effect, do.Relay)
        return effect.tape.body() if effect.tape.ending is COMPLETE else None

    def response(self, effect: do.Relay, body: bytes | None, stream: Any = None) -> Any:
        """The client's response for an answer: its whole `body`, or the `stream` by which it arrives."""
        head = effect.head
        fields = answer_fields(head, label_headers(effect.label), None if body is None else len(body))
        if body is None:
            return self.mod.Response(head.status, headers=fields, stream=stream)
        return self._at_hand(head.status, fields, body)

    def shelve(self, world: LibraryWorld, name: Name, taken: Admitted, turn: Turn, moment: tuple[int, int]) -> None:
        """End the turn of an answer that was handed over whole; a fresh hit may be repeated from the shelf."""
        effect = turn.effect
        receipt = turn.end(True)
        if receipt is not None and receipt.outcome is Outcome.HIT and taken.ask.plain and receipt.entry is not None:
            body = receipt.entry.body if taken.ask.hit_usage == "verbatim" else self.whole(turn)
            assert isinstance(effect, do.Relay)
            if body is not None:
                slot, kind = taken.ask.key.slot, self.mod.Headers
                ready = Ready(receipt.entry, body, slot, moment[0], kind, converted=receipt.converted)
                world.shelf.put(name, ready, moment)

    def labelled(self, response: Any, label: Label) -> Any:
        """A response of the wrapped transport, saying why the cache took no part."""
        for name, value in label_headers(label):
            response.headers[name.decode()] = value.decode()
        return response

    def refusal(self, place: Place, reason: Reason, label: Label) -> Any:
        """Payonce's own error, in the endpoint's shape. SDKs are told not to repeat what is refused."""
        message = reason.sentence + (f"; {reason.fix}" if reason.fix else "")
        body = DIALECTS.get(place.endpoint, DIALECTS["chat/completions"]).error(reason.status, reason.id, message)
        fields = (
            (b"content-type", b"application/json"),
            (b"x-payonce-error", reason.id.encode()),
            (b"x-should-retry", b"false"),
        )
        head = Head(reason.status, fields)
        headers = answer_fields(head, label_headers(label), len(body))
        return self.mod.Response(reason.status, headers=headers, stream=self.mod.ByteStream(body))

    def refused(self, place: Place, taken: Admitted, turn: Turn) -> Any:
        """The answer to an ask that the story refused: a page, or the exception that says why there is none."""
        effect = turn.effect
        assert isinstance(effect, do.Refuse)
        turn.end(None)
        if turn.flight is not None:
            raise self.failure(turn, effect.reason)
        if self.options.mode == "replay" and effect.reason is why.ONLY_IF_CACHED:
            raise self.miss("nothing is recorded for this request", taken.ask)
        return self.refusal(place, effect.reason, effect.label)

    def failure(self, turn: Turn, reason: Reason | None) -> Exception:
        """Why an answer failed, as the wrapped transport said it: the very exception for the client that led, an equal
        one for those who followed."""
        call = turn.flight.ask.call if turn.flight is not None else None
        if isinstance(call, SdkCall) and call.raised:
            return call.raised[0] if turn.leader else twin(call.raised[0])
        reason = reason or why.INTERNAL
        kind = self.mod.ReadTimeout if reason is why.UPSTREAM_SLOW else self.mod.ReadError
        error: Exception = kind(f"payonce: {reason.sentence}")
        return error

    def outlives(self, turn: Turn, request: Any) -> bool:
        """Whether a follower's time is not up although that of the flight it followed is: it then asks anew."""
        if turn.flight is None or turn.leader:
            return False
        call = turn.flight.ask.call
        if not isinstance(call, SdkCall) or not any(isinstance(e, self.mod.TimeoutException) for e in call.raised):
            return False
        own = request.extensions.get("timeout") or {}
        return any(_limit(own.get(name)) > _limit(call.timeout.get(name)) for name in ("read", "connect", "pool"))

    def miss(self, what: str, ask: Ask | None = None) -> MissError:
        """The error of mode "replay". Raises `RecordingError` where there is a recording that can't be read."""
        if ask is None:
            return MissError(what, remedy=self.options.remedy)
        world, known = self.lease.world, ""
        if self.options.nearest is not None:
            known = self.options.nearest(ask)
        elif world is not None:
            known = known_of(world.tiers.keeper, ask)
        named = {"key": ask.key.text, "model": ask.intent.model, "endpoint": ask.call.endpoint}
        return MissError(what, **named, nearest=known, remedy=self.options.remedy)


def _limit(seconds: float | None) -> float:
    return inf if seconds is None else seconds


def not_asyncio() -> PayonceError:
    """What an async client says where asyncio does not run."""
    return PayonceError(
        "payonce's async clients run on asyncio, and no asyncio event loop runs here: under trio, use the sync Client "
        "in a thread (trio.to_thread.run_sync), or the gateway"
    )
