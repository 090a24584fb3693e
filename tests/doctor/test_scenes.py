"""Every scene against the strict models, as OpenRouter routes and bills them: the last act is named, and no other."""

from __future__ import annotations

import pytest

from payonce.doctor import Finding, Seen, Watch
from payonce.ledger.usage import parse
from payonce.optimise.traits import Catalogue
from payonce.testing.providers import family_of
from tests.doctor.scenes import MODEL, Scene, scenes

NINE = (
    *("threshold", "timestamp", "shuffled tools", "changed schema", "rewritten history"),
    *("host flip", "expired ttl", "concurrent first requests", "deprecated header"),
)


def play(scene: Scene, *, named: bool) -> list[tuple[Finding, ...]]:
    """What is said at each act."""
    catalogue, router, now, said = Catalogue(), family_of(MODEL).router(seed=1), 1_800_000_000.0, []
    watch = Watch(minimum_of=lambda model: catalogue.traits(model).minimum or None)
    for act in scene.acts:
        now += act.wait
        served = router.serve(
            act.body, dialect="chat", now=now, headers=act.headers, first_token_after=act.first_token, output_tokens=9
        )
        assert served.status == 200
        seen = Seen(
            body=act.body,
            dialect="chat",
            started=now,
            usage=parse(served.usage, dialect="chat", model=MODEL),
            session=act.session if named else None,
            headers=act.headers,
            host=served.host,
            first_byte=now + act.first_token,
        )
        said.append(watch.saw(seen))
    return said


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("name", ["healthy", *NINE])
def test_each_scene_is_named_at_its_last_act_and_nowhere_else(name: str, named: bool) -> None:
    scene = scenes()[name]
    *before, last = play(scene, named=named)
    assert before == [()] * len(before)
    expected = [(scene.cause, scene.where, scene.block)] if scene.cause else []
    assert [(one.id, one.where, one.block) for one in last] == expected


def test_there_is_a_scene_for_each_of_the_nine_causes_and_a_healthy_one() -> None:
    assert set(scenes()) == {"healthy", *NINE}
