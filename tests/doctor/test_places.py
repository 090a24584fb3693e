"""A place in a request is told without what the client has named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.doctor.blocks import spell
from payonce.doctor.places import NAMES, public
from tests.doctor.scenes import scenes

OURS = st.sampled_from(NAMES) | st.integers(0, 999)
THEIRS = st.text(min_size=1).filter(lambda name: not any(known in name for known in NAMES))


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("", ""),
        ("tools[1].function.parameters.properties.diagnosis.type", "tools[1].function.parameters.properties…"),
        ("tools[1].input_schema.secret[0].type", "tools[1].input_schema…"),
        ("messages[4].content[0].input.path", "messages[4].content[0].input…"),
        ("messages[4].content[0].text", "messages[4].content[0].text"),
        ("headers.anthropic-beta", "headers.anthropic-beta"),
        ("systematic", "…"),
        ("system[0]x", "system…"),
        ("text.", "text…"),
    ],
)
def test_names_of_the_api_are_told_and_the_path_ends_before_others(where: str, told: str) -> None:
    assert public(where) == told


def test_the_places_of_all_scenes_can_be_told() -> None:
    told = {name: (scene.where, public(scene.where)) for name, scene in scenes().items()}
    shortened = {name for name, (where, said) in told.items() if where != said}
    assert shortened == {"changed schema"}


@given(st.lists(OURS, min_size=1, max_size=5), THEIRS, st.lists(OURS | THEIRS, max_size=5))
def test_nothing_behind_a_name_of_the_client_s_is_told(path: list[str | int], name: str, rest: list[str | int]) -> None:
    known = spell(("tools", *path))
    assert public(known) == known
    assert public(spell(("tools", *path, name, *rest))).removesuffix("…") in known
