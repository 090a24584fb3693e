"""The page about prompt caching says what is so: its example runs, and every act of the planner is in its table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from payonce.optimise import Act
from payonce.optimise.nodes import Beliefs
from payonce.optimise.traits import tables

PAGE = (Path(__file__).parents[2] / "docs" / "prompt-caching.md").read_text()
DESIGN = (Path(__file__).parents[2] / "docs" / "design" / "planner.md").read_text()


def test_the_example_runs_and_changes_no_content() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "prompt-caching.md", "exec"), names)
    assert names["send"]["messages"] == names["body"]["messages"]
    assert {one.act for one in names["plan"].advice} == {Act.LEAVE, Act.STICK}


def test_every_act_is_in_the_table_and_nothing_else_is() -> None:
    table = PAGE.split("## Advice")[1].split("## Prices")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) - {"act"} == {act.value for act in Act}


def test_the_retired_token_is_the_one_of_the_table() -> None:
    assert all(f"`{token}`" in PAGE for token in tables()["retired_betas"])


def test_the_priors_in_the_design_note_are_those_of_the_code() -> None:
    beliefs = Beliefs()
    said = "a first message 8 %, with tools 40 %, a conversation met in the middle 60 %, one that goes on 80 to 88 %"
    assert said in DESIGN.replace("\n", " ")
    assert (beliefs.first[0], beliefs.first_with_tools[0], beliefs.later[0]) == (0.08, 0.4, 0.6)
    assert (beliefs.seen[0], beliefs.after_tool[0], beliefs.once[0], beliefs.twice[0]) == (0.8, 0.88, 0.08, 0.5)
