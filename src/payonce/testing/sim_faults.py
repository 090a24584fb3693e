"""The faults that the simulated provider can be told to have: their names, their arguments, and what each one does.

Says which parts of an answer a fault touches, as values; `sim_provider.py` performs them. This room must never know a
socket, a clock or how an answer is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class End(StrEnum):
    """How the body of an answer ends."""

    COMPLETE = "complete"
    """All of it was sent, and the framing says so."""
    CLEAN = "clean"
    """Less than all of it was sent, but the framing says that this was all."""
    CUT = "cut"
    """The connection is closed in the middle of the body: no terminating chunk, or fewer bytes than announced."""
    RESET = "reset"
    """As CUT, by a TCP reset."""
    STALL = "stall"
    """Nothing more is sent, and the connection stays open."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of fault: its name, the argument it takes with its default, and what the client sees."""

    name: str
    argument: str
    default: str
    sees: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault to have on one request."""

    name: str
    argument: str

    @property
    def number(self) -> int:
        return int(self.argument)

    @property
    def seconds(self) -> float:
        return float(self.argument)


_ROWS: Final = (
    Row("429", "SECONDS", "1", "429 with Retry-After and X-RateLimit-*"),
    Row("500", "", "", "500 in the provider's error shape"),
    Row("502", "", "", "502 in the provider's error shape"),
    Row("503", "SECONDS", "1", "503 with Retry-After"),
    Row("529", "", "", "529, provider overloaded"),
    Row(
        "200-error",
        "late|only",
        "late",
        "a top-level error inside a 200; in a stream after some content, or as the only event",
    ),
    Row("choice-error", "", "", "chat: an error inside a choice, finish_reason error; elsewhere as 200-error"),
    Row("cut", "BYTES", "0", "the connection closes after that many bytes of the body"),
    Row("reset", "BYTES", "0", "the connection is reset (RST) after that many bytes of the body"),
    Row("clean-cut", "BYTES", "0", "the body ends cleanly after that many bytes, without its end"),
    Row("stall", "BYTES", "0", "nothing more comes after that many bytes; the connection stays open"),
    Row("slow-first-byte", "SECONDS", "1", "not even a status line for that long"),
    Row("empty", "", "", "a 200 whose message is empty, without a finish_reason"),
    Row("wrong-count", "", "", "embeddings: one item fewer than was asked for"),
    Row("twice", "", "", "embeddings: the last item under the index of the first"),
    Row("empty-body", "", "", "a 200 with a body of no bytes"),
    Row("content-filter", "", "", "part of an answer, finish_reason content_filter"),
    Row("refusal", "", "", "a refusal in place of content"),
    Row("bad-tool-json", "", "", "a tool call whose arguments are not JSON"),
    Row("length", "", "", "half of an answer, finish_reason length"),
    Row("html", "", "", "a 200 with an HTML page, as from a proxy in between"),
    Row("gzip", "", "", "Content-Encoding: gzip, whatever the request accepts"),
    Row("no-done", "", "", "a stream without its data: [DONE]"),
    Row("no-end", "", "", "a stream without its last event (message_stop, response.completed, [DONE])"),
    Row("redirect", "URL", "http://elsewhere.invalid/v1", "a 307 to elsewhere"),
    Row("huge", "BYTES", "67108864", "content of that many bytes"),
    Row("comments-only", "COUNT", "3", "that many keep-alive comments and a clean end (not streaming: blank lines)"),
)
FAULTS: Final[dict[str, Row]] = {row.name: row for row in _ROWS}

_ENDS: Final = {"cut": End.CUT, "reset": End.RESET, "clean-cut": End.CLEAN, "stall": End.STALL}
UNBILLED: Final = frozenset(
    {
        "429",
        "500",
        "502",
        "503",
        "529",
        "200-error",
        "choice-error",
        "empty",
        "empty-body",
        "html",
        "redirect",
        "comments-only",
    }
)
"""What the provider does not charge for: an answer that failed, is empty, or never was."""


def parse(text: str) -> Fault:
    """Reads `NAME` or `NAME=ARG`. A name or an argument that can't be is a ValueError that lists what can."""
    name, _, argument = text.strip().partition("=")
    row = FAULTS.get(name)
    if row is None:
        raise ValueError(f"no fault is called {name!r}: use one of {', '.join(FAULTS)}")
    argument = argument or row.default
    try:
        if row.argument in {"BYTES", "COUNT"} and int(argument) < 0:
            raise ValueError("negative")
        if row.argument == "SECONDS" and not 0 <= float(argument) <= 86400:
            raise ValueError("out of range")
        if "|" in row.argument and argument not in row.argument.split("|"):
            raise ValueError("not among the choices")
    except ValueError as error:
        raise ValueError(f"{argument!r} does not fit the fault {name}={row.argument}: {error}") from None
    return Fault(name, argument)


def from_model(model: str) -> Fault | None:
    """The fault that a model's name asks for: `sim/fault-429`, `sim/small:fault-cut=100`; None without one."""
    _, found, text = model.partition("fault-")
    return parse(text) if found else None


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a body goes out: at most `limit` bytes of it, then `end`; compressed or not."""

    limit: int | None = None
    end: End = End.COMPLETE
    gzip: bool = False


WHOLE: Final = Delivery()


def delivery(fault: Fault | None) -> Delivery:
    """How the body of an answer with this fault goes out."""
    if fault is None:
        return WHOLE
    end = _ENDS.get(fault.name)
    if end is not None:
        return Delivery(fault.number, end)
    return Delivery(gzip=True) if fault.name == "gzip" else WHOLE
