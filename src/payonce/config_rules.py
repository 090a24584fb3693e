"""The `[[rule]]` tables of payonce.toml, read into `model.policy.Rule` values; all their problems, each with its line.

This room must never know which rule a call meets; model/policy.py decides that.
"""

from __future__ import annotations

from typing import Any

from payonce.config_lines import Lines, Path, line_of
from payonce.config_options import ENDPOINTS, OPTIONS, RULE_MATCHES, RULE_QUOTAS, RULE_SETS
from payonce.config_types import Problem, Wrong, did_you_mean, refuse, shown
from payonce.model.names import impossible
from payonce.model.policy import Rule

_MATCH_EXAMPLE = 'write, for example, match = { model = "anthropic/*" }'


def read_rules(written: object, lines: Lines) -> tuple[tuple[Rule, ...], list[Problem]]:
    """The rules of a file, in order, and all that is wrong with them."""
    if not isinstance(written, list) or not all(isinstance(table, dict) for table in written):
        line = line_of(lines, ("rule",))
        return (), [Problem(line, "rule: this is not a list of tables", "begin each rule with [[rule]]")]
    rules: list[Rule] = []
    problems: list[Problem] = []
    for index, table in enumerate(written):
        rules.append(_rule(table, ("rule", index), lines, problems))
    return tuple(rules), problems


def _rule(table: dict[str, object], path: Path, lines: Lines, problems: list[Problem]) -> Rule:
    values: dict[str, Any] = {}
    title = f"rule {int(path[1]) + 1}"
    for key, written in table.items():
        try:
            if key == "match":
                values |= _match(written)
            elif key in RULE_SETS:
                values[key] = OPTIONS[key].read(written)
            else:
                raise Wrong("a rule can't set this", _hint(key))
        except Wrong as wrongs:
            for wrong in wrongs.all:
                line = line_of(lines, (*path, key, *wrong.at))
                named = ".".join([key, *(part for part in wrong.at if isinstance(part, str))])
                problems.append(Problem(line, f"{title}, {named}: {wrong.message}", wrong.fix))
    for key in RULE_QUOTAS:
        if key in values and [name for name in RULE_MATCHES if values.get(name)] != ["tenant"]:
            line = line_of(lines, (*path, key))
            problems.append(Problem(line, f"{title}, {key}: {_NOT_A_TENANT}", 'write match = { tenant = "…" }'))
    return Rule(**values)


_NOT_A_TENANT = "a quota is a tenant's own, so its rule matches on tenant and on nothing else"


def _hint(key: str) -> str:
    if key in RULE_MATCHES:
        return f'write match = {{ {key} = "…" }}'
    return did_you_mean(key, ("match", *RULE_SETS)) or f"a rule sets {', '.join(RULE_SETS)}"


def _match(written: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(written, dict):
        raise Wrong(f"{shown(written)} is not a table", _MATCH_EXAMPLE)
    found: dict[str, tuple[str, ...]] = {}
    wrongs: list[Wrong] = []
    for key, value in written.items():
        try:
            if key not in RULE_MATCHES:
                fix = did_you_mean(key, RULE_MATCHES) or f"a rule matches on {', '.join(RULE_MATCHES)}"
                raise Wrong("a rule can't match on this", fix)
            found[key] = _alternatives(key, value)
        except Wrong as wrong:
            wrongs += [part.inside(key) for part in wrong.all]
    refuse(wrongs)
    return found


def _alternatives(key: str, value: object) -> tuple[str, ...]:
    """One name, or several of which one must fit."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items:
        raise Wrong(f"{shown(value)} is neither a string nor a list of strings", _MATCH_EXAMPLE)
    wrongs = []
    for index, item in enumerate(items):
        try:
            _name(key, item)
        except Wrong as wrong:
            wrongs.append(wrong if isinstance(value, str) else wrong.inside(index))
    refuse(wrongs)
    return tuple(_name(key, item) for item in items)


def _name(key: str, item: object) -> str:
    if not isinstance(item, str) or not item:
        raise Wrong(f"{shown(item)} is not a name", "write a string that is not empty")
    if rule := impossible(key, item):
        raise Wrong(f"no {key} is called {shown(item)}, so this rule would never match", rule)
    if key != "endpoint":
        return item
    name = item.strip("/")
    if name not in ENDPOINTS:
        fix = did_you_mean(name, ENDPOINTS) or f"the cached endpoints are {', '.join(ENDPOINTS)}"
        raise Wrong(f"{shown(item)} is not an endpoint that is cached", fix)
    return name
