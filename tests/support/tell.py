"""Tell a story: play the player from a list of (question, answer) pairs, and say plainly where the two part ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from payonce.core.effects import Effect, Story
from payonce.core.tape import Tape
from payonce.model.call import Ask
from payonce.model.entry import Entry
from payonce.model.reason import Reason

R = TypeVar("R")


class Partly:
    """A question of which only some fields matter; a field's expectation is a value or a predicate."""

    def __init__(self, kind: type[Effect[Any]], **expected: Any) -> None:
        self.kind = kind
        self.expected = expected

    def misses(self, asked: Effect[Any]) -> list[str]:
        """What does not fit, one line each."""
        if type(asked) is not self.kind:
            return [f"{show(asked)} was asked"]
        found = []
        for name, expected in self.expected.items():
            value = getattr(asked, name)
            if not (expected(value) if callable(expected) else value == expected):
                found.append(f".{name}: expected {show(expected)}, was {show(value)}")
        return found

    def __repr__(self) -> str:
        return f"{self.kind.__name__}({', '.join(f'{k}={show(v)}' for k, v in self.expected.items())})"


class Act:
    """An answer that is worked out from the question, as when a player writes on the tape it was given."""

    def __init__(self, act: Callable[[Any], Any]) -> None:
        self.act = act


Question = Partly | Effect[Any] | type[Effect[Any]]


def tell(story: Story[R], script: Sequence[tuple[Question, Any]]) -> R:
    """What the story returns when its questions are those of the script, in that order, and are answered so."""
    told: list[str] = []
    answer: Any = None
    for question, reply in script:
        try:
            asked = story.send(answer)
        except StopIteration as end:
            raise AssertionError(_parted(told, question, [f"the story ended and returned {show(end.value)}"])) from None
        misses = _misses(question, asked)
        if misses:
            raise AssertionError(_parted(told, question, misses))
        answer = reply.act(asked) if isinstance(reply, Act) else reply
        told.append(f"{show(asked)} -> {show(answer)}")
    try:
        asked = story.send(answer)
    except StopIteration as end:
        result: R = end.value
        return result
    raise AssertionError(_parted(told, None, [f"the story went on and asked {show(asked)}"]))


def _misses(question: Question, asked: Effect[Any]) -> list[str]:
    if isinstance(question, Partly):
        return question.misses(asked)
    if isinstance(question, type):
        return [] if type(asked) is question else [f"{show(asked)} was asked"]
    if type(asked) is not type(question):
        return [f"{show(asked)} was asked"]
    return list(_differences("", question, asked))


def _differences(path: str, expected: Any, found: Any) -> Iterator[str]:
    """The innermost fields in which two words differ."""
    if expected == found:
        return
    if type(expected) is type(found) and isinstance(expected, msgspec.Struct):
        for name in expected.__struct_fields__:
            yield from _differences(f"{path}.{name}", getattr(expected, name), getattr(found, name))
    else:
        yield f"{path}: expected {show(expected)}, was {show(found)}"


def show(value: Any) -> str:
    """A word in a few words."""
    if isinstance(value, Reason):
        return value.id
    if isinstance(value, Ask | Entry | Tape):
        return f"<{type(value).__name__.lower()}>"
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, msgspec.Struct):
        named = [f"{name}={show(getattr(value, name))}" for name in value.__struct_fields__]
        return f"{type(value).__name__}({', '.join(named)})"
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}… ({len(text)} characters)"


def _parted(told: list[str], question: Question | None, misses: list[str]) -> str:
    so_far = "".join(f"  {number}. {line}\n" for number, line in enumerate(told, 1)) or "  (nothing)\n"
    expected = "the end" if question is None else show(question)
    return f"told so far:\n{so_far}then expected {expected}, but\n  " + "\n  ".join(misses)
