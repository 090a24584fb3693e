"""What is counted of a model behind a name: one number that tells who answers now, and how often that has changed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.support.words import asked, facts, intake

from payonce.core.changes import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    MOST_CHANGES,
    Standing,
    changed,
    changes_in,
    mark,
    pause,
    standing,
    witnessed,
)
from payonce.core.effects import Witness
from payonce.model.scopes import of_answers

names = st.text(min_size=1, max_size=30)


@given(names, st.lists(names, min_size=1, max_size=30), st.integers(0, 200))
def test_a_count_tells_who_answers_now_however_many_have_raised_it_at_once(
    name: str, models: list[str], crowd: int
) -> None:
    count = 0
    for turn, model in enumerate(models, start=1):
        raised = changed(count, model)
        assert count < raised < 1 << 53
        count = raised + crowd  # of several processes that see it at once, each counts up by one
        assert changes_in(count) == turn
        assert standing(count, count, model, name) is Standing.SAME
        assert standing(count, 0, model, name) is Standing.SAME, "an answer of the new model, however early it took off"
        if mark(other := model + "'") != mark(model):
            assert standing(count, count, other, name) is Standing.CHANGED
            assert standing(count, count - 1, other, name) is Standing.LATE


@given(names)
def test_a_name_that_was_never_counted_is_answered_by_the_model_of_that_name(name: str) -> None:
    assert standing(0, 0, name, name) is Standing.SAME
    assert standing(0, 0, name + "-2026-01-01", name) is Standing.CHANGED


def test_pauses_double_up_to_four_weeks() -> None:
    counts = [turn << 32 for turn in range(1, 40)]
    assert pause(0) == 0
    assert pause(counts[0]) == 0, "the first sight of a model is no change"
    assert [pause(count) for count in counts[1:4]] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert [pause(count) for count in counts] == sorted(pause(count) for count in counts)
    assert pause(counts[-1]) == pause((MOST_CHANGES - 1) << 32) == LONGEST_PAUSE


def test_only_a_call_that_is_watched_asks_who_has_answered_it() -> None:
    plain = asked()
    assert not plain.watched
    ask = asked(door=intake(changed_models="retire"))
    assert ask.watched == of_answers(ask.scopes[-2].removeprefix("answers:").rpartition(" ")[0], ask.intent.model)
    assert set(ask.scopes) - set(plain.scopes) == {ask.watched}
    assert ask.key == plain.key, "what is kept under other settings is found"
    births = tuple(range(len(ask.scopes)))
    try:
        next(witnessed(plain, facts(model="other"), plain.scopes, births[:-1]))
    except StopIteration as end:
        assert end.value == births[:-1]
    story = witnessed(ask, facts(model="m/one-2026"), ask.scopes, births)
    effect = next(story)
    place = ask.scopes.index(ask.watched)
    assert effect == Witness(ask.watched, ask.intent.model, "m/one-2026", place)
    try:
        story.send(99)
    except StopIteration as end:
        assert end.value == (*births[:place], 99, *births[place + 1 :])


def test_a_fingerprint_counts_only_where_it_was_asked_for() -> None:
    births = (0,) * 7
    for mode, said in (("retire", "m/x"), ("retire-fingerprint", "m/x\nfp_1")):
        ask = asked(door=intake(changed_models=mode))
        effect = next(witnessed(ask, facts(model="m/x", fingerprint="fp_1"), ask.scopes, births[: len(ask.scopes)]))
        assert isinstance(effect, Witness)
        assert effect.said == said
