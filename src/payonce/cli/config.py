"""`payonce config`: each setting, its value and its origin; or everything that a file gets wrong.

This room must never decide what a setting may be.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from payonce.cli.flags import AsJson, ConfigFile
from payonce.cli.output import complain, print_json, say, table
from payonce.config import Loaded, check, load
from payonce.config_environ import strangers
from payonce.config_file import read_file
from payonce.config_options import OPTIONS
from payonce.model.policy import Rule
from payonce.stores.redacted import redact

_UNKNOWN = "there is no such setting"


def config(
    *,
    check: Annotated[
        Path | None, Parameter(help="Say everything that this file gets wrong, by line, and unknown PAYONCE_ names.")
    ] = None,
    config: ConfigFile = None,
    json: AsJson = False,
) -> int:
    """Print each setting and where it came from, or check a file."""
    if check is not None:
        return _check(check, json=json)
    loaded = load({}, os.environ, config)
    if json:
        print_json(_document(loaded))
        return 0
    settings = loaded.settings
    values = {name: getattr(settings, name) for name in OPTIONS} | {"store": redact(settings.store)}
    rows = [(name, _text(value), loaded.origins[name], OPTIONS[name].note) for name, value in values.items()]
    table(("setting", "value", "origin", ""), rows)
    for number, rule in enumerate(settings.rules, start=1):
        say(f"rule {number}: {_rule_text(rule)}")
    for warning in loaded.warnings:
        complain(warning)
    return 0


def _check(path: Path, *, json: bool) -> int:
    problems = check(read_file(path), path.name)
    unknown = strangers(os.environ)
    if json:
        found = [dataclasses.asdict(problem) for problem in problems]
        print_json(found + [{"variable": name, "message": _UNKNOWN, "fix": fix} for name, fix in unknown.items()])
    else:
        for problem in problems:
            say(f"{path}:{problem.line}: {problem.message}; {problem.fix}")
        if not problems:
            say(f"{path}: nothing is wrong with it")
        for name, fix in unknown.items():
            say(f"environment {name}: {_UNKNOWN}; {fix}")
    return 1 if problems or unknown else 0


def _document(loaded: Loaded) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        value = getattr(loaded.settings, name)
        shown = dict(value) if name == "upstream" else redact(value) if name == "store" else value
        settings[name] = {"value": shown, "origin": loaded.origins[name]}
        if option.note:
            settings[name]["note"] = option.note
    rules = {"value": [_rule(rule) for rule in loaded.settings.rules], "origin": loaded.origins["rules"]}
    return {"settings": settings, "rules": rules, "warnings": list(loaded.warnings)}


def _rule(rule: Rule) -> dict[str, Any]:
    """What a rule asks and sets, without what it leaves open."""
    found = {item.name: getattr(rule, item.name) for item in dataclasses.fields(rule) if item.init}
    return {name: value for name, value in found.items() if value not in (None, ())}


def _rule_text(rule: Rule) -> str:
    return ", ".join(f"{name} = {_text(value)}" for name, value in _rule(rule).items()) or "matches all, sets nothing"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        named = ["=".join(part for part in item if part) if isinstance(item, tuple) else str(item) for item in value]
        return ", ".join(named) or "(none)"
    return str(value) if value != "" else "(empty)"
