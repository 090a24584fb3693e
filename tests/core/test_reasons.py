"""THE table of reasons: one row a reason, each row in use, each refusal with a status and a way out."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path

import pytest

import payonce
from payonce.model import reason as why
from payonce.model.reason import REASONS, Kind, Reason, _row

NAMES = {name: value for name, value in vars(why).items() if isinstance(value, Reason)}
SOURCES = "\n".join(
    path.read_text() for path in sorted(Path(payonce.__file__).parent.rglob("*.py")) if path.name != "reason.py"
)
WAITING = {"ABANDONED"}
"""Rows that no code gives yet. One that is put to use, or dropped, leaves this set."""

every = pytest.mark.parametrize("reason", REASONS.values(), ids=list(REASONS))


@every
def test_an_id_is_a_short_word_in_kebab_case(reason: Reason) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", reason.id)
    assert len(reason.id) <= 24


@every
def test_a_sentence_is_one_sentence_without_its_full_stop(reason: Reason) -> None:
    for text in (reason.sentence, reason.fix):
        assert text == text.strip()
        assert "\n" not in text
        assert not text.endswith(".")
    assert reason.sentence


@every
def test_a_refusal_has_a_status_and_a_fix_and_nothing_else_has_a_status(reason: Reason) -> None:
    if reason.kind is Kind.REFUSED:
        assert 400 <= HTTPStatus(reason.status) < 600
        assert reason.fix
    else:
        assert reason.status == 0


def test_every_constant_is_in_the_table_once_and_named_after_its_id() -> None:
    assert {id(reason) for reason in NAMES.values()} == {id(reason) for reason in REASONS.values()}
    assert len(NAMES) == len(REASONS)
    for name, reason in NAMES.items():
        assert name == reason.id.upper().replace("-", "_")
        assert REASONS[reason.id] is reason


def test_two_reasons_can_not_share_an_id() -> None:
    with pytest.raises(ValueError, match="two reasons are called absent"):
        _row(Kind.MISS, "absent", "twice")
    assert REASONS["absent"] is why.ABSENT


@pytest.mark.parametrize("name", sorted(set(NAMES) - WAITING))
def test_every_row_is_given_somewhere(name: str) -> None:
    assert re.search(rf"\bwhy\.{name}\b|\b{name}\b|\"{NAMES[name].id}\"", SOURCES)
