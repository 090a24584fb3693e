"""Looks for a conversion that is wrong, for as long as it is told: `python -m tests.soak_convert MINUTES [SEED]`.

The suite's properties with many more examples, and more damage than the suite has time for: several things wrong at
once, in answers that were made up and in those that were recorded, and bytes changed anywhere. A conversion is right or
refused; what is neither is printed, with the exit code 1. Not part of the suite: it has no end of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from tests.support.answers import JSON, MESSAGE, RESPONSE, chat_stream, chat_whole, in_pieces
from tests.support.mutants import spoil
from tests.support.sdks import (
    chat_of_stream,
    chat_of_whole,
    message_of_stream,
    message_of_whole,
    response_of_stream,
    response_of_whole,
    same,
)

sys.path.insert(0, str(Path(__file__).parent / "wire"))
chat, messages, responses = (
    importlib.import_module(f"test_convert_{name}") for name in ("chat", "messages", "responses")
)
EXAMPLES = 400
seen: Counter[str] = Counter()
"""How many conversions were compared and how many refused, by kind: a soak that compares nothing proves nothing."""


def right_or_refused(kind: str, body: bytes) -> None:
    """Convert `body` the one way and the other; whatever comes out is what the SDK says, or this raises."""
    room, of_whole, of_stream = {
        "chat": (chat, chat_of_whole, chat_of_stream),
        "messages": (messages, message_of_whole, message_of_stream),
        "responses": (responses, response_of_whole, response_of_stream),
    }[kind]
    whole = room.to_whole(body)
    seen[f"{kind} to whole {'refused' if whole is None else 'compared'}"] += 1
    if whole is not None:
        assert list(same(of_stream(body), of_whole(whole))) == []
    made = room.to_stream(body)
    seen[f"{kind} to stream {'refused' if made is None else 'compared'}"] += 1
    if made is not None and kind == "chat":
        chat.proves(body, made)
    elif made is not None:
        assert list(same(of_stream(made), of_whole(body))) == []


def spoilt(value: Any, data: st.DataObject) -> Any:
    """`value` with one to four things wrong."""
    for _ in range(data.draw(st.integers(1, 4))):
        if value in ({}, []):
            break
        value = spoil(value, data.draw(JSON), data)
    return value


@given(chat_whole(), st.data())
def chat_wholes(answer: Any, data: st.DataObject) -> None:
    right_or_refused("chat", json.dumps(spoilt(answer, data)).encode())


@given(chat_stream(), st.data())
def chat_streams(chunks: Any, data: st.DataObject) -> None:
    right_or_refused("chat", chat.stream(spoilt(chunks, data)))


@given(MESSAGE, st.data())
def message_wholes(message: Any, data: st.DataObject) -> None:
    right_or_refused("messages", json.dumps(spoilt(message, data)).encode())


@given(MESSAGE, st.data())
def message_streams(message: Any, data: st.DataObject) -> None:
    made = messages.to_stream(json.dumps(message).encode())
    parts = spoilt(in_pieces(data.draw, messages.parts_of(made)), data)
    if all(isinstance(part, dict) for part in parts):
        right_or_refused("messages", messages.stream(parts))


@given(RESPONSE, st.data())
def response_wholes(response: Any, data: st.DataObject) -> None:
    right_or_refused("responses", json.dumps(spoilt(response, data)).encode())


@given(RESPONSE, st.data())
def response_streams(response: Any, data: st.DataObject) -> None:
    right_or_refused("responses", responses.stream(spoilt(responses.parts_of(responses.made_of(response)), data)))


def _recorded() -> list[tuple[str, bytes]]:
    found = [("chat", body) for body in (*chat.STREAMS.values(), *chat.WHOLES.values())]
    found += [("messages", body) for body in messages.STREAMS.values()]
    found += [("responses", body) for body in responses.STREAMS.values()]
    for extra in filter(None, os.environ.get("SOAK_RECORDINGS", "").split(os.pathsep)):
        for path in sorted(Path(extra).glob("*.sse")):
            found.append(("responses" if path.name.startswith("responses") else "chat", path.read_bytes()))
    return found + [(kind, made) for kind, body in found if (made := _other(kind, body)) is not None]


def _other(kind: str, body: bytes) -> bytes | None:
    room = {"chat": chat, "messages": messages, "responses": responses}[kind]
    made: bytes | None = room.to_whole(body) or room.to_stream(body)
    return made


RECORDED = _recorded()


@given(st.sampled_from(RECORDED), st.data())
def recordings_spoilt(recorded: tuple[str, bytes], data: st.DataObject) -> None:
    kind, body = recorded
    right_or_refused(kind, body)
    if body.startswith(b"{"):
        right_or_refused(kind, json.dumps(spoilt(json.loads(body), data)).encode())
        return
    parts = [json.loads(part) for part in chat.events(body) if part != b"[DONE]"]
    parts = spoilt(parts, data)
    if all(isinstance(part, dict) for part in parts):
        write: Callable[[Any], bytes] = {"chat": chat, "messages": messages, "responses": responses}[kind].stream
        right_or_refused(kind, write(parts))


def bytes_changed(draw: random.Random) -> None:
    """Not a property of hypothesis: many quick changes of single bytes, lines and numbers."""
    for _ in range(EXAMPLES):
        kind, body = draw.choice(RECORDED)
        changed = bytearray(body)
        for _ in range(draw.randint(1, 3)):
            _change(changed, draw)
        try:
            right_or_refused(kind, bytes(changed))
        except Exception as error:
            at = next((at for at, (old, new) in enumerate(zip(body, changed, strict=False)) if old != new), 0)
            error.add_note(f"{kind}, first changed at {at}: {bytes(changed[max(0, at - 90) : at + 90])!r}")
            raise


def _change(changed: bytearray, draw: random.Random) -> None:
    place = draw.randrange(len(changed))
    how = draw.randrange(5)
    if how == 0:
        changed[place] = draw.randrange(256)
    elif how == 1:
        changed[place] = draw.choice(b'0123456789"{}[]:,ntf \n\r\\e.-')
    elif how == 2:
        del changed[place : place + draw.randint(1, 3)]
    elif how == 3:
        changed[place:place] = draw.choice([b"1", b"\n", b"\r", b'"', b"null", b"\xef\xbb\xbf", b"0", b"\\u0000"])
    else:
        lines = bytes(changed).split(b"\n\n")
        one, other = draw.randrange(len(lines)), draw.randrange(len(lines))
        lines[one], lines[other] = lines[other], lines[one]
        changed[:] = b"\n\n".join(lines)


def properties() -> Iterator[tuple[str, Callable[[int], None]]]:
    """Everything that is asked, again and again with other seeds."""
    here = [chat_wholes, chat_streams, message_wholes, message_streams, response_wholes, response_streams]
    found: list[Any] = [*here, recordings_spoilt]
    for room in (chat, messages, responses):
        found += [test for test in vars(room).values() if getattr(test, "is_hypothesis_test", False)]
    for test in found:
        yield test.__name__, _seeded(test)
    yield "bytes_changed", lambda seed: bytes_changed(random.Random(seed))


def _seeded(test: Any) -> Callable[[int], None]:
    test._hypothesis_internal_use_settings = settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )

    def run(seed: int) -> None:
        test._hypothesis_internal_use_seed = seed
        test()

    return run


def main(minutes: float, seed: int) -> int:
    warnings.simplefilter("ignore")
    end, rounds, failures = time.process_time() + minutes * 60, 0, Counter[str]()
    while time.process_time() < end:
        for name, run in properties():
            try:
                run(seed + rounds)
            except NoSuchExample:
                raise
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                failures[name] += 1
                if failures[name] < 4:
                    print(f"--- {name}, seed {seed + rounds}", flush=True)
                    traceback.print_exc(limit=3, chain=False)
                    for note in getattr(error, "__notes__", ()):
                        print(note, flush=True)
            if time.process_time() >= end:
                break
        rounds += 1
        print(
            f"{time.process_time() / 60:.1f} minutes, {rounds} rounds, {dict(seen)}, failures {dict(failures)}",
            flush=True,
        )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
