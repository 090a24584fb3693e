"""The tape: any readers at any pace get every byte in order, and it holds no more than it must."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from payonce.core.tape import COMPLETE, End, Ending, Reader, Tape
from payonce.model import reason as why
from payonce.model.ports import Head

HEAD = Head(200, ((b"content-type", b"text/event-stream"),))
BIGGEST = 12
chunks = st.binary(min_size=0, max_size=BIGGEST)


class Model(RuleBasedStateMachine):
    """A writer that waits when it is told to, and readers that come, read and leave as they like."""

    @rule(cap=st.sampled_from([0, 1, 5, 20, 10_000]), window=st.sampled_from([0, 1, 8, 40]))
    @precondition(lambda self: not hasattr(self, "tape"))
    def start(self, cap: int, window: int) -> None:
        self.tape = Tape(cap=cap, window=window)
        self.written = b""
        self.ending: Ending | None = None
        self.readers: dict[Reader, bytes] = {}
        self.gone: dict[Reader, bytes] = {}

    def _started(self) -> bool:
        return hasattr(self, "tape")

    @rule(chunk=chunks)
    @precondition(lambda self: self._started() and not self.ending and not self.tape.full)
    def write(self, chunk: bytes) -> None:
        changed: list[bool] = []
        self.tape.on_change(lambda: changed.append(True))
        self.tape.feed(chunk)
        self.written += chunk
        assert len(changed) == bool(chunk)

    @rule()
    @precondition(_started)
    def join(self) -> None:
        if self.tape.joinable:
            self.readers[self.tape.read()] = b""
        else:
            assert self.tape.spilled
            with pytest.raises(ValueError, match="the start of this tape is gone"):
                self.tape.read()

    @rule(data=st.data())
    @precondition(lambda self: self._started() and self.readers)
    def read(self, data: Any) -> None:
        reader = data.draw(st.sampled_from(list(self.readers)))
        self.readers[reader] += b"".join(reader.take())
        assert self.readers[reader] == self.written, "whoever reads is up to date"
        assert reader.take() == []

    @rule(data=st.data())
    @precondition(lambda self: self._started() and self.readers)
    def leave(self, data: Any) -> None:
        reader = data.draw(st.sampled_from(list(self.readers)))
        reader.leave()
        reader.leave()
        self.gone[reader] = self.readers.pop(reader)

    @rule(ending=st.sampled_from([COMPLETE, Ending(End.CUT, why.CUT), Ending(End.FAILED, why.UPSTREAM_SLOW)]))
    @precondition(_started)
    def end(self, ending: Ending) -> None:
        self.tape.end(ending)
        self.ending = self.ending or ending

    @invariant()
    @precondition(_started)
    def nothing_is_held_that_nobody_needs(self) -> None:
        tape = self.tape
        needed = len(self.written) - min(map(len, self.readers.values()), default=len(self.written))
        assert tape.held == sum(map(len, tape.chunks))
        assert tape.size == len(self.written)
        assert tape.held == (needed if tape.spilled else len(self.written))
        assert tape.held <= max(tape.cap, tape.window) + BIGGEST

    @invariant()
    @precondition(_started)
    def what_is_kept_is_everything_or_nothing(self) -> None:
        tape = self.tape
        assert tape.spilled is (len(self.written) > tape.cap)
        assert tape.body() == (None if tape.spilled else self.written)
        assert tape.full is (tape.spilled and bool(self.readers) and tape.held > tape.window)
        assert tape.ending == self.ending
        if not tape.spilled:
            assert tape.joinable

    @invariant()
    @precondition(_started)
    def every_reader_has_a_beginning_of_what_was_written(self) -> None:
        for seen in (*self.readers.values(), *self.gone.values()):
            assert self.written.startswith(seen)

    def teardown(self) -> None:
        if self._started():
            for reader, seen in self.readers.items():
                assert seen + b"".join(reader.take()) == self.written


TestAnyReaders = Model.TestCase
TestAnyReaders.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


@given(st.lists(chunks, max_size=20), st.lists(st.integers(0, 20), max_size=4), st.integers(0, 60))
def test_readers_that_join_at_any_time_and_lag_at_will_get_the_same_bytes(
    pieces: list[bytes], starts: list[int], cap: int
) -> None:
    tape = Tape(cap=cap, window=10)
    seen: list[tuple[Reader, list[bytes]]] = []
    for number, piece in enumerate(pieces):
        if tape.joinable:
            seen += [(tape.read(), []) for start in starts if start == number]
        tape.feed(piece)
        for place, (reader, got) in enumerate(seen):
            if tape.full or number % (place + 2) == 0:
                got += reader.take()
    tape.end(COMPLETE)
    for reader, got in seen:
        assert b"".join([*got, *reader.take()]) == b"".join(pieces)


def test_a_reader_takes_what_there_is_and_then_nothing_until_there_is_more() -> None:
    tape = Tape()
    reader = tape.read()
    assert reader.take() == []
    tape.begin(HEAD)
    tape.feed(b"a")
    tape.feed(b"b")
    assert reader.take() == [b"a", b"b"]
    assert reader.take() == []
    tape.feed(b"c")
    assert reader.take() == [b"c"]


def test_empty_chunks_are_not_written() -> None:
    tape = Tape()
    tape.feed(b"")
    assert (tape.chunks, tape.size, tape.body()) == ([], 0, b"")


@pytest.mark.parametrize("first", [COMPLETE, Ending(End.CUT, why.CUT), Ending(End.FAILED, why.UPSTREAM_SLOW)])
def test_only_the_first_ending_counts(first: Ending) -> None:
    tape = Tape()
    tape.end(first)
    for later in (COMPLETE, Ending(End.CUT, why.UPSTREAM_CUT)):
        tape.end(later)
    assert tape.ending is first


def test_a_finished_tape_is_whole_and_can_be_read_by_anyone() -> None:
    for body in (b"", b"x", b"x" * 100):
        tape = Tape.finished(HEAD, body)
        assert (tape.head, tape.ending, tape.body(), tape.full, tape.joinable) == (HEAD, COMPLETE, body, False, True)
        assert [b"".join(tape.read().take()) for _ in range(3)] == [body] * 3


def test_up_to_its_cap_a_tape_keeps_all_and_past_it_nothing() -> None:
    tape = Tape(cap=4)
    tape.feed(b"abcd")
    assert (tape.body(), tape.spilled, tape.joinable) == (b"abcd", False, True)
    tape.feed(b"e")
    assert (tape.body(), tape.spilled, tape.joinable, tape.held) == (None, True, False, 0)


def test_a_spilled_tape_can_be_joined_as_long_as_somebody_holds_its_start() -> None:
    tape = Tape(cap=1, window=100)
    slow = tape.read()
    tape.feed(b"ab")
    late = tape.read()
    assert slow.take() == [b"ab"]
    assert tape.joinable
    assert late.take() == [b"ab"]
    assert not tape.joinable


def test_the_writer_waits_for_the_slowest_reader_and_for_nobody_else() -> None:
    tape = Tape(cap=1, window=3)
    slow, fast = tape.read(), tape.read()
    tape.feed(b"abcd")
    fast.take()
    assert tape.full
    slow.leave()
    assert not tape.full
    assert tape.held == 0


def test_whoever_waits_for_a_change_is_woken_once_for_each_kind_of_change() -> None:
    tape = Tape(cap=2)
    woken: list[str] = []

    def expect(kind: str) -> None:
        tape.on_change(lambda: woken.append(kind))

    expect("head")
    tape.begin(HEAD)
    expect("chunk")
    tape.feed(b"a")
    tape.feed(b"b")
    reader = tape.read()
    tape.feed(b"c")
    expect("room")
    reader.take()
    expect("end")
    tape.end(COMPLETE)
    expect("never")
    tape.end(Ending(End.CUT, why.CUT))
    assert woken == ["head", "chunk", "room", "end"]


def test_waking_may_ask_to_be_woken_again() -> None:
    tape = Tape()
    woken: list[int] = []

    def again() -> None:
        woken.append(tape.size)
        tape.on_change(again)

    tape.on_change(again)
    tape.feed(b"a")
    tape.feed(b"b")
    assert woken == [1, 2]
