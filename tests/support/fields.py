"""What an endpoint's tables of fields promise of the key, as tests: whoever has tables subclasses `FieldsContract`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from payonce.dialects.explain import explain
from payonce.intake import Admitted, Bypassed
from payonce.model.call import Ask
from tests.support.words import HEADERS, PLAIN

ABSENT = ...
ON = (b"x-openrouter-cache", b"true")


class Keys:
    """Requests to one endpoint, and the keys that they have."""

    def __init__(self, endpoint: str, **plain: Any) -> None:
        self.endpoint = endpoint
        self._plain = plain

    def body(self, **members: Any) -> bytes:
        """The plain request with these members; one that is `ABSENT` is left out."""
        return orjson.dumps({name: value for name, value in (self._plain | members).items() if value is not ABSENT})

    def admit(self, text: bytes, *more: tuple[bytes, bytes]) -> Admitted | Bypassed:
        """What becomes of a request with `more` headers."""
        found = PLAIN.admit("", self.endpoint, b"", (*HEADERS, *more), text)
        assert isinstance(found, Admitted | Bypassed)
        return found

    def asked(self, text: bytes, *more: tuple[bytes, bytes]) -> Ask:
        """The ask of a request that the cache takes part in."""
        found = self.admit(text, *more)
        assert isinstance(found, Admitted), found
        return found.ask

    def digest(self, text: bytes, *more: tuple[bytes, bytes]) -> bytes:
        """The key of a request that the cache takes part in."""
        return self.asked(text, *more).key.digest


class FieldsContract:
    """`stays` and `moves` have for each field values that leave the key, or are all told apart by it; `inside` names
    members in which the name of a field that stays is no such field."""

    keys: Keys
    ignored: Mapping[str, str]
    stays: Mapping[str, list[Any]]
    moves: Mapping[str, list[Any]]
    least: int
    inside: tuple[str, ...]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Each field, and each place, is a test."""
        every = {"inert": self.stays, "telling": self.moves, "field": [*self.stays, *self.moves], "place": self.inside}
        for name, values in every.items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, values)

    def test_both_tables_are_whole(self) -> None:
        assert set(self.stays) == set(self.ignored)
        assert not set(self.moves) & set(self.ignored)
        assert len(self.moves) >= self.least
        assert all(because.strip() for because in self.ignored.values())

    def test_a_field_that_does_not_change_the_answer_leaves_the_key(self, inert: str) -> None:
        values = [*self.stays[inert], ABSENT]
        assert {self._digest(**{inert: value}) for value in values} == {self._digest()}

    def test_a_field_that_may_change_the_answer_moves_the_key(self, telling: str) -> None:
        values = [*self.moves[telling], ABSENT]
        assert len({self._digest(ON, **{telling: value}) for value in values}) == len(values)

    def test_an_ignored_name_counts_anywhere_but_at_the_top(self, place: str) -> None:
        for name, values in self.stays.items():
            assert len({self._digest(**{place: [{name: value}]}) for value in values}) == len(values)

    def test_the_command_why_agrees(self, field: str) -> None:
        first = {**self.stays, **self.moves}[field][0]
        a, b = self.keys.body(**{field: ABSENT}), self.keys.body(**{field: first})
        (found, *_) = explain(self.keys.endpoint, a, b)
        assert found.matters is (field in self.moves)

    def test_a_stream_and_a_whole_answer_share_a_key_and_never_a_slot(self) -> None:
        stream, whole = (self.keys.asked(self.keys.body(stream=stream)) for stream in (True, False))
        assert stream.key.digest == whole.key.digest == self._digest()
        assert stream.key.slot != whole.key.slot
        assert (stream.intent.stream, whole.intent.stream) == (True, False)

    @pytest.mark.parametrize("value", [1, 0, "true", "false", "", [], {}, [True]])
    def test_a_stream_that_is_no_boolean_is_part_of_the_key(self, value: Any) -> None:
        assert self.keys.asked(self.keys.body(stream=value)).intent.stream is False
        assert self._digest(stream=value) != self._digest()

    def _digest(self, *more: tuple[bytes, bytes], **members: Any) -> bytes:
        return self.keys.digest(self.keys.body(**members), *more)
