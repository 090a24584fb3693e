"""How an answer is judged in tests, and what every dialect with recorded streams promises when it judges, as tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.model import reason as why
from payonce.model.entry import Facts
from payonce.model.ports import Dialect
from payonce.model.reason import REASONS, Kind, Reason
from tests.support.words import intent

ENDS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}


def judge_by(dialect: Dialect) -> Callable[..., Facts | Reason]:
    """The judgement of a stream (bytes) or a whole answer (a dict); a wish changes the intent."""

    def judge(body: bytes | dict[str, Any], **wish: Any) -> Facts | Reason:
        if isinstance(body, dict):
            return dialect.judge(intent(stream=False, **wish), (), orjson.dumps(body))
        return dialect.judge(intent(stream=True, **wish), (), body)

    return judge


def is_verdict(found: Facts | Reason) -> bool:
    """Whether it is what a judgement may be."""
    return isinstance(found, Facts) or (found.kind is Kind.UNKEPT and REASONS[found.id] is found)


def json_of(words: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Any JSON, in which these words are frequent."""
    numbers = st.integers(-2, 2**63) | st.floats(allow_nan=False)
    return st.recursive(
        st.none() | st.booleans() | numbers | words | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=5),
        max_leaves=12,
    )


class RecordingsContract:
    """`streams` are recordings, `facts` what each says of itself; any of `errors` is an event that spoils a stream, and
    every `stride`-th byte is made a wrong one."""

    dialect: Dialect
    streams: Mapping[str, bytes]
    facts: Mapping[str, Facts]
    errors: Sequence[bytes]
    stride: int

    def whole_from(self, body: bytes, end: bytes) -> int:
        """From which length on a stream is whole, where `end` ends a line."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Each recording is a test, with each end of a line and each error."""
        for name, values in {"name": self.streams, "end": ENDS, "error": self.errors}.items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, values)

    def test_a_whole_stream_says_what_it_is(self, name: str, end: str) -> None:
        assert set(self.streams) == set(self.facts)
        assert self._judge(self.streams[name].replace(b"\n", ENDS[end])) == self.facts[name]

    def test_a_stream_that_is_cut_at_any_byte_is_not_whole(self, name: str, end: str) -> None:
        body = self.streams[name].replace(b"\n", ENDS[end])
        first = self.whole_from(body, ENDS[end])
        assert [size for size in range(first) if isinstance(self._judge(body[:size]), Facts)] == []
        whole = {size for size in range(first, len(body) + 1) if self._judge(body[:size]) == self.facts[name]}
        assert {first, len(body)} <= whole
        assert all(body[first:size].strip() in (b"", b"data: [DONE]") for size in whole)

    def test_an_error_at_any_place_of_a_stream_is_seen(self, name: str, error: bytes) -> None:
        events = self.streams[name].split(b"\n\n")
        for place in range(len(events)):
            body = b"\n\n".join([*events[:place], error, *events[place:]])
            assert self._judge(body) is why.ERROR_INSIDE
            assert self._judge(body.replace(b"\n", b"\r\n")) is why.ERROR_INSIDE
            assert self._judge(b"\n\n".join([*events[:place], error, b""])) is why.ERROR_INSIDE

    def test_a_recording_with_a_wrong_byte_gets_a_verdict(self, name: str) -> None:
        body = self.streams[name]
        for place in range(0, len(body), self.stride):
            for wrong in (b"\x00", b'"', b"}", b"\n", b"9"):
                assert is_verdict(self._judge(body[:place] + wrong + body[place + 1 :]))

    def test_any_bytes_get_a_verdict(self) -> None:
        @given(st.binary(max_size=40))  # in here, since a property that two classes share has no seed of its own
        def holds(body: bytes) -> None:
            assert is_verdict(self.dialect.judge(intent(), (), body))
            assert is_verdict(self._judge(body))

        holds()

    def _judge(self, body: bytes) -> Facts | Reason:
        return judge_by(self.dialect)(body)
